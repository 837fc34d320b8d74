package repair

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
	"datamesh/internal/transfer"
)

// audits has a keeper audit others in the background until stop is called.
func (w *world) audits(k *Keeper, interval time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.RunAudits(ctx, interval)
	}()
	return func() { cancel(); <-done }
}

// An auditor is a keeper that does nothing but audit, and its log.
type auditor struct {
	*Keeper
	mu      sync.Mutex // guards the rest
	answers []Answer
	times   []time.Time
}

func (w *world) auditor(m *member) *auditor {
	a := &auditor{}
	a.Keeper = NewKeeper(&seen{w, m.id}, m.registry, Config{Self: m.id, Grace: testGrace}, 0, Events{
		Audited: func(x Answer) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.answers, a.times = append(a.answers, x), append(a.times, time.Now())
		},
		Failed: func(what string, err error) { w.t.Errorf("%s: %v", what, err) }})
	return a
}

// said returns all answers so far, and when they came.
func (a *auditor) said() ([]Answer, []time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.answers), slices.Clone(a.times)
}

// of returns what a peer has answered, by outcome.
func (a *auditor) of(peer datamesh.PeerID) map[Outcome]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := map[Outcome]int{}
	for _, x := range a.answers {
		if x.Peer == peer {
			n[x.Outcome]++
		}
	}
	return n
}

// holds returns how many shards a registrar says that a peer holds.
func (m *member) holds(peer datamesh.PeerID) int {
	m.w.t.Helper()
	list, err := m.disk.Reported(m.w.t.Context(), peer, datamesh.First, page)
	if err != nil {
		m.w.t.Fatal(err)
	}
	return len(list)
}

func TestEverySegmentIsAuditedOnceInTheInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		all := w.put(20, 4, 2)
		a := w.auditor(w.members[0])
		stop := w.audits(a.Keeper, time.Hour)
		defer stop()
		for round := 1; round <= 3; round++ {
			pass(time.Hour)
			synctest.Wait()
			n := map[datamesh.SegmentID]int{}
			answers, _ := a.said()
			for _, x := range answers {
				n[x.Key.Segment]++
				if x.Outcome != Proven || x.Reason != nil || x.Peer == w.members[0].id {
					t.Errorf("got %+v, want a proof of another", x)
				}
			}
			for _, s := range all {
				if got, want := n[s.Segment], 4*round; got != want { // two of the six are here
					t.Errorf("round %d: %d proofs of a segment, want %d", round, got, want)
				}
			}
		}
		for _, s := range all {
			proofs, err := w.members[0].disk.Proofs(t.Context(), []datamesh.SegmentID{s.Segment})
			if err != nil || len(proofs) != 4 || time.Since(proofs[0].At) > 3*time.Hour {
				t.Errorf("got %v, %v, want what 4 shards have proven", proofs, err)
			}
		}
		for _, m := range w.members[1:] {
			if got := a.Audits(m.id); got.Proofs != 120 || got.Failures+got.Silences != 0 || got.Proof.IsZero() || !got.Failure.IsZero() {
				t.Errorf("got %+v, want 120 proofs", got)
			}
		}
	})
}

// However short the interval and however late it is, there is one audit a
// second.
func TestAuditsDoNotHurry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.put(30, 4, 2)
		a := w.auditor(w.members[0])
		defer w.audits(a.Keeper, time.Second)()
		pass(time.Minute)
		synctest.Wait()
		last, audits := Answer{}, 0
		var at time.Time
		answers, times := a.said()
		for i, x := range answers {
			if x.Key.Segment == last.Key.Segment {
				continue
			}
			if audits > 0 && times[i].Sub(at) < time.Second {
				t.Errorf("two audits within %v", times[i].Sub(at))
			}
			last, at, audits = x, times[i], audits+1
		}
		if audits < 55 || audits > 61 {
			t.Errorf("%d audits in a minute", audits)
		}
	})
}

// A hand reaches every place once in a turn, wherever it began, and does not
// make up for a week in which the machine was asleep.
func TestHandGoesRoundOnceInTheInterval(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	segments := make([]datamesh.SegmentID, 1000)
	for i := range segments {
		for j := range segments[i] {
			segments[i][j] = byte(r.Uint32())
		}
	}
	slices.SortFunc(segments, func(a, b datamesh.SegmentID) int { return slices.Compare(a[:], b[:]) })
	began := time.Unix(1e9, 0)
	h := hand{interval: time.Hour, at: began}
	for i := range h.after {
		h.after[i] = byte(r.Uint32())
	}
	first := 0
	for first < len(segments) && slices.Compare(segments[first][:], h.after[:]) <= 0 {
		first++
	}
	now := began
	for i := range segments {
		s := segments[(first+i)%len(segments)]
		at := h.due(s)
		if at.Before(now) {
			t.Errorf("seed %d: the hand goes back by %v", seed, now.Sub(at))
		}
		now = at
		h.move(now, s)
	}
	if took := now.Sub(began); took > time.Hour || took < 50*time.Minute {
		t.Errorf("seed %d: a turn takes %v", seed, took)
	}
	if again := h.due(h.after).Sub(now); again < time.Hour-time.Second {
		t.Errorf("one that is alone comes again after %v", again)
	}
	h.move(now.Add(7*24*time.Hour), segments[first])
	if late := now.Add(7 * 24 * time.Hour).Sub(h.at); late != madeUpFor {
		t.Errorf("after a week the hand is %v late, want %v", late, madeUpFor)
	}
}

// A boaster claims all, takes all, and has nothing.
type boaster struct{ *store.Disk }

func (b *boaster) Has(_ context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	return slices.Repeat([]bool{true}, len(keys)), nil
}

func (b *boaster) Put(context.Context, *datamesh.Descriptor, int, []byte) error { return nil }

// What one claims who has nothing is rebuilt, and elsewhere, however often he
// repeats it.
func TestWhoClaimsAllAndHoldsNothingIsFoundOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8)
		defer w.end()
		all := w.put(4, 4, 2)
		liar := w.members[0]
		claims := map[datamesh.ShardKey]bool{}
		for _, s := range all {
			for i := range s.Bytes {
				if err := liar.disk.Remove(t.Context(), s.Key(i)); err == nil {
					claims[s.Key(i)] = true
				}
			}
		}
		if len(claims) == 0 {
			t.Fatal("the liar was given nothing")
		}
		last := datamesh.ShardKey{Segment: datamesh.SegmentID(bytes.Repeat([]byte{0xff}, len(datamesh.SegmentID{}))), Index: datamesh.MaxShards - 1}
		boast := transfer.Range{After: datamesh.First, Upto: last, Keys: slices.SortedFunc(maps.Keys(claims), datamesh.ShardKey.Compare)}
		liar.store = &boaster{liar.disk}
		w.run(w.members[1:]...)
		for _, m := range w.members[1:] {
			defer w.audits(m.registry.keeper.Load(), 3*time.Minute)()
		}
		for range 48 { // sooner than anybody's turn
			pass(10 * time.Second)
			for _, m := range w.members[1:] {
				if _, _, err := m.registry.Holds(t.Context(), liar.id, boast); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, s := range all {
			for i, who := range w.held(s) {
				if len(who) == 0 {
					t.Errorf("a shard that only the liar claims was not rebuilt: %v", claims[s.Key(i)])
				}
			}
		}
		if _, puts := w.moved(); puts > 3*len(claims) {
			t.Errorf("%d shards were written for %d that were missing", puts, len(claims))
		}
	})
}

// Who serves corrupt bytes has his shards taken out of the map; who is silent,
// or says that his shard is about to go, has not.
func TestOnlyWhatIsRefutedIsTakenOut(t *testing.T) {
	t.Parallel()
	const n = 2 // segments
	for what, tt := range map[string]struct {
		fault storetest.Fault
		going bool
		want  Outcome
	}{
		"corrupt":        {storetest.Corrupt, false, Refuted},
		"short":          {storetest.Short, false, Refuted},
		"fails":          {storetest.Fail, false, Silent},
		"stalls":         {storetest.Stall, false, Silent},
		"is about to go": {storetest.None, true, Silent},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 6)
			all := w.put(n, 4, 2)
			peer := w.members[1]
			peer.store = &storetest.Faulty{ShardStore: peer.disk, Plan: func(m storetest.Method, _ datamesh.ShardKey) storetest.Fault {
				if m == storetest.GetRange {
					return tt.fault
				}
				return storetest.None
			}}
			if tt.going {
				for _, s := range all {
					for i := range s.Bytes {
						peer.registry.pledges.begin(s.Key(i))
					}
				}
			}
			a := w.auditor(w.members[0])
			before := w.members[0].holds(peer.id)
			stop := w.audits(a.Keeper, time.Hour)
			pass(time.Hour + 2*answerTime) // some are asked once more
			stop()
			left := before
			if tt.want == Refuted {
				left = 0
			}
			if got := w.members[0].holds(peer.id); got != left || before != n {
				t.Errorf("%s: of %d shards %d are left in the map, want %d", what, before, got, left)
			}
			if got := a.of(peer.id); got[tt.want] < n || len(got) != 1 {
				t.Errorf("%s: got outcomes %v, want %d of %d or more", what, got, n, tt.want)
			}
			if told := len(a.inbox) > 0; told != (tt.want == Refuted) {
				t.Errorf("%s: the machine was told: %v", what, told)
			}
			for _, m := range w.members[2:] {
				if got := a.of(m.id); got[Proven] < n || len(got) != 1 {
					t.Errorf("%s: another has outcomes %v", what, got)
				}
			}
		})
	}
}

// A peer that was found out, and has been given the shard again, is believed in
// the end: else a copy that nobody needs stays for good where another has one.
func TestWhoWasRefutedOnceIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 7)
		defer w.end()
		s := w.put(1, 4, 2)[0]
		first, held := registrars(w.View(), s.Descriptor)[0], w.held(s)
		index := slices.IndexFunc(held, func(who []datamesh.PeerID) bool { return who[0] != first })
		holds := held[index][0]
		for _, m := range w.members {
			if !slices.ContainsFunc(w.held(s), func(who []datamesh.PeerID) bool { return slices.Contains(who, m.id) }) {
				if err := m.disk.Put(t.Context(), s.Descriptor, index, s.Bytes[index]); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := len(w.held(s)[index]); n != 2 {
			t.Fatalf("a shard is at %d members, want 2", n)
		}
		w.run(w.members...)
		for _, m := range w.members {
			k := m.registry.keeper.Load()
			if m.id != holds {
				k.audits.note(w.View(), Answer{Peer: holds, Key: s.Key(index), Outcome: Refuted})
			}
			defer w.audits(k, time.Hour)()
		}
		pass(3 * time.Hour)
		for i, who := range w.held(s) {
			if len(who) != 1 {
				t.Errorf("shard %d is at %d members, want 1", i, len(who))
			}
		}
	})
}

// rotten is a disk on which a shard has rotted in a part that the first proof
// hits and no other does. It notices when the whole shard is read.
type rotten struct {
	datamesh.ShardStore
	key datamesh.ShardKey

	mu                 sync.Mutex // guards the rest
	hit, found, mended bool
}

func (r *rotten) GetRange(ctx context.Context, key datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	d, slice, err := r.ShardStore.GetRange(ctx, key, off, n)
	r.mu.Lock()
	defer r.mu.Unlock()
	if key == r.key && !r.hit {
		r.hit = true
		slice[len(slice)/2] ^= 1
	}
	return d, slice, err
}

func (r *rotten) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	r.mu.Lock()
	if key == r.key && !r.mended {
		r.found = true
		r.mu.Unlock()
		return nil, nil, errs.New(errs.Integrity, "rotten")
	}
	r.mu.Unlock()
	return r.ShardStore.Get(ctx, key, buf)
}

func (r *rotten) Has(ctx context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	has, err := r.ShardStore.Has(ctx, keys)
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(keys, r.key); i >= 0 && r.found && !r.mended {
		has[i] = false
	}
	return has, err
}

func (r *rotten) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	err := r.ShardStore.Put(ctx, d, index, shard)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mended = r.mended || err == nil && d.Segment == r.key.Segment && index == r.key.Index
	return err
}

// An honest peer whose disk has damaged a shard gets it back.
func TestDamagedShardIsFoundAndRebuilt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		defer w.end()
		s := w.put(5, 4, 2)[3]
		peer := w.member(w.held(s)[2][0])
		disk := &rotten{ShardStore: peer.disk, key: s.Key(2)}
		peer.store = disk
		w.run(w.members...)
		pass(time.Minute)
		for _, m := range w.members {
			defer w.audits(m.registry.keeper.Load(), 10*time.Minute)()
		}
		pass(10 * time.Minute)
		repaired()
		if _, puts := w.moved(); !disk.found || !disk.mended || puts != 1 {
			t.Errorf("found: %v, mended: %v, %d shards were written", disk.found, disk.mended, puts)
		}
		pass(10 * time.Minute)
		for _, m := range w.members {
			k := m.registry.keeper.Load()
			if m == peer {
				continue
			}
			if m.holds(peer.id) != 5 {
				t.Errorf("a registrar knows of %d shards, want 5", m.holds(peer.id))
			}
			if k.audits.doubts(claim{peer.id, s.Key(2)}) {
				t.Error("what is whole again is still doubted")
			}
		}
	})
}

func TestOnePeerIsAuditedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		all := w.put(40, 4, 2)
		peer := w.members[2]
		a := w.auditor(w.members[0])
		r, err := a.Audit(t.Context(), peer.id, 25)
		if err != nil || len(r.Answers) != 25 || r.Before != (Audits{}) {
			t.Fatalf("got %d answers, %+v, %v, want 25 and nothing before", len(r.Answers), r.Before, err)
		}
		drawn := map[datamesh.ShardKey]bool{}
		for _, x := range r.Answers {
			if drawn[x.Key] || x.Outcome != Proven || x.Peer != peer.id {
				t.Errorf("got %+v", x)
			}
			drawn[x.Key] = true
		}
		proof := time.Now()
		pass(time.Hour)

		// One that is gone is found among all, and out of the map then.
		for i := range all[7].Bytes {
			peer.disk.Remove(t.Context(), all[7].Key(i))
		}
		r, err = a.Audit(t.Context(), peer.id, 1000)
		if err != nil || len(r.Answers) != 40 || r.Before.Proofs != 25 || !r.Before.Proof.Equal(proof) || r.Before.Failures != 0 {
			t.Fatalf("got %d answers, %+v, %v, want 40 and 25 proofs before", len(r.Answers), r.Before, err)
		}
		refuted := slices.DeleteFunc(r.Answers, func(x Answer) bool { return x.Outcome == Proven })
		if len(refuted) != 1 || refuted[0].Outcome != Refuted || refuted[0].Key.Segment != all[7].Segment || !errors.Is(refuted[0].Reason, errs.FileNotFound) {
			t.Errorf("got %+v, want the one that is gone", refuted)
		}
		if n := w.members[0].holds(peer.id); n != 39 {
			t.Errorf("%d shards are in the map, want 39", n)
		}

		// One that is away is not asked for all.
		peer.down = true
		r, err = a.Audit(t.Context(), peer.id, 1000)
		if err != nil || len(r.Answers) != atOnce || slices.ContainsFunc(r.Answers, func(x Answer) bool { return x.Outcome != Silent }) {
			t.Errorf("got %+v, %v, want %d silences", r, err, atOnce)
		}
		if n := w.members[0].holds(peer.id); n != 39 {
			t.Errorf("after silence %d shards are in the map, want 39", n)
		}
	})
}

// What the index says no more is no failure: its holder has told of it.
func TestWhatWasGivenUpMeanwhileIsNoFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	s := w.put(1, 4, 2)[0]
	a := w.auditor(w.members[0])
	peer := w.members[1]
	lost := Answer{Peer: peer.id, Key: s.Key(0), Outcome: Refuted, Reason: errAway}
	if held := slices.Contains(w.held(s)[0], peer.id); held {
		if _, _, err := w.members[0].disk.Correct(t.Context(), peer.id, datamesh.ShardKey{Segment: s.Segment, Index: -1}, s.Key(0), nil); err != nil {
			t.Fatal(err)
		}
	}
	if left := a.heed(t.Context(), []Answer{lost}); len(left) > 0 || a.Audits(peer.id).Failures > 0 || len(a.inbox) > 0 {
		t.Errorf("got %+v, %+v", left, a.Audits(peer.id))
	}
}

func TestAuditsOfWhoIsNoMemberAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	var a audits
	key := datamesh.ShardKey{Segment: datamesh.SegmentID{1}}
	gone := datamesh.PeerID{1, 2, 3}
	a.note(w.View(), Answer{Peer: gone, Key: key, Outcome: Refuted, Reason: errAway})
	a.note(w.View(), Answer{Peer: w.members[0].id, Key: key, Outcome: Refuted, Reason: errAway})
	if a.of(gone) != (Audits{}) || a.doubts(claim{gone, key}) {
		t.Error("a peer that is no member is remembered")
	}
	if a.of(w.members[0].id).Failures != 1 || !a.doubts(claim{w.members[0].id, key}) {
		t.Error("a member is not remembered")
	}
	a.note(w.View(), Answer{Peer: w.members[0].id, Key: key, Outcome: Proven})
	if !a.doubts(claim{w.members[0].id, key}) {
		t.Error("a proof of a part takes away the doubt")
	}
}
