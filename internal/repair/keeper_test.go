package repair

import (
	"context"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
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
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		defer w.end()
		all := w.put(15, 4, 2)
		w.run(w.members...)
		pass(10 * time.Minute)
		if gets, puts := w.moved(); gets+puts > 0 {
			t.Errorf("%d shards were read and %d written of what is whole", gets, puts)
		}
		for _, dead := range [][]*member{w.members[:2], w.members[2:3], w.members[3:4]} {
			gets, puts := w.moved()
			missing, segments := 0, 0
			for _, m := range dead {
				m.setDown(true)
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 14)
		defer w.end()
		all := w.put(15, 4, 2)
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

// A registrar that begins anew without what it knew is told again, though
// nobody has seen it away.
func TestRegistrarThatLostItsIndexIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		defer w.end()
		all := w.put(5, 4, 2)
		w.run(w.members...)
		pass(10 * time.Minute)
		m := w.members[2]
		m.stop()
		if err := m.disk.Close(); err != nil {
			t.Fatal(err)
		}
		m.open(1 << 40)
		t.Cleanup(func() { m.disk.Close() })
		w.renew(m)
		w.run(m)
		pass(time.Minute)
		knows, want := 0, 0
		for _, s := range all {
			if !slices.Contains(registrars(w.View(), s.Descriptor), m.id) {
				continue
			}
			for _, who := range w.held(s) {
				want += len(who)
			}
			_, holdings, _ := m.disk.Locate(t.Context(), s.Segment)
			knows += len(holdings)
		}
		if knows != want || want == 0 {
			t.Errorf("a registrar that has lost what it knew knows of %d shards of %d", knows, want)
		}
	})
}

// A change of the members has those told whom it makes registrars, and no one
// else; the interval has all told.
func TestOnlyNewRegistrarsAreToldAfterAChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	self := w.add(1 << 40)
	for range 60 {
		w.meet(1 << 40)
	}
	coded(t, 1, 4, 2).Put(t, self.disk, 0)
	k := NewKeeper(&seen{w, self.id}, self.registry, Config{Self: self.id}, 0, Events{})
	since := w.View()
	track := registrars(since, coded(t, 1, 4, 2).Descriptor)
	told := func(x Announce) []datamesh.PeerID {
		sums, err := k.sums(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		return slices.SortedFunc(maps.Keys(sums), comparePeers)
	}
	i := slices.IndexFunc(w.members, func(m *member) bool { return m != self && !slices.Contains(track, m.id) })
	w.members[i].setDown(true)
	w.see()
	if got := told(Announce{Since: since}); len(got) > 0 {
		t.Errorf("%d members are told when a stranger goes", len(got))
	}
	w.member(track[3]).setDown(true)
	w.renew(w.member(track[5]))
	want := []datamesh.PeerID{registrars(w.View(), coded(t, 1, 4, 2).Descriptor)[7], track[5]}
	slices.SortFunc(want, comparePeers)
	if got := told(Announce{Since: since}); !slices.Equal(got, want) {
		t.Errorf("when one registrar goes and one begins anew %d are told, want the latter and the one that takes its place", len(got))
	}
	if got := told(Announce{}); len(got) < 50 {
		t.Errorf("of 59 that are near and there %d are told by and by", len(got))
	}
}

// Who was away when a segment was deleted learns of it, and brings it to nobody.
func TestDeletedSegmentsDoNotComeBack(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		defer w.end()
		all := w.put(8, 4, 2)
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
	t.Parallel()
	for what, lie := range map[string]func(m *member){
		"has a damaged copy": func(m *member) {
			m.store = &storetest.Faulty{ShardStore: m.disk, Plan: func(method storetest.Method, _ datamesh.ShardKey) storetest.Fault {
				if method == storetest.Get || method == storetest.GetRange {
					return storetest.Corrupt
				}
				return storetest.None
			}}
		},
		"makes no promise": func(m *member) { m.promisesNothing = true },
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
			lie(w.member(holders[0][0])) // which is to keep its copy
			w.run(w.members...)
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
	t.Parallel()
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

// A mesh that falls apart, longer than the grace, into one part that has what
// it takes and one that does not, is whole again when it has grown together,
// with what was put on both sides and with nothing twice.
func TestPartitionLeavesNothingLostAndNothingTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 9)
		defer w.end()
		all := w.put(10, 4, 2)
		w.run(w.members...)
		pass(time.Minute)
		few := w.members[:3]
		before := 0
		for _, m := range few {
			before += m.disk.Usage().Shards
		}
		w.part(few...)
		repaired()
		after := 0
		for _, m := range few {
			after += m.disk.Usage().Shards
		}
		if after > before {
			t.Errorf("the three that are cut off have rebuilt %d shards", after-before)
		}
		for _, s := range all {
			holders := w.held(s)
			for i, who := range holders {
				holders[i] = slices.DeleteFunc(who, func(p datamesh.PeerID) bool { return w.member(p).side == 1 })
			}
			if got := placement.Survives(holders, 4); got < 0 {
				continue // those six have too little of it
			} else if got < 2 {
				t.Errorf("on the side of the six a segment survives %d", got)
			}
		}
		all = append(all, w.putFrom(0, 100, 4, 4, 2)...)
		all = append(all, w.putFrom(1, 200, 4, 4, 2)...)
		deleted := all[:3]
		for _, s := range deleted {
			for _, m := range w.members[3:] {
				if err := m.disk.Drop(t.Context(), s.Deletion(1)); err != nil {
					t.Fatal(err)
				}
			}
		}
		pass(time.Minute)
		w.part()
		pass(2 * time.Hour)
		w.wantSafe("after the partition", all[3:], 0)
		for _, s := range deleted {
			for _, who := range w.held(s) {
				if len(who) > 0 {
					t.Errorf("a deleted segment is held")
				}
			}
		}
	})
}

// refuser answers every put with Deleted, as if the owner had said so.
type refuser struct{ datamesh.ShardStore }

func (r *refuser) Put(context.Context, *datamesh.Descriptor, int, []byte) error {
	return errs.New(errs.Deleted, "put: the segment was deleted")
}

// A peer's bare word that a segment is deleted does not end its repair.
func TestWordOfADeletionThatIsNotShownDoesNotStopRepair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		defer w.end()
		s := w.put(1, 4, 2)[0]
		w.run(w.members...)
		pass(time.Minute)
		dead := w.member(w.held(s)[0][0])
		dead.down = true
		live := slices.DeleteFunc(ring.Candidates(w.View()), func(c placement.Candidate) bool { return c.Peer == dead.id })
		liar := w.member(Plan(live, s.Descriptor, w.held(s))[0].To)
		liar.store = &refuser{liar.disk}
		w.kill(dead)
		pass(3 * time.Hour)
		if got := placement.Survives(w.held(s), 4); got != 2 {
			t.Errorf("after three hours the segment survives %d", got)
		}
	})
}

// Whoever asks again and again whether a shard is needed does not keep it from being read.
func TestSpareOfAStrangerDoesNotHideAShard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8)
		defer w.end()
		s := w.put(1, 4, 2)[0]
		m := w.member(w.held(s)[0][0])
		silent := w.member(w.held(s)[1][0])
		silent.store = &slow{silent.disk}
		w.run(w.members...)
		pass(testGrace + time.Minute)
		hidden, n := 0, 200
		for range n {
			m.registry.Spare(datamesh.PeerID{1, 2, 3}, s.Key(0))
			m.registry.Spare(datamesh.PeerID{1, 2, 3}, s.Key(0))
			pass(700 * time.Millisecond)
			if _, _, err := m.registry.Guard(m.disk).Get(t.Context(), s.Key(0), nil); err != nil {
				hidden++
			}
		}
		if hidden > 0 {
			t.Errorf("a shard of which there is one copy was not served %d times of %d", hidden, n)
		}
	})
}

type slow struct{ datamesh.ShardStore }

func (s *slow) Has(ctx context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	<-time.After(2900 * time.Millisecond)
	return s.ShardStore.Has(ctx, keys)
}

// Strangers' reports neither hide who holds what, nor that something is lost,
// nor push those that hold it out of the map.
func TestReportsOfStrangersDoNotStopRepair(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"that all is well", "that others hold all"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 10)
			defer w.end()
			s := w.put(1, 4, 2)[0]
			holders := w.held(s)
			r := store.Report{Descriptor: s.Descriptor}
			for i := range 6 {
				if what == "that all is well" {
					r.Holdings = append(r.Holdings, store.Holding{Index: i, Peer: holders[i][0]})
					continue
				}
				for j := range 4 {
					r.Holdings = append(r.Holdings, store.Holding{Index: i, Peer: datamesh.PeerID{byte(j), 99}})
				}
			}
			if what == "that all is well" {
				other := slices.IndexFunc(w.members, func(m *member) bool { // who has none of it
					return !slices.ContainsFunc(holders, func(who []datamesh.PeerID) bool { return who[0] == m.id })
				})
				r.Holdings[0].Peer = w.members[other].id
			}
			tell := func() {
				for _, m := range w.members {
					if m.down {
						continue
					}
					if err := m.registry.Report(t.Context(), datamesh.PeerID{77}, []store.Report{r}); err != nil {
						t.Error(err)
					}
				}
			}
			w.run(w.members...)
			pass(time.Minute)
			if what == "that others hold all" {
				tell()
			}
			w.kill(w.member(holders[0][0]))
			for range 30 {
				pass(10 * time.Second)
				tell()
			}
			if got := placement.Survives(w.held(s), 4); got != 2 {
				t.Errorf("strangers report %s: after five minutes the segment survives %d", what, got)
			}
		})
	}
}

// A segment that is no code costs a look, and not its bytes again and again.
func TestWhatIsNoCodeIsNotReadForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		defer w.end()
		bad := notCoded(t)
		order := placement.Holders(ring.Candidates(w.View()), bad.Segment, 6, 2, bad.ShardLen())
		r := store.Report{Descriptor: bad.Descriptor}
		for i := range 4 {
			bad.Put(t, w.member(order[i].Peer).disk, i)
			r.Holdings = append(r.Holdings, store.Holding{Index: i, Peer: order[i].Peer})
		}
		for _, p := range registrars(w.View(), bad.Descriptor) {
			if err := w.member(p).disk.Report(t.Context(), []store.Report{r}); err != nil {
				t.Fatal(err)
			}
		}
		w.run(w.members...)
		pass(3 * time.Hour)
		a, _ := w.moved()
		pass(6 * time.Hour)
		b, _ := w.moved()
		if b-a > 0 {
			t.Errorf("in three hours %d shards were read, in the next six %d", a, b-a)
		}
	})
}

func notCoded(t *testing.T) *storetest.Sample {
	s := coded(t, 555, 4, 2)
	s.Bytes[5] = slices.Clone(s.Bytes[5])
	s.Bytes[5][0]++
	s.Bytes[4] = slices.Clone(s.Bytes[4])
	s.Bytes[4][0]++
	return resign(t, s)
}

// In a full mesh what cannot be placed is not read and sent again and again.
func TestFullMeshMovesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		defer w.end()
		w.put(5, 4, 2)
		for _, m := range w.members {
			m.store = &fullStore{m.disk}
		}
		w.run(w.members...)
		pass(time.Minute)
		w.kill(w.members[0])
		pass(2 * time.Hour)
		_, before := w.moved()
		pass(6 * time.Hour)
		_, after := w.moved()
		// Each of nine asks each of the others once an hour.
		if n := after - before; n > 9*9*6 {
			t.Errorf("%d shards in six hours are sent to members that have no room", n)
		}
	})
}

// What would go to members that have no room goes to others.
func TestFullMembersArePassedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		defer w.end()
		all := w.put(60, 4, 2)
		for _, m := range w.members[:3] {
			m.store = &fullStore{m.disk}
		}
		w.run(w.members...)
		w.kill(w.members[9])
		pass(10 * time.Minute)
		for _, s := range all {
			if !whole(w.held(s)) {
				t.Errorf("seven members have room, and a segment is held by %v", w.held(s))
			}
		}
	})
}

// What could not be placed is placed soon after a member says that it has room
// again, and at once when somebody asks for it.
func TestRoomThatComesIsUsed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		room func(w *world)
	}{
		{"a member says so", func(w *world) {
			for _, m := range w.members {
				record := *m.record
				record.Seq, record.Used = 3, 0
				m.sign(record)
			}
			w.see()
			pass(time.Minute)
		}},
		{"somebody asks", func(w *world) {
			for _, m := range w.members[1:] {
				if _, err := m.registry.keeper.Load().Now(w.t.Context(), nil); err != nil {
					w.t.Error(err)
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 10)
				defer w.end()
				all := w.put(10, 4, 2)
				for _, m := range w.members {
					m.store = &fullStore{m.disk}
					record := *m.record
					record.Seq, record.Used = 2, record.Capacity/2
					m.sign(record)
				}
				w.see()
				w.run(w.members...)
				w.kill(w.members[0])
				pass(30 * time.Minute)
				missing := 0
				for _, s := range all {
					if !whole(w.held(s)) {
						missing++
					}
				}
				if missing == 0 {
					t.Fatal("nothing is missing")
				}
				for _, m := range w.members {
					m.store = m.disk
				}
				c.room(w)
				w.wantSafe("with room", all, 0)
			})
		})
	}
}

type fullStore struct{ datamesh.ShardStore }

func (f *fullStore) Put(context.Context, *datamesh.Descriptor, int, []byte) error {
	return errs.New(errs.Full, "full")
}

// A missing shard is rebuilt though another, that is to be copied too, is not
// to be had from the one who says that he has it.
func TestCopyThatFailsDoesNotKeepTheMissingFromBeingRebuilt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		defer w.end()
		s := coded(t, 1, 2, 3)
		// one has two shards, of which one cannot be read; three have one each; one shard is missing
		at := map[int]int{0: 0, 1: 0, 2: 1, 3: 2}
		r := store.Report{Descriptor: s.Descriptor}
		for i, m := range at {
			s.Put(t, w.members[m].disk, i)
			r.Holdings = append(r.Holdings, store.Holding{Index: i, Peer: w.members[m].id})
		}
		for _, m := range w.members {
			if err := m.disk.Report(t.Context(), []store.Report{r}); err != nil {
				t.Fatal(err)
			}
		}
		w.members[0].store = &storetest.Faulty{ShardStore: w.members[0].disk, Plan: func(x storetest.Method, k datamesh.ShardKey) storetest.Fault {
			if x == storetest.Get {
				return storetest.Fail
			}
			return storetest.None
		}}
		w.run(w.members[1:]...)
		pass(3 * time.Hour)
		if who := w.held(s)[4]; len(who) == 0 {
			t.Errorf("after three hours shard 4 is still missing, though two others can be read")
		}
	})
}

// In a mesh that has grown the registrars of what a member holds need not be
// near to it. It tells them all the same.
func TestAllRegistrarsOfWhatIsHeldAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	self := w.add(1 << 40)
	for range 200 {
		w.meet(1 << 40)
	}
	near := partners(w.View(), self.id)
	far := 0
	for seed := range 20 {
		s := coded(t, seed, 4, 2)
		s.Put(t, self.disk, seed%6)
		for _, peer := range registrars(w.View(), s.Descriptor) {
			if !slices.Contains(near, peer) {
				far++
			}
		}
	}
	if far == 0 {
		t.Fatal("all registrars are near")
	}
	k := NewKeeper(&seen{w, self.id}, self.registry, Config{Self: self.id}, 0, Events{})
	sums, err := k.sums(t.Context(), Announce{})
	if err != nil {
		t.Fatal(err)
	}
	for seed := range 20 {
		for _, peer := range registrars(w.View(), coded(t, seed, 4, 2).Descriptor) {
			if _, ok := sums[peer]; !ok {
				t.Error("a registrar is not told")
			}
		}
	}
	some, err := k.sums(t.Context(), Announce{To: near[:3]})
	if err != nil || len(some) != 3 {
		t.Errorf("of three that are to be told there are %d, %v", len(some), err)
	}
}
