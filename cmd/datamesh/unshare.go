package main

import (
	"context"
	"fmt"
	"io"
	"strings"

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

Whoever has read the file, or only its manifest, may have kept the keys of the
content, and can read it as long as it is stored under them. --revoke takes that
from him, also after it was unshared without: the content is read, encrypted under
new keys and sent again, all of it, which takes as long as a get and a put; it has
another id then, and the names, tags and pin that it had. Contacts with whom you
share it still can read it as before. The content under the old keys is deleted, as
"rm" does: nobody is served it any more, and for 7 days the nodes keep it in their
trash, unless store.trash says otherwise. With --now it is gone at once. Nodes that
are away are told when they return.

A link to it cannot be kept so: take back each first, and make new ones. A copy of
the content that somebody has made is his.

What was interrupted goes on when the same is typed again.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeObjects),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.From, "from", "", "`CONTACT` from whom it is taken back")
	flags.StringVar(&o.Link, "link", "", "`LINK` that shall open nothing any more, or the ID in it")
	flags.BoolVar(&o.Revoke, "revoke", false, "encrypt the content anew, and delete it under the keys that were shared")
	flags.BoolVar(&o.Now, "now", false, "with --revoke: delete it at once and for ever, not into the trash")
	flags.BoolVar(&o.DryRun, "dry-run", false, "say what would be taken back, and encrypted anew, and do nothing")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"from": c.completeContacts})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (o.From == "") == (o.Link == "") {
			return errs.WithHint(errs.New(errs.Invalid, "a file is taken back either from a contact or from a link"), "give either --from CONTACT or --link ID")
		}
		if o.Now && !o.Revoke {
			return errs.WithHint(errs.New(errs.Invalid, "without --revoke no content is deleted, now or later"), "give --revoke, too, or leave --now out")
		}
		if datamesh.IsLink(o.Link) {
			link, err := datamesh.ParseLink(o.Link)
			if err != nil {
				return errs.WithHint(errs.New(errs.Invalid, "--link: %w", err), `copy the id from "datamesh list --shared"`)
			}
			o.Link = link.Object.String()
		}
		return c.unshare(cmd.Context(), args[0], o)
	}
	return cmd
}

func (c *cli) unshare(ctx context.Context, ref string, o node.UnshareOptions) error {
	return c.withKeys(ctx, func(ops api.Operations) error {
		stop := func() {}
		if o.Revoke && !o.DryRun {
			if !c.json {
				c.notice("all of it is read, encrypted under new keys and sent again, which takes as long as a get and a put")
			}
			o.Transfer = newTransfer()
			stop = c.follow(ctx, ops, o.Transfer)
		}
		u, err := ops.Unshare(ctx, ref, o)
		stop()
		if err != nil {
			return fmt.Errorf("unshare %s: %w", ref, err)
		}
		err = c.print(u, func(w io.Writer) { unsharedText(w, u) })
		c.warnAll(u.Warnings)
		switch {
		case u.Revoked == nil:
			c.notice("who has read it may have kept a copy, or its keys; --revoke makes the keys worth nothing")
		case !u.DryRun:
			c.notice("who has read it may have kept a copy")
		}
		return err
	})
}

func unsharedText(w io.Writer, u *node.Unshared) {
	row(w, "name", u.Name)
	taken, anew, old := "taken back", "encrypted anew", "under the old keys"
	if u.DryRun {
		taken, anew = "would be taken back", "would be encrypted anew"
	}
	for _, id := range u.Taken {
		row(w, taken, id)
	}
	v := u.Revoked
	if v == nil {
		return
	}
	if v.Object != (datamesh.ObjectID{}) {
		row(w, "new id", v.Object)
	}
	if u.DryRun {
		row(w, anew, fmt.Sprintf("all of it: %s to read, and %s to send again", size(v.Size), size(v.StoredBytes)))
	} else {
		row(w, anew, fmt.Sprintf("all of it: %s were read, and %s sent again", size(v.Size), size(v.StoredBytes)))
	}
	if len(v.Kept) > 0 {
		row(w, "still shared with", strings.Join(v.Kept, ", "))
	}
	switch {
	case v.Until.IsZero() && u.DryRun:
		row(w, old, "it would be gone at once")
	case v.Until.IsZero():
		row(w, old, "it is gone")
	default:
		row(w, old, "it is served to nobody, and gone from the trash of the nodes on "+localTime(v.Until))
	}
}
