package node

import (
	"context"
	"time"

	"datamesh"
	"datamesh/internal/mesh"
)

// Discover asks the mesh who is there now, and remembers it. New are the members
// that the home, or the running node, did not know before.
func (n *Node) Discover(ctx context.Context) (*Discovered, error) {
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	found := &Discovered{Members: []Found{}}
	if l.net == nil {
		return found, nil
	}
	own, err := nodeID(n.home)
	if err != nil {
		return nil, err
	}
	known := n.known(l)
	for _, g := range l.net.Discover(ctx) {
		if g.Record.Peer == own {
			continue // that of a client's home
		}
		f := foundOf(g)
		if f.New = !known[f.PeerID]; f.New {
			found.New++
		}
		found.Members = append(found.Members, f)
	}
	if err := ctx.Err(); err != nil || n.opt.Role == Storage {
		return found, err // a service writes down whatever changes
	}
	return found, n.learn(l)
}

func foundOf(g mesh.Presence) Found {
	f := Found{PeerID: g.Record.Peer, Addrs: g.Record.Addrs, Answers: g.Answers, LatencyMS: milliseconds(g.Latency)}
	if f.Addrs == nil {
		f.Addrs = []string{}
	}
	return f
}

// known returns the members that a service knows, or that a client's home
// remembered when it met the mesh.
func (n *Node) known(l *link) map[datamesh.PeerID]bool {
	known := map[datamesh.PeerID]bool{}
	if n.opt.Role == Storage {
		for m := range l.view().All() {
			known[m.Record.Peer] = true
		}
	}
	for _, m := range l.remembered {
		known[m.Record.Peer] = true
	}
	return known
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
