package repair

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/placement"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// pass lets time go by, in a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }

// repaired lets enough time go by for all registrars to have their turn.
func repaired() { pass(testGrace + 9*backoff + time.Minute) }

// wantSafe checks that segments are as safe as the members that are there
// allow, and how many shards more than they have there are.
func (w *world) wantSafe(what string, all []*storetest.Sample, surplus int) {
	w.t.Helper()
	members := 0
	for _, m := range w.members {
		if !m.down {
			members++
		}
	}
	extra := 0
	for _, s := range all {
		holders := w.held(s)
		if got, want := placement.Survives(holders, s.K), placement.BestSurvives(members, s.K, s.M); got < want {
			w.t.Errorf("%s: %s survives %d, want %d", what, s.Segment, got, want)
		}
		for i, who := range holders {
			extra += len(who) - 1
			for _, peer := range who {
				s.Check(w.t, w.member(peer).disk, i)
			}
		}
	}
	if extra != surplus {
		w.t.Errorf("%s: %d shards more than there should be, want %d", what, extra, surplus)
	}
}

// Whoever goes, what it held is rebuilt, once, from k others.
func TestLostShardsAreRebuilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		defer w.end()
		all := w.put(40, 4, 2)
		w.run(w.members...)
		pass(10 * time.Minute)
		if gets, puts := w.moved(); gets+puts > 0 {
			t.Errorf("%d shards were read and %d written of what is whole", gets, puts)
		}
		for _, dead := range [][]*member{w.members[:2], w.members[2:3], w.members[3:4]} {
			gets, puts := w.moved()
			missing, segments := 0, 0
			for _, m := range dead {
				m.down = true
			}
			for _, s := range all {
				n := 0
				for _, who := range w.held(s) {
					if len(who) == 0 {
						n++
					}
				}
				if missing += n; n > 0 {
					segments++
				}
			}
			w.kill(dead...)
			repaired()
			w.wantSafe("after a loss", all, 0)
			nowGets, nowPuts := w.moved()
			if got := nowPuts - puts; got != missing {
				t.Errorf("%d shards were written for %d that were missing", got, missing)
			}
			if got := nowGets - gets; got > 4*segments {
				t.Errorf("%d shards were read for %d segments", got, segments)
			}
		}
	})
}

// While a member may return nothing is rebuilt of what can lose more.
func TestMembersThatReturnInTimeCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8)
		defer w.end()
		all := w.put(20, 4, 2)
		w.run(w.members...)
		w.kill(w.members[0])
		pass(testGrace / 2)
		w.back(w.members[0])
		repaired()
		if gets, puts := w.moved(); gets+puts > 0 {
			t.Errorf("%d shards were read and %d written", gets, puts)
		}
		w.wantSafe("after a short absence", all, 0)
	})
}

// Who returns with an empty disk says so, and gets back what is missing.
func TestMemberThatLostItsDiskIsMadeWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		defer w.end()
		all := w.put(20, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		m := w.members[2]
		w.kill(m)
		if err := m.disk.Close(); err != nil {
			t.Fatal(err)
		}
		m.open(1 << 40)
		t.Cleanup(func() { m.disk.Close() })
		pass(time.Second)
		w.back(m)
		repaired()
		w.wantSafe("after the loss of a disk", all, 0)
		if n := m.disk.Usage().Shards; n != 20 {
			t.Errorf("the member has %d shards, want one of each of 20 segments", n)
		}
	})
}

// What doubles up in a small mesh spreads when members join.
func TestSegmentsSpreadWhenMembersJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		defer w.end()
		all := w.put(10, 4, 2)
		w.run(w.members...)
		for range 6 {
			w.run(w.add(1 << 40))
			repaired()
			members := len(w.members)
			for _, s := range all {
				if got, want := placement.Survives(w.held(s), 4), placement.BestSurvives(members, 4, 2); got < want {
					t.Errorf("%d members: a segment survives %d, want %d", members, got, want)
				}
			}
		}
	})
}

// Registrars that become that learn who holds what from the holders.
func TestNewRegistrarsLearnWhoHoldsWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 14)
		defer w.end()
		all := w.put(30, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		w.kill(w.members[:3]...)
		w.run(w.add(1<<40), w.add(1<<40))
		repaired()
		for _, s := range all {
			holders := w.held(s)
			for _, peer := range registrars(w.View(), s.Descriptor) {
				_, holdings, err := w.member(peer).disk.Locate(t.Context(), s.Segment)
				if err != nil {
					t.Errorf("a registrar does not know a segment: %v", err)
					continue
				}
				for i, who := range holders {
					for _, holder := range who {
						if !slices.ContainsFunc(holdings, func(h store.Holding) bool { return h.Index == i && h.Peer == holder }) {
							t.Errorf("a registrar does not know who holds a shard")
						}
					}
				}
			}
		}
	})
}

// Who was away when a segment was deleted learns of it, and brings it to nobody.
func TestDeletedSegmentsDoNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8)
		defer w.end()
		all := w.put(10, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		away := w.members[1:3]
		w.kill(away...)
		for _, s := range all {
			for _, m := range w.members {
				if !m.down {
					if err := m.disk.Drop(t.Context(), s.Deletion(1)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		repaired()
		w.back(away...)
		repaired()
		for _, m := range w.members {
			if n := m.disk.Usage().Shards; n > 0 {
				t.Errorf("a member holds %d shards of what was deleted", n)
			}
		}
	})
}

// Who returns after what it held was rebuilt leaves no shard more than there
// should be, whoever gives it up.
func TestMemberThatReturnsLateLeavesNoSurplus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		defer w.end()
		all := w.put(30, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		w.kill(w.members[3])
		repaired()
		w.wantSafe("after a loss", all, 0)
		before := 0
		for _, m := range w.members {
			before += m.disk.Usage().Shards
		}
		if before <= 6*len(all) {
			t.Fatal("nothing was rebuilt")
		}
		w.back(w.members[3])
		pass(time.Hour)
		w.wantSafe("after its return", all, 0)
		for _, s := range all {
			held, track := w.held(s), registrars(w.View(), s.Descriptor)
			for _, m := range w.members {
				_, holdings, err := m.disk.Locate(t.Context(), s.Segment)
				if !slices.Contains(track, m.id) && len(holdings) > 0 {
					t.Errorf("a member keeps track of a segment that it is no registrar of")
				}
				if slices.Contains(track, m.id) && (err != nil || len(holdings) != 6) {
					t.Errorf("a registrar knows of %d holders, %v", len(holdings), err)
				}
				for _, h := range holdings {
					if !slices.Contains(held[h.Index], h.Peer) {
						t.Errorf("a peer is said to hold a shard that it gave up")
					}
				}
			}
		}
	})
}

// A shard is kept when the only other copy does not prove to be there, and when
// its holder promises nothing.
func TestNothingIsGivenUpForAnEmptyPromise(t *testing.T) {
	for what, lie := range map[string]func(m *member){
		"has a damaged copy": func(m *member) {
			m.store = &storetest.Faulty{ShardStore: m.disk, Plan: func(method storetest.Method, _ datamesh.ShardKey) storetest.Fault {
				if method == storetest.Get || method == storetest.GetRange {
					return storetest.Corrupt
				}
				return storetest.None
			}}
		},
		"makes no promise": func(m *member) { m.registry.keeper.Store(nil) },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 8)
			defer w.end()
			s := w.put(1, 4, 2)[0]
			holders := w.held(s)
			other := w.members[slices.IndexFunc(w.members, func(m *member) bool {
				return !slices.ContainsFunc(holders, func(who []datamesh.PeerID) bool { return who[0] == m.id })
			})]
			s.Put(t, other.disk, 0)
			first := w.member(holders[0][0])
			w.run(w.members...)
			lie(other)
			lie(first)
			pass(2 * time.Hour)
			if n := len(w.held(s)[0]); n != 2 {
				t.Errorf("of two copies whose holder %s there are %d left", what, n)
			}
		})
	}
}

// Somebody who has no shard, and answers with what he is served by the one that
// has it, does not have that one give it up.
func TestNothingIsGivenUpForAProofThatIsOnesOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8)
		defer w.end()
		s := w.put(1, 4, 2)[0]
		holders := w.held(s)
		liar := w.members[slices.IndexFunc(w.members, func(m *member) bool {
			return !slices.ContainsFunc(holders, func(who []datamesh.PeerID) bool { return who[0] == m.id })
		})]
		liar.store = &relay{liar.disk, func() []datamesh.ShardStore {
			var all []datamesh.ShardStore
			for _, m := range w.members {
				if m != liar {
					all = append(all, (&seen{w, liar.id}).Shards(m.id))
				}
			}
			return all
		}}
		w.run(w.members...)
		for i := range s.Bytes { // he says that he has them all
			for _, m := range w.members {
				if err := m.disk.Report(t.Context(), []store.Report{{Descriptor: s.Descriptor, Holdings: []store.Holding{{Index: i, Peer: liar.id}}}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 10 {
			pass(testGrace + time.Minute)
			for _, m := range w.members {
				if k := m.registry.keeper.Load(); m != liar {
					for i := range s.Bytes {
						k.Spare(s.Key(i))
					}
				}
			}
		}
		for i, who := range w.held(s) {
			if len(who) == 0 {
				t.Errorf("shard %d is gone", i)
			}
		}
	})
}

// relay is the store of one who has nothing, and asks others.
type relay struct {
	*store.Disk
	others func() []datamesh.ShardStore
}

func (r *relay) Has(_ context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	return slices.Repeat([]bool{true}, len(keys)), nil
}

func (r *relay) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	for _, o := range r.others() {
		if d, shard, err := o.Get(ctx, key, buf); err == nil {
			return d, shard, nil
		}
	}
	return nil, nil, errAway
}

func (r *relay) GetRange(ctx context.Context, key datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	for _, o := range r.others() {
		if d, slice, err := o.GetRange(ctx, key, off, n); err == nil {
			return d, slice, nil
		}
	}
	return nil, nil, errAway
}
