package repair

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/storetest"
	"datamesh/internal/transfer"

	"golang.org/x/sync/errgroup"
)

// say has members carry out an owner's word, as those do whom a client tells.
func (w *world) say(del *datamesh.Deletion, members ...*member) {
	w.t.Helper()
	for _, m := range members {
		if err := m.registry.Guard(m.disk).Drop(w.t.Context(), del); err != nil {
			w.t.Fatal(err)
		}
	}
}

// there returns the members that are there, on a side.
func (w *world) there(side int) []*member {
	return slices.DeleteFunc(slices.Clone(w.members), func(m *member) bool { return m.down || m.side != side })
}

// wantGone checks that nobody who is there holds any of some segments.
func (w *world) wantGone(what string, all []*storetest.Sample) {
	w.t.Helper()
	for _, s := range all {
		for i, who := range w.held(s) {
			if len(who) > 0 {
				w.t.Errorf("%s: shard %s/%d is held, and was deleted", what, s.Segment, i)
			}
		}
	}
}

// Whoever keeps owners' words hands them over to those that come in its place,
// so that a member that was away when something was deleted is told even if
// nobody is left of those who were there.
func TestWordsAreHandedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8)
		defer w.end()
		all := w.put(10, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		first := slices.Clone(w.members)
		away := first[0]
		w.kill(away)
		for _, s := range all {
			w.say(s.Deletion(1), w.there(0)...)
		}
		for range 16 {
			w.run(w.add(1 << 40))
		}
		pass(3 * time.Hour)
		for _, m := range first[1:] {
			w.kill(m)
			pass(10 * time.Minute)
		}
		for _, s := range all {
			for _, peer := range registrars(w.View(), s.Descriptor) {
				if del, err := w.member(peer).disk.Deletion(t.Context(), s.Segment); err != nil || del.Generation != 1 {
					t.Errorf("a registrar does not have the owner's word: %v, %v", del, err)
				}
			}
		}
		w.back(away)
		pass(2 * time.Hour)
		w.wantGone("after a return", all)
	})
}

// Words that are not a member's to keep are forgotten once all have them whose
// they are, but not while the trash has what they may bring back.
func TestWordsAreForgottenByThoseWhoNeedNotKeepThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 24)
		defer w.end()
		all := w.put(10, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		for _, s := range all {
			w.say(s.Deletion(1), w.members...)
		}
		extra := func() (n int) {
			for _, m := range w.members {
				list, err := m.disk.Words(t.Context(), datamesh.SegmentID{}, 100)
				if err != nil {
					t.Fatal(err)
				}
				for _, del := range list {
					if !mayTrack(w.View(), del.Descriptor, m.id) {
						n++
					}
				}
			}
			return n
		}
		if extra() == 0 {
			t.Fatal("nobody has a word that is not its own to keep")
		}
		pass(3 * time.Hour)
		if n := extra(); n > 6*len(all) { // those who have the shards
			t.Errorf("%d words are kept by others than they should", n)
		}
		for _, m := range w.members {
			if _, err := m.disk.Purge(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		pass(3 * time.Hour)
		if n := extra(); n > 0 {
			t.Errorf("%d words are kept by others than they should, without trash", n)
		}
		for _, s := range all {
			for _, peer := range registrars(w.View(), s.Descriptor) {
				if _, err := w.member(peer).disk.Deletion(t.Context(), s.Segment); err != nil {
					t.Errorf("a registrar has forgotten an owner's word: %v", err)
				}
			}
		}
	})
}

// When all have heard, there is nothing left to tell.
func TestWordsThatAllHaveAreNotTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 12)
		defer w.end()
		all := w.put(20, 4, 2)
		var keepers []*Keeper
		for _, m := range w.members {
			keepers = append(keepers, w.keep(m))
		}
		pass(time.Minute)
		for i, s := range all {
			w.say(s.Deletion(uint64(1+i%2)), w.members[:8]...)
		}
		differ := func() (n int) {
			for _, k := range keepers {
				sums, err := k.sums(t.Context(), Announce{})
				if err != nil {
					t.Fatal(err)
				}
				for peer, s := range sums {
					ranges, err := k.net.Compare(t.Context(), peer, s)
					if err != nil {
						t.Fatal(err)
					}
					n += len(ranges)
				}
			}
			return n
		}
		if differ() == 0 {
			t.Fatal("nobody has missed a word")
		}
		pass(2 * time.Hour)
		if n := differ(); n > 0 {
			t.Errorf("%d ranges still differ", n)
		}
	})
}

// What is brought back is brought back by those, too, who were away when the
// owner said so.
func TestWhatIsBroughtBackIsWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 12)
		defer w.end()
		all := w.put(15, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		for _, s := range all {
			w.say(s.Deletion(1), w.members...)
		}
		pass(time.Hour)
		w.wantGone("after a deletion", all)
		away := w.members[3:5]
		w.kill(away...)
		for _, s := range all {
			w.say(s.Deletion(2), w.there(0)...)
		}
		repaired()
		w.wantSafe("without those that are away", all, 0)
		w.back(away...)
		pass(4 * time.Hour)
		w.wantSafe("after their return", all, 0)
		for _, m := range w.members {
			if u := m.disk.Usage(); u.Trash > 0 {
				t.Errorf("a member has %d bytes in the trash", u.Trash)
			}
		}
	})
}

// Who says an old word again does not have what was brought back since deleted,
// nor by those who have had nothing of it then.
func TestOldWordsAreRefusedByNewHolders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 20) // more than keep words
		defer w.end()
		all := w.put(6, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		for _, generation := range []uint64{1, 2} {
			for _, s := range all {
				w.say(s.Deletion(generation), w.members...)
			}
		}
		pass(3 * time.Hour)                // whoever need not keep words has forgotten them
		for _, m := range w.members[:14] { // others than the registrars are to hold something
			m.store = &fullStore{m.disk}
		}
		for _, m := range w.members[:6] {
			w.kill(m)
			pass(time.Hour)
		}
		w.wantSafe("after a loss", all, 0)
		for _, s := range all {
			w.say(s.Deletion(1), w.there(0)...)
		}
		w.wantSafe("after an old word", all, 0)
	})
}

// Who was away for long asks before it tells what it holds, and a part of the
// mesh does not answer for all of it.
func TestLongAbsentMemberAsksFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 9)
		defer w.end()
		all := w.put(10, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		away := w.members[0]
		w.kill(away)
		deleted, kept := all[:5], all[5:]
		for _, s := range deleted {
			w.say(s.Deletion(1), w.there(0)...)
		}
		repaired()
		fresh := w.add(1 << 40) // does not run yet, and so knows nothing
		fresh.side, away.side = 1, 1
		away.setDown(false)
		w.see()
		k := w.keep(away)
		k.Absent()
		pass(2 * time.Hour)
		if list, err := fresh.disk.Track(t.Context(), datamesh.SegmentID{}, 10); err != nil || len(list) > 0 {
			t.Errorf("a member that was away for long has told of %d segments, %v", len(list), err)
		}
		w.part()
		w.run(fresh)
		pass(3 * time.Hour)
		w.wantGone("after the return", deleted)
		w.wantSafe("after the return", kept, 0)
		if k.absent.Load() {
			t.Error("it still takes itself for one that was away")
		}
	})
}

// seeds is how many runs at random there are: one with the race detector, with
// which each takes minutes.
var seeds = 3

// Whatever is put, deleted and brought back while members come and go and do
// not all reach each other: in the end what was not deleted is whole, what was
// deleted is nowhere, and there is nothing too many.
func TestNothingThatIsDeletedReturns(t *testing.T) {
	t.Parallel()
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { deleteAtRandom(t, uint64(seed)) })
		})
	}
}

func deleteAtRandom(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, 10)
	defer w.end()
	w.run(w.members...)
	type object struct {
		*storetest.Sample
		generation uint64
	}
	var all []*object
	away := 0
	for step := range 30 {
		side := random.IntN(2)
		if len(w.there(side)) < 5 {
			side = 1 - side
		}
		switch what := random.IntN(10); {
		case what < 3:
			for _, s := range w.putFrom(side, 1000*step, 2, 4, 2) {
				all = append(all, &object{s, 0})
			}
		case what < 6 && len(all) > 0: // two devices of one owner may say the same, or one more than the other
			o := all[random.IntN(len(all))]
			generation, _ := datamesh.NextGeneration(o.generation, random.IntN(3) > 0)
			listeners := w.there(side)
			n := len(registrars(w.viewOf(side), o.Descriptor))
			if len(listeners) < n/2+1 {
				break
			}
			w.say(o.Deletion(generation), listeners...)
			o.generation = max(o.generation, generation)
		case what < 7 && away == 0:
			w.kill(w.members[random.IntN(len(w.members))])
			away++
		case what < 8 && away > 0:
			for _, m := range w.members {
				if m.down {
					w.back(m)
				}
			}
			away = 0
		case what < 9:
			var few []*member
			if random.IntN(2) == 0 {
				few = w.members[:1+random.IntN(3)]
			}
			w.part(few...)
		}
		pass(time.Duration(random.IntN(10)) * time.Minute)
	}
	w.part()
	for _, m := range w.members {
		if m.down {
			w.back(m)
		}
	}
	pass(5 * time.Hour)
	var kept, gone []*storetest.Sample
	for _, o := range all {
		if o.Deletion(o.generation).Gone() {
			gone = append(gone, o.Sample)
		} else {
			kept = append(kept, o.Sample)
		}
	}
	t.Logf("seed %d: %d segments are kept, %d are deleted", seed, len(kept), len(gone))
	w.wantGone(fmt.Sprintf("seed %d", seed), gone)
	w.wantSafe(fmt.Sprintf("seed %d", seed), kept, 0)
	var used int64
	for _, m := range w.members {
		u := m.disk.Usage()
		if used += int64(u.Shards); u.Used+u.Trash+u.Reserve+u.Free != u.Capacity {
			t.Errorf("seed %d: %+v does not add up", seed, u)
		}
	}
	if want := int64(6 * len(kept)); used != want {
		t.Errorf("seed %d: %d shards are held, want %d", seed, used, want)
	}
}

// A member that asks for all words of a range does not have all of them brought
// into memory at once, and one that keeps many, and no shards, has not all of them
// told for one that differs.
func TestManyWordsAreToldInParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	m, other := w.members[0], w.members[1]
	var group errgroup.Group
	group.SetLimit(256)
	for seed := range uint64(maxNewer + 100) {
		s := storetest.Segment(t, seed, 1, 0, 10)
		group.Go(func() error { return m.disk.Drop(t.Context(), s.Deletion(1)) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	_, newer, err := m.registry.Words(t.Context(), other.id, transfer.Words{Between: true, Last: last})
	if err != nil || len(newer) != maxNewer {
		t.Errorf("%d words in an answer, %v, want %d", len(newer), err, maxNewer)
	}
	k := NewKeeper(&seen{w, m.id}, m.registry, Config{Self: m.id}, 0, Events{})
	sums, err := k.sums(t.Context(), Announce{})
	if err != nil || sums[other.id].Len() < 16 {
		t.Errorf("%d sums, %v, of %d words", sums[other.id].Len(), err, maxNewer+100)
	}
}

// All are told what a member holds when a word has brought some of that back,
// and not when somebody says it again, or says one on what is not there.
func TestWordsThatBringNothingBackAreNotTold(t *testing.T) {
	t.Parallel()
	here, elsewhere := storetest.Segment(t, 1, 2, 1, 100), storetest.Segment(t, 2, 2, 1, 100)
	for _, who := range []string{"a client", "a member"} {
		w := newWorld(t, 1)
		m := w.members[0]
		k := NewKeeper(&seen{w, m.id}, m.registry, Config{Self: m.id}, 0, Events{})
		here.Put(t, m.disk, 0)
		drop := k.drop
		if who == "a client" {
			drop = m.registry.Guard(m.disk).Drop
		}
		for _, tt := range []struct {
			what string
			del  *datamesh.Deletion
			want int
		}{
			{"of nothing", elsewhere.Deletion(2), 0},
			{"of what was never deleted", here.Deletion(2), 0},
			{"a deletion", here.Deletion(3), 0},
			{"an older one", here.Deletion(2), 0},
			{"a deletion of nothing", elsewhere.Deletion(3), 0},
			{"of nothing in the trash", elsewhere.Deletion(4), 0},
			{"of what was deleted", here.Deletion(4), 1},
			{"the same again", here.Deletion(4), 1},
		} {
			if err := drop(t.Context(), tt.del); err != nil {
				t.Fatal(err)
			}
			if got := len(k.lost); got != tt.want {
				t.Errorf("a word by %s, %s: all are told: %d, want %d", who, tt.what, got, tt.want)
			}
		}
	}
}
