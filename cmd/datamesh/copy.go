package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) copyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "copy ID|NAME|DIR/ NEW",
		Aliases: []string{"cp"},
		Short:   "give a file a further name",
		Long: `Gives a file that you have stored a further name; of several of one name the
newest. What is stored never changes, so that nothing has to be stored twice: the
file has several names, and "datamesh rm NAME" takes away one of them until it is
the last. To a NEW that ends with a slash the last part of the old name is added.

The newest of all that is below DIR/ gets a further name below NEW, which ends with
a slash, too: all of it, or nothing if one of the names is taken.`,
		Args:              arity(2, 2),
		ValidArgsFunction: positional(c.completeObjects, c.completeObjects),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withKeys(cmd.Context(), func(ops api.Operations) error {
				if !catalog.IsBelow(args[0]) {
					if dir, all, err := c.asDirectory(cmd.Context(), ops, args[0], false); err != nil || len(all) > 0 {
						return errors.Join(err, errs.WithHint(errs.New(errs.Invalid, "copy %s: it is a directory", args[0]), "datamesh copy %s %s", quoteWord(dir+"/"), quoteWord(strings.TrimSuffix(args[1], "/")+"/")))
					}
				}
				r, err := ops.Copy(cmd.Context(), node.CopyOptions{From: args[0], To: args[1]})
				if err != nil {
					return fmt.Errorf("copy %s: %w", args[0], err)
				}
				c.warnAll(r.Warnings)
				return c.print(r, func(w io.Writer) {
					if catalog.IsBelow(args[0]) {
						fmt.Fprintf(w, "copied %s from %s to %s\n", count(r.Objects, "file"), plain(args[0]), plain(r.Name))
						return
					}
					row(w, "id", r.ID)
					row(w, "name", r.Name)
					row(w, "names", strings.Join(r.Names, ", "))
				})
			})
		},
	}
}
