package repair

import (
	"errors"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
	"datamesh/internal/store"
)

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
	full    bool   // when it was tried last nobody had room
	seq     uint64 // what is in a queue for another turn is out of date
}

type state uint8

const (
	waits state = iota
	works
)

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
	if !mine || placement.Survives(holders, d.K) >= 0 {
		delete(m.lost, d.Segment)
	}
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
		if ev.Gone {
			delete(m.lost, ev.Segment)
		}
		m.tried(Repaired{Segment: ev.Segment, Gone: ev.Gone, Err: ev.Err})
		m.ended(ev.Segment, ev.Gone, ev.Err)
		return nil
	}
	copies, turn := m.consider(ev.Descriptor, ev.Holders)
	if turn >= 0 && placement.Survives(ev.Holders, ev.Descriptor.K) < 0 {
		m.lost[ev.Segment] = true
	}
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
	since := m.now
	if t := m.tasks[ev.Segment]; t != nil {
		if !t.hurried && m.postpone(t) {
			m.busy--
			return nil
		}
		since = t.since
	}
	return []Effect{Repair{ev.Descriptor, ev.Holders, copies, since}}
}

func (m *Machine) repaired(ev Repaired) {
	m.busy--
	m.tried(ev)
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
	t.full = errors.Is(err, errs.Full)
	m.wait(t, m.now.Add(m.about(min(backoff<<min(t.tries-1, 20), longest))))
}

// tryAgain has what failed for want of room tried again soon.
func (m *Machine) tryAgain() {
	soon := m.now.Add(m.about(backoff))
	for _, t := range m.tasks {
		if t.full && t.state == waits && t.due.After(soon) {
			t.tries = 1
			m.wait(t, soon)
		}
	}
}
