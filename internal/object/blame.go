package object

import (
	"context"
	"slices"

	"datamesh"
	"datamesh/internal/store"
)

// A BadShard is a shard that a peer was expected to serve and did not, or
// served wrong.
type BadShard struct {
	Key    datamesh.ShardKey
	Peer   datamesh.PeerID
	Reason error
}

// blame takes note that a peer did not serve a shard.
func (g *get) blame(key datamesh.ShardKey, peer datamesh.PeerID, reason error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.ContainsFunc(g.bad, func(b BadShard) bool { return b.Key == key && b.Peer == peer }) {
		return // the first reason counts
	}
	bad := BadShard{key, peer, reason}
	g.bad = append(g.bad, bad)
	if tell := g.o.Events.Bad; tell != nil {
		tell(bad)
	}
}

// findings waits for the last words of peers that were passed by, and returns
// what is bad.
func (g *get) findings() []BadShard {
	g.asides.Wait()
	return g.bad
}

// probe asks, beside the get, whether a peer that is late is there at all.
func (g *get) probe(key datamesh.ShardKey, peer datamesh.PeerID) {
	g.aside(func(ctx context.Context) {
		if err := g.o.net.Probe(ctx, peer); err != nil && ctx.Err() == nil {
			g.o.pace.failed(peer)
			g.blame(key, peer, err)
		}
	})
}

// confirm asks, beside the get, other registrars than the one that sent us
// whether the peer of an attempt should have had the shard. Without others the
// word of that one counts.
func (g *get) confirm(key datamesh.ShardKey, a *attempt, registrars []datamesh.PeerID, by datamesh.PeerID) {
	others := slices.DeleteFunc(registrars, func(p datamesh.PeerID) bool { return p == by })
	if len(others) == 0 {
		g.blame(key, a.peer, a.err)
	}
	for _, peer := range others[:min(3, len(others))] {
		g.aside(func(ctx context.Context) {
			_, holdings, err := g.o.net.Locate(ctx, peer, key.Segment)
			if err == nil && slices.Contains(holdings, store.Holding{Index: key.Index, Peer: a.peer}) {
				g.blame(key, a.peer, a.err)
			}
		})
	}
}

// aside does something beside the get that ends before the get does, and at
// the latest after maxPatience.
func (g *get) aside(do func(context.Context)) {
	g.asides.Go(func() {
		ctx, cancel := context.WithTimeout(g.ctx, maxPatience)
		defer cancel()
		do(ctx)
	})
}

// mute reports whether a peer did not answer the last question in this get.
func (g *get) mute(peer datamesh.PeerID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.silent[peer]
}

func (g *get) setMute(peer datamesh.PeerID, mute bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.silent[peer] = mute
}
