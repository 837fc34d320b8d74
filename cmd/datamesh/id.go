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
			o, err := c.options(node.Client, nil)
			if err != nil {
				return err
			}
			var id node.Identity
			err = c.noticeIdentity(o.User, func() (err error) {
				client, err := api.Dial(cmd.Context(), o.Home.Socket())
				switch {
				case err == nil:
					defer client.Close()
					if id, err = client.Identity(cmd.Context()); err != nil || id.Name == o.User.Name {
						return err
					}
					addrs := id.Addrs // its node is another identity's
					id, err = node.LoadIdentity(o.Home, o.User, o.Keys)
					id.Addrs = addrs
				case errors.Is(err, errs.NoNode):
					id, err = node.LoadIdentity(o.Home, o.User, o.Keys)
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
			row(w, "at", addr)
		}
		row(w, "owner", id.Owner)
		row(w, "address", id.Address)
		row(w, "recipient", id.Recipient)
		if id.Locked {
			row(w, "locked", "the node of this home does not know the passphrase of the identity")
		}
	})
}
