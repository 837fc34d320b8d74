package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/node"
)

func (c *cli) statsCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "stats",
		Aliases:           []string{"status"},
		Short:             "show the figures of this node and its mesh",
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withNode(cmd.Context(), func(ops api.Operations) error {
				s, err := ops.Stats(cmd.Context())
				if err != nil {
					return err
				}
				return c.print(s, func(w io.Writer) { printStats(w, s) })
			})
		},
	}
}

// printStats writes the rows of a node's figures.
func printStats(w io.Writer, s *node.Stats) {
	row(w, "peer", s.PeerID)
	if s.Mesh != (datamesh.MeshID{}) {
		row(w, "mesh", s.Mesh)
	}
	row(w, "uptime", time.Duration(s.Uptime*float64(time.Second)).Round(time.Second))
	row(w, "members", fmt.Sprintf("%d alive, %d suspect, %d dead", s.Members.Alive, s.Members.Suspect, s.Members.Dead))
	row(w, "connected", count(s.Members.Connected, "peer"))
	if s.Store != nil {
		row(w, "store", fmt.Sprintf("%s used + %s trash + %s reserve + %s free = %s capacity",
			size(s.Store.Used), size(s.Store.Trash), size(s.Store.Reserve), size(s.Store.Free), size(s.Store.Capacity)))
		row(w, "shards", s.Store.Shards)
	}
	row(w, "catalog", fmt.Sprintf("%s, %s", count(int(s.Catalog.Objects), "object"), size(s.Catalog.Bytes)))
}
