package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
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
		key, verb := args[0], "is"
		if dry {
			verb = "would be"
		}
		return c.change(key, dry, func(f *config.File) error { return f.Set(key, args[1]) }, func(w io.Writer, now changed) {
			fmt.Fprintf(w, "%s %s %s in %s\n", key, verb, plain(now.Value), plain(now.File))
		})
	}
	return cmd
}
