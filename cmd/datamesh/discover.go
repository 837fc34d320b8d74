package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
)

func (c *cli) discoverCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "discover",
		Short: "ask the mesh now who is there",
		Long: `Greets every member that is remembered, those held for dead too, compares the
table of members with that of another, and looks about for more. NEW are those
that were not known before.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withNode(cmd.Context(), func(ops api.Operations) error {
				found, err := ops.Discover(cmd.Context())
				if err != nil {
					return fmt.Errorf("discover: %w", err)
				}
				err = c.print(found, func(w io.Writer) {
					row(w, "PEER", "ANSWERS", "NEW", "LATENCY", "ADDRESS")
					for _, m := range found.Members {
						row(w, m.PeerID, yesNo(m.Answers), yesNo(m.New), latency(m.LatencyMS), nearestAddr(m.Addrs))
					}
				})
				if err == nil {
					c.afterAsking(len(found.Members), "bandwidth")
				}
				return err
			})
		},
	}
}

// afterAsking says what to type after a command that asked so many members.
func (c *cli) afterAsking(members int, next string) {
	if members == 0 {
		c.warn("this home knows of no other member; to name one: --bootstrap-peer PEER_ID --bootstrap-addr ADDR")
		return
	}
	c.next("%s", next)
}
