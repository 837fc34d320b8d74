package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
	"datamesh/internal/node"
)

// passphraseSet is the document of keys passphrase.
type passphraseSet struct {
	Owner     datamesh.OwnerKey `json:"owner"`
	Protected bool              `json:"protected"`
}

func (c *cli) keysPassphraseCommand() *cobra.Command {
	var (
		file   string
		remove bool
	)
	cmd := &cobra.Command{
		Use:   "passphrase",
		Short: "set, change or take off the passphrase of your identity in this home",
		Long: `Seals the identity of this home under a passphrase, so that a thief of the home
has to guess it, or takes that off with --remove. The file is then one of age, that
"age -d" opens, too. The passphrase of before and the new one are asked for on a
terminal, or read from --passphrase-file and --new-passphrase-file.

A forgotten passphrase cannot be had back; the 24 words, and copies that were
exported before, do without it. A node that runs in this home is told its
passphrase by keys.passphrase_file, and keeps no names in the mesh without.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
	}
	cmd.Flags().StringVar(&file, "new-passphrase-file", "", "read the new passphrase from `FILE`")
	cmd.Flags().BoolVar(&remove, "remove", false, "take the passphrase off")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"new-passphrase-file": completeFiles})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch given := cmd.Flags().Changed("new-passphrase-file"); {
		case given && remove:
			return errs.WithHint(errs.New(errs.Invalid, "--remove and --new-passphrase-file contradict each other"), "leave one of them out")
		case given && file == "":
			return errs.WithHint(errs.New(errs.Invalid, "--new-passphrase-file is empty"), "name a file, or leave --new-passphrase-file out")
		}
		o, err := c.options(node.Client, nil)
		if err != nil {
			return err
		}
		was, err := openKeys(o.Keys)
		if err != nil {
			return err
		}
		var passphrase string
		if !remove {
			if passphrase, err = c.newPassphrase(file); err != nil {
				return err
			}
		}
		if err := o.Keys.SetPassphrase(passphrase); err != nil {
			return err
		}
		if err := node.NoteEpoch(cmd.Context(), o.User, o.Keys); err != nil {
			c.warn("the recipient was not noted beside it: %v", err) // the next use of the keys notes it
		}
		result := passphraseSet{Protected: !remove}
		if result.Owner, err = o.Keys.OwnerKey(); err != nil {
			return err
		}
		return c.print(result, func(w io.Writer) {
			switch {
			case !remove:
				fmt.Fprintf(w, "your identity %s has a passphrase now\n", result.Owner)
			case was:
				fmt.Fprintf(w, "your identity %s has no passphrase any more\n", result.Owner)
			default:
				fmt.Fprintf(w, "your identity %s has no passphrase\n", result.Owner)
			}
		})
	}
	return cmd
}

// openKeys opens the identity, so that its passphrase is asked for before a new
// one is, and tells whether it has one.
func openKeys(keys *keyring.File) (sealed bool, err error) {
	if _, err := keys.Words(); err != nil { // which says what to do if there is none
		return false, err
	}
	return keys.Protected()
}

// newPassphrase reads a new passphrase, from a file or twice from a terminal.
func (c *cli) newPassphrase(file string) (string, error) {
	if file != "" {
		return keyring.ReadPassphrase(file)
	}
	const flag = "--new-passphrase-file"
	passphrase, err := c.askPassphrase("the new passphrase, which is not shown: ", flag)
	if err != nil {
		return "", err
	}
	if err := keyring.CheckPassphrase(passphrase); err != nil {
		return "", errs.WithHint(err, "to have none, give --remove")
	}
	again, err := c.askPassphrase("once more: ", flag)
	if err == nil && again != passphrase {
		err = errs.WithHint(errs.New(errs.Invalid, "those were two different passphrases"), "nothing was changed: type it again")
	}
	return passphrase, err
}
