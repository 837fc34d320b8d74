package object

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
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
	s := &spreading{p: p, d: d, shards: shards, bar: p.bar(view, d),
		load: map[datamesh.PeerID]int{}, refused: map[datamesh.PeerID]error{}}
	s.order, s.prompt = p.order(view, d)
	if len(s.order) == 0 {
		return nil, errs.New(errs.Unavailable, "no storage member of the mesh answers")
	}
	first := make([]datamesh.PeerID, len(shards))
	for i := range shards {
		first[i], _ = s.next()
	}
	left := leftover{deletion: format.NewDeletion(p.keys.Owner, d, 1), final: format.NewDeletion(p.keys.Owner, d, datamesh.Final)}
	if err := p.entry.segment(left, append(registrars(view, d), first...)); err != nil {
		return nil, err
	}
	holders := s.run(ctx, first)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if got := placement.Survives(holders, d.K); got < s.bar {
		return nil, s.failure(holders, got)
	}
	return holders, nil
}

// bar returns what a segment has to survive.
func (p *put) bar(view *ring.View, d *datamesh.Descriptor) int {
	if p.opt.MinSurvives >= 0 {
		return p.opt.MinSurvives
	}
	return placement.Bar(known(view), d.K, d.M)
}

// order returns the peers to ask, the best first, and those of them that have
// not been slow lately.
func (p *put) order(view *ring.View, d *datamesh.Descriptor) (all, prompt []datamesh.PeerID) {
	candidates := placement.Holders(ring.Candidates(view), d.Segment, d.K+d.M, d.M, d.ShardLen())
	p.mu.Lock()
	defer p.mu.Unlock()
	var slow []datamesh.PeerID
	for _, c := range candidates {
		if time.Since(p.slow[c.Peer]) < slowTime {
			slow = append(slow, c.Peer)
		} else {
			prompt = append(prompt, c.Peer)
		}
	}
	return slices.Concat(prompt, slow), prompt
}

// slowTime is for how long a put does without a peer that was slow, if it can:
// after it the ring knows whether the peer is dead.
const slowTime = 30 * time.Second

// spreading is a segment whose shards are on their way.
type spreading struct {
	p      *put
	d      *datamesh.Descriptor
	shards [][]byte
	bar    int               // what it has to survive
	order  []datamesh.PeerID // all that may be asked
	prompt []datamesh.PeerID // those of them that are asked first

	mu      sync.Mutex              // guards the rest
	load    map[datamesh.PeerID]int // shards that a peer has or is sent
	refused map[datamesh.PeerID]error
}

// next chooses the peer for one more shard: of those that have not refused,
// the one with the fewest shards of this segment. The slow ones are chosen
// from only when the others are too few.
func (s *spreading) next() (best datamesh.PeerID, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	best, left := s.leastLoaded(s.prompt)
	if placement.BestSurvives(left, s.d.K, s.d.M) < max(s.bar, placement.Bar(len(s.order), s.d.K, s.d.M)) {
		best, left = s.leastLoaded(s.order)
	}
	if left > 0 {
		s.load[best]++
	}
	return best, left > 0
}

// leastLoaded returns which of the peers that have not refused has the fewest
// shards, and how many have not.
func (s *spreading) leastLoaded(peers []datamesh.PeerID) (best datamesh.PeerID, left int) {
	for _, peer := range peers {
		if s.refused[peer] != nil {
			continue
		}
		if left == 0 || s.load[peer] < s.load[best] {
			best = peer
		}
		left++
	}
	return best, left
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
	p.slow[peer] = time.Now()
}

// run sends the shards, each first to its peer in first.
func (s *spreading) run(ctx context.Context, first []datamesh.PeerID) [][]datamesh.PeerID {
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
				s.p.opt.Events.confirmed(s.d.ShardLen())
			}
			if grace == nil && placement.Survives(holders, s.d.K) >= s.bar {
				grace = time.After(s.p.o.grace)
			}
		case <-grace:
			cancel()
		}
	}
	return holders
}

// send has a peer store a shard. What went over no network, as to this node's
// own disk, counts as sent once it is stored.
func (s *spreading) send(ctx context.Context, index int, peer datamesh.PeerID) error {
	var sent atomic.Int64
	ctx = datamesh.WithSent(ctx, func(n int) {
		sent.Add(int64(n))
		s.p.opt.Events.sent(n)
	})
	err := s.p.o.net.Shards(peer).Put(ctx, s.d, index, s.shards[index])
	if err == nil {
		s.p.opt.Events.sent(s.d.ShardLen() - int(sent.Load()))
	}
	return err
}

// place sends one shard to peer, and to others until one acknowledges it.
func (s *spreading) place(ctx context.Context, index int, peer datamesh.PeerID) (datamesh.PeerID, bool) {
	for {
		err := s.send(ctx, index, peer)
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
		if err := s.p.entry.asked(s.d.Segment, peer); err != nil {
			s.refuse(peer, err) // without a record nothing is sent
			return peer, false
		}
	}
}

// failure tells why a segment could not be stored well enough.
func (s *spreading) failure(holders [][]datamesh.PeerID, got int) error {
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
		left = "survives " + count(got, "loss", "losses")
	}
	kind, hint := errs.Unavailable, `see who answers with "datamesh peers" and try again`
	if s.full() {
		kind, hint = errs.Full, "free some disk space or add a node that has room"
	}
	err := errs.New(kind, "%d of %d shards were taken, by %s: that %s, and %d are asked for; %d of %d members answer; %s",
		acks, len(s.shards), count(len(peers), "peer", "peers"), left, s.bar, len(s.order)-s.away(), known(s.p.o.net.View()), reasons(s.refused))
	if got >= 0 {
		hint += fmt.Sprintf(", or accept less with --min-survives %d", got)
	}
	return errs.WithHint(err, "%s", hint)
}

// full reports whether all members answer, and those that refused have no room.
func (s *spreading) full() bool {
	for _, err := range s.refused {
		if errs.KindOf(err) != errs.Full {
			return false
		}
	}
	return len(s.refused) > 0 && len(s.order) == known(s.p.o.net.View())
}

// away returns how many members that are not known to be dead could not be
// reached.
func (s *spreading) away() (n int) {
	for _, err := range s.refused {
		if errs.KindOf(err) == errs.Unavailable || errs.KindOf(err) == errs.Network {
			n++
		}
	}
	return n
}
