package main

import (
	"fmt"

	"datamesh/internal/config"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
)

// userOf returns the identity that a command is for: the one that --identity
// names, or that the home uses. One that is named must be there, unless the
// command may make it. Kinds: Invalid, FileNotFound, Configuration, IO.
func (c *cli) userOf(home config.Home) (config.User, error) {
	if c.identity != "" {
		return c.userNamed(home, c.identity)
	}
	used, err := home.Used()
	if err != nil {
		return used, err
	}
	return c.userNamed(home, used.Name)
}

func (c *cli) userNamed(home config.Home, name string) (config.User, error) {
	if c.mayMake || name == config.DefaultUser { // which is made by its first use
		return home.User(name)
	}
	return home.Known(name)
}

// keysOf returns the keys of a user, with how their passphrase is had.
func (c *cli) keysOf(user config.User, cfg config.Config) *keyring.File {
	keys := keyring.At(user.Identity())
	keys.Ask = func(file string) (string, error) {
		if cfg.Keys.PassphraseFile != "" {
			return keyring.ReadPassphrase(cfg.Keys.PassphraseFile)
		}
		return c.askPassphrase(fmt.Sprintf("passphrase of %s, which is not shown: ", plain(file)), "--passphrase-file")
	}
	return keys
}

// pluginUI is how the programs of age's plugins talk to whoever runs a command.
func (c *cli) pluginUI() *crypt.UI {
	ask := func(name, prompt string) (string, error) {
		if c.inConsole || c.json || !isTerminal(c.in) {
			return "", errs.New(errs.Authentication, "age-plugin-%s asks something, and nobody can be asked", name)
		}
		return c.askHidden(c.ctx, fmt.Sprintf("age-plugin-%s: %s: ", plain(name), plain(prompt)))
	}
	return &crypt.UI{
		Show: func(name, message string) { c.notice("age-plugin-%s: %s", name, message) },
		Ask:  func(name, prompt string, _ bool) (string, error) { return ask(name, prompt) },
		Confirm: func(name, prompt, yes, no string) (bool, error) {
			choice := fmt.Sprintf("%s (enter for %q)", prompt, yes)
			if no != "" {
				choice = fmt.Sprintf("%s (1 for %q, 2 for %q)", prompt, yes, no)
			}
			for {
				answer, err := ask(name, choice)
				switch {
				case err != nil:
					return false, err
				case no == "" || answer == "1":
					return true, nil
				case answer == "2":
					return false, nil
				}
			}
		},
	}
}

// askPassphrase asks on the terminal, or says which flag to give instead.
func (c *cli) askPassphrase(prompt, flag string) (string, error) {
	switch {
	case c.inConsole:
		return "", errs.WithHint(errs.New(errs.Authentication, "a passphrase is needed, and standard input is what the console reads its lines from"),
			"give %s FILE, or leave with exit and type this in a shell", flag)
	case c.json || !isTerminal(c.in):
		return "", errs.WithHint(errs.New(errs.Authentication, "a passphrase is needed, and nobody can be asked for it"),
			"give %s FILE, or type this on a terminal, without --json", flag)
	}
	return c.askHidden(c.ctx, prompt)
}
