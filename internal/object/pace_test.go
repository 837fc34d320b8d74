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
	gets     atomic.Int64
	received *atomic.Int64 // by the client
}

func (s *farStore) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	s.gets.Add(1)
	d, shard, err := s.ShardStore.Get(ctx, key, buf)
	if err != nil {
		return d, shard, err
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
	synctest.Test(t, func(t *testing.T) {
		f := newFarWorld(t)
		var objects []PutResult
		content := noise(1, 4000)
		for range 12 {
			objects = append(objects, f.put(content, options))
		}
		for _, o := range objects {
			f.fetch(4, o.ID, content)
		}
		stalled := f.w.members[2]
		stalled.set(storetest.Stall)
		before := stalled.called(storetest.Get)
		for range 20 {
			for _, o := range objects {
				f.fetch(1, o.ID, content)
			}
		}
		if asked, late := stalled.called(storetest.Get)-before, f.late.Load(); asked > 6 || late > 6 || late == 0 {
			t.Errorf("of 240 gets %d asked the one that stalls, and %d asked another in the stead of one", asked, late)
		}
		stalled.set(storetest.None)
		pass(fadeTime)
		before = stalled.called(storetest.Get)
		for range 3 {
			for _, o := range objects {
				f.fetch(1, o.ID, content)
			}
		}
		if stalled.called(storetest.Get) == before {
			t.Error("it is not asked any more")
		}
	})
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
