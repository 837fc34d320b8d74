package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
)

func (c *cli) inboxCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inbox",
		Short: "list what others share with you, the newest first",
		Long: `Lists what your contacts share with you. Nobody else can put anything there: who
is no contact of yours is not asked. Read something by its id, or by the name of
the contact and its own: datamesh get CONTACT/NAME. The names are those that the
contact has given.

The first inbox of a home puts your card into the mesh, by which others can add
you as a contact.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withKeys(cmd.Context(), func(ops api.Operations) error {
				box, err := ops.Inbox(cmd.Context())
				if err != nil {
					return err
				}
				if len(box.Unreached) > 0 {
					c.warn("not all can be read of what these share with you: %s", strings.Join(box.Unreached, ", "))
				}
				c.warnAll(box.Warnings)
				return c.print(box, func(w io.Writer) {
					row(w, "FROM", "NAME", "SIZE", "SHARED", "UNTIL", "ID")
					for _, o := range box.Objects {
						until := ""
						if !o.Until.IsZero() {
							until = localTime(o.Until)
						}
						row(w, o.From, shortened(o.Name), size(o.Size), localTime(o.Created), until, o.ID)
					}
				})
			})
		},
	}
}
