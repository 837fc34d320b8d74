package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) transfersCommand() *cobra.Command {
	cmd := c.group(&cobra.Command{
		Use:   "transfers",
		Short: "list puts and gets that run or were interrupted",
		Long: `Lists the puts, gets, scrubs and repairs that run in this home's node, and the
puts and gets that were interrupted. The same command as before, typed again,
goes on where an interrupted one stopped; after put.resume what is left of it is
deleted.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withCatalog(cmd.Context(), func(ops api.Operations) error {
				list, err := ops.Transfers(cmd.Context(), "")
				if err != nil {
					return err
				}
				return c.print(list, func(w io.Writer) {
					row(w, "ID", "KIND", "STATE", "DONE", "SINCE", "NAME")
					for _, t := range list.Transfers {
						row(w, t.ID, t.Kind, t.State, done(t), localTime(t.Began), shortened(t.Name))
					}
				})
			})
		},
	})
	cmd.AddCommand(c.cancelCommand())
	return cmd
}

func done(t node.Transfer) string {
	if t.Kind == node.PutTransfer {
		return part(t.Sealed, t.Size)
	}
	return part(t.Received, t.Size)
}

// cancelled is the document of transfers cancel.
type cancelled struct {
	Transfer node.Transfer `json:"transfer"`
	DryRun   bool          `json:"dry_run,omitempty"` // nothing was deleted
}

func (c *cli) cancelCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "give up an interrupted transfer and delete what is left of it",
		Args:  arity(1, 1),

		ValidArgsFunction: positional(c.completeTransfers),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be deleted, and delete nothing")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.withCatalog(cmd.Context(), func(ops api.Operations) error {
			list, err := ops.Transfers(cmd.Context(), "")
			if err != nil {
				return err
			}
			for _, t := range list.Transfers {
				if t.ID == args[0] {
					return c.cancel(cmd, ops, t, dryRun)
				}
			}
			return errs.WithHint(errs.New(errs.FileNotFound, "there is no transfer %s", args[0]), `see "datamesh transfers"`)
		})
	}
	return cmd
}

func (c *cli) cancel(cmd *cobra.Command, ops api.Operations, t node.Transfer, dryRun bool) error {
	verb := "would delete"
	if !dryRun {
		if err := ops.CancelTransfer(cmd.Context(), t.ID); err != nil {
			return err
		}
		verb = "deleted"
	}
	return c.print(cancelled{t, dryRun}, func(w io.Writer) {
		fmt.Fprintf(w, "%s what is left of the %s of %s: %s\n", verb, t.Kind, plain(t.Name), done(t))
	})
}
