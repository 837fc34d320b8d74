package ring

import "time"

const (
	patience = 2  // periods for which a member is suspect before it is dead
	patient  = 12 // periods between two questions to the dead, in the end
	knocks   = 8  // questions to the dead and unproven at once; then 20 in a period
)

// doubt makes a member suspect. From then on it is asked twice in a period,
// and told, so that it can refute: at once after a probe of this machine's
// own, and after a rumour, which many hear, from some time before it is dead.
func (m *Machine) doubt(x *member, own bool) {
	m.setClaim(x, suspect)
	x.expire = m.now + patience*m.cfg.Probe
	x.again = m.now + m.cfg.Probe/2 + m.upTo(m.cfg.Probe)
	if own {
		x.again = m.now
	}
	m.schedule(x)
	m.spread(x, true)
}

// bury makes a member dead.
func (m *Machine) bury(x *member) {
	m.setClaim(x, dead)
	m.mourn(x)
	m.spread(x, true)
}

// mourn sets when to ask a dead member again, and when to forget it. Its
// contacts ask it, for all others.
func (m *Machine) mourn(x *member) {
	x.backoff = m.cfg.Probe
	x.again = m.now + x.backoff + m.upTo(m.cfg.Probe)
	x.expire = x.since + m.cfg.Evict
	if m.self == nil && x.claim == dead || !m.isContact(x) {
		x.again = never // an observer leaves that to the members
	}
	m.schedule(x)
}

// heard notes that a member has sent something: it is alive, whatever others
// say. It is told what was held of it, for them to hear its refutation.
func (m *Machine) heard(x *member) {
	x.heard = m.now
	if x.claim == alive {
		m.cleared(x)
		return
	}
	was := x.claim
	x.known = m.now
	m.setClaim(x, alive)
	switch was {
	case unproven:
		m.partner = x
		m.spread(x, false)
	case dead:
		m.partner = x
		fallthrough
	case suspect:
		m.hush(x)
		x.notice = true
	}
}

// cleared ends all doubt about a member that is held for alive.
func (m *Machine) cleared(x *member) {
	x.known = m.now
	x.probing, x.accused, x.queued, x.again = nil, false, false, never
	m.schedule(x)
}

// attendAll does for each member what is due by now.
func (m *Machine) attendAll() {
	for m.due.soonest() <= m.now {
		x := m.due[0]
		switch {
		case x.expire <= m.now:
			m.expired(x)
		case x.again <= m.now:
			m.knock(x)
		default:
			m.silent(x.probing)
		}
		m.schedule(x)
	}
}

// expired ends the state of a member that did not show any life in it.
func (m *Machine) expired(x *member) {
	switch {
	case x.state == Dead:
		m.forget(x)
	case x.claim == unproven: // nobody has ever said that it lives: no news
		x.state, x.since = Dead, m.now
		m.touch()
		m.mourn(x)
	default:
		m.bury(x)
	}
}

// knock asks a member that is not simply alive.
func (m *Machine) knock(x *member) {
	if x.claim != suspect {
		if x.again = m.knockTurn(x); x.again > m.now {
			return
		}
	}
	switch {
	case x.accused:
		x.again = never
		if m.probe(x); !x.probing.wide {
			m.widen(x.probing)
		}
		return
	case x.claim == suspect:
		x.again = m.now + m.cfg.Probe/2
	default:
		x.again = m.now + x.backoff + m.upTo(m.cfg.Probe)
		x.backoff = min(2*x.backoff, patient*m.cfg.Probe)
		if x.state == Suspect {
			x.expire = min(x.expire, m.now+m.cfg.Probe)
		}
	}
	m.ping(x, nil)
}

// knockTurn returns when a member may be knocked at, which is now when it has
// waited for its turn: many can be dead, and each costs a dial.
func (m *Machine) knockTurn(x *member) time.Duration {
	if x.queued {
		x.queued = false
		return m.now
	}
	gap := m.cfg.Probe / 20
	at := max(m.knockAt, m.now-knocks*gap)
	m.knockAt = at + gap
	x.queued = at > m.now
	return max(at, m.now)
}
