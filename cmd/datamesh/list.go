package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
)

func (c *cli) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Aliases:           []string{"ls"},
		Short:             "list what you have stored, the newest first",
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withNode(cmd.Context(), func(ops api.Operations) error {
				list, err := ops.List(cmd.Context())
				if err != nil {
					return err
				}
				return c.print(list, func(w io.Writer) {
					row(w, "NAME", "SIZE", "CREATED", "TAGS", "ID")
					for _, o := range list.Objects {
						row(w, shortened(o.Name), size(o.Size), localTime(o.Created), strings.Join(o.Tags, ","), o.ID)
					}
				})
			})
		},
	}
}
