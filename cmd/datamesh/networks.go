package main

import (
	"io"
	"slices"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
)

func (c *cli) networksCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "networks",
		Short: "list the networks that can be joined by name",
		Long: `A network is some members of a mesh under a name, to join it through. Wherever
a NAME is, PEER_ID@ADDR names a single member. "local" is whoever listens on
this machine at port 40871, "local:PORT" at another port.`,
	}
	c.group(cmd)
	group := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return group(cmd, args) // no such command
		}
		return c.listNetworks()
	}
	cmd.AddCommand(c.networksAddCommand(), c.networksRemoveCommand(), c.networksUseCommand(), c.networksTestCommand())
	return cmd
}

// A networkDoc is a network in the documents of networks.
type networkDoc struct {
	Name    string        `json:"name"`
	Peers   []config.Peer `json:"peers"`
	Builtin bool          `json:"builtin"`
	Used    bool          `json:"used"` // mesh.bootstrap names it
}

func (c *cli) listNetworks() error {
	_, cfg, err := c.settings()
	if err != nil {
		return err
	}
	doc := struct {
		Networks []networkDoc `json:"networks"`
	}{}
	local, err := cfg.Peers(config.Local)
	if err != nil {
		return err
	}
	for _, n := range append([]config.Network{{Name: config.Local, Peers: local}}, cfg.Networks...) {
		doc.Networks = append(doc.Networks, networkDoc{n.Name, n.Peers, n.Name == config.Local, slices.Contains(cfg.Mesh.Bootstrap, n.Name)})
	}
	return c.print(doc, func(w io.Writer) {
		row(w, "NAME", "USED", "PEER")
		for _, n := range doc.Networks {
			for i, p := range n.Peers {
				if i > 0 {
					row(w, "", "", p)
				} else {
					row(w, n.Name, yesNo(n.Used), p)
				}
			}
		}
	})
}
