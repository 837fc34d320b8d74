package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// joined is the document of networks use.
type joined struct {
	Name string          `json:"name"`
	Mesh datamesh.MeshID `json:"mesh"`
	File string          `json:"file"`
}

func (c *cli) networksUseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "use NAME",
		Short: "join the mesh of a network now, and name it in mesh.bootstrap",
		Args:  arity(1, 1),

		ValidArgsFunction: positional(c.completeNetworks),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.useNetwork(cmd.Context(), args[0])
		},
	}
}

func (c *cli) useNetwork(ctx context.Context, name string) error {
	if c.bootstrapPeer != "" || c.bootstrapAddr != "" {
		return errs.WithHint(errs.New(errs.Invalid, "networks use joins through the network that it names"), "leave out --bootstrap-peer and --bootstrap-addr")
	}
	f, err := c.configFile()
	if err != nil {
		return err
	}
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	if o.Bootstrap, err = o.Config.Peers(name); err != nil {
		return err
	}
	if err := f.Set("mesh.bootstrap", name); err != nil {
		return err
	}
	mesh, err := c.join(ctx, o)
	if err != nil {
		return fmt.Errorf("join the network %s: %w", name, err)
	}
	if err := f.Save(); err != nil {
		return fmt.Errorf("the mesh is joined, but mesh.bootstrap is not set: %w", err)
	}
	c.warnOverridden("mesh.bootstrap")
	err = c.print(joined{name, mesh, f.Path()}, func(w io.Writer) { fmt.Fprintf(w, "this home is of the mesh %s\n", mesh) })
	if err == nil {
		c.next("peers")
	}
	return err
}

// join has the home of o meet its mesh, and remember it.
func (c *cli) join(ctx context.Context, o node.Options) (datamesh.MeshID, error) {
	n, err := node.Open(ctx, o)
	if err != nil {
		return datamesh.MeshID{}, err
	}
	stats, err := n.Stats(ctx)
	if closed := closeNode(ctx, n); closed != nil {
		c.warn("leave the mesh: %v", closed)
	}
	if err != nil {
		return datamesh.MeshID{}, err
	}
	return stats.Mesh, nil
}
