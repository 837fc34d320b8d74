package ring

import (
	"iter"
	"slices"
	"time"

	"datamesh"
)

// A State is what this machine believes of a member.
type State uint8

const (
	Alive   State = 1 + iota
	Suspect       // it did not answer, or has not been asked yet; it counts as live
	Dead          // remembered until it is evicted, and asked now and then
)

func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Dead:
		return "dead"
	}
	return "unknown"
}

// A Member is a storage member as this machine sees it.
type Member struct {
	Record    *Record // not to be changed
	Placement [32]byte
	State     State
	Since     time.Time     // when State began, as far as is known
	RTT       time.Duration // of the last ping; 0 before one was answered
}

// A View is the member table at one moment, this member included. It does
// not change and is safe for concurrent use.
type View struct {
	members []Member // in the order of their peer ids
	live    int
}

// NewView returns a table of these members, in any order, each peer once. It is
// for those who know the members from somewhere else than a Machine, such as a
// simulation.
func NewView(members []Member) *View {
	v := &View{members: slices.SortedFunc(slices.Values(members), func(a, b Member) int {
		return comparePeers(a.Record.Peer, b.Record.Peer)
	})}
	for i := range v.members {
		if v.members[i].State != Dead {
			v.live++
		}
	}
	return v
}

// Len returns the number of members, dead ones included.
func (v *View) Len() int { return len(v.members) }

// Live returns the number of members that are not dead.
func (v *View) Live() int { return v.live }

// All yields the members in the order of their peer ids.
func (v *View) All() iter.Seq[Member] { return slices.Values(v.members) }

// Lookup returns the member of that id, if it is known.
func (v *View) Lookup(id datamesh.PeerID) (Member, bool) {
	i, ok := slices.BinarySearchFunc(v.members, id, func(m Member, id datamesh.PeerID) int {
		return comparePeers(m.Record.Peer, id)
	})
	if !ok {
		return Member{}, false
	}
	return v.members[i], true
}

// View returns the table as it is after the last Step. It is made anew only
// when something in it is new.
func (m *Machine) View() *View {
	if m.view != nil {
		return m.view
	}
	v := &View{members: make([]Member, len(m.order))}
	for i, x := range m.order {
		v.members[i] = Member{x.rec, x.placement, x.state, m.epoch.Add(x.since), x.rtt}
		if x.state != Dead {
			v.live++
		}
	}
	m.view = v
	return v
}
