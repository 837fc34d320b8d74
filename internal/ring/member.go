package ring

import (
	"encoding/binary"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/hash"
)

// maxMembers bounds the table, whoever signs what.
const maxMembers = 1 << 14

// A member is what this machine knows of one storage member.
type member struct {
	rec       *Record
	placement [32]byte
	sum       uint64 // its part in the sums of the table
	pair      uint64 // see [Machine.isContact]

	claim claim         // as told to others
	state State         // as shown in the view; what is unproven is suspect first, then dead
	since time.Duration // when state began
	heard time.Duration // when it last sent anything
	known time.Duration // when it was last known to live: heard from, or vouched for
	rtt   time.Duration

	probing *probe
	again   time.Duration // when to ask it anew, or never
	expire  time.Duration // when its state ends, or never
	backoff time.Duration // between two questions to the dead
	queued  bool          // whether again is its turn among those of knockTurn
	accused bool          // others say that it is dead: what its probe says, holds
	notice  bool          // it was held for suspect or dead, and is to be told
	gone    bool          // no longer in the table

	left   int  // how often its fact is still to be told on
	urgent bool // whether that waits for a probe
	inNews bool

	place int           // in Machine.live, or -1
	wake  time.Duration // when something is to be done for it
	index int           // in Machine.due, or -1
}

func (x *member) peer() datamesh.PeerID { return x.rec.Peer }

// find returns where the peer is in the order, or would be.
func (m *Machine) find(id datamesh.PeerID) int {
	i, _ := slices.BinarySearchFunc(m.order, id, func(x *member, id datamesh.PeerID) int {
		return comparePeers(x.rec.Peer, id)
	})
	return i
}

// add takes a member into the table, with nothing known of it but its record.
func (m *Machine) add(rec *Record) *member {
	x := &member{rec: rec, placement: rec.Placement(), pair: m.pairOf(rec), state: Suspect, since: m.now,
		heard: -m.cfg.Probe, known: -m.cfg.Probe, again: never, expire: never,
		place: -1, index: -1, wake: never}
	m.members[rec.Peer] = x
	m.order = slices.Insert(m.order, m.find(rec.Peer), x)
	m.resum(x)
	m.touch()
	return x
}

// renew gives a member its newer record.
func (m *Machine) renew(x *member, rec *Record) {
	x.rec, x.placement, x.notice = rec, rec.Placement(), false
	m.resum(x)
	m.touch()
}

// forget takes a member out of the table.
func (m *Machine) forget(x *member) {
	delete(m.members, x.peer())
	i := m.find(x.peer())
	m.order = slices.Delete(m.order, i, i+1)
	m.sums[x.rec.Peer[0]] ^= x.sum
	m.unlist(x)
	x.gone, x.left, x.probing, x.again, x.expire = true, 0, nil, never, never
	m.schedule(x)
	m.touch()
}

// setClaim changes what is held of a member. What is due for its old state
// is due no more.
func (m *Machine) setClaim(x *member, c claim) {
	was := x.state
	x.claim, x.probing, x.accused, x.queued = c, nil, false, false
	x.again, x.expire = never, never
	switch c {
	case alive:
		x.state = Alive
	case suspect, unproven:
		x.state = Suspect
	case dead:
		x.state = Dead
	}
	if x.state != was {
		x.since = m.now
		m.touch()
	}
	if x != m.self && (c == alive || c == suspect) {
		m.list(x)
	} else {
		m.unlist(x)
	}
	m.resum(x)
	m.schedule(x)
}

// list puts a member among the live ones and into the round, at a random
// place of what is left of it.
func (m *Machine) list(x *member) {
	if x.place >= 0 {
		return
	}
	x.place = len(m.live)
	m.live = append(m.live, x)
	m.round = append(m.round, x)
	i, last := m.turn+m.rand.IntN(len(m.round)-m.turn), len(m.round)-1
	m.round[i], m.round[last] = m.round[last], m.round[i]
}

func (m *Machine) unlist(x *member) {
	if x.place < 0 {
		return
	}
	last := len(m.live) - 1
	m.place(m.live[last], x.place, x, last)
	m.live[last] = nil
	m.live, x.place = m.live[:last], -1
}

// place puts x and y where they belong among the live ones.
func (m *Machine) place(x *member, i int, y *member, j int) {
	m.live[i], m.live[j] = x, y
	x.place, y.place = i, j
}

// lasting returns what a claim is worth in a comparison of tables. Suspicion
// passes too soon to count.
func lasting(c claim) claim {
	if c == suspect {
		return alive
	}
	return c
}

// resum brings the sums up to date with a member.
func (m *Machine) resum(x *member) {
	seq := binary.BigEndian.AppendUint64(nil, x.rec.Seq)
	sum := hash.Keyed(m.cfg.Mesh, x.rec.Peer[:], seq, []byte{byte(lasting(x.claim))})
	bucket := &m.sums[x.rec.Peer[0]]
	*bucket ^= x.sum
	x.sum = binary.BigEndian.Uint64(sum[:8])
	*bucket ^= x.sum
}

// touch notes that the view is to be made anew, and told of.
func (m *Machine) touch() { m.view, m.changed = nil, true }
