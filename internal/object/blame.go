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

// findings waits for what goes on beside the get, but not for peers that were passed by
// to answer, and returns what is bad.
func (g *get) findings() []BadShard {
	close(g.over)
	g.asides.Wait()
	return g.bad
}

// probe has a peer that is late be asked whether it is there at all. If it turns out not
// to be while the get goes on, it is to blame.
func (g *get) probe(key datamesh.ShardKey, peer datamesh.PeerID) {
	p := g.o.probe(peer)
	g.asides.Go(func() {
		select {
		case <-p.done:
			if p.err != nil {
				g.blame(key, peer, p.err)
			}
		case <-g.over:
		}
	})
}

// A probe is the question whether a peer is there.
type probe struct {
	done chan struct{} // closed when it is answered, or given up
	err  error         // that the peer is not there; set before
}

// probe asks a peer whether it is there, once however many want to know, and for as long
// as that takes: whoever comes later asks others first.
func (o *Objects) probe(peer datamesh.PeerID) *probe {
	o.probing.Lock()
	defer o.probing.Unlock()
	if p := o.probes[peer]; p != nil {
		return p
	}
	p := &probe{done: make(chan struct{})}
	if o.ctx.Err() != nil {
		close(p.done)
		return p
	}
	o.probes[peer] = p
	o.pace.doubt(peer, true)
	o.asides.Go(func() {
		ctx, cancel := context.WithTimeout(o.ctx, maxPatience)
		defer cancel()
		if err := o.net.Probe(ctx, peer); err != nil && ctx.Err() == nil {
			o.pace.failed(peer)
			p.err = err
		}
		o.pace.doubt(peer, false)
		o.probing.Lock()
		defer o.probing.Unlock()
		delete(o.probes, peer)
		close(p.done)
	})
	return p
}

// Close ends what goes on beside gets that have ended. No get is to begin then.
func (o *Objects) Close() {
	o.probing.Lock()
	o.stop()
	o.probing.Unlock()
	o.asides.Wait()
}

// confirm asks, beside the get, other registrars than the one that sent us
// whether the peer of an attempt should have had the shard. Without others the
// word of that one counts.
func (g *get) confirm(key datamesh.ShardKey, a *attempt, registrars []datamesh.PeerID, by datamesh.PeerID) {
	others := slices.DeleteFunc(registrars, func(p datamesh.PeerID) bool { return p == by })
	if len(others) == 0 {
		g.blame(key, a.peer, a.err)
	}
	others = slices.DeleteFunc(others, g.o.pace.troubled) // the get would wait for them
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
