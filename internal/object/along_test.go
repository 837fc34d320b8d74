package object

import (
	"testing"
	"testing/synctest"
	"time"

	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// gets counts the shards that were asked for by themselves.
func (w *world) gets() (n int64) {
	for _, m := range w.members {
		n += int64(m.called(storetest.Get))
	}
	return n - w.along.Load()
}

// The registrars that are asked first are those that hold the data shards, so that
// a small object is read without asking for any of its shards by itself.
func TestSmallGetIsOneRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, members := range []int{6, 9, 40} {
			w := newWorld(t, members)
			u := newUser(t, w)
			content := noise(1, 5000)
			result := u.put(content, options)
			before := w.along.Load()
			u.get(result.ID, content)
			if got, along := w.gets(), w.along.Load()-before; got != 0 || along != 4 {
				t.Errorf("%d members: %d shards were asked for, %d came along, want 0 and 4", members, got, along)
			}
		}
	})
}

// A shard that does not come along is asked for, wherever it is.
func TestWhatDoesNotComeAlongIsAskedFor(t *testing.T) {
	for name, change := range map[string]func(*world, []*member){
		"two have lost it": func(_ *world, near []*member) {
			near[0].store, near[1].store = store.NewMemory(1<<20), store.NewMemory(1<<20)
		},
		"two are dead": func(w *world, near []*member) { w.kill(near[:2]...) },
		"two have the same": func(w *world, near []*member) {
			key := near[1].holds(w.t)[0]
			d, shard, err := near[1].store.Get(w.t.Context(), key, nil)
			if err == nil {
				near[0].store = store.NewMemory(1 << 20)
				err = near[0].store.Put(w.t.Context(), d, key.Index, shard)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		},
		"there are two members": nil,
	} {
		members := 6
		if change == nil {
			members = 2
		}
		w := newWorld(t, members)
		u := newUser(t, w)
		content := noise(2, 5000)
		result := u.put(content, options)
		if change != nil {
			change(w, w.nearest(result.ID))
		}
		t.Log(name)
		u.get(result.ID, content)
	}
}

// While a registrar may still send its shard along nobody is asked for it; when it
// is late another is, once.
func TestWhoIsLateIsPassedBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, slow := range map[string]time.Duration{"slow": minPatience / 2, "late": 10 * newPatience} {
			w := newWorld(t, 6)
			u := newUser(t, w)
			content := noise(3, 5000)
			result := u.put(content, options)
			w.nearest(result.ID)[2].slow = slow
			began := time.Now()
			u.get(result.ID, content)
			took := time.Since(began)
			switch {
			case name == "slow" && (w.gets() != 0 || took != slow):
				t.Errorf("slow: %d shards were asked for, in %v", w.gets(), took)
			case name == "late" && w.gets() != 1:
				t.Errorf("late: %d shards were asked for", w.gets())
			}
		}
	})
}

// A large shard does not come along, and is not fetched twice.
func TestLargeShardsDoNotComeAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		content := noise(4, 2_000_000)
		result := u.put(content, options)
		before := w.gets()
		u.get(result.ID, content)
		if got := w.gets() - before; got != 4 { // the manifest's came along
			t.Errorf("%d shards were asked for, want 4", got)
		}
	})
}

// Who sends a wrong shard along is named as one is that was asked for it.
func TestWhoSendsAWrongShardAlongIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fault := range []storetest.Fault{storetest.Corrupt, storetest.Short} {
			for lost := 1; lost <= 2; lost++ {
				w := newWorld(t, 6)
				u := newUser(t, w)
				content := noise(5, 5000)
				result := u.put(content, options)
				bad := w.nearest(result.ID)[:lost]
				for _, m := range bad {
					m.set(fault)
				}
				if found := u.get(result.ID, content); !names(found, bad...) {
					t.Errorf("fault %d, %d lost: bad %v", fault, lost, found)
				}
			}
		}
	})
}

// Of copies one comes along.
func TestOneCopyComesAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		content := noise(6, 1000)
		result := u.put(content, options)
		u.get(result.ID, content)
		if along, asked := w.along.Load(), w.gets(); along+asked != 1 {
			t.Errorf("%d came along, %d were asked for, want one", along, asked)
		}
	})
}
