package main

import (
	"io"

	"github.com/spf13/cobra"
)

func (c *cli) configGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "get KEY",
		Short: "print one setting",
		Args:  arity(1, 1),

		ValidArgsFunction: positional(completeKeys),
		RunE: func(_ *cobra.Command, args []string) error {
			_, cfg, err := c.settings()
			if err != nil {
				return err
			}
			s, err := cfg.Setting(args[0])
			if err != nil {
				return noSetting(args[0], err)
			}
			return c.print(s, func(w io.Writer) { row(w, s.Value) })
		},
	}
}
