package object

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/storetest"
)

// A line carries so many bytes a second, of whoever comes first.
type line struct {
	mu   sync.Mutex // guards the rest
	rate int64      // 0: any number
	free time.Time
}

// carry returns when n bytes are through.
func (l *line) carry(ctx context.Context, n int) error {
	l.mu.Lock()
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	if l.rate > 0 {
		l.free = l.free.Add(time.Duration(int64(n) * int64(time.Second) / l.rate))
	}
	through := l.free
	l.mu.Unlock()
	return until(ctx, through)
}

func until(ctx context.Context, at time.Time) error {
	select {
	case <-time.After(time.Until(at)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A farStore is the store of a member that is far from the client, by whose line
// all comes.
type farStore struct {
	datamesh.ShardStore
	client   *line
	own      line
	wait     func() time.Duration // until it answers
	gets     atomic.Int64         // of large shards
	received *atomic.Int64        // by the client
}

func (s *farStore) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	d, shard, err := s.ShardStore.Get(ctx, key, buf)
	if err != nil {
		return d, shard, err
	}
	if len(shard) > largest {
		s.gets.Add(1)
	}
	err = until(ctx, time.Now().Add(s.wait()))
	for at := 0; at < len(shard); {
		n := min(16<<10, len(shard)-at)
		for _, l := range []*line{&s.own, s.client} {
			if err == nil {
				err = l.carry(ctx, n)
			}
		}
		if err != nil {
			return nil, nil, err
		}
		s.received.Add(int64(n))
		datamesh.Received(ctx)(n)
		at += n
	}
	return d, shard, nil
}

// A farWorld is six far members, and a client.
type farWorld struct {
	*user
	far      map[*member]*farStore
	line     line
	received atomic.Int64
	late     atomic.Int64
}

// rtt is how long they take to answer.
const rtt = 100 * time.Millisecond

func newFarWorld(t *testing.T) *farWorld {
	f := &farWorld{user: newUser(t, newWorld(t, 6)), far: map[*member]*farStore{}}
	for _, m := range f.w.members {
		s := &farStore{ShardStore: m.store, client: &f.line, wait: func() time.Duration { return rtt }, received: &f.received}
		m.inner, f.far[m] = s, s
	}
	f.Events.Late = func(datamesh.PeerID) { f.late.Add(1) }
	return f
}

// fetch gets an object so many times, and returns how many bytes came for each
// that is needed, and how long each took on the average.
func (f *farWorld) fetch(times int, id datamesh.ObjectID, content []byte) (cost float64, took time.Duration) {
	f.t.Helper()
	before, began := f.received.Load(), time.Now()
	for range times {
		f.get(id, content)
	}
	return float64(f.received.Load()-before) / float64(times*len(content)), time.Since(began) / time.Duration(times)
}

// A get fills the line of the client, and asks for nothing twice on it, however
// long the line is busy with what it has asked for.
func TestGetFillsTheLineAndAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarWorld(t)
		f.content, f.line.rate = 1<<20, 4<<20
		content := noise(1, 16<<20)
		stored := f.put(content, options)
		for range 3 {
			cost, took := f.fetch(1, stored.ID, content)
			if cost > 1.02 {
				t.Errorf("%.3f bytes came for each that is needed", cost)
			}
			if filled := float64(len(content)) / float64(f.line.rate) / took.Seconds(); filled < 0.8 {
				t.Errorf("%.2f of the line were used", filled)
			}
		}
	})
}

// A holder whose own line is slow costs little more than nothing once that is known.
func TestSlowHolderIsAskedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarWorld(t)
		f.content, f.line.rate = 1<<20, 32<<20
		content := noise(1, 8<<20)
		stored := f.put(content, options)
		before := f.received.Load()
		f.fetch(5, stored.ID, content)
		slow := f.far[f.w.holder(datamesh.ShardKey{Segment: f.contentSegment(stored.ID), Index: 0})]
		slow.own.rate = 512 << 10
		f.fetch(1, stored.ID, content)
		if cost := float64(f.received.Load()-before) / float64(6*len(content)); cost > 1.05 {
			t.Errorf("%.3f bytes came for each that is needed, until it was known", cost)
		}
		asked := slow.gets.Load()
		if cost, _ := f.fetch(20, stored.ID, content); cost > 1.02 {
			t.Errorf("%.3f bytes came for each that is needed, when it was known", cost)
		}
		if n := slow.gets.Load() - asked; n > 20*8/10 {
			t.Errorf("the slow one was asked %d times for %d segments", n, 20*8)
		}
		slow.own.rate = 0
		pass(fadeTime)
		asked = slow.gets.Load()
		f.fetch(2, stored.ID, content)
		if slow.gets.Load() == asked {
			t.Error("it is not asked any more")
		}
	})
}

// A holder that stalls costs those that meet it first a hedge, and then none; when
// it is well again it is asked again.
func TestStalledHolderIsKnown(t *testing.T) {
	for name, n := range map[string]int{"shards that come along": 4000, "shards that do not": 300_000} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { stalledIsKnown(t, noise(1, n)) }) })
	}
}

func stalledIsKnown(t *testing.T, content []byte) {
	f := newFarWorld(t)
	var objects []PutResult
	for range 12 {
		objects = append(objects, f.put(content, options))
	}
	for _, o := range objects {
		f.fetch(4, o.ID, content)
	}
	stalled := f.w.members[2]
	asked := func() int { return stalled.called(storetest.Get) + int(stalled.finds.Load()) }
	stalled.set(storetest.Stall)
	before := asked()
	for range 20 {
		for _, o := range objects {
			f.fetch(1, o.ID, content)
		}
	}
	if n, late := asked()-before, f.late.Load(); n > 6 || late > 6 || late == 0 {
		t.Errorf("of 240 gets %d asked the one that stalls, and %d asked another in the stead of one", n, late)
	}
	stalled.set(storetest.None)
	pass(mostTrouble)
	before = asked()
	for range 3 {
		for _, o := range objects {
			f.fetch(1, o.ID, content)
		}
	}
	if asked() == before {
		t.Error("it is not asked any more")
	}
}

// On a machine that has much to do answers come when they come: what hedges cost
// stays a small part of all.
func TestHedgesCostLittleWhateverTheLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarWorld(t)
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		for _, s := range f.far {
			s.wait = func() time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(random.ExpFloat64() * random.ExpFloat64() * float64(50*time.Millisecond))
			}
		}
		content := noise(1, 300_000)
		stored := f.put(content, options)
		cost, _ := f.fetch(200, stored.ID, content)
		if cost > 1.05 || f.late.Load() == 0 {
			t.Errorf("%.3f bytes came for each that is needed, %d were late", cost, f.late.Load())
		}
	})
}

// teach has a pace know a peer that answers in 100 ms and sends so many bytes a second,
// in a bubble of synctest.
func teach(p *pace, id datamesh.PeerID, rate int) {
	for _, n := range []int{largest, 1 << 20} {
		for range 20 {
			came, end := p.ask(id, n)
			pass(rtt)
			came(0)
			pass(time.Duration(n) * time.Second / time.Duration(rate))
			came(n)
			end(true)
		}
	}
}

var oneFar, twoFar = datamesh.PeerID{1}, datamesh.PeerID{2}

// Of a process that has just begun a large shard that comes slowly is passed by, too;
// and those that share a line with others are not.
func TestLargeShardsOfASlowHolderArePassedByFromTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarWorld(t)
		f.line.rate = 24 << 20
		content := noise(1, 3*datamesh.MaxContent)
		stored := f.put(content, options)
		if cost, _ := f.fetch(1, stored.ID, content); cost > 1.02 || f.late.Load() > 0 {
			t.Errorf("%.3f bytes came for each that is needed, %d were late", cost, f.late.Load())
		}
		one := f.put(content[:datamesh.MaxContent], options)
		f.far[f.w.holder(datamesh.ShardKey{Segment: f.contentSegment(one.ID), Index: 1})].own.rate = 128 << 10
		f.pace = pace{}
		if cost, _ := f.fetch(1, one.ID, content[:datamesh.MaxContent]); cost > 1.25 || f.late.Load() != 1 {
			t.Errorf("%.3f bytes came for each that is needed, %d were late, want one", cost, f.late.Load())
		}
	})
}

// Of who drips another is asked even when hedges have cost all that they may, and of who is
// only slow none is.
func TestDripperIsHedgedWhateverItCosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1 << 20
		var p pace
		teach(&p, twoFar, n)
		other := p.expected(twoFar, n)
		late := func(byBytes int) bool { return p.slow(n, byBytes, 4*time.Second, other) }
		if !late(n/3) || !late(n/100) || late(n*9/10) {
			t.Errorf("with hedges to spare: %v, %v, %v", late(n/3), late(n/100), late(n*9/10))
		}
		p.hedged(mostSpare)
		if late(n/3) || !late(n/100) {
			t.Errorf("without: %v, %v", late(n/3), late(n/100))
		}
	})
}

// A peer that sends some of one shard, and nothing of another, is no better than one that is silent.
func TestPeerThatIsHeardMayBeOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		teach(&p, oneFar, 1<<20)
		teach(&p, twoFar, 1<<20)
		began, needs := time.Now(), p.expected(oneFar, 1<<20)
		came, _ := p.ask(oneFar, 8<<20)
		p.ask(oneFar, 1<<20)
		for range 30 {
			pass(rtt)
			came(largest)
		}
		if left := p.silent(oneFar, 1<<20, began); left <= 0 || !p.overdue(1<<20, time.Since(began), needs) {
			t.Errorf("silent in %v; overdue: %v", left, p.overdue(1<<20, time.Since(began), needs))
		}
		p.late(oneFar, 1<<20, began)
		if one, two := p.expected(oneFar, largest+1), p.expected(twoFar, largest+1); one < 2*two {
			t.Errorf("it is expected to need %v, and another %v", one, two)
		}
	})
}

// What was broken off because it came slowly is remembered.
func TestPeerIsKnownByWhatWasBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		teach(&p, oneFar, 1<<20)
		teach(&p, twoFar, 1<<20)
		came, end := p.ask(oneFar, 1<<20)
		pass(rtt)
		came(0)
		pass(time.Second)
		came(16 << 10)
		end(false)
		if one, two := p.expected(oneFar, 1<<20), p.expected(twoFar, 1<<20); one < 2*two {
			t.Errorf("it is expected to need %v, and another %v", one, two)
		}
	})
}

// A peer that stalls now and then is expected to, and is given no longer for it.
func TestLatePeerIsGivenNoMoreTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		teach(&p, oneFar, 1<<20)
		patience, needs := p.silent(oneFar, largest, time.Now()), p.expected(oneFar, largest)
		for range 20 {
			began := time.Now()
			_, end := p.ask(oneFar, largest)
			pass(3 * patience)
			p.late(oneFar, largest, began)
			end(false)
		}
		if got := p.silent(oneFar, largest, time.Now()); got > patience {
			t.Errorf("it may be silent for %v, and before for %v", got, patience)
		}
		if got := p.expected(oneFar, largest); got < 3*patience {
			t.Errorf("it is expected to need %v, and was late by more than %v", got, 3*patience)
		}
		pass(fadeTime)
		if got := p.expected(oneFar, largest); got > needs {
			t.Errorf("it is expected to need %v when that is long ago, and before %v", got, needs)
		}
	})
}

// That a peer knows where shards are does not mean that it serves its own.
func TestAnswersDoNotMakeUpForShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		p.failed(oneFar)
		p.answered(oneFar, rtt)
		if !p.troubled(oneFar) {
			t.Error("it is asked first again")
		}
		_, end := p.ask(oneFar, largest)
		end(true)
		if p.troubled(oneFar) {
			t.Error("it is asked last although it has served")
		}
	})
}

// What is not known of a peer is taken to be as with the others, and not as nothing, though
// something else is known.
func TestUnknownPeerIsLikeTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		teach(&p, oneFar, 1<<20)
		came, end := p.ask(twoFar, largest)
		pass(rtt)
		came(largest)
		end(true)
		if one, two := p.expected(oneFar, 1<<20), p.expected(twoFar, 1<<20); two < one*9/10 {
			t.Errorf("one that is known is expected to need %v, one that is not %v", one, two)
		}
	})
}

// What the node reads from its own disk says nothing of the lines to others.
func TestOwnShardsSayNothingOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		teach(&p, oneFar, 1<<20)
		before := p.expected(twoFar, 1<<20)
		for range 100 {
			_, end := p.ask(datamesh.PeerID{3}, 1<<20)
			pass(time.Millisecond)
			end(true)
		}
		if own, other := p.expected(datamesh.PeerID{3}, 1<<20), p.expected(twoFar, 1<<20); other != before || own > 2*time.Millisecond {
			t.Errorf("expected of another: %v, before %v; of the node itself: %v", other, before, own)
		}
	})
}

// A late range costs the k others that it is made of.
func TestLateRangeIsChargedForAllThatItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, id, content := ranged(t, newWorld(t, 6))
		u.partIs(id, content, 0, 1000)
		holder := u.w.holder(datamesh.ShardKey{Segment: u.contentSegment(id), Index: 0})
		holder.do(func(m storetest.Method, _ datamesh.ShardKey) storetest.Fault {
			if m == storetest.GetRange {
				return storetest.Stall
			}
			return storetest.None
		})
		u.pace.spent = 0
		u.partIs(id, content, 0, 1000)
		if frame := int64(64 << 10); u.pace.spent < 3*frame {
			t.Errorf("%d bytes were charged for %d frames", u.pace.spent, options.K)
		}
	})
}
