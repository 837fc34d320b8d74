package object

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
)

// A place is a shard's index and a peer that is said to hold it.
type place struct {
	index int
	peer  datamesh.PeerID
}

// A shape is what must be known of a segment to fetch it.
type shape struct{ k, m, length int }

func (s shape) shardLen() int { return datamesh.ShardLen(s.length, s.k) }

// slots returns how many shards a fetch has room for: the data shards, and as
// many others as could be of use at once.
func (s shape) slots() int { return s.k + min(s.m, s.k+2) }

func (s shape) bufferLen() int { return s.slots() * s.shardLen() }

// A part is the same bytes of each shard of a segment, of which one shard's are
// wanted. As long as that may be had no others are asked for; then they are made
// from those of k others.
type part struct {
	off, n  int
	want    int  // index of a data shard
	rebuild bool // it cannot be had, or is late
}

// A fetch brings the shards of one segment together, or a part of each. It asks for k of them at
// once, the data shards first; when one fails, or is late, it asks for
// another; when no known place is left it asks more peers where others are.
// When all was in vain it tries once more those that were silent: a peer that
// has much to do may be late without being gone.
//
// Its caller's goroutine alone touches it. Attempts and questions are
// goroutines that tell it what came of them, and end with ctx.
type fetch struct {
	g      *get
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	done   chan *attempt
	found  chan finding

	id    datamesh.SegmentID
	hints []place              // from the manifest
	shape shape                // k is 0 until it is known
	part  *part                // nil: whole shards
	desc  *datamesh.Descriptor // as a registrar has it, or nil
	ids   []datamesh.ShardID   // of the shards, once one is there
	buf   []byte               // for slots shards: the data shards, then others
	spare []int                // slots of others that are free

	along     bool // who is asked first is to send a small shard along
	dataFirst bool // data shards are asked for before others, whatever that costs

	stage    int                           // how far the search for places has gone
	rest     []datamesh.PeerID             // of the stage, yet to be asked
	asked    int                           // questions that have no answer yet
	asking   map[datamesh.PeerID]*question // those of them whose answer may bring a shard
	passed   int                           // attempts in whose stead no other was begun yet
	answered map[datamesh.PeerID]bool      // that said something, be it no
	silent   map[datamesh.PeerID]error     // why those did not that are not waited for again in this round
	polled   map[datamesh.PeerID]bool      // that said which shards they have themselves
	second   bool                          // round, over those that were silent
	deleted  bool                          // somebody says that its owner has deleted it

	places []place          // not yet tried
	claims map[place]claim  // all that were ever named
	fails  map[int]int      // attempts that failed, by index
	tried  map[place]error  // nil: it served
	busy   map[int]*attempt // by index
	got    map[int][]byte   // good shards
}

// A claim is the word that a peer holds a shard.
type claim struct {
	by   datamesh.PeerID
	sure bool // the manifest, the peer itself, or two registrars say so
}

// An attempt is one shard asked of one peer.
type attempt struct {
	place
	slot  int
	began time.Time
	needs time.Duration // that it was expected to take then
	late  bool          // another was asked in its stead
	first atomic.Int64  // when it began to come, in Unix nanoseconds; 0: it has not
	came  atomic.Int64  // bytes of it
	desc  *datamesh.Descriptor
	shard []byte
	err   error
}

// newFetch begins a fetch, which is to be closed.
func (g *get) newFetch(ctx context.Context, id datamesh.SegmentID) *fetch {
	f := &fetch{g: g, id: id, done: make(chan *attempt), found: make(chan finding),
		answered: map[datamesh.PeerID]bool{}, silent: map[datamesh.PeerID]error{}, polled: map[datamesh.PeerID]bool{},
		asking: map[datamesh.PeerID]*question{}, claims: map[place]claim{}, fails: map[int]int{}, tried: map[place]error{},
		busy: map[int]*attempt{}, got: map[int][]byte{}}
	f.ctx, f.cancel = context.WithCancel(ctx)
	return f
}

// close ends what is still going on. Only then is the buffer free.
func (f *fetch) close() {
	f.cancel()
	f.wg.Wait()
}

// expect takes from a manifest what it says of the segment.
func (f *fetch) expect(ref *format.SegmentRef, peers []datamesh.PeerID) {
	f.shape = shapeOf(ref)
	for index, at := range ref.Hints {
		if int64(at) < int64(len(peers)) {
			f.hints = append(f.hints, place{index, peers[at]})
		}
	}
}

func shapeOf(ref *format.SegmentRef) shape {
	return shape{ref.K, ref.M, crypt.SealedLen(ref.Text())}
}

// run fetches the segment, whose shape is known, into buf, and returns its
// sealed bytes, or of a part those of the wanted shard, which lie there. Kinds: Unavailable, Integrity.
func (f *fetch) run(buf []byte) ([]byte, error) {
	f.buf, f.second = buf, false // whatever it took to find the shape
	for slot := f.shape.k; slot < f.shape.slots(); slot++ {
		f.spare = append(f.spare, slot)
	}
	if err := f.gather(); err != nil {
		return nil, err
	}
	f.close()
	if f.part != nil {
		return f.joinPart()
	}
	return f.join()
}

// gather ends when there are k good shards, or no hope for them.
func (f *fetch) gather() error {
	hedge := time.NewTimer(minPatience)
	defer hedge.Stop()
	for !f.enough() {
		for f.hungry() && f.start() {
			hedge.Reset(minPatience)
		}
		if f.hungry() && f.asked == 0 {
			if f.widen() || f.advance() {
				continue
			}
			if len(f.busy) == 0 {
				if f.again() {
					continue
				}
				return f.failure()
			}
		}
		select {
		case a := <-f.done:
			if err := f.finish(a); err != nil {
				return err
			}
		case r := <-f.found:
			f.note(r)
		case <-hedge.C:
			hedge.Reset(f.passBy())
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	}
	return nil
}

// size is how many bytes of each shard are fetched.
func (f *fetch) size() int {
	if f.part != nil {
		return f.part.n
	}
	return f.shape.shardLen()
}

// enough reports whether nothing more is needed.
func (f *fetch) enough() bool {
	return len(f.got) >= f.shape.k || f.part != nil && f.got[f.part.want] != nil
}

// direct reports whether only the wanted shard is asked for.
func (f *fetch) direct() bool { return f.part != nil && !f.part.rebuild }

// widen has others be asked, too, when the places of the wanted shard that the
// manifest names were of no use, and reports whether that is news.
func (f *fetch) widen() bool {
	if !f.direct() || f.stage < fromHints {
		return false
	}
	f.part.rebuild = true
	return true
}

// hungry reports whether more attempts should be under way: k, with the shards that
// may come along, and without those that others are asked in the stead of.
func (f *fetch) hungry() bool {
	if f.direct() {
		return f.busy[f.part.want] == nil
	}
	n := len(f.got)
	for _, a := range f.busy {
		if !a.late && f.got[a.index] == nil {
			n++
		}
	}
	for peer := range f.asking {
		if _, ok := f.brings(peer); ok {
			n++
		}
	}
	return n < f.shape.k
}

// start begins the best attempt that can be made, if there is one.
func (f *fetch) start() bool {
	best := -1
	for i, p := range f.places {
		if f.possible(p) && (best < 0 || f.better(p, f.places[best])) {
			best = i
		}
	}
	switch {
	case best < 0:
		return false
	case f.direct() && f.g.o.pace.troubled(f.places[best].peer): // as all are that may have the wanted shard
		f.part.rebuild = true
		return f.start()
	}
	a := &attempt{place: f.places[best], began: time.Now()}
	a.needs = f.g.o.pace.expected(a.peer, f.size())
	if f.passed > 0 {
		f.passed--
		f.g.o.pace.hedged(f.size())
	}
	f.places = slices.Delete(f.places, best, best+1)
	a.slot = a.index
	if a.index >= f.shape.k {
		a.slot, f.spare = f.spare[0], f.spare[1:]
	}
	f.busy[a.index] = a
	slot := f.slot(a.slot)
	came, end := f.g.o.pace.ask(a.peer, f.size())
	ctx := datamesh.WithReceived(f.ctx, func(n int) {
		a.first.CompareAndSwap(0, time.Now().UnixNano())
		a.came.Add(int64(n))
		came(n)
	})
	f.wg.Go(func() {
		key := datamesh.ShardKey{Segment: f.id, Index: a.index}
		a.desc, a.shard, a.err = f.read(ctx, a.peer, key, slot)
		end(a.err == nil)
		select {
		case f.done <- a:
		case <-f.ctx.Done():
		}
	})
	return true
}

// read gets a shard, or the part of it that is wanted, into buf.
func (f *fetch) read(ctx context.Context, peer datamesh.PeerID, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	shards := f.g.o.net.Shards(peer)
	if f.part == nil {
		return shards.Get(ctx, key, buf)
	}
	d, slice, err := shards.GetRange(ctx, key, f.part.off, f.part.n)
	if err != nil {
		return d, nil, err
	}
	b, ok := hash.Open(slice, f.part.off, f.part.n, d.Shards[key.Index])
	if !ok {
		return d, nil, errs.New(errs.Integrity, "the slice does not prove itself")
	}
	return d, buf[:copy(buf, b)], nil
}

func (f *fetch) slot(i int) []byte {
	size := f.size()
	return f.buf[i*size : (i+1)*size : (i+1)*size]
}

func (f *fetch) possible(p place) bool {
	return (!f.direct() || p.index == f.part.want) &&
		f.got[p.index] == nil && f.busy[p.index] == nil && f.silent[p.peer] == nil &&
		(p.index < f.shape.k || len(f.spare) > 0)
}

// better prefers peers that have not failed lately, then those that have no question to
// answer, then indices that have not failed, whoever names how many places for them;
// then what will be there the soonest, with the rebuilding that it needs; then data
// shards; and then what more than one registrar says.
func (f *fetch) better(a, b place) bool {
	pace := &f.g.o.pace
	if x, y := pace.troubled(a.peer), pace.troubled(b.peer); x != y {
		return y
	}
	if x, y := f.asking[a.peer] != nil, f.asking[b.peer] != nil; x != y {
		return y
	}
	if x, y := f.fails[a.index], f.fails[b.index]; x != y {
		return x < y
	}
	if x, y := f.cost(a), f.cost(b); x != y && !f.dataFirst {
		return x < y
	}
	if a.index != b.index {
		return a.index < b.index
	}
	return f.claims[a].sure && !f.claims[b].sure
}

// cost is how long a shard will take from a place, and, if it is none of the data,
// some more: half a nanosecond a byte to rebuild another by it, and a quarter because
// the guess may be no better than that.
func (f *fetch) cost(p place) time.Duration {
	d := f.g.o.pace.expected(p.peer, f.size())
	if p.index >= f.shape.k && f.shape.k > 1 {
		d += d/4 + time.Duration(f.size()/2)
	}
	return d
}

// finish takes note of what came of an attempt. An error means that no other
// can be of use.
func (f *fetch) finish(a *attempt) error {
	delete(f.busy, a.index)
	if a.err == nil && a.desc.Segment != f.id {
		a.err = errs.New(errs.Integrity, "the shard of another segment")
	}
	f.tried[a.place] = a.err
	if a.desc != nil && a.desc.Segment == f.id { // also of a shard that did not fit
		if err := f.check(a.desc); err != nil {
			return err
		}
	}
	if a.err == nil {
		f.answered[a.peer] = true
		f.got[a.index] = a.shard
		return nil
	}
	if a.slot >= f.shape.k {
		f.spare = append(f.spare, a.slot)
	}
	if f.ctx.Err() != nil {
		return f.ctx.Err() // we have given up, not the peer
	}
	f.fails[a.index]++
	f.accuse(a)
	if errs.Retryable(a.err) {
		f.silent[a.peer] = a.err
	} else {
		f.answered[a.peer] = true
	}
	if errs.Retryable(a.err) || errs.KindOf(a.err) == errs.Integrity {
		f.g.o.pace.failed(a.peer)
	}
	return nil
}

// check compares the descriptor, which the segment's id is the hash of, with
// what was known of the segment before. The shard itself has been checked.
func (f *fetch) check(d *datamesh.Descriptor) error {
	if (shape{d.K, d.M, d.Length}) != f.shape {
		return errs.New(errs.Integrity, "segment %s is coded %d+%d with %d bytes, its manifest says %d+%d with %d",
			f.id, d.K, d.M, d.Length, f.shape.k, f.shape.m, f.shape.length)
	}
	f.ids = d.Shards
	return nil
}

// accuse takes note that a peer did not serve a shard. When the one registrar
// that named it may have been wrong, others are asked first.
func (f *fetch) accuse(a *attempt) {
	key := datamesh.ShardKey{Segment: f.id, Index: a.index}
	if c := f.claims[a.place]; errors.Is(a.err, errs.FileNotFound) && !c.sure {
		f.g.confirm(key, a, f.registrars(), c.by)
		return
	}
	f.g.blame(key, a.peer, a.err)
}

// passBy marks the attempts that take too long, so that others are asked in
// their stead, and returns when to look again. A peer that says nothing is asked a
// small question besides: one that answers is slow, one that does not is bad.
func (f *fetch) passBy() time.Duration {
	pace := &f.g.o.pace
	again := newPatience
	for _, a := range f.busy {
		if a.late {
			continue
		}
		left := pace.silent(a.peer, f.size(), a.began)
		came := int(a.came.Load())
		over := (came == 0 || came >= f.size()) && pace.overdue(f.size(), time.Since(a.began), a.needs)
		if left > 0 && !over && !f.slow(a, came) {
			again = min(again, left)
			continue
		}
		a.late = true
		f.passed++
		if f.widen() {
			f.passed = f.shape.k // all of them for the one
		}
		if tell := f.g.o.Events.Late; tell != nil {
			tell(a.peer)
		}
		if left <= 0 || over {
			pace.late(a.peer, f.size(), a.began)
		}
		if left <= 0 {
			f.g.probe(datamesh.ShardKey{Segment: f.id, Index: a.index}, a.peer)
		}
	}
	for peer, q := range f.asking {
		index, ok := f.brings(peer)
		if !ok {
			continue
		}
		if left := pace.silent(peer, f.size(), q.began); left > 0 {
			again = min(again, left)
			continue
		}
		q.late = true
		f.passed++
		if tell := f.g.o.Events.Late; tell != nil {
			tell(peer)
		}
		pace.late(peer, f.size(), q.began)
		f.g.probe(datamesh.ShardKey{Segment: f.id, Index: index}, peer)
	}
	return again
}

// slow reports whether another peer would be done long before that of an attempt,
// of which some has come.
func (f *fetch) slow(a *attempt, came int) bool {
	other := time.Duration(-1)
	for _, p := range f.places {
		if d := f.cost(p); f.possible(p) && (other < 0 || d < other) {
			other = d
		}
	}
	return other >= 0 && f.g.o.pace.slow(f.size(), came, time.Since(time.Unix(0, a.first.Load())), other)
}
