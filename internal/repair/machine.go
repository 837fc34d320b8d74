package repair

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
	"datamesh/internal/store"
)

// A Config has what a member does of its own accord, and when.
type Config struct {
	Self     datamesh.PeerID
	Grace    time.Duration // until what is missing is rebuilt while the segment can lose more
	Interval time.Duration // between two looks at all segments, whatever happens
	Seed     uint64        // of random choices
}

const (
	settle   = time.Second      // from a change of the members to a look at the segments
	urgent   = 5 * time.Second  // the grace of a segment that can lose no more, at most
	backoff  = 10 * time.Second // for each registrar that comes before
	longest  = 6 * time.Hour    // between two tries
	together = 4                // segments that are worked on at once

	// How long a segment waits at most for a nearer registrar that is at work:
	// while it can lose more, and when it cannot.
	patience, impatience = 10 * time.Minute, time.Minute

	maxHopeless = 1 << 16 // segments that are known to be beyond repair
)

// An Event is what happened: Tick, Members, Reviewed, Announced, Told,
// Corrected, Lost, Hurry, Surveyed or Repaired.
type Event interface{ event() }

// Tick says that nothing happened, but time went by.
type Tick struct{}

// Members says who the members are now.
type Members struct{ View *ring.View }

// Reviewed has what a Review was to read, in its order.
type Reviewed struct {
	Segments []store.Tracked
	Last     bool  // there are no more
	Err      error // why the rest could not be read
}

// Announced says that an Announce has ended, and who could not be told.
type Announced struct{ Told, Failed []datamesh.PeerID }

// Told says that a member has reported who holds segments.
type Told struct {
	From    datamesh.PeerID
	Reports []store.Report
}

// Corrected says that what is known of who holds what has changed.
type Corrected struct{}

// Lost says that this member has shards no more that it had.
type Lost struct{}

// Surveyed has who is there and holds a segment's shards, by index. Gone says
// that the segment was deleted, or is not known.
type Surveyed struct {
	Segment    datamesh.SegmentID
	Descriptor *datamesh.Descriptor
	Holders    [][]datamesh.PeerID
	Gone       bool
	Err        error
}

// Repaired says what became of a Repair, and who now holds the shards.
type Repaired struct {
	Segment    datamesh.SegmentID
	Descriptor *datamesh.Descriptor
	Holders    [][]datamesh.PeerID
	Placed     []Placed
	Gone       bool // the segment was deleted
	More       bool // some of it was left for another turn
	Hopeless   bool // what its owner has signed cannot be rebuilt
	Err        error
}

func (Tick) event()      {}
func (Members) event()   {}
func (Reviewed) event()  {}
func (Announced) event() {}
func (Told) event()      {}
func (Corrected) event() {}
func (Lost) event()      {}
func (Surveyed) event()  {}
func (Repaired) event()  {}

// An Effect is what the driver shall do: Review, Announce, Survey, Repair, Hint,
// Forget or Over.
type Effect interface{ effect() }

// Review asks for a page of the segments that this member keeps track of:
// those after the one named. A Reviewed follows.
type Review struct{ After datamesh.SegmentID }

// Announce asks for members to be told which shards this one holds that they
// keep track of: those named, or, without any, all registrars of what is held
// and all partners. An Announced follows.
type Announce struct{ To []datamesh.PeerID }

// Survey asks who holds a segment's shards. A Surveyed follows.
type Survey struct{ Segment datamesh.SegmentID }

// Repair asks for shards to be rebuilt, or copied, and given to peers, and for
// the registrars to be told. A Repaired follows.
type Repair struct {
	Descriptor *datamesh.Descriptor
	Holders    [][]datamesh.PeerID
	Copies     []Copy
}

// Hint asks for holders to be told which of their shards may be too many.
type Hint struct{ Segments []Surplused }

// Forget asks for what is known of who holds these segments to be forgotten:
// others keep track of them.
type Forget struct{ Segments []datamesh.SegmentID }

func (Forget) effect()   {}
func (Hint) effect()     {}
func (Review) effect()   {}
func (Announce) effect() {}
func (Survey) effect()   {}
func (Repair) effect()   {}

// A Machine decides what a member does to keep segments whole. It is pure, as
// the machine of package ring is: Step is told the time and what happened and
// says what to do, and the same steps have the same effects. It is not safe
// for concurrent use.
//
// Nobody leads. Every registrar of a segment that is not whole waits, the
// nearer to the segment the shorter, and then asks whether it still is not: by
// then, most times, another has rebuilt what was missing. A rebuild gives the
// same bytes whoever makes it, so that two at once waste work and no more.
type Machine struct {
	cfg  Config
	rand *rand.Rand
	now  time.Time

	view    *ring.View
	changed time.Time // when who is there has last changed
	members []placement.Candidate
	live    map[datamesh.PeerID]uint64    // the incarnations of those that are not dead
	told    map[datamesh.PeerID]time.Time // when a member last told of segments

	review    time.Time // when to look at all segments; zero: no time
	reviewing bool
	again     bool      // what is being read may be out of date
	announce  time.Time // when to tell all registrars what is held
	telling   bool
	untold    map[datamesh.PeerID]*untold

	hopeless map[datamesh.SegmentID]bool
	tasks    map[datamesh.SegmentID]*task
	waiting  queue // by time
	ready    queue // by risk
	seq      uint64
	busy     int

	round *round // that a Hurry asked for, or nil
}

// untold is a member that could not be told what is held.
type untold struct {
	tries int
	again time.Time
}

// A task is a segment that is not whole.
type task struct {
	segment datamesh.SegmentID
	spare   int       // losses that it can still take
	since   time.Time // when it was first found not to be whole
	due     time.Time // when it is this member's turn
	turn    time.Time // when it was its turn first; zero: it was not yet
	tries   int
	ahead   []datamesh.PeerID // registrars whose turn is before
	state   state
	hurried bool   // a round waits for it
	seq     uint64 // what is in a queue for another turn is out of date
}

type state uint8

const (
	waits state = iota
	works
)

// NewMachine returns a machine that knows of no members yet.
func NewMachine(cfg Config) *Machine {
	return &Machine{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0)), live: map[datamesh.PeerID]uint64{},
		told: map[datamesh.PeerID]time.Time{}, untold: map[datamesh.PeerID]*untold{}, hopeless: map[datamesh.SegmentID]bool{}, tasks: map[datamesh.SegmentID]*task{},
		waiting: queue{less: func(a, b turn) bool { return a.compareTime(b) < 0 }},
		ready: queue{less: func(a, b turn) bool {
			return cmp.Or(cmp.Compare(a.spare, b.spare), a.compareTime(b)) < 0
		}}}
}

// Waiting returns how many segments are known not to be whole.
func (m *Machine) Waiting() int { return len(m.tasks) }

// Next returns when the machine wants its next Step, if nothing happens before;
// the zero time if it does not.
func (m *Machine) Next() (at time.Time) {
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	sooner(m.review)
	if !m.telling { // or it follows when that has ended
		sooner(m.announce)
		for _, u := range m.untold {
			sooner(u.again)
		}
	}
	if len(m.waiting.list) > 0 {
		sooner(m.waiting.list[0].due)
	}
	return at
}

// Step tells the machine what time it is and what happened.
func (m *Machine) Step(now time.Time, ev Event) (effects []Effect) {
	m.now = now
	switch ev := ev.(type) {
	case Members:
		m.setMembers(ev.View)
	case Reviewed:
		effects = append(effects, m.reviewed(ev)...)
	case Announced:
		m.announced(ev)
	case Told:
		m.hear(ev)
	case Corrected:
		m.sooner(&m.review, settle)
	case Lost:
		m.sooner(&m.announce, settle)
	case Surveyed:
		effects = append(effects, m.surveyed(ev)...)
	case Hurry:
		m.hurry(ev)
	case Repaired:
		m.repaired(ev)
	}
	effects = append(effects, m.due()...)
	return append(effects, m.over()...)
}

// due returns what it is time for.
func (m *Machine) due() (effects []Effect) {
	if !m.review.IsZero() && !m.review.After(m.now) {
		if m.reviewing {
			m.again = true
		} else {
			m.reviewing = true
			effects = append(effects, Review{})
		}
		m.review = m.now.Add(m.about(m.cfg.Interval))
	}
	effects = append(effects, m.tell()...)
	for len(m.waiting.list) > 0 && !m.waiting.list[0].due.After(m.now) {
		m.ready.push(m.waiting.pop())
	}
	for m.busy < together && len(m.ready.list) > 0 {
		x := m.ready.pop()
		t := m.tasks[x.segment]
		if t == nil || t.seq != x.seq {
			continue
		}
		if t.turn.IsZero() {
			t.turn = m.now
		}
		if until := m.progress(t); until.After(m.now) && !t.hurried {
			m.wait(t, until)
			continue
		}
		t.state = works
		m.busy++
		effects = append(effects, Survey{t.segment})
	}
	return effects
}

// tell has all told what is held when it is time, and else those that could
// not be told before.
func (m *Machine) tell() []Effect {
	if m.telling {
		return nil
	}
	if !m.announce.IsZero() && !m.announce.After(m.now) {
		m.telling = true
		m.announce = m.now.Add(m.about(m.cfg.Interval))
		return []Effect{Announce{}}
	}
	var to []datamesh.PeerID
	for peer, u := range m.untold {
		if !u.again.After(m.now) {
			to = append(to, peer)
		}
	}
	if len(to) == 0 {
		return nil
	}
	m.telling = true
	slices.SortFunc(to, comparePeers)
	return []Effect{Announce{to}}
}

// announced has those told again, later and later, who could not be told and
// are alive.
func (m *Machine) announced(ev Announced) {
	m.telling = false
	for _, peer := range ev.Told {
		delete(m.untold, peer)
	}
	for _, peer := range ev.Failed {
		if _, ok := m.live[peer]; !ok {
			continue
		}
		u := m.untold[peer]
		if u == nil {
			u = new(untold)
			m.untold[peer] = u
		}
		u.again = m.now.Add(m.about(min(backoff<<min(u.tries, 20), m.cfg.Interval)))
		u.tries++
	}
}

// about returns nearly d, so that members do not all do the same at once.
func (m *Machine) about(d time.Duration) time.Duration {
	return d*9/10 + time.Duration(m.rand.Int64N(int64(d)/5+1))
}

// sooner brings a time forward to after d.
func (m *Machine) sooner(at *time.Time, d time.Duration) {
	if t := m.now.Add(d); at.IsZero() || t.Before(*at) {
		*at = t
	}
}

// setMembers takes note of who came and went. Those that came may not know
// what this member holds; those that went leave segments that are not whole.
func (m *Machine) setMembers(view *ring.View) {
	live := map[datamesh.PeerID]uint64{}
	for x := range view.All() {
		if x.State != ring.Dead {
			live[x.Record.Peer] = x.Record.Seq
		}
	}
	changed := len(live) != len(m.live)
	for peer := range live {
		if _, known := m.live[peer]; !known {
			changed = true
		}
	}
	m.view, m.members, m.live = view, ring.Candidates(view), live
	if !changed {
		return
	}
	for peer := range m.told {
		if _, ok := live[peer]; !ok {
			delete(m.told, peer)
		}
	}
	for peer := range m.untold {
		if _, ok := live[peer]; !ok {
			delete(m.untold, peer)
		}
	}
	m.changed = m.now
	m.sooner(&m.review, settle)
	m.sooner(&m.announce, settle)
}

// Changed returns when who is there has last changed.
func (m *Machine) Changed() time.Time { return m.changed }

// nearby is how many members are told what a member holds even if it holds
// nothing that they keep track of: it may have lost that.
const nearby = 64

// partners returns those members, which may keep track of what a member was
// chosen to hold, itself included.
func partners(view *ring.View, self datamesh.PeerID) []datamesh.PeerID {
	me, ok := view.Lookup(self)
	if !ok {
		return nil
	}
	return ring.Registrars(view, me.Placement, nearby)
}

// reviewed looks at a page of the segments.
func (m *Machine) reviewed(ev Reviewed) (effects []Effect) {
	var hint Hint
	var forget Forget
	for _, s := range ev.Segments {
		holders := m.alive(s.Descriptor, s.Holdings)
		copies, turn := m.consider(s.Descriptor, holders)
		m.look(s.Descriptor, holders, turn)
		if turn < 0 && len(s.Holdings) > 0 {
			forget.Segments = append(forget.Segments, s.Descriptor.Segment)
		}
		if turn != 0 || len(copies) > 0 {
			continue
		}
		if spare := Surplus(m.members, s.Descriptor, holders); len(spare) > 0 {
			hint.Segments = append(hint.Segments, Surplused{s.Descriptor.Segment, spare})
		}
	}
	steady := m.changed.Add(m.cfg.Grace + settle).Sub(m.now) // until then who has come may go again
	if len(hint.Segments) > 0 && steady <= 0 {
		effects = append(effects, hint)
	}
	if len(forget.Segments) > 0 && steady <= 0 {
		effects = append(effects, forget)
	}
	if len(hint.Segments)+len(forget.Segments) > 0 && steady > 0 {
		m.sooner(&m.review, steady)
	}
	if ev.Last {
		m.lookedAtAll(ev.Err)
	}
	switch {
	case !ev.Last:
		effects = append(effects, Review{ev.Segments[len(ev.Segments)-1].Descriptor.Segment})
	case m.again:
		m.again = false
		effects = append(effects, Review{})
	default:
		m.reviewing = false
	}
	return effects
}

// alive returns those of the holders that are not dead.
func (m *Machine) alive(d *datamesh.Descriptor, holdings []store.Holding) [][]datamesh.PeerID {
	holders := make([][]datamesh.PeerID, len(d.Shards))
	for _, h := range holdings {
		if _, ok := m.live[h.Peer]; ok && h.Index < len(holders) && !slices.Contains(holders[h.Index], h.Peer) {
			holders[h.Index] = append(holders[h.Index], h.Peer)
		}
	}
	return holders
}

// consider makes a task of a segment that is not whole, or ends its task. It
// returns what would make it whole, and how many registrars come before this
// one; none at all if this is none. What fewer than k members are known to hold
// is a task too: others may know of more.
func (m *Machine) consider(d *datamesh.Descriptor, holders [][]datamesh.PeerID) (copies []Copy, turn int) {
	ahead, mine := before(m.view, d, m.cfg.Self)
	turn = -1
	if mine {
		copies, turn = Plan(m.members, d, holders), len(ahead)
	}
	well := !mine || len(copies) == 0 && whole(holders) || m.hopeless[d.Segment]
	t := m.tasks[d.Segment]
	switch {
	case well && (t == nil || t.state == waits && !t.hurried):
		delete(m.tasks, d.Segment)
	case well:
	case t == nil:
		t = &task{segment: d.Segment, spare: placement.Survives(holders, d.K), since: m.now, ahead: ahead}
		m.tasks[d.Segment] = t
		m.wait(t, m.turnOf(t, m.now))
	default:
		was := t.spare
		t.spare, t.ahead = placement.Survives(holders, d.K), ahead
		if t.state != waits {
			break
		}
		switch at := m.turnOf(t, m.now); {
		case t.spare < was && t.due.Before(at):
			m.wait(t, t.due)
		case t.spare < was:
			m.wait(t, at)
		case t.spare > was && t.tries == 0 && !t.hurried:
			m.postpone(t)
		}
	}
	return copies, turn
}

// turnOf returns when it is this member's turn to see to a segment that has not
// been whole since then.
func (m *Machine) turnOf(t *task, since time.Time) time.Time {
	return since.Add(m.grace(t.spare) + time.Duration(len(t.ahead))*backoff)
}

// postpone has a task wait that can lose more than was known, and reports
// whether its turn is still to come.
func (m *Machine) postpone(t *task) bool {
	at := m.turnOf(t, t.since)
	if !at.After(m.now) {
		return false
	}
	t.turn = time.Time{}
	m.wait(t, at)
	return true
}

// before returns the registrars of a segment that are nearer to it than self,
// and whether self is one.
func before(view *ring.View, d *datamesh.Descriptor, self datamesh.PeerID) ([]datamesh.PeerID, bool) {
	all := registrars(view, d)
	i := slices.Index(all, self)
	return all[:max(i, 0)], i >= 0
}

func registrars(view *ring.View, d *datamesh.Descriptor) []datamesh.PeerID {
	return ring.Registrars(view, d.Segment, ring.RegistrarCount(d.K, d.M, view.Live()))
}

// grace is how long a segment waits for those that hold its shards to return.
func (m *Machine) grace(spare int) time.Duration {
	if spare <= 0 {
		return min(m.cfg.Grace, urgent)
	}
	return m.cfg.Grace
}

// progress returns until when a task waits because a registrar whose turn is
// before has told of others meanwhile, and so is at work. That has an end.
func (m *Machine) progress(t *task) (until time.Time) {
	most := patience
	if t.spare <= 0 {
		most = impatience
	}
	if m.now.Sub(t.turn) >= most {
		return m.now
	}
	for _, peer := range t.ahead {
		if at := m.told[peer].Add(backoff); at.After(until) && !m.told[peer].IsZero() {
			until = at
		}
	}
	return until
}

func (m *Machine) wait(t *task, until time.Time) {
	if len(m.waiting.list) > 2*len(m.tasks)+page { // most turns are out of date
		m.waiting.keep(func(x turn) bool { return m.tasks[x.segment] != nil && m.tasks[x.segment].seq == x.seq })
	}
	m.seq++
	t.state, t.due, t.seq = waits, until, m.seq
	m.waiting.push(turn{t.segment, t.spare, until, t.seq})
}

// hear takes note of what a registrar reports: that it is at work, and that
// segments are whole. Others may have put them, and know nothing of how they
// are now.
func (m *Machine) hear(ev Told) {
	if _, ok := m.live[ev.From]; !ok {
		return
	}
	for _, r := range ev.Reports {
		if !tracks(m.view, r.Descriptor, ev.From) {
			continue
		}
		m.told[ev.From] = m.now
		t, holders := m.tasks[r.Descriptor.Segment], m.alive(r.Descriptor, r.Holdings)
		if t != nil && t.state == waits && whole(holders) && len(Plan(m.members, r.Descriptor, holders)) == 0 {
			m.tried(Repaired{Segment: t.segment})
			delete(m.tasks, t.segment)
		}
	}
}

// whole reports whether each shard has a holder.
func whole(holders [][]datamesh.PeerID) bool {
	return !slices.ContainsFunc(holders, func(who []datamesh.PeerID) bool { return len(who) == 0 })
}

func (m *Machine) surveyed(ev Surveyed) []Effect {
	if ev.Err != nil || ev.Gone {
		m.busy--
		m.tried(Repaired{Segment: ev.Segment, Gone: ev.Gone, Err: ev.Err})
		m.ended(ev.Segment, ev.Gone, ev.Err)
		return nil
	}
	copies, turn := m.consider(ev.Descriptor, ev.Holders)
	if len(copies) == 0 {
		m.busy--
		var err error
		if !whole(ev.Holders) {
			err = flaw(m.members, ev.Descriptor, ev.Holders) // those that were silent may answer later
		}
		m.tried(Repaired{Segment: ev.Segment, Descriptor: ev.Descriptor, Holders: ev.Holders, Gone: turn < 0, Err: err})
		m.ended(ev.Segment, false, err)
		return nil
	}
	if t := m.tasks[ev.Segment]; t != nil && !t.hurried && m.postpone(t) {
		m.busy--
		return nil
	}
	return []Effect{Repair{ev.Descriptor, ev.Holders, copies}}
}

func (m *Machine) repaired(ev Repaired) {
	m.busy--
	if !ev.More || ev.Err != nil {
		m.tried(ev)
	}
	t := m.tasks[ev.Segment]
	switch {
	case ev.Hopeless:
		if len(m.hopeless) >= maxHopeless {
			clear(m.hopeless)
		}
		m.hopeless[ev.Segment] = true
		delete(m.tasks, ev.Segment)
	case ev.More && ev.Err == nil && t != nil:
		m.wait(t, m.now)
	default:
		m.ended(ev.Segment, ev.Gone, ev.Err)
	}
}

// ended ends a task, or has it tried again later.
func (m *Machine) ended(segment datamesh.SegmentID, gone bool, err error) {
	t := m.tasks[segment]
	if t == nil {
		return
	}
	if err == nil || gone {
		delete(m.tasks, segment)
		return
	}
	t.tries++
	m.wait(t, m.now.Add(m.about(min(backoff<<min(t.tries-1, 20), longest))))
}

func comparePeers(a, b datamesh.PeerID) int { return bytes.Compare(a[:], b[:]) }
