package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) keysRotateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "begin a new age identity, and seal what you have stored to it",
		Long: `Derives the next age identity from the root of your identity, and has the manifest
of each object sealed to it anew; the content stays where it is. The words and the
owner key stay the same. Objects get new ids, and can be got by the old ones too,
from any home of yours. Objects that others can read, since they were put with
--to, stay as they are, and so does what is deleted.

It can be interrupted, and goes on when it is typed again. It does not take away
what somebody has who has your words, or the file of your identity: those give
every age identity, also the next.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := c.rotate(cmd.Context())
			if r != nil && (err == nil || errors.Is(err, errs.Partial)) {
				if printed := c.print(r, func(w io.Writer) {
					row(w, "epoch", r.Epoch)
					row(w, "sealed anew", count(r.Resealed, "object"))
					if r.Shared > 0 {
						row(w, "as they were", fmt.Sprintf("%s that others can read", count(r.Shared, "object")))
					}
					if r.Recipient != "" {
						row(w, "recipient", r.Recipient)
					}
				}); printed != nil {
					return printed
				}
			}
			if err != nil {
				return fmt.Errorf("rotate: %w", err)
			}
			return nil
		},
	}
}

// rotate does the work in this process, which can ask for a passphrase, as a
// client.
func (c *cli) rotate(ctx context.Context) (*node.Rotated, error) {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return nil, err
	}
	if _, err := openKeys(o.Keys); err != nil {
		return nil, err
	}
	n, err := node.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	shows := isTerminal(c.err) && !c.json && !c.quiet
	r, err := n.Rotate(ctx, func(done, all int) {
		if shows {
			fmt.Fprintf(c.err, "\r%d of %d objects", done, all)
			if done == all {
				fmt.Fprintln(c.err)
			}
		}
	})
	if closed := closeNode(ctx, n); closed != nil {
		c.warn("leave the mesh: %v", closed)
	}
	return r, err
}
