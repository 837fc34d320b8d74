package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
)

func (c *cli) peersCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "peers",
		Short:             "list the nodes that store shards, other than this one",
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withNode(cmd.Context(), func(ops api.Operations) error {
				peers, err := ops.Peers(cmd.Context())
				if err != nil {
					return err
				}
				return c.print(peers, func(w io.Writer) {
					row(w, "PEER", "STATE", "LATENCY", "USED", "CAPACITY", "SITE", "HOST", "OWNER", "ADDRESS")
					for _, p := range peers.Peers {
						row(w, p.PeerID, p.State, latency(p.LatencyMS), size(p.Used), size(p.Capacity),
							p.Labels.Site, p.Labels.Host, p.Labels.Owner, nearestAddr(p.Addrs))
					}
				})
			})
		},
	}
}

func latency(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", ms)
}
