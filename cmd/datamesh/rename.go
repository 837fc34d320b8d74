package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/node"
)

func (c *cli) renameCommand() *cobra.Command {
	var o node.RenameOptions
	cmd := &cobra.Command{
		Use:     "rename ID|NAME|DIR/ NEW",
		Aliases: []string{"mv"},
		Short:   "give files another name",
		Long: `Gives what you have stored another name: all versions of one name, all that is
below DIR/, whose new name ends with a slash, too, or the one file of an ID. To a
NEW that ends with a slash the last part of the old name is added. Nothing is
moved or sent but the names.

A name that another file has is given by --force alone; then that file and its
versions are older versions of what gets its name.`,
		Args:              arity(2, 2),
		ValidArgsFunction: positional(c.completeObjects, c.completeObjects),
	}
	cmd.Flags().BoolVar(&o.Force, "force", false, "make what has the new name an older version")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.From, o.To = args[0], args[1]
		return c.withKeys(cmd.Context(), func(ops api.Operations) error {
			r, err := ops.Rename(cmd.Context(), o)
			if err != nil {
				return fmt.Errorf("rename %s: %w", args[0], err)
			}
			c.warnAll(r.Warnings)
			return c.print(r, func(w io.Writer) {
				fmt.Fprintf(w, "renamed %s from %s to %s\n", count(r.Objects, "file"), plain(r.From), plain(r.To))
			})
		})
	}
	return cmd
}
