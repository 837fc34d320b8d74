package main

import (
	"context"
	"fmt"
	"io"
	"strings"

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
			err = c.print(r, func(w io.Writer) {
				fmt.Fprintf(w, "renamed %s from %s to %s\n", count(r.Objects, "file"), plain(r.From), plain(r.To))
			})
			if err != nil || c.json {
				return err
			}
			return c.noticeBelow(cmd.Context(), ops, r)
		})
	}
	return cmd
}

// noticeBelow says that what is below a directory keeps its names if the directory
// itself alone was renamed.
func (c *cli) noticeBelow(ctx context.Context, ops api.Operations, r *node.Renamed) error {
	from, to := r.From+"/", r.To+"/"
	if strings.HasSuffix(r.From, "/") || isPattern(r.From) || strings.Contains(r.From, `\`) {
		return nil
	}
	below := 0
	err := ops.List(ctx, node.ListOptions{Pattern: from, Limit: 1}, func(node.Object) error { below++; return nil })
	if below > 0 {
		c.notice("what is below %s keeps its names; to rename that, too, type: datamesh rename %s %s", plain(from), quoteWord(from), quoteWord(to))
	}
	return err
}
