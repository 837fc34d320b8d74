package ring

import (
	"slices"
	"time"

	"datamesh"
)

// learnAll takes in what a member says.
func (m *Machine) learnAll(facts []Fact) {
	for i := range facts {
		m.learn(&facts[i])
	}
}

// introduced takes from a stranger's message the one fact that a stranger is
// trusted with: its own record.
func (m *Machine) introduced(from datamesh.PeerID, facts []Fact) {
	for i := range facts {
		if r, _, err := parseRecord(facts[i].Record); err == nil && r.Peer == from {
			m.learn(&facts[i])
		}
	}
}

// learn takes in one fact. An incarnation that is new needs its record, and
// that the signature of its member; what is old is not looked at further.
func (m *Machine) learn(f *Fact) {
	age := time.Duration(f.Age) * time.Second
	if f.Record == nil {
		if x := m.members[*f.Peer]; x != nil && x.rec.Seq == f.Seq {
			m.claimed(x, f.Claim, age)
		}
		return
	}
	rec, body, err := parseRecord(f.Record)
	if err != nil {
		return
	}
	x := m.members[rec.Peer]
	switch {
	case x != nil && rec.Seq < x.rec.Seq:
	case x != nil && rec.Seq == x.rec.Seq:
		m.claimed(x, f.Claim, age)
	case rec.verify(body, m.cfg.Mesh) == nil:
		m.admit(rec, f.Claim, age)
	}
}

// learned takes in a record that the driver vouches for.
func (m *Machine) learned(ev Learned) {
	var age time.Duration
	if !ev.Since.IsZero() {
		age = max(0, m.now-ev.Since.Sub(m.epoch))
	}
	if ev.State != Dead {
		age = 0
	}
	switch x := m.members[ev.Record.Peer]; {
	case ev.Record.Mesh != m.cfg.Mesh:
	case x == nil || x.rec.Seq < ev.Record.Seq:
		m.admit(ev.Record, unproven, age)
	case x.claim == dead || x.claim == unproven:
		x.again = m.now
		m.schedule(x)
	}
}

// admit takes in a verified record of a new incarnation.
func (m *Machine) admit(rec *Record, c claim, age time.Duration) {
	x := m.members[rec.Peer]
	if rec.Role != Storage || x == nil && !m.welcome(c, age) {
		return
	}
	switch {
	case x == m.self && x != nil:
		m.outbid(rec.Seq)
		return
	case x == nil:
		m.enter(m.add(rec), c, age)
	case x.claim == alive:
		urgent := !waits(x.rec, rec)
		m.renew(x, rec)
		m.spread(x, urgent)
		m.claimed(x, c, age)
		return
	default:
		m.renew(x, rec)
		m.enter(x, c, age)
	}
}

// welcome reports whether there is room for one more member, and a reason to
// remember it.
func (m *Machine) welcome(c claim, age time.Duration) bool {
	return len(m.members) < maxMembers && (c == alive || c == suspect || age < m.cfg.Evict)
}

// waits reports whether a new record can wait for the next probe to be told
// on: when it tells of the fill and of nothing else. One that only has a
// greater incarnation refutes a rumour, and is in a hurry.
func waits(old, rec *Record) bool {
	return old.Used != rec.Used && slices.Equal(old.Addrs, rec.Addrs)
}

// enter takes over what others say of an incarnation of which this machine
// knows nothing.
func (m *Machine) enter(x *member, c claim, age time.Duration) {
	switch c {
	case suspect:
		m.setClaim(x, alive)
		m.claimed(x, suspect, 0)
	case dead:
		m.takeForDead(x, age)
	case unproven:
		m.setClaim(x, unproven)
		x.backoff, x.again = m.cfg.Probe, m.now
		if age > 0 {
			x.state, x.since, x.expire = Dead, m.now-age, m.now-age+m.cfg.Evict
		}
		m.schedule(x)
		return
	default:
		m.setClaim(x, alive)
	}
	if !m.joining { // or the whole table would be news
		m.spread(x, c != dead)
	}
}

func (m *Machine) takeForDead(x *member, age time.Duration) {
	m.setClaim(x, dead)
	x.since = m.now - age
	m.mourn(x)
}

// fact returns what is to be told of a member as news.
func (m *Machine) fact(x *member) Fact {
	f := m.row(x)
	if x.claim == alive || x.claim == unproven {
		f.Record, f.Peer, f.Seq = x.rec.Encode(), nil, 0
	}
	return f
}

// row returns what is held of a member, without its record.
func (m *Machine) row(x *member) Fact {
	id := x.peer()
	f := Fact{Claim: x.claim, Peer: &id, Seq: x.rec.Seq}
	if x.state == Dead {
		f.Age = uint32(max(0, m.now-x.since) / time.Second)
	}
	return f
}

// whole returns what is held of a member, with its record.
func (m *Machine) whole(x *member) Fact {
	f := m.row(x)
	f.Record, f.Peer, f.Seq = x.rec.Encode(), nil, 0
	return f
}
