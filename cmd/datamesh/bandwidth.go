package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) bandwidthCommand() *cobra.Command {
	var text string
	cmd := &cobra.Command{
		Use:   "bandwidth [PEER]",
		Short: "move bytes to a peer and back, and time them; without PEER to all that live, in turn",
		Args:  arity(0, 1),

		ValidArgsFunction: positional(c.completePeers),
	}
	cmd.Flags().StringVar(&text, "size", "16M", "`SIZE` to move each way, at most 64M")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		size, err := config.ParseSize(text)
		if err == nil && size == 0 {
			err = errs.New(errs.Invalid, "0 bytes take no time")
		}
		if err != nil {
			return errs.WithHint(errs.New(errs.Invalid, "--size: %w", err), "datamesh bandwidth --size 16M")
		}
		o := node.BandwidthOptions{Size: int64(size)}
		if len(args) > 0 {
			o.Peer = args[0]
		}
		return c.withNode(cmd.Context(), func(ops api.Operations) error {
			b, err := ops.Bandwidth(cmd.Context(), o)
			if err != nil {
				return fmt.Errorf("bandwidth: %w", err)
			}
			if err := c.printBandwidth(b); err != nil {
				return err
			}
			return c.unmeasured(b)
		})
	}
	return cmd
}

func (c *cli) printBandwidth(b *node.Bandwidth) error {
	return c.print(b, func(w io.Writer) {
		row(w, "PEER", "LATENCY", "SENT", "UP", "RECEIVED", "DOWN")
		for _, p := range b.Peers {
			row(w, p.PeerID, latency(p.LatencyMS), size(p.Sent), speed(p.SentPerSecond), size(p.Received), speed(p.ReceivedPerSecond))
		}
	})
}

func speed(n int64) string { return size(n) + "/s" }

// unmeasured is the error that some of the peers, or all, are not in a result.
// Kinds: Unavailable, Partial.
func (c *cli) unmeasured(b *node.Bandwidth) error {
	if len(b.Failed) == 0 {
		c.afterAsking(len(b.Peers), "peers")
		return nil
	}
	kind := errs.Partial
	if len(b.Peers) == 0 {
		kind = errs.Unavailable
	}
	first := b.Failed[0]
	return errs.WithHint(errs.New(kind, "bandwidth: %d of %d peers could not be measured: %s: %s", len(b.Failed), len(b.Failed)+len(b.Peers), first.PeerID, first.Error),
		`see who answers with "datamesh discover"; a slow line needs less: --size 1M`)
}
