package object

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/erasure"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
)

// describe names the shards of a segment and signs its descriptor.
func describe(owner ed25519.PrivateKey, code *erasure.Code, n int, shards [][]byte) (*datamesh.Descriptor, error) {
	ids := make([]datamesh.ShardID, len(shards))
	for i, shard := range shards {
		if i > 0 && code.K == 1 {
			ids[i] = ids[0] // a copy
			continue
		}
		ids[i] = hash.Shard(shard)
	}
	return format.NewDescriptor(owner, code.K, code.M, n, ids)
}

// spread sends each shard to a peer of its own, or, where there are too few,
// as evenly as can be. A peer that refuses or is silent is replaced by the
// next. It returns when all shards are acknowledged or given up, or, once
// the put could succeed with what it has, after the grace at the latest.
func (p *put) spread(ctx context.Context, d *datamesh.Descriptor, shards [][]byte) ([][]datamesh.PeerID, error) {
	view := p.o.net.View()
	s := &spreading{p: p, d: d, shards: shards, order: p.order(view, d),
		load: map[datamesh.PeerID]int{}, refused: map[datamesh.PeerID]error{}}
	if len(s.order) == 0 {
		return nil, errs.New(errs.Unavailable, "no storage member of the mesh answers")
	}
	first := make([]datamesh.PeerID, len(shards))
	for i := range shards {
		first[i], _ = s.next()
	}
	if err := p.entry.segment(format.NewDeletion(p.o.ring.Owner, d, 1), append(registrars(view, d), first...)); err != nil {
		return nil, err
	}
	bar := p.opt.MinSurvives
	if bar < 0 {
		bar = placement.Bar(known(view), d.K, d.M)
	}
	holders := s.run(ctx, first, bar)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if got := placement.Survives(holders, d.K); got < bar {
		return nil, s.failure(holders, got, bar)
	}
	return holders, nil
}

// order returns the peers to ask, the best first.
func (p *put) order(view *ring.View, d *datamesh.Descriptor) []datamesh.PeerID {
	candidates := placement.Holders(candidates(view), d.Segment, d.K+d.M, d.ShardLen())
	p.mu.Lock()
	defer p.mu.Unlock()
	var good, slow []datamesh.PeerID
	for _, c := range candidates {
		if p.slow[c.Peer] {
			slow = append(slow, c.Peer)
		} else {
			good = append(good, c.Peer)
		}
	}
	return append(good, slow...)
}

// spreading is a segment whose shards are on their way.
type spreading struct {
	p      *put
	d      *datamesh.Descriptor
	shards [][]byte
	order  []datamesh.PeerID

	mu      sync.Mutex              // guards the rest
	load    map[datamesh.PeerID]int // shards that a peer has or is sent
	refused map[datamesh.PeerID]error
}

// next chooses the peer for one more shard: of those that have not refused,
// the one with the fewest shards of this segment.
func (s *spreading) next() (best datamesh.PeerID, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, peer := range s.order {
		if s.refused[peer] == nil && (!ok || s.load[peer] < s.load[best]) {
			best, ok = peer, true
		}
	}
	if ok {
		s.load[best]++
	}
	return best, ok
}

func (s *spreading) refuse(peer datamesh.PeerID, err error) {
	s.mu.Lock()
	s.refused[peer] = err
	s.mu.Unlock()
	if errs.Retryable(err) { // it may refuse a large shard and take a small one, but silence is silence
		s.p.mark(peer)
	}
}

func (p *put) mark(peer datamesh.PeerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow[peer] = true
}

// run sends the shards, each first to its peer in first.
func (s *spreading) run(ctx context.Context, first []datamesh.PeerID, bar int) [][]datamesh.PeerID {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type ack struct {
		index int
		peer  datamesh.PeerID
		ok    bool
	}
	acks := make(chan ack)
	for i := range s.shards {
		go func() {
			peer, ok := s.place(ctx, i, first[i])
			acks <- ack{i, peer, ok}
		}()
	}
	holders := make([][]datamesh.PeerID, len(s.shards))
	var grace <-chan time.Time
	for left := len(s.shards); left > 0; {
		select {
		case a := <-acks:
			left--
			if a.ok {
				holders[a.index] = []datamesh.PeerID{a.peer}
			}
			if grace == nil && placement.Survives(holders, s.d.K) >= bar {
				grace = time.After(s.p.o.grace)
			}
		case <-grace:
			cancel()
		}
	}
	return holders
}

// place sends one shard to peer, and to others until one acknowledges it.
func (s *spreading) place(ctx context.Context, index int, peer datamesh.PeerID) (datamesh.PeerID, bool) {
	for {
		err := s.p.o.net.Shards(peer).Put(ctx, s.d, index, s.shards[index])
		if err == nil {
			return peer, true
		}
		if ctx.Err() != nil { // too slow for the grace
			s.p.mark(peer)
			return peer, false
		}
		s.refuse(peer, err)
		var ok bool
		if peer, ok = s.next(); !ok {
			return peer, false
		}
		s.p.entry.asked(s.d.Segment, peer)
	}
}

// failure tells why a segment could not be stored well enough.
func (s *spreading) failure(holders [][]datamesh.PeerID, got, bar int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.order) == 1 && s.refused[s.order[0]] != nil {
		return fmt.Errorf("put: %w", s.refused[s.order[0]])
	}
	acks, peers := 0, map[datamesh.PeerID]bool{}
	for _, who := range holders {
		for _, peer := range who {
			acks++
			peers[peer] = true
		}
	}
	left := "cannot be read"
	if got >= 0 {
		left = fmt.Sprintf("survives %d losses", got)
	}
	err := errs.New(errs.Unavailable, "%d of %d shards were taken, by %d peers: that %s, and %d are asked for; %d of %d members answer; %s",
		acks, len(s.shards), len(peers), left, bar, len(s.order), known(s.p.o.net.View()), reasons(s.refused))
	hint := `see who answers with "datamesh peers" and try again`
	if got >= 0 {
		hint += fmt.Sprintf(", or accept less with --min-survives %d", got)
	}
	return errs.WithHint(err, "%s", hint)
}

// join makes one line of reasons, the first few of many.
func join(lines []string) string {
	const most = 6
	if len(lines) == 0 {
		return "nobody refused"
	}
	more := ""
	if len(lines) > most {
		more = fmt.Sprintf("; and %d more", len(lines)-most)
		lines = slices.Clone(lines[:most])
	}
	return strings.Join(lines, "; ") + more
}
