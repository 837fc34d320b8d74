package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
	"datamesh/internal/errs"
)

func (c *cli) configCommand() *cobra.Command {
	cmd := c.group(&cobra.Command{
		Use:   "config",
		Short: "see and change the settings",
		Long: `Settings are made by flags, then by environment variables (DATAMESH_RING_PROBE
for ring.probe), then by the configuration file, then by default. "datamesh
paths" says where the file is.`,
	})
	cmd.AddCommand(c.configShowCommand(), c.configInitCommand(), c.configGetCommand(),
		c.configSetCommand(), c.configUnsetCommand(), c.configValidateCommand())
	return cmd
}

// settings returns the home of this command line and its settings.
func (c *cli) settings() (config.Home, config.Config, error) {
	home, err := config.FindHome(c.homeDir)
	if err != nil {
		return home, config.Config{}, err
	}
	cfg, err := c.load(home, nil)
	return home, cfg, err
}

// configFile reads the configuration file of the home.
func (c *cli) configFile() (*config.File, error) {
	home, err := config.FindHome(c.homeDir)
	if err != nil {
		return nil, err
	}
	return config.ReadFile(home.Config())
}

// noSetting turns the hint of an error that there is no setting of that key
// into one that helps, if nothing is like the key.
func noSetting(key string, err error) error {
	if config.About(key) != "" || config.Like(key) {
		return err
	}
	return errs.WithHint(err, `see them with "datamesh config show"`)
}

// changed is the document of a command that changes a setting in the file.
type changed struct {
	File   string `json:"file"`
	Key    string `json:"key"`
	Value  string `json:"value"` // that the file makes now, or the default
	DryRun bool   `json:"dry_run"`
}

// change changes the setting of a key in the configuration file by edit, or
// with dry only tries to, and says what the setting is now.
func (c *cli) change(key string, dry bool, edit func(*config.File) error, say func(w io.Writer, now changed)) error {
	f, err := c.configFile()
	if err != nil {
		return err
	}
	if err := edit(f); err != nil {
		return noSetting(key, err)
	}
	if !dry {
		if err := f.Save(); err != nil {
			return err
		}
	}
	cfg, err := f.Config()
	if err != nil {
		return err
	}
	s, err := cfg.Setting(key)
	if err != nil {
		return err
	}
	c.warnOverridden(key)
	now := changed{f.Path(), key, s.Value, dry}
	return c.print(now, func(w io.Writer) { say(w, now) })
}

// warnOverridden tells of a variable that goes before what the file says now.
func (c *cli) warnOverridden(key string) {
	if name := config.Variable(key); os.Getenv(name) != "" {
		c.warn("%s is set and goes before the file", name)
	}
}
