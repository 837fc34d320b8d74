package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
)

func (c *cli) listCommand() *cobra.Command {
	deleted := false
	cmd := &cobra.Command{
		Use:               "list",
		Aliases:           []string{"ls"},
		Short:             "list what you have stored, the newest first",
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
	}
	cmd.Flags().BoolVar(&deleted, "deleted", false, "list what you have deleted, the last first")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.withCatalog(cmd.Context(), func(ops api.Operations) error {
			if deleted {
				return c.listDeleted(cmd.Context(), ops)
			}
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
	}
	return cmd
}

func (c *cli) listDeleted(ctx context.Context, ops api.Operations) error {
	list, err := ops.Deleted(ctx)
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		row(w, "NAME", "SIZE", "DELETED", "UNTIL", "ID")
		for _, o := range list.Objects {
			until := "gone for good"
			if !o.Until.IsZero() {
				until = localTime(o.Until)
			}
			if !o.Done {
				until = "under way"
			}
			row(w, shortened(o.Name), size(o.Size), localTime(o.Deleted), until, o.ID)
		}
	})
}
