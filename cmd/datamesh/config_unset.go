package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
)

func (c *cli) configUnsetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unset KEY",
		Short: "remove a setting from the configuration file",
		Args:  arity(1, 1),

		ValidArgsFunction: positional(completeKeys),
		RunE: func(_ *cobra.Command, args []string) error {
			key := args[0]
			return c.change(key, false, func(f *config.File) error { return f.Unset(key) }, func(w io.Writer, now changed) {
				fmt.Fprintf(w, "%s has its default again: %s\n", key, plain(now.Value))
			})
		},
	}
}
