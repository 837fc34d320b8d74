package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) idCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "id",
		Short:             "say who this node and its user are",
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, user, err := c.user()
			if err != nil {
				return err
			}
			var id node.Identity
			err = c.noticeIdentity(home, func() (err error) {
				client, err := api.Dial(cmd.Context(), home.Socket())
				switch {
				case err == nil:
					defer client.Close()
					id, err = client.Identity(cmd.Context())
				case errors.Is(err, errs.NoNode):
					id, err = node.LoadIdentity(home, user)
				}
				return err
			})
			if err != nil {
				return err
			}
			return c.printIdentity(id)
		},
	}
}

func (c *cli) printIdentity(id node.Identity) error {
	return c.print(id, func(w io.Writer) {
		row(w, "peer", id.PeerID)
		for _, addr := range id.Addrs {
			row(w, "address", addr)
		}
		row(w, "owner", id.Owner)
		row(w, "recipient", id.Recipient)
		if id.Locked {
			row(w, "locked", "the node of this home does not know the passphrase of the identity")
		}
	})
}
