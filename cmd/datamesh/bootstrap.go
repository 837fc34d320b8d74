package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) bootstrapCommand() *cobra.Command {
	var port uint16
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "begin a mesh, or run again the node that began one",
		Long: `Runs a node that stores shards, in the foreground. If the home has no mesh yet,
the node begins a new one. It prints what to type on the next machine.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
	}
	cmd.Flags().Uint16Var(&port, "port", 0, "`PORT` to listen on; 0 takes any and keeps it (default mesh.port)")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o, err := c.options(node.Storage, portFlag(cmd, port))
		if err != nil {
			return err
		}
		if len(o.Bootstrap) > 0 {
			return errs.WithHint(errs.New(errs.Invalid, "bootstrap begins a mesh and joins none"),
				"join one with datamesh service --bootstrap-peer %s --bootstrap-addr %s", c.bootstrapPeer, c.bootstrapAddr)
		}
		o.NewMesh = true
		return c.serve(cmd.Context(), o, func(w io.Writer, r ready) {
			c.warn("the mesh is open: anyone who can reach a member may join and store")
			fmt.Fprintf(w, "ready; on the next machine type: datamesh service --bootstrap-peer %s --bootstrap-addr %s\n", r.PeerID, nearestAddr(r.Addrs))
		})
	}
	return cmd
}

// portFlag returns the setting that the flag --port makes, if it was given.
func portFlag(cmd *cobra.Command, port uint16) map[string]string {
	if !cmd.Flags().Changed("port") {
		return nil
	}
	return map[string]string{"mesh.port": strconv.Itoa(int(port))}
}

// nearestAddr returns the address that another machine most likely reaches:
// TCP before others, IPv4 before IPv6, and loopback or link-local last.
func nearestAddr(addrs []string) string {
	if len(addrs) == 0 {
		return "ADDR"
	}
	return slices.MinFunc(addrs, func(a, b string) int { return distance(a) - distance(b) })
}

func distance(addr string) int {
	parts := strings.Split(addr, "/") // "", "ip4", IP, "tcp", PORT, …
	if len(parts) < 5 {
		return 100
	}
	d := 0
	if parts[3] != "tcp" {
		d += 10
	}
	ip, err := netip.ParseAddr(parts[2])
	if err != nil {
		return d // a name
	}
	if ip.Is6() {
		d += 5
	}
	if ip.IsLinkLocalUnicast() {
		d += 20
	}
	if ip.IsLoopback() {
		d += 40
	}
	return d
}
