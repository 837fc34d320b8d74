package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (c *cli) configUnsetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unset KEY",
		Short: "remove a setting from the configuration file",
		Args:  arity(1, 1),

		ValidArgsFunction: positional(completeKeys),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := c.configFile()
			if err != nil {
				return err
			}
			key := args[0]
			if err := f.Unset(key); err != nil {
				return noSetting(key, err)
			}
			if err := f.Save(); err != nil {
				return err
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
			return c.print(changed{f.Path(), key, s.Value, false}, func(w io.Writer) {
				fmt.Fprintf(w, "%s has its default again: %s\n", key, plain(s.Value))
			})
		},
	}
}
