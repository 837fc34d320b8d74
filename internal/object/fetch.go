package object

import (
	"context"
	"fmt"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/erasure"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/ring"
)

// A place is a shard's index and a peer that is said to hold it.
type place struct {
	index int
	peer  datamesh.PeerID
}

// A shape is what must be known of a segment to fetch it.
type shape struct{ k, m, length int }

func (s shape) shardLen() int { return datamesh.ShardLen(s.length, s.k) }

// A fetch brings the shards of one segment together. It asks for k of them at
// once, the data shards first; when one fails, or is late, it asks for
// another; when no known place is left it asks more peers where others are.
type fetch struct {
	g     *get
	id    datamesh.SegmentID
	hints []place // from the manifest
	shape shape   // k is 0 until it is known
	buf   []byte  // for all k+m shards

	thorough bool // ask on when the known places would do

	places   []place                  // not yet tried
	stage    int                      // how far the search for places has gone
	tried    map[place]error          // nil: it served
	answered map[datamesh.PeerID]bool // that said something, be it no
	silent   map[datamesh.PeerID]bool // that did not, and are not waited for again
	got      map[int][]byte           // good shards
	busy     map[int]*attempt         // by index
}

// An attempt is one shard asked of one peer.
type attempt struct {
	place
	late  bool // another was asked in its stead
	took  time.Duration
	desc  *datamesh.Descriptor
	shard []byte
	err   error
}

func (g *get) newFetch(id datamesh.SegmentID) *fetch {
	return &fetch{g: g, id: id, tried: map[place]error{}, answered: map[datamesh.PeerID]bool{}, silent: map[datamesh.PeerID]bool{},
		got: map[int][]byte{}, busy: map[int]*attempt{}}
}

// expect takes from a manifest what it says of the segment.
func (f *fetch) expect(ref *format.SegmentRef, peers []datamesh.PeerID) {
	f.shape = shape{ref.K, ref.M, crypt.SealedLen(ref.Length)}
	for index, at := range ref.Hints {
		if int64(at) < int64(len(peers)) {
			f.hints = append(f.hints, place{index, peers[at]})
		}
	}
}

// run fetches the segment, whose shape is known, and returns its sealed
// bytes, which lie in f.buf. Kinds: Unavailable, Integrity.
func (f *fetch) run(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan *attempt)
	err := f.gather(ctx, done)
	cancel()
	for len(f.busy) > 0 { // they write into f.buf
		a := <-done
		delete(f.busy, a.index)
	}
	if err != nil {
		return nil, err
	}
	return f.join()
}

// gather ends when there are k good shards, or no hope for them.
func (f *fetch) gather(ctx context.Context, done chan *attempt) error {
	pace := &f.g.o.pace
	hedge := time.NewTimer(pace.patience(f.shape.shardLen()))
	defer hedge.Stop()
	for len(f.got) < f.shape.k {
		for len(f.got)+len(f.busy)-f.late() < f.shape.k && f.start(ctx, done) {
		}
		if len(f.busy) == 0 {
			if err := f.search(ctx); err != nil {
				return err
			}
			continue
		}
		select {
		case a := <-done:
			f.finish(ctx, a)
		case <-hedge.C:
			f.passBy(ctx)
			if len(f.places) == 0 && f.stage < nowhere {
				if err := f.advance(ctx); err != nil {
					return err
				}
			}
			hedge.Reset(pace.patience(f.shape.shardLen()))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// late counts the attempts that others are asked in the stead of.
func (f *fetch) late() (n int) {
	for _, a := range f.busy {
		if a.late {
			n++
		}
	}
	return n
}

// start begins the best attempt that can be made, if there is one.
func (f *fetch) start(ctx context.Context, done chan<- *attempt) bool {
	best := -1
	for i, p := range f.places {
		if f.got[p.index] != nil || f.busy[p.index] != nil || f.silent[p.peer] {
			continue
		}
		if best < 0 || f.better(p, f.places[best]) {
			best = i
		}
	}
	if best < 0 {
		return false
	}
	a := &attempt{place: f.places[best]}
	f.places = append(f.places[:best], f.places[best+1:]...)
	f.busy[a.index] = a
	size := f.shape.shardLen()
	slot := f.buf[a.index*size : (a.index+1)*size : (a.index+1)*size]
	go func() {
		start := time.Now()
		key := datamesh.ShardKey{Segment: f.id, Index: a.index}
		a.desc, a.shard, a.err = f.g.o.net.Shards(a.peer).Get(ctx, key, slot)
		a.took = time.Since(start)
		done <- a
	}()
	return true
}

// better prefers peers that have not failed lately, then data shards, which
// need no rebuilding.
func (f *fetch) better(a, b place) bool {
	pace := &f.g.o.pace
	if x, y := pace.troubled(a.peer), pace.troubled(b.peer); x != y {
		return y
	}
	return a.index < b.index
}

func (f *fetch) finish(ctx context.Context, a *attempt) {
	delete(f.busy, a.index)
	if a.err == nil {
		a.err = f.check(a)
	}
	f.tried[a.place] = a.err
	if a.err == nil {
		f.answered[a.peer] = true
		f.got[a.index] = a.shard
		f.g.o.pace.served(a.peer, len(a.shard), a.took)
		return
	}
	if ctx.Err() != nil {
		return // we have given up, not the peer
	}
	f.g.found(datamesh.ShardKey{Segment: f.id, Index: a.index}, a.peer, a.err)
	if errs.Retryable(a.err) {
		f.silent[a.peer] = true
		f.g.o.pace.failed(a.peer)
	} else {
		f.answered[a.peer] = true
	}
}

// check compares what came with what is known of the segment. The shard
// itself has been checked against the descriptor that came with it.
func (f *fetch) check(a *attempt) error {
	d := a.desc
	if d.Segment != f.id {
		return errs.New(errs.Integrity, "the shard of another segment")
	}
	if (shape{d.K, d.M, d.Length}) != f.shape {
		return errs.New(errs.Integrity, "the manifest says %v, the descriptor %d+%d, %d bytes", f.shape, d.K, d.M, d.Length)
	}
	return nil
}

// passBy marks the attempts that take too long, so that others are asked in
// their stead. Each such peer is asked a small question besides: one that
// answers it is slow, one that does not is bad.
func (f *fetch) passBy(ctx context.Context) {
	for _, a := range f.busy {
		if !a.late {
			a.late = true
			f.g.probe(ctx, datamesh.ShardKey{Segment: f.id, Index: a.index}, a.peer)
		}
	}
}

// join puts the segment together from k good shards.
func (f *fetch) join() ([]byte, error) {
	code, err := erasure.New(f.shape.k, f.shape.m)
	if err != nil {
		return nil, err
	}
	shards := code.Cut(f.buf, f.shape.length)
	for i := range shards {
		if f.got[i] == nil {
			shards[i] = shards[i][:0]
		} else if &f.got[i][0] != &shards[i][0] {
			copy(shards[i], f.got[i])
		}
	}
	if err := code.Rebuild(shards, true); err != nil {
		return nil, err
	}
	if err := code.CheckPadding(f.buf, f.shape.length); err != nil {
		return nil, fmt.Errorf("segment %s: %w", f.id, err)
	}
	return f.buf[:f.shape.length], nil
}

// failure tells that too few shards could be had, and who did not serve.
func (f *fetch) failure() error {
	failed := map[datamesh.PeerID]error{}
	damaged, dead := false, 0
	for p, err := range f.tried {
		if err != nil {
			failed[p.peer] = fmt.Errorf("shard %d: %w", p.index, err)
			damaged = damaged || errs.KindOf(err) == errs.Integrity
		}
	}
	for m := range f.g.o.net.View().All() {
		if m.State == ring.Dead && !f.answered[m.Record.Peer] {
			dead++
			if failed[m.Record.Peer] == nil {
				failed[m.Record.Peer] = errs.New(errs.Unavailable, "dead")
			}
		}
	}
	kind := errs.Unavailable
	if damaged && dead == 0 {
		kind = errs.Integrity // nobody is away who could still help
	}
	return errs.New(kind, "segment %s: %d shards answered, %d are needed: %s", f.id, len(f.got), f.shape.k, reasons(failed))
}
