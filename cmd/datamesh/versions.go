package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
)

func (c *cli) versionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "versions NAME",
		Short: "list all files of a name, the newest first",
		Long: `Lists all files that have a name, the newest first, which is the one that the name
stands for, and those that had it and can still be brought back. Their ids stand
for the others.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeObjects),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withCatalog(cmd.Context(), func(ops api.Operations) error {
				v, err := ops.Versions(cmd.Context(), args[0])
				if err != nil {
					return fmt.Errorf("versions %s: %w", args[0], err)
				}
				return c.print(v, func(w io.Writer) {
					row(w, "CREATED", "SIZE", "STATE", "TAGS", "ID")
					for _, x := range v.Versions {
						state := "listed"
						switch {
						case !x.Deleted.IsZero():
							state = "deleted, until " + localTime(x.Until)
						case x.Pinned:
							state = "pinned"
						}
						row(w, localTime(x.Created), size(x.Size), state, strings.Join(x.Tags, ","), x.ID)
					}
				})
			})
		},
	}
}
