package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (c *cli) configSetCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "set KEY VALUE",
		Short: "make a setting in the configuration file, which keeps all else",
		Long: `Makes a setting in the configuration file. Comments and all other settings
stay as they are; lists are separated by commas. A running node reads the file
when it starts.`,
		Args:              arity(2, 2),
		ValidArgsFunction: positional(completeKeys, c.completeValues),
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		f, err := c.configFile()
		if err != nil {
			return err
		}
		key := args[0]
		if err := f.Set(key, args[1]); err != nil {
			return noSetting(key, err)
		}
		verb := "would be"
		if !dry {
			verb = "is"
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
		return c.print(changed{f.Path(), key, s.Value, dry}, func(w io.Writer) {
			fmt.Fprintf(w, "%s %s %s in %s\n", key, verb, plain(s.Value), plain(f.Path()))
		})
	}
	return cmd
}
