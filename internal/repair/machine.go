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
	changes changes // of who is there, lately
	members []placement.Candidate
	live    map[datamesh.PeerID]uint64    // the incarnations of those that are not dead
	room    map[datamesh.PeerID]int64     // bytes that they say they have room for
	told    map[datamesh.PeerID]time.Time // when a member last told of segments

	tracked   int       // segments that this member keeps track of, by the last look at all
	seen      int       // by the one under way, so far
	review    time.Time // when to look at all segments; zero: no time
	reviewing bool
	again     bool      // what is being read may be out of date
	announce  time.Time // when to tell all registrars what is held
	news      time.Time // when to tell those that became that lately
	toldIn    *ring.View
	telling   bool
	untold    map[datamesh.PeerID]*untold

	hopeless map[datamesh.SegmentID]bool
	lost     map[datamesh.SegmentID]bool // all that are there were asked, and have fewer than k shards
	tasks    map[datamesh.SegmentID]*task
	waiting  queue // by time
	ready    queue // by risk
	seq      uint64
	busy     int

	round *round // that a Hurry asked for, or nil
}

// NewMachine returns a machine that knows of no members yet.
func NewMachine(cfg Config) *Machine {
	return &Machine{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0)), live: map[datamesh.PeerID]uint64{},
		told: map[datamesh.PeerID]time.Time{}, untold: map[datamesh.PeerID]*untold{}, hopeless: map[datamesh.SegmentID]bool{}, lost: map[datamesh.SegmentID]bool{}, tasks: map[datamesh.SegmentID]*task{},
		waiting: queue{less: func(a, b turn) bool { return a.compareTime(b) < 0 }},
		ready: queue{less: func(a, b turn) bool {
			return cmp.Or(cmp.Compare(a.spare, b.spare), a.compareTime(b)) < 0
		}}}
}

// Waiting returns how many segments are known not to be whole.
func (m *Machine) Waiting() int { return len(m.tasks) }

// Tracked returns how many segments this member keeps track of, as it found
// when it last looked at all, and how many of those have fewer shards left than
// it takes, as those that are there have said when asked.
func (m *Machine) Tracked() (segments, lost int) {
	return m.tracked, len(m.lost)
}

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
		sooner(m.news)
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

// setMembers takes note of who came and went. Those that came, or begin anew,
// and those that have become registrars in the place of others may not know
// what this member holds; those that went leave segments that are not whole.
func (m *Machine) setMembers(view *ring.View) {
	live, room, more := map[datamesh.PeerID]uint64{}, map[datamesh.PeerID]int64{}, false
	for x := range view.All() {
		if peer := x.Record.Peer; x.State != ring.Dead {
			live[peer], room[peer] = x.Record.Seq, x.Record.Capacity-x.Record.Used
			more = more || room[peer] > m.room[peer]
		}
	}
	moved, anew, first := differ(m.live, live), m.begunAnew(live), m.view == nil
	m.view, m.members, m.live, m.room = view, ring.Candidates(view), live, room
	switch {
	case first:
		m.sooner(&m.announce, settle)
	case len(moved) > 0 || anew:
		m.sooner(&m.news, settle)
	}
	if more {
		m.tryAgain()
	}
	if len(moved) == 0 {
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
	m.changes = m.changes.and(moved, m.now, m.cfg.Grace+settle)
	m.sooner(&m.review, settle)
}

// begunAnew reports whether one of the others that are there has begun anew.
func (m *Machine) begunAnew(live map[datamesh.PeerID]uint64) bool {
	for peer, seq := range live {
		if was, ok := m.live[peer]; ok && anotherLife(was, seq) && peer != m.cfg.Self {
			return true
		}
	}
	return false
}

// reviewed looks at a page of the segments.
func (m *Machine) reviewed(ev Reviewed) (effects []Effect) {
	var hint Hint
	var forget Forget
	var strike Strike
	for _, s := range ev.Segments {
		holders := m.alive(s.Descriptor, s.Holdings)
		copies, turn := m.consider(s.Descriptor, holders)
		m.look(s.Descriptor, holders, turn)
		if turn >= 0 {
			m.seen++
		}
		if turn >= 0 && len(copies) == 0 && whole(holders) {
			strike.Holders = append(strike.Holders, evicted(m.view, s)...)
		}
		switch {
		case turn < 0 && len(s.Holdings) > 0:
			if m.steady(s) {
				forget.Segments = append(forget.Segments, s.Descriptor.Segment)
			}
		case turn == 0 && len(copies) == 0:
			if spare := Surplus(m.members, s.Descriptor, holders); len(spare) > 0 && m.steady(s) {
				hint.Segments = append(hint.Segments, Surplused{s.Descriptor.Segment, spare})
			}
		}
	}
	if len(hint.Segments) > 0 {
		effects = append(effects, hint)
	}
	if len(forget.Segments) > 0 {
		effects = append(effects, forget)
	}
	if len(strike.Holders) > 0 {
		effects = append(effects, strike)
	}
	if ev.Last {
		m.tracked, m.seen = m.seen, 0
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

// evicted returns who is said to hold a segment and is in the table of members
// no more, not even as dead. The segment is whole without him: who has just
// begun, or sees nobody, and so knows few members, forgets nothing. If he comes
// again after all he tells what he has.
func evicted(view *ring.View, s store.Tracked) (list []Holder) {
	for _, h := range s.Holdings {
		x := Holder{s.Descriptor.Segment, h.Peer}
		if _, ok := view.Lookup(h.Peer); !ok && !slices.Contains(list, x) {
			list = append(list, x)
		}
	}
	return list
}

func comparePeers(a, b datamesh.PeerID) int { return bytes.Compare(a[:], b[:]) }
