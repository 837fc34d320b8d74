package main

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"

	"datamesh"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) networksTestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test [NAME]",
		Short: "ask the peers of a network, or of mesh.bootstrap, which mesh they are of",
		Args:  arity(0, 1),

		ValidArgsFunction: positional(c.completeNetworks),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, cfg, err := c.settings()
			if err != nil {
				return err
			}
			name, peers := "", cfg.Doors()
			if len(args) == 1 {
				name = args[0]
				if peers, err = cfg.Peers(name); err != nil {
					return err
				}
			}
			if len(peers) == 0 {
				return errs.WithHint(errs.New(errs.Invalid, "mesh.bootstrap names no peer to test"), "name a network: datamesh networks test %s", config.Local)
			}
			return c.testPeers(cmd.Context(), name, peers)
		},
	}
}

// tested is the document of networks test.
type tested struct {
	Name  string       `json:"name"` // "": the peers of mesh.bootstrap
	Peers []testedPeer `json:"peers"`
}

// A testedPeer is what a peer of a network answered.
type testedPeer struct {
	Peer      config.Peer     `json:"peer"`
	Answers   bool            `json:"answers"`
	Mesh      datamesh.MeshID `json:"mesh,omitzero"`
	LatencyMS float64         `json:"latency_ms,omitempty"`
	Error     string          `json:"error,omitempty"`
	err       error
}

func (c *cli) testPeers(ctx context.Context, name string, peers []config.Peer) error {
	doc := tested{name, make([]testedPeer, len(peers))}
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() { doc.Peers[i] = testPeer(ctx, p) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := c.print(doc, func(w io.Writer) {
		row(w, "ANSWERS", "LATENCY", "MESH", "PEER")
		for _, p := range doc.Peers {
			if p.Answers {
				row(w, "yes", latency(p.LatencyMS), p.Mesh, p.Peer)
			} else {
				row(w, "no", "-", "-", p.Peer)
			}
		}
	})
	if err != nil {
		return err
	}
	return c.verdict(doc.Peers)
}

func testPeer(ctx context.Context, p config.Peer) testedPeer {
	g, err := node.Greet(ctx, p)
	if err != nil {
		return testedPeer{Peer: p, Error: err.Error(), err: err}
	}
	return testedPeer{Peer: config.Peer{ID: g.Peer, Addr: p.Addr}, Answers: true, Mesh: g.Mesh, LatencyMS: g.LatencyMS}
}

// verdict is nil if a peer answers and all that do are of one mesh. Kinds:
// Configuration (they are of several), that of the first peer's error.
func (c *cli) verdict(peers []testedPeer) error {
	var first *testedPeer // that answers
	for i, p := range peers {
		switch {
		case !p.Answers:
		case first == nil:
			first = &peers[i]
		case p.Mesh != first.Mesh:
			return errs.WithHint(errs.New(errs.Configuration, "the peers are of several meshes: %s is of %s, %s of %s", first.Peer.ID, first.Mesh, p.Peer.ID, p.Mesh),
				"a network has peers of one mesh")
		}
	}
	if first == nil {
		return peers[0].err
	}
	for _, p := range peers {
		if !p.Answers {
			c.warn("%s", cutTails(fmt.Sprint(p.err)))
		}
	}
	return nil
}
