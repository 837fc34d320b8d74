package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/format"
)

func (c *cli) undeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "undelete ID|NAME",
		Short: "bring back a file that was deleted",
		Long: `Brings back a file that you have deleted, as long as the nodes have its shards in
their trash: 7 days, unless store.trash says otherwise on them. Of several of one
name it is the one that was deleted last; "datamesh list --deleted" shows all.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeDeleted),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withKeys(cmd.Context(), func(ops api.Operations) error {
				u, err := ops.Undelete(cmd.Context(), args[0])
				if err != nil {
					return fmt.Errorf("undelete %s: %w", args[0], err)
				}
				err = c.print(u, func(w io.Writer) {
					row(w, "id", u.ID)
					row(w, "name", u.Name)
					row(w, "size", size(u.Size))
					row(w, "survives", survives(u.Survives))
				})
				if err == nil && u.Type == format.SnapshotType {
					c.next("restore %s DIR", typable(u.Name, u.ID))
				} else if err == nil {
					c.next("get %s", typable(u.Name, u.ID))
				}
				return err
			})
		},
	}
}
