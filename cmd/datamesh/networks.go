package main

import (
	"io"
	"slices"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
)

func (c *cli) networksCommand() *cobra.Command {
	cmd := c.group(&cobra.Command{
		Use:   "networks",
		Short: "list the networks that can be joined by name",
		Long: `A network is some members of a mesh under a name, to join it through. Wherever
a NAME is, PEER_ID@ADDR names a single member. "local" is whoever listens on
this machine at port 40871, "local:PORT" at another port.`,
		RunE: func(*cobra.Command, []string) error { return c.listNetworks() },
	})
	c.completeFlags(cmd, nil)
	cmd.AddCommand(c.networksAddCommand(), c.networksRemoveCommand(), c.networksUseCommand(), c.networksTestCommand())
	return cmd
}

// networkList is the document of networks.
type networkList struct {
	Networks []networkDoc `json:"networks"`
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
	var doc networkList
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
