package node

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/object"
	"datamesh/internal/placement"
	"datamesh/internal/repair"
	"datamesh/internal/ring"
	"datamesh/internal/store"
)

// A holder is a peer as one that holds a shard.
type holder struct {
	peer datamesh.PeerID
	key  datamesh.ShardKey
}

// registrarsAtOnce is how many registrars are asked at once.
const registrarsAtOnce = 16

// proofs returns when holders have last proven their shards to any of the
// registrars of the segments, as those say that answer.
func (l *link) proofs(ctx context.Context, segments []object.SegmentState) map[holder]time.Time {
	view := l.view()
	asked := map[datamesh.PeerID][]datamesh.SegmentID{}
	for _, s := range segments {
		for _, peer := range ring.Registrars(view, s.ID, ring.RegistrarCount(s.K, s.M, view.Live())) {
			asked[peer] = append(asked[peer], s.ID)
		}
	}
	var mu sync.Mutex // guards last
	last := map[holder]time.Time{}
	var group sync.WaitGroup
	places := make(chan struct{}, registrarsAtOnce)
	for peer, ids := range asked {
		group.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			list, _ := l.proofsOf(ctx, peer, ids) // who does not answer says nothing
			mu.Lock()
			defer mu.Unlock()
			for _, p := range list {
				if h := (holder{p.Peer, p.Key}); p.At.After(last[h]) {
					last[h] = p.At
				}
			}
		})
	}
	group.Wait()
	return last
}

func (l *link) proofsOf(ctx context.Context, peer datamesh.PeerID, segments []datamesh.SegmentID) ([]store.Proof, error) {
	if peer == l.self && l.disk != nil {
		return l.disk.Proofs(ctx, segments)
	}
	return l.client.Proofs(ctx, peer, segments)
}

// prove has the holders of an object prove their shards now. What is proven is
// added to the proofs; what is refuted is not live, whatever its holder says. Of
// silence nothing follows.
func (n *Node) prove(ctx context.Context, l *link, state *object.Info, proofs map[holder]time.Time) {
	k := repair.NewMender(&members{l}, l.self, 0, repair.Events{})
	state.Survives = datamesh.MaxShards
	for i := range state.Segments {
		s := &state.Segments[i]
		answers, _ := k.Prove(ctx, s.ID, s.Holders()) // a segment that nobody can describe stays as it is
		for _, a := range answers {
			switch a.Outcome {
			case repair.Proven:
				proofs[holder{a.Peer, a.Key}] = time.Now()
			case repair.Refuted:
				for j := range s.Shards {
					x := &s.Shards[j]
					x.Live = x.Live && (x.Index != a.Key.Index || x.Peer != a.Peer)
				}
			}
		}
		state.Survives = min(state.Survives, placement.Survives(s.Holders(), s.K))
	}
}

// labels returns where a member says that it is.
func (l *link) labels() func(datamesh.PeerID) Labels {
	view := l.view()
	return func(peer datamesh.PeerID) Labels {
		m, ok := view.Lookup(peer)
		if !ok {
			return Labels{}
		}
		x := m.Record.Labels
		return Labels{Site: x.Site, Host: x.Host, Owner: x.Owner}
	}
}

// reckoning returns one of what this node has seen.
func (l *link) reckoning() *reckoning {
	if l.experience == nil {
		return newReckoning(nil, l.labels())
	}
	s := l.experience.now()
	return newReckoning(&s, l.labels())
}

// safety returns how safe an object is, but for what was demonstrated.
func (r *reckoning) safety(segments []object.SegmentState, proofs map[holder]time.Time) Safety {
	return Safety{
		Hosts:    domainsOf(segments, func(peer datamesh.PeerID) string { return r.labels(peer).Host }),
		Sites:    domainsOf(segments, func(peer datamesh.PeerID) string { return r.labels(peer).Site }),
		Shards:   shardsOf(segments, proofs),
		Modelled: r.modelled(segments),
	}
}

// domainsOf returns what survives the loss of domains that label names.
func domainsOf(segments []object.SegmentState, label func(datamesh.PeerID) string) DomainSafety {
	names := map[string]datamesh.PeerID{} // stands for a domain
	without := map[datamesh.PeerID]bool{}
	d := DomainSafety{Survives: datamesh.MaxShards}
	for i := range segments {
		s := &segments[i]
		holders := s.Holders()
		in := make([][]datamesh.PeerID, len(holders))
		for index, who := range holders {
			there := map[datamesh.PeerID]bool{}
			for _, peer := range who {
				name := label(peer)
				if name == "" {
					without[peer] = true
					continue
				}
				id, known := names[name]
				if !known {
					binary.BigEndian.PutUint64(id[:], uint64(len(names)+1))
					names[name] = id
				}
				if !there[id] {
					there[id] = true
					in[index] = append(in[index], id)
				}
			}
		}
		n := placement.Survives(in, s.K)
		if n < 0 && placement.Survives(holders, s.K) >= 0 {
			n = 0 // those without a label are there now
		}
		d.Survives = min(d.Survives, n)
	}
	d.Domains, d.Unlabelled, d.Known = len(names), len(without), len(names) > 0
	return d
}

// shardsOf counts shards, and when they were proven.
func shardsOf(segments []object.SegmentState, proofs map[holder]time.Time) (n ShardSafety) {
	for i := range segments {
		s := &segments[i]
		n.Total += s.K + s.M
		for index, who := range s.Holders() {
			if len(who) == 0 {
				continue
			}
			n.Live++
			var last time.Time
			for _, peer := range who {
				if at := proofs[holder{peer, datamesh.ShardKey{Segment: s.ID, Index: index}}]; at.After(last) {
					last = at
				}
			}
			if last.IsZero() {
				continue
			}
			n.Proven++
			n.prove(last, last)
		}
	}
	if n.Proven < n.Live {
		n.OldestProof = time.Time{}
	}
	return n
}

// prove takes in when a shard, or several, were proven.
func (n *ShardSafety) prove(last, oldest time.Time) {
	if last = last.UTC(); last.After(n.LastProof) {
		n.LastProof = last
	}
	if oldest = oldest.UTC(); !oldest.IsZero() && (n.OldestProof.IsZero() || oldest.Before(n.OldestProof)) {
		n.OldestProof = oldest
	}
}

// unread is the safety of an object of which nothing is known.
var unread = Safety{Hosts: DomainSafety{Survives: -1}, Sites: DomainSafety{Survives: -1}}

// least takes in the safety of another object.
func (s *Safety) least(o Safety) {
	s.Hosts.least(o.Hosts)
	s.Sites.least(o.Sites)
	n := &s.Shards
	n.Live += o.Shards.Live
	n.Total += o.Shards.Total
	n.Proven += o.Shards.Proven
	n.prove(o.Shards.LastProof, o.Shards.OldestProof)
	if n.Proven < n.Live {
		n.OldestProof = time.Time{}
	}
	s.Modelled = min(s.Modelled, o.Modelled)
	s.Demonstrated = min(s.Demonstrated, o.Demonstrated)
}

func (d *DomainSafety) least(o DomainSafety) {
	d.Known = d.Known && o.Known
	d.Survives = min(d.Survives, o.Survives)
	d.Domains = min(d.Domains, o.Domains)
	d.Unlabelled = max(d.Unlabelled, o.Unlabelled)
}
