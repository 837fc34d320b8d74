package repair

import (
	"errors"
	"slices"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// A desk is a machine without a member, in a world in which nothing is done.
type desk struct {
	*Machine
	t    *testing.T
	w    *world
	self *member
	now  time.Time
}

func newDesk(t *testing.T, n int) *desk {
	w := newWorld(t, 0)
	for range n {
		w.meet(1 << 40)
	}
	d := &desk{t: t, w: w, self: w.members[0], now: time.Unix(1_000_000, 0)}
	d.Machine = NewMachine(Config{Self: d.self.id, Grace: testGrace, Interval: time.Hour})
	d.step(Members{w.View()})
	return d
}

func (d *desk) step(ev Event) []Effect { return d.Step(d.now, ev) }

// until lets the machine go on for so long, and returns what it wants then.
func (d *desk) until(after time.Duration) (effects []Effect) {
	end := d.now.Add(after)
	for {
		at := d.Next()
		if at.IsZero() || at.After(end) {
			d.now = end
			return append(effects, d.step(Tick{})...)
		}
		d.now = at
		effects = append(effects, d.step(Tick{})...)
	}
}

// surveys returns the segments that are to be surveyed, in order.
func surveys(effects []Effect) (segments []datamesh.SegmentID) {
	for _, x := range effects {
		if s, ok := x.(Survey); ok {
			segments = append(segments, s.Segment)
		}
	}
	return segments
}

// tracked is a segment with so many of its shards lost. Its first registrars
// are those whose turn comes before this member's.
func (d *desk) tracked(seed, lost int) (store.Tracked, *storetest.Sample) {
	s := coded(d.t, seed, 4, 2)
	x := store.Tracked{Descriptor: s.Descriptor}
	for i := lost; i < 6; i++ {
		x.Holdings = append(x.Holdings, store.Holding{Index: i, Peer: d.w.members[i].id})
	}
	return x, s
}

// first returns the seeds of n segments of which this member is the nearest
// registrar.
func (d *desk) first(n int) (seeds []int) {
	for seed := 0; len(seeds) < n; seed++ {
		if d.ahead(seed) == 0 {
			seeds = append(seeds, seed)
		}
	}
	return seeds
}

// later returns the seed of a segment of which others are nearer.
func (d *desk) later() (seed int) {
	for d.ahead(seed) == 0 {
		seed++
	}
	return seed
}

// ahead returns how many registrars of a segment are nearer than this member.
func (d *desk) ahead(seed int) int {
	ahead, ok := before(d.w.View(), coded(d.t, seed, 4, 2).Descriptor, d.self.id)
	if !ok {
		d.t.Fatal("it is no registrar in so small a mesh")
	}
	return len(ahead)
}

func (d *desk) review(segments ...store.Tracked) []Effect {
	return d.step(Reviewed{Segments: segments, Last: true})
}

func TestRegistrarsTakeTurns(t *testing.T) {
	turns := map[int]bool{}
	for seed := range 20 {
		d := newDesk(t, 8)
		turn := d.ahead(seed)
		turns[turn] = true
		x, s := d.tracked(seed, 1)
		d.review(x)
		wait := testGrace + time.Duration(turn)*backoff
		if got := surveys(d.until(wait - time.Second)); len(got) > 0 {
			t.Errorf("turn %d: it acts before its time", turn)
		}
		if got := surveys(d.until(2 * time.Second)); !slices.Equal(got, []datamesh.SegmentID{s.Segment}) {
			t.Errorf("turn %d: it does not act when it is its turn: %v", turn, got)
		}
	}
	if len(turns) < 3 {
		t.Errorf("only the turns %v were seen", turns)
	}
}

// A segment that can lose no more waits for little, and comes first.
func TestSegmentsAtRiskComeFirst(t *testing.T) {
	d := newDesk(t, 8)
	seeds := d.first(7)
	var all []store.Tracked
	risk := map[datamesh.SegmentID]bool{}
	for i, seed := range seeds {
		x, _ := d.tracked(seed, 1+i%2)
		risk[x.Descriptor.Segment] = i%2 == 1
		all = append(all, x)
	}
	d.review(all...)
	first := surveys(d.until(urgent + time.Second))
	if len(first) != 3 || slices.ContainsFunc(first, func(id datamesh.SegmentID) bool { return !risk[id] }) {
		t.Errorf("after %v the segments %v are seen to, want the three at risk", urgent, first)
	}

	d = newDesk(t, 8)
	d.review(all...)
	d.now = d.now.Add(time.Hour) // all are due
	got := surveys(d.step(Tick{}))
	if len(got) != together {
		t.Fatalf("%d segments are worked on at once, want %d", len(got), together)
	}
	for i, id := range got[:3] {
		if !risk[id] {
			t.Errorf("segment %d of the order can lose more", i)
		}
	}
	for range seeds[together:] {
		more := surveys(d.step(Surveyed{Segment: got[0], Gone: true}))
		if len(more) != 1 {
			t.Fatalf("%d segments follow one that has ended", len(more))
		}
		got = append(got[1:], more...)
	}
}

// As long as a registrar whose turn is before reports others, one waits.
func TestRegistrarsWaitForThoseAtWork(t *testing.T) {
	d := newDesk(t, 8)
	x, s := d.tracked(d.later(), 1)
	ahead, _ := before(d.w.View(), s.Descriptor, d.self.id)
	d.review(x)
	d.until(testGrace + time.Duration(len(ahead))*backoff - time.Second)
	other, _ := d.tracked(d.first(1)[0], 0)
	for range 5 {
		d.step(Told{From: ahead[0], Reports: []store.Report{{Descriptor: other.Descriptor, Holdings: other.Holdings}}})
		if got := surveys(d.until(backoff - time.Second)); len(got) > 0 {
			t.Fatal("it does not wait for one that is at work")
		}
	}
	if got := surveys(d.until(2 * time.Second)); len(got) != 1 {
		t.Error("it waits for one that has stopped")
	}
}

// Whoever reports that a segment is whole takes it off the list.
func TestReportedSegmentsAreDone(t *testing.T) {
	d := newDesk(t, 8)
	x, s := d.tracked(d.later(), 1)
	d.review(x)
	part := store.Report{Descriptor: s.Descriptor, Holdings: []store.Holding{{Index: 1, Peer: d.w.members[1].id}}}
	d.step(Told{From: d.w.members[1].id, Reports: []store.Report{part}})
	if d.Waiting() != 1 {
		t.Error("a report of one shard takes a segment off the list")
	}
	whole := store.Report{Descriptor: s.Descriptor, Holdings: append(slices.Clone(x.Holdings), store.Holding{Index: 0, Peer: d.w.members[7].id})}
	d.step(Told{From: d.w.members[1].id, Reports: []store.Report{whole}})
	if d.Waiting() != 0 {
		t.Error("a segment that is whole stays on the list")
	}
	if got := surveys(d.until(2 * time.Hour)); len(got) > 0 {
		t.Error("a segment that is whole is surveyed")
	}
}

// What fails is tried again, less and less often, and never given up.
func TestFailuresAreTriedAgain(t *testing.T) {
	d := newDesk(t, 8)
	x, s := d.tracked(d.first(1)[0], 1)
	d.review(x)
	var between time.Duration
	for try := range 20 {
		if got := surveys(d.until(8 * time.Hour)); len(got) != 1 {
			t.Fatalf("try %d: %d surveys", try, len(got))
		}
		failed := errors.New("as the test says")
		if try%2 == 0 {
			d.step(Surveyed{Segment: s.Segment, Err: failed})
		} else {
			got := d.step(Surveyed{Segment: s.Segment, Descriptor: s.Descriptor, Holders: d.alive(s.Descriptor, x.Holdings)})
			if len(got) != 1 {
				t.Fatalf("try %d: %v", try, got)
			}
			repair := got[0].(Repair)
			if len(repair.Copies) != 1 || repair.Copies[0].Index != 0 {
				t.Errorf("try %d: %v", try, repair.Copies)
			}
			d.step(Repaired{Segment: s.Segment, Err: failed})
		}
		next := d.tasks[s.Segment].due.Sub(d.now)
		if next < between*3/4 {
			t.Errorf("try %d comes after %v, the one before after %v", try, next, between)
		}
		between = next
	}
	if between > longest+longest/5 {
		t.Errorf("in the end it is tried each %v", between)
	}
}

// What is worked on when its members change, or ends in whatever way, leaves
// nothing behind that keeps others from being worked on.
func TestNothingIsLeftBehind(t *testing.T) {
	d := newDesk(t, 8)
	for round := range 3 {
		for _, seed := range d.first(10) {
			x, s := d.tracked(seed, 1)
			d.review(x)
			if len(surveys(d.until(testGrace+time.Second))) != 1 {
				t.Fatalf("round %d: nothing is surveyed", round)
			}
			whole, _ := d.tracked(seed, 0)
			d.review(whole) // it is, meanwhile
			d.step(Members{d.w.View()})
			switch round {
			case 0:
				d.step(Surveyed{Segment: s.Segment, Descriptor: s.Descriptor, Holders: d.alive(s.Descriptor, whole.Holdings)})
			case 1:
				d.step(Surveyed{Segment: s.Segment, Gone: true})
			case 2:
				d.step(Surveyed{Segment: s.Segment, Descriptor: s.Descriptor, Holders: d.alive(s.Descriptor, x.Holdings)})
				d.step(Repaired{Segment: s.Segment})
			}
		}
	}
	if d.Waiting() != 0 || d.busy != 0 {
		t.Errorf("%d tasks wait, %d are worked on", d.Waiting(), d.busy)
	}
}

// The segments are looked at when members come and go, and each interval.
func TestSegmentsAreReviewed(t *testing.T) {
	d := newDesk(t, 8)
	reviews := func(effects []Effect) (n int) {
		for _, x := range effects {
			if _, ok := x.(Review); ok {
				n++
			}
		}
		return n
	}
	if n := reviews(d.until(2 * settle)); n != 1 {
		t.Errorf("%d reviews at the start", n)
	}
	x, _ := d.tracked(1, 0)
	if n := reviews(d.step(Reviewed{Segments: []store.Tracked{x}})); n != 1 {
		t.Errorf("%d pages follow the first", n)
	}
	d.step(Reviewed{Last: true})
	if n := reviews(d.until(30 * time.Minute)); n != 0 {
		t.Errorf("%d reviews without a reason", n)
	}
	n := 0
	for range 10 * 60 {
		if reviews(d.until(time.Minute)) > 0 {
			n++
			d.step(Reviewed{Last: true})
		}
	}
	if n < 9 || n > 12 {
		t.Errorf("%d reviews in ten intervals", n)
	}
	d.w.members[3].down = true
	d.w.see()
	d.step(Members{d.w.View()})
	if n := reviews(d.until(2 * settle)); n != 1 {
		t.Errorf("%d reviews after a death", n)
	}
	d.step(Corrected{}) // while it is being read
	if n := reviews(d.until(2 * settle)); n != 0 {
		t.Errorf("%d reviews at once", n+1)
	}
	if n := reviews(d.step(Reviewed{Last: true})); n != 1 {
		t.Errorf("%d reviews of what has changed meanwhile", n)
	}
}

func newTestMachine(t *testing.T, n int) (*world, *Machine, time.Time) {
	w := newWorld(t, n)
	m := NewMachine(Config{Self: w.members[0].id, Grace: 15 * time.Minute, Interval: time.Hour})
	return w, m, time.Now()
}

// announces returns who is to be told; nobody in particular are all.
func announces(effects []Effect) (to []datamesh.PeerID, ok bool) {
	for _, x := range effects {
		if a, is := x.(Announce); is && a.Since == nil {
			return a.To, true
		}
	}
	return nil, false
}

// A partner that never can be told must not keep all others from being told.
func TestOneDeafPartnerDoesNotSilenceTheRest(t *testing.T) {
	t.Parallel()
	w, m, now := newTestMachine(t, 6)
	m.Step(now, Members{w.View()})
	deaf := w.members[3].id
	m.Step(now.Add(settle), Tick{})
	now = now.Add(2 * settle)
	m.Step(now, Announced{Failed: []datamesh.PeerID{deaf}})
	others := 0
	for end := now.Add(24 * time.Hour); now.Before(end); {
		if at := m.Next(); at.After(now) {
			now = at
		}
		if to, ok := announces(m.Step(now, Tick{})); ok {
			if len(to) == 0 { // all
				others++
			}
			m.Step(now, Announced{Failed: []datamesh.PeerID{deaf}})
		}
	}
	if others == 0 {
		t.Errorf("in a day, with an interval of an hour, nobody but the deaf one was told")
	}
	m.Step(now, Lost{})
	to, ok := announces(m.Step(now.Add(settle), Tick{}))
	if !ok || len(to) > 0 {
		t.Errorf("of a lost shard only %d members are told", len(to))
	}
}

// When members come and go, or begin anew, those are told who have become
// registrars since others were told last.
func TestChangesAreToldToThoseTheyConcern(t *testing.T) {
	d := newDesk(t, 12)
	next := func() (since *ring.View) {
		for _, x := range d.until(2 * settle) {
			if a, ok := x.(Announce); ok {
				d.step(Announced{})
				if a.Since == nil {
					t.Error("all are told")
				}
				since = a.Since
			}
		}
		return since
	}
	first := d.w.View()
	d.until(2 * settle)
	d.step(Announced{})
	d.w.members[3].setDown(true)
	d.w.see()
	d.step(Members{d.w.View()})
	second := d.w.View()
	if next() != first {
		t.Error("after a death it is not those that were told at the start who are spared")
	}
	d.step(Members{d.w.View()})
	if next() != nil {
		t.Error("without a change somebody is told")
	}
	full := *d.w.members[7].record
	full.Seq, full.Used = full.Seq+1, full.Capacity/2
	d.w.members[7].sign(full)
	d.w.see()
	d.step(Members{d.w.View()})
	if next() != nil {
		t.Error("somebody is told because a member is fuller than before")
	}
	d.w.renew(d.w.members[5])
	d.step(Members{d.w.View()})
	if next() != second {
		t.Error("of one that begins anew nobody takes note")
	}
	d.w.renew(d.self)
	d.step(Members{d.w.View()})
	if next() != nil {
		t.Error("others are told of what all know")
	}
}

// One that is dead is not asked for ever.
func TestTheDeadAreNotTold(t *testing.T) {
	t.Parallel()
	w, m, now := newTestMachine(t, 6)
	m.Step(now, Members{w.View()})
	m.Step(now.Add(settle), Tick{})
	dead := w.members[3]
	w.kill(dead)
	now = now.Add(2 * settle)
	m.Step(now, Members{w.View()})
	m.Step(now, Announced{Failed: []datamesh.PeerID{dead.id}})
	n := 0
	for end := now.Add(time.Hour / 2); now.Before(end); {
		if at := m.Next(); at.After(now) {
			now = at
		}
		if to, ok := announces(m.Step(now, Tick{})); ok {
			for _, p := range to {
				if p == dead.id {
					n++
				}
			}
			m.Step(now, Announced{Failed: []datamesh.PeerID{dead.id}})
		}
	}
	if n > 0 {
		t.Errorf("the dead member was told %d times in half an hour", n)
	}
}

// While an announcement is under way the machine does not want to be called
// again and again at once.
func TestMachineDoesNotSpinWhileTelling(t *testing.T) {
	t.Parallel()
	w, m, now := newTestMachine(t, 6)
	m.Step(now, Members{w.View()})
	if _, ok := announces(m.Step(now.Add(settle), Tick{})); !ok {
		t.Fatal("no announcement")
	}
	now = now.Add(settle)
	m.Step(now, Lost{})
	now = now.Add(10 * settle)
	m.Step(now, Tick{})
	if at := m.Next(); !at.IsZero() && !at.After(now) {
		t.Errorf("after a tick Next is %v ago: the keeper spins", now.Sub(at))
	}
}

// What can lose no more comes before what can, whenever that became so.
func TestRiskThatGrowsMovesATaskForward(t *testing.T) {
	t.Parallel()
	w, m, now := newTestMachine(t, 12)
	m.Step(now, Members{w.View()})
	mine := func(from, n int) (all []store.Tracked) {
		for i := from; len(all) < n; i++ {
			d := descriptor(i, 4, 2)
			ahead, ok := before(w.View(), d, w.members[0].id)
			if !ok || len(ahead) > 0 {
				continue
			}
			x := store.Tracked{Descriptor: d}
			for i := range 5 {
				x.Holdings = append(x.Holdings, store.Holding{Index: i, Peer: w.members[i+1].id})
			}
			all = append(all, x)
		}
		return all
	}
	all := mine(0, 50)
	m.reviewing = true
	m.Step(now, Reviewed{Segments: all, Last: true})
	now = now.Add(16 * time.Minute)
	surveys := 0
	for _, x := range m.Step(now, Tick{}) {
		if _, ok := x.(Survey); ok {
			surveys++
		}
	}
	if surveys != together {
		t.Fatal(surveys)
	}
	// the last in the queue loses one more
	var last datamesh.SegmentID
	for _, x := range m.ready.list {
		if x.segment != (datamesh.SegmentID{}) {
			last = x.segment
		}
	}
	for i := range all {
		if all[i].Descriptor.Segment == last {
			all[i].Holdings = all[i].Holdings[:4]
		}
	}
	m.reviewing = true
	m.Step(now, Reviewed{Segments: all, Last: true})
	now = now.Add(10 * time.Second)
	m.Step(now, Tick{})
	var first datamesh.SegmentID
	for id, x := range m.tasks {
		if x.state == works {
			for _, e := range m.Step(now, Surveyed{Segment: id, Err: errs.New(errs.Unavailable, "x")}) {
				if s, ok := e.(Survey); ok {
					first = s.Segment
				}
			}
			break
		}
	}
	if first != last {
		t.Errorf("the segment that can lose no more is not the next")
	}
}

// What cannot be read now is tried again soon, and told of.
func TestSurveyThatFindsTooFewIsTriedAgain(t *testing.T) {
	t.Parallel()
	w, m, now := newTestMachine(t, 12)
	m.Step(now, Members{w.View()})
	var d *datamesh.Descriptor
	for i := 0; ; i++ {
		d = descriptor(i, 4, 2)
		if ahead, ok := before(w.View(), d, w.members[0].id); ok && len(ahead) == 0 {
			break
		}
	}
	x := store.Tracked{Descriptor: d}
	for i := range 4 {
		x.Holdings = append(x.Holdings, store.Holding{Index: i, Peer: w.members[i+1].id})
	}
	m.reviewing = true
	m.Step(now, Reviewed{Segments: []store.Tracked{x}, Last: true})
	now = now.Add(6 * time.Second)
	m.Step(now, Tick{})
	if m.busy != 1 {
		t.Fatal("no survey")
	}
	holders := m.alive(d, x.Holdings)
	holders[2] = nil // was silent for 3 s
	m.Step(now, Surveyed{Segment: d.Segment, Descriptor: d, Holders: holders})
	if m.Waiting() != 1 {
		t.Errorf("a segment of which a holder did not answer once is not looked at before the next review")
	}
}

// Whoever reports often does not keep a segment from being repaired for ever.
func TestRegistrarThatOnlyReportsDelaysForNoMoreThanSoLong(t *testing.T) {
	t.Parallel()
	w, m, now := newTestMachine(t, 12)
	m.Step(now, Members{w.View()})
	var d *datamesh.Descriptor
	var liar datamesh.PeerID
	for i := 0; ; i++ {
		d = descriptor(i, 4, 2)
		if ahead, ok := before(w.View(), d, w.members[0].id); ok && len(ahead) == 1 {
			liar = ahead[0]
			break
		}
	}
	x := store.Tracked{Descriptor: d}
	for i := range 4 {
		x.Holdings = append(x.Holdings, store.Holding{Index: i, Peer: w.members[i+1].id})
	}
	m.reviewing = true
	m.Step(now, Reviewed{Segments: []store.Tracked{x}, Last: true})
	for range 24 * 450 {
		now = now.Add(8 * time.Second)
		for _, e := range m.Step(now, Told{From: liar, Reports: []store.Report{{Descriptor: d}}}) {
			if _, ok := e.(Survey); ok {
				return
			}
		}
	}
	t.Errorf("for a day a segment that can lose no more was not looked at")
}

// A registrar that has become one because a member is away has not heard of all
// holders yet. It does not take the segment for one that can lose no more, and
// rebuild what will return.
func TestNewRegistrarsWaitForTheGraceToo(t *testing.T) {
	d := newDesk(t, 8)
	seed := d.first(1)[0]
	part, s := d.tracked(seed, 2)
	all, _ := d.tracked(seed, 1)
	d.review(part)
	if got := surveys(d.until(urgent + time.Second)); len(got) != 1 {
		t.Fatalf("%d surveys of a segment that seems to be at risk", len(got))
	}
	surveyed := Surveyed{Segment: s.Segment, Descriptor: s.Descriptor, Holders: d.alive(s.Descriptor, all.Holdings)}
	if got := d.step(surveyed); len(got) > 0 {
		t.Errorf("after %v one shard is rebuilt: %v", urgent+time.Second, got)
	}
	if d.busy != 0 {
		t.Errorf("%d segments are worked on", d.busy)
	}
	if got := surveys(d.until(testGrace - urgent - 2*time.Second)); len(got) > 0 {
		t.Error("it does not wait for the grace")
	}
	if got := surveys(d.until(2 * time.Second)); len(got) != 1 {
		t.Fatalf("%d surveys after the grace", len(got))
	}
	if got := d.step(surveyed); len(got) != 1 {
		t.Errorf("after the grace there is no repair: %v", got)
	}

	d = newDesk(t, 8)
	d.review(part)
	d.review(all) // it hears of the others
	if got := surveys(d.until(testGrace - time.Second)); len(got) > 0 {
		t.Error("it does not wait for the grace after it has heard of the others")
	}
	d.review(part) // and now there is a loss
	if got := surveys(d.until(urgent + time.Second)); len(got) != 1 {
		t.Error("it waits with a segment at risk")
	}
}

// Holders that are members no more are forgotten: not those that are dead, who
// may return, and not of what is not whole without them.
func TestTheEvictedAreForgotten(t *testing.T) {
	d := newDesk(t, 8)
	struck := func(x store.Tracked) (list []Holder) {
		for _, e := range d.review(x) {
			if s, ok := e.(Strike); ok {
				list = append(list, s.Holders...)
			}
		}
		return list
	}
	whole, s := d.tracked(d.first(1)[0], 0)
	broken, _ := d.tracked(d.first(2)[1], 1)
	evicted := datamesh.PeerID{7}
	d.w.members[7].setDown(true)
	d.w.see()
	d.step(Members{d.w.View()})
	for _, x := range []*store.Tracked{&whole, &broken} {
		x.Holdings = append(x.Holdings, store.Holding{Index: 0, Peer: evicted}, store.Holding{Index: 3, Peer: evicted}, store.Holding{Index: 1, Peer: d.w.members[7].id})
	}
	if got, want := struck(whole), []Holder{{s.Segment, evicted}}; !slices.Equal(got, want) {
		t.Errorf("of a segment that is whole %v are forgotten, want the evicted one", got)
	}
	if got := struck(broken); len(got) > 0 {
		t.Errorf("of a segment that is not whole %v are forgotten", got)
	}
}

// What those who are there have too little of counts as lost, until they, or
// others who return, have enough.
func TestLostSegmentsAreCounted(t *testing.T) {
	counts := func(d *desk, segments, lost int) {
		t.Helper()
		if n, gone := d.Tracked(); n != segments || gone != lost {
			t.Errorf("%d of %d segments are lost, want %d of %d", gone, n, lost, segments)
		}
	}
	d := newDesk(t, 8)
	seeds := d.first(2)
	x, s := d.tracked(seeds[0], 3)
	whole, _ := d.tracked(seeds[1], 0)
	d.review(x, whole)
	counts(d, 2, 0) // others may know of more
	if got := surveys(d.until(urgent + time.Second)); len(got) != 1 {
		t.Fatalf("%d surveys", len(got))
	}
	d.step(Surveyed{Segment: s.Segment, Err: errs.New(errs.Unavailable, "no majority")})
	counts(d, 2, 0)
	if got := surveys(d.until(longest)); len(got) != 1 {
		t.Fatalf("%d surveys", len(got))
	}
	d.step(Surveyed{Segment: s.Segment, Descriptor: s.Descriptor, Holders: d.alive(s.Descriptor, x.Holdings)})
	counts(d, 2, 1)
	d.review(whole, x)
	counts(d, 2, 1)
	back, _ := d.tracked(seeds[0], 1)
	d.review(whole, back)
	counts(d, 2, 0)
	d.review(whole)
	counts(d, 1, 0)
}

// A repair tells since when the segment was known not to be whole.
func TestRepairsSayWhatTheyTook(t *testing.T) {
	d := newDesk(t, 8)
	x, s := d.tracked(d.first(1)[0], 1)
	began := d.now
	d.review(x)
	if got := surveys(d.until(testGrace + time.Second)); len(got) != 1 {
		t.Fatalf("%d surveys", len(got))
	}
	effects := d.step(Surveyed{Segment: s.Segment, Descriptor: s.Descriptor, Holders: d.alive(s.Descriptor, x.Holdings)})
	if r, ok := effects[0].(Repair); !ok || !r.Since.Equal(began) {
		t.Errorf("got %+v, want a repair of what was found at %v", effects, began)
	}
}
