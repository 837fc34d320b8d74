package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) scrubCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "scrub",
		Short: "read all shards in the store of this home now, and drop those that are damaged",
		Long: `Reads every byte that the store of this home keeps for the mesh. A shard that is
damaged is dropped, since what is lost can be restored and what is wrong cannot
be used; where only its file is, that is written anew. Ends with 9 if anything
was found. A running node does all this by itself, each scrub.interval; both
read scrub.rate bytes in a second.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return c.withStore(ctx, func(ops api.Operations) error {
				o := node.ScrubOptions{Transfer: newTransfer()}
				stop := c.follow(ctx, ops, o.Transfer)
				s, err := ops.Scrub(ctx, o)
				stop()
				if err != nil {
					return fmt.Errorf("scrub: %w", err)
				}
				if err := c.print(s, func(w io.Writer) { scrubText(w, s) }); err != nil {
					return err
				}
				return c.scrubVerdict(s)
			})
		},
	}
}

// withStore runs f with the operations of the home's running node, or else
// with those of its store alone.
func (c *cli) withStore(ctx context.Context, f func(api.Operations) error) error {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	client, err := api.Dial(ctx, o.Home.Socket())
	if err == nil {
		defer client.Close()
		return f(client)
	}
	if !errors.Is(err, errs.NoNode) {
		return err
	}
	n, err := node.OpenStore(o)
	if err != nil {
		return err
	}
	err = f(n)
	if closed := closeNode(ctx, n); closed != nil {
		c.warn("close the store: %v", closed) // what f did is done
	}
	return err
}

func scrubText(w io.Writer, s *node.Scrubbed) {
	row(w, "read", fmt.Sprintf("%s of %s", size(s.Bytes), count(int(s.Shards), "shard")))
	row(w, "dropped", s.Dropped)
	row(w, "mended", s.Mended)
	row(w, "kept", s.Kept)
	if len(s.Damaged) == 0 {
		return
	}
	row(w)
	row(w, "SHARD", "FATE", "REASON")
	for _, d := range s.Damaged {
		row(w, fmt.Sprintf("%s/%d", d.Segment, d.Index), d.Fate, d.Reason)
	}
}

// scrubVerdict is the error that damage was found. Kind: Degraded.
func (c *cli) scrubVerdict(s *node.Scrubbed) error {
	if s.Dropped+s.Mended+s.Kept == 0 {
		c.next("health")
		return nil
	}
	return errs.WithHint(errs.New(errs.Degraded, "scrub found damage: of %s %d dropped, %d mended, %d kept", count(int(s.Shards), "shard"), s.Dropped, s.Mended, s.Kept),
		`check the disk, and see what your objects survive now with "datamesh health"`)
}
