package ring

import "time"

// claimed takes in a rumour about the incarnation that this machine knows.
// SWIM lets the greater claim hold (§4.2). Here it does so only if this
// machine has no better knowledge: what it heard from the member within one
// period outweighs a rumour, and makes it ask the member; and one that it held
// for alive is asked before it is dead. So two halves of a mesh that were
// apart, each of which holds the other for dead, can meet and nobody dies.
func (m *Machine) claimed(x *member, c claim, age time.Duration) {
	fresh := m.now-x.heard < m.cfg.Probe
	if x.state != Dead { // else a liar could have it forgotten before it was asked
		age = min(age, max(0, m.cfg.Evict-4*m.cfg.Probe))
	}
	switch {
	case c == x.claim:
		m.agreed(x)
	case x == m.self:
		m.refute(c)
	case m.self == nil:
		m.follow(x, c, age)
	case c == unproven || c == suspect && x.claim != alive:
	case c == alive:
		m.contest(x)
	case x.claim == unproven:
		m.takeForDead(x, age)
	case fresh && x.claim == alive:
		m.probe(x)
	case fresh:
	case c == suspect:
		m.doubt(x, false)
	case x.claim == suspect && m.now-x.since >= m.cfg.Probe:
		m.bury(x)
	case x.claim == suspect:
		x.expire = min(x.expire, m.now+m.cfg.Probe)
		x.again = m.now
		m.schedule(x)
	case !x.accused:
		x.accused, x.again = true, m.now
		m.schedule(x)
	}
}

// agreed takes in that somebody else tells a fact too. When that can wait, it
// needs telling the less (Demers et al. 1987, rumour mongering with counters
// and feedback).
func (m *Machine) agreed(x *member) {
	if !x.urgent {
		m.toldOn(x)
	}
}

// contest takes in that somebody holds a member for alive that is more, or
// less, than that here.
func (m *Machine) contest(x *member) {
	switch x.claim {
	case unproven:
		m.setClaim(x, alive)
	case dead:
		x.again = min(x.again, m.now+m.cfg.Probe/2)
		m.schedule(x)
	}
}

// follow is how an observer takes in a rumour: it probes nobody, and believes
// those whom it asks. Suspicion is their own affair.
func (m *Machine) follow(x *member, c claim, age time.Duration) {
	switch {
	case c == alive || c == suspect && x.claim != alive:
		m.setClaim(x, alive)
	case c == dead && m.now-x.heard >= m.cfg.Probe:
		m.takeForDead(x, age)
	}
}
