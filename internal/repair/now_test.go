package repair

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

// missing returns how many shards nobody has who is there.
func (w *world) missing(all []*storetest.Sample) (n int) {
	w.t.Helper()
	for _, s := range all {
		for _, who := range w.held(s) {
			if len(who) == 0 {
				n++
			}
		}
	}
	return n
}

// now asks all members that are there, one after the other.
func (w *world) now(ask func(k *Keeper) (Round, error)) (sum Round) {
	w.t.Helper()
	for _, m := range w.members {
		if m.down {
			continue
		}
		r, err := ask(m.registry.keeper.Load())
		if err != nil {
			w.t.Fatal(err)
		}
		sum.Repaired += r.Repaired
		sum.Failed += r.Failed
		sum.Shards += r.Shards
		sum.Bytes += r.Bytes
		sum.Weak = append(sum.Weak, r.Weak...)
		sum.Placed = append(sum.Placed, r.Placed...)
	}
	return sum
}

// Nobody has to wait for the grace, and no shard is written twice.
func TestNowRepairsWithinTheGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 11)
		defer w.end()
		all := w.put(10, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		w.kill(w.members[4:6]...)
		began, missing := time.Now(), w.missing(all)
		gets, puts := w.moved()
		var told atomic.Int64
		sum := w.now(func(k *Keeper) (Round, error) { return k.Now(t.Context(), func(n int) { told.Add(int64(n)) }) })
		if now := time.Now(); now.Sub(began) >= urgent {
			t.Errorf("it took %v", now.Sub(began)) // of virtual time: it has waited for the grace
		}
		w.wantSafe("after all were asked", all, 0)
		nowGets, nowPuts := w.moved()
		if missing == 0 || sum.Shards != missing || nowPuts-puts != missing || len(sum.Placed) != missing || sum.Failed > 0 {
			t.Errorf("%d shards were missing, %d written: got %+v", missing, nowPuts-puts, sum)
		}
		if most := 4 * sum.Repaired; nowGets-gets > most {
			t.Errorf("%d shards were read for %d segments", nowGets-gets, sum.Repaired)
		}
		if told.Load() != sum.Bytes {
			t.Errorf("%d bytes were told of on the way, and %d at the end", told.Load(), sum.Bytes)
		}
		for _, p := range sum.Placed {
			if !p.Missing {
				t.Errorf("a shard that was missing is said to stand better: %+v", p)
			}
		}
		if again := w.now(func(k *Keeper) (Round, error) { return k.Now(t.Context(), nil) }); again.Shards > 0 || again.Failed > 0 {
			t.Errorf("of what is whole: got %+v", again)
		}
	})
}

// Look says what Now then does, and does nothing.
func TestLookSaysWhatNowDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 7) // each is a registrar of all
		defer w.end()
		all := w.put(8, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		w.kill(w.members[0])
		missing, m := w.missing(all), w.members[2]
		gets, puts := w.moved()
		k := m.registry.keeper.Load()
		look, err := k.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if nowGets, nowPuts := w.moved(); nowGets != gets || nowPuts != puts || w.missing(all) != missing || missing == 0 {
			t.Errorf("%d shards were read and %d written", nowGets-gets, nowPuts-puts)
		}
		now, err := k.Now(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if look.Segments != len(all) || look.Shards != missing || look.Segments != now.Segments || look.Waiting != now.Waiting ||
			look.Repaired != now.Repaired || look.Shards != now.Shards || look.Bytes != now.Bytes || look.Failed+now.Failed > 0 {
			t.Errorf("looked: %+v\ndone: %+v", look, now)
		}
		w.wantSafe("afterwards", all, 0)
	})
}

// What cannot be repaired is told of once, with the reason.
func TestNowTellsWhatIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 7)
		defer w.end()
		all := w.put(10, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		w.kill(w.members[:3]...)
		lost := 0
		for _, s := range all {
			left := 0
			for _, who := range w.held(s) {
				left += len(who)
			}
			if left < 4 {
				lost++
			}
		}
		ask := w.members[3].registry.keeper.Load()
		for _, f := range []func(context.Context) (Round, error){ask.Look, func(ctx context.Context) (Round, error) { return ask.Now(ctx, nil) }} {
			r, err := f(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if lost == 0 || r.Failed != lost || len(r.Weak) != lost || r.Repaired != len(all)-lost || !errors.Is(r.Weak[0].Reason, errs.Unavailable) {
				t.Errorf("%d segments are lost: got %+v", lost, r)
			}
		}
		w.back(w.members[:3]...)
		if r, err := ask.Now(t.Context(), nil); err != nil || r.Failed > 0 {
			t.Errorf("when they are back: got %+v, %v", r, err)
		}
	})
}

// Only one call waits at a time. What was begun goes on when nobody waits for
// it, and is not what the next call is told.
func TestCallsOfNowDoNotMix(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 7)
		all := w.put(8, 4, 2)
		m := w.members[1]
		slow := make(chan struct{})
		w.run(w.members...)
		pass(time.Minute)
		w.kill(w.members[0])
		k := m.registry.keeper.Load()

		ctx, cancel := context.WithCancel(t.Context())
		var first sync.WaitGroup
		first.Go(func() {
			if _, err := k.Now(ctx, func(int) { <-slow }); !errors.Is(err, context.Canceled) {
				t.Errorf("who goes away: got %v", err)
			}
		})
		synctest.Wait()
		if _, err := k.Now(t.Context(), nil); !errors.Is(err, errs.Locked) {
			t.Errorf("a second call: got %v, want Locked", err)
		}
		cancel()
		first.Wait()
		close(slow)
		if r, err := k.Now(t.Context(), nil); err != nil || r.Segments != len(all) || r.Failed > 0 {
			t.Errorf("the next call: got %+v, %v", r, err)
		}
		w.wantSafe("afterwards", all, 0)

		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if _, err := k.Now(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		if _, err := k.Look(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Look with a context that has ended: %v", err)
		}
		w.end()
		if _, err := k.Now(t.Context(), nil); !errors.Is(err, errs.Unavailable) {
			t.Errorf("of a keeper that has ended: %v", err)
		}
	})
}

// What is repaired, read, refused and told of is told of as it happens.
func TestEventsTellWhatWasDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 7)
		defer w.end()
		all := w.put(8, 4, 2)
		m := w.members[1]
		var placed, bytes, compared, restored atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		k := NewKeeper(&seen{w, m.id}, m.registry, Config{Self: m.id, Grace: testGrace, Interval: time.Hour}, 0, Events{
			Placed:   func(Placed) { placed.Add(1) },
			Read:     func(n int) { bytes.Add(int64(n)) },
			Compared: func(int) { compared.Add(1) },
			Restored: func(took time.Duration) {
				if took < 0 || took > time.Minute {
					t.Errorf("a segment took %v", took)
				}
				restored.Add(1)
			},
		})
		done := make(chan struct{})
		m.stop = func() { cancel(); <-done }
		go func() {
			defer close(done)
			k.Run(ctx, m.changed)
		}()
		pass(2 * settle)
		if n := compared.Load(); n != int64(len(w.members)) {
			t.Errorf("%d inventories were told of, want one for each of %d members", n, len(w.members))
		}
		w.kill(w.members[0])
		gets, _ := w.moved()
		r, err := k.Now(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := restored.Load(); n == 0 || n != int64(r.Repaired) {
			t.Errorf("%d segments are told of, want %d", n, r.Repaired)
		}
		nowGets, _ := w.moved()
		if want := (nowGets - gets) * all[0].ShardLen(); placed.Load() != int64(r.Shards) || r.Shards == 0 || bytes.Load() != int64(want) {
			t.Errorf("%d of %d shards are told of, and %d bytes, want %d", placed.Load(), r.Shards, bytes.Load(), want)
		}
		synctest.Wait() // until the keeper has counted
		if k.Waiting() != 0 {
			t.Errorf("%d segments wait", k.Waiting())
		}
		w.kill(w.members[2])
		pass(2 * settle)
		if k.Waiting() == 0 {
			t.Error("within the grace nothing waits")
		}
	})
}
