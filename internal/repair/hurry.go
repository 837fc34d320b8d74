package repair

import (
	"slices"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/placement"
)

// Hurry asks for a round: a look at all segments now, after which those that
// are not whole wait neither for the grace nor for registrars that are nearer.
// An Over of the same number follows, unless another Hurry does before.
type Hurry struct{ Number uint64 }

func (Hurry) event() {}

// Over tells what came of a round: all segments were looked at, and of those
// that were not whole each was tried once. Err is why they could not all be
// looked at.
type Over struct {
	Number uint64
	Round  Round
	Err    error
}

func (Over) effect() {}

// A Round is what was found and done when somebody asked.
type Round struct {
	Segments int      // that were looked at: those that this member is a registrar of
	Waiting  int      // of these, that were not whole
	Repaired int      // of these, that are now, by what was done here
	Failed   int      // of these, that are still not
	Shards   int      // that were given to members
	Bytes    int64    // of these
	Placed   []Placed // the first [MaxListed] of these
	Weak     []Weak   // the first [MaxListed] of those that failed
}

// MaxListed bounds each list in a Round.
const MaxListed = 1000

// A Placed shard is one that was given to a peer.
type Placed struct {
	Segment datamesh.SegmentID
	Index   int
	At      datamesh.PeerID
	Bytes   int
	Missing bool // nobody had it; else too many were at one peer
}

// A Weak segment is not as safe as the members allow, for that reason.
type Weak struct {
	Segment datamesh.SegmentID
	Reason  error
}

// A round is one that is being made.
type round struct {
	Round
	number uint64
	state  roundState
	left   int // segments that were not tried yet
	err    error
}

type roundState uint8

const (
	begins roundState = iota // the look at all segments that is under way began before
	looks                    // at all segments
	looked                   // at all
)

// hurry begins a round, in the place of one that nobody waits for any more.
func (m *Machine) hurry(ev Hurry) {
	for _, t := range m.tasks {
		t.hurried = false
	}
	m.round = &round{number: ev.Number, state: looks}
	if m.reviewing {
		m.round.state = begins
	}
	m.review = m.now
}

// look has a segment that was looked at for a round tried now, if it is not
// whole.
func (m *Machine) look(d *datamesh.Descriptor, holders [][]datamesh.PeerID, turn int) {
	r := m.round
	if r == nil || r.state != looks || turn < 0 {
		return
	}
	r.Segments++
	t := m.tasks[d.Segment]
	if t == nil {
		if flaw(m.members, d, holders) == nil {
			return
		}
		t = &task{segment: d.Segment, spare: placement.Survives(holders, d.K), since: m.now} // which others may know more of
		m.tasks[d.Segment] = t
	}
	t.hurried = true
	r.left++
	r.Waiting++
	if t.state == waits {
		m.wait(t, m.now)
	}
}

// lookedAtAll takes note that a look at all segments has ended.
func (m *Machine) lookedAtAll(err error) {
	switch r := m.round; {
	case r == nil:
	case r.state == begins:
		r.state = looks
	case r.state == looks:
		r.state, r.err = looked, err
	}
}

// tried takes note of what came of a segment of a round. Of one of which some
// was left for another turn it waits for that.
func (m *Machine) tried(ev Repaired) {
	t, r := m.tasks[ev.Segment], m.round
	if r == nil || t == nil || !t.hurried {
		return
	}
	r.given(ev.Placed)
	if ev.More && ev.Err == nil {
		return
	}
	t.hurried = false
	r.left--
	err := ev.Err
	if err == nil && !ev.Gone && ev.Descriptor != nil {
		err = flaw(m.members, ev.Descriptor, ev.Holders)
	}
	switch {
	case ev.Gone:
	case err != nil:
		r.fail(ev.Segment, err)
	case len(ev.Placed) > 0:
		r.Repaired++
	}
}

// over ends a round of which all is done.
func (m *Machine) over() []Effect {
	r := m.round
	if r == nil || r.state != looked || r.left > 0 {
		return nil
	}
	m.round = nil
	return []Effect{Over{r.number, r.Round, r.err}}
}

// place notes that a peer has a shard that it had not.
func (r *Repaired) place(index int, peer datamesh.PeerID) Placed {
	p := Placed{r.Segment, index, peer, r.Descriptor.ShardLen(), len(r.Holders[index]) == 0}
	r.Holders[index] = append(slices.Clone(r.Holders[index]), peer)
	r.Placed = append(r.Placed, p)
	return p
}

// flaw says in what a segment is less safe than the members allow, or nil if it
// is not, which is what [placement.Whole] says; health goes by that too. Kinds:
// Unavailable, Full.
func flaw(members []placement.Candidate, d *datamesh.Descriptor, holders [][]datamesh.PeerID) error {
	if placement.Whole(holders, len(members), d.K, d.M) {
		return nil
	}
	left := 0
	for _, who := range holders {
		if len(who) > 0 {
			left++
		}
	}
	switch {
	case left < d.K:
		return errs.New(errs.Unavailable, "%d of its %d shards are there, and it takes %d", left, len(holders), d.K)
	case left < len(holders):
		return errs.New(errs.Full, "no member has room for %d of its shards", len(holders)-left)
	}
	return errs.New(errs.Full, "some members have no room for its shards, and others hold too many of them")
}
