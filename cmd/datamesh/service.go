package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"datamesh/internal/node"
)

func (c *cli) serviceCommand() *cobra.Command {
	var (
		port    uint16
		timeout uint32
	)
	cmd := &cobra.Command{
		Use:   "service",
		Short: "run a node that stores shards for a mesh",
		Long: `Runs a node that stores shards, in the foreground. The first time it needs
--bootstrap-peer and --bootstrap-addr of any member, or mesh.bootstrap in the
configuration; after that it remembers.`,
	}
	cmd.Flags().Uint16Var(&port, "port", 0, "`PORT` to listen on; 0 takes any and keeps it (default mesh.port)")
	cmd.Flags().Uint32Var(&timeout, "timeout", 0, "`SECONDS` after which to give up joining")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o, err := c.options(node.Storage, portFlag(cmd, port))
		if err != nil {
			return err
		}
		o.JoinTimeout = time.Duration(timeout) * time.Second
		return c.serve(cmd.Context(), o, func(w io.Writer, r ready) {
			fmt.Fprintf(w, "ready: %s of mesh %s on %s\n", r.PeerID, r.Mesh, nearestAddr(r.Addrs))
		})
	}
	cmd.AddCommand(c.serviceVerbs()...)
	return c.group(cmd)
}
