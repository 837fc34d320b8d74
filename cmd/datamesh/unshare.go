package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) unshareCommand() *cobra.Command {
	var o node.UnshareOptions
	cmd := &cobra.Command{
		Use:   "unshare NAME|ID",
		Short: "take back what you share with somebody",
		Long: `Takes a file back from a contact, or from whoever has a link: the manifest that
was sealed for him is deleted for good, and is in his inbox no more. The content
stays, since it is yours.

Whoever has read the file, or only its manifest, may have kept a copy, or the keys
of the content, and can read it as long as it is stored. To keep him from that put
the file again, and delete this one: rm --now.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeObjects),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.From, "from", "", "`CONTACT` from whom it is taken back")
	flags.StringVar(&o.Link, "link", "", "`LINK` that shall open nothing any more, or the ID in it")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"from": c.completeContacts})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (o.From == "") == (o.Link == "") {
			return errs.WithHint(errs.New(errs.Invalid, "a file is taken back either from a contact or from a link"), "give either --from CONTACT or --link ID")
		}
		if datamesh.IsLink(o.Link) {
			link, err := datamesh.ParseLink(o.Link)
			if err != nil {
				return errs.WithHint(errs.New(errs.Invalid, "--link: %w", err), `copy the id from "datamesh list --shared"`)
			}
			o.Link = link.Object.String()
		}
		return c.withKeys(cmd.Context(), func(ops api.Operations) error {
			u, err := ops.Unshare(cmd.Context(), args[0], o)
			if err != nil {
				return fmt.Errorf("unshare %s: %w", args[0], err)
			}
			err = c.print(u, func(w io.Writer) {
				row(w, "name", u.Name)
				for _, id := range u.Taken {
					row(w, "taken back", id)
				}
			})
			c.warnAll(u.Warnings)
			c.notice("who has read it may have kept a copy, or its keys")
			return err
		})
	}
	return cmd
}
