package ring

import "time"

const (
	helpers    = 3  // asked to ping a member that does not answer (SWIM's k)
	neighbours = 16 // looked at to find the one to watch
)

// probe is the question to a member that is held for alive whether it is.
// For half a period it is pinged directly; for another half once more, since
// the first connection may have been a dead one, and through helpers.
type probe struct {
	of       *member
	wide     bool // in its second half
	open     int  // calls that may still be answered
	deadline time.Duration
}

// probe begins a probe, if there is none under way.
func (m *Machine) probe(x *member) {
	if x.probing != nil {
		return
	}
	p := &probe{of: x, deadline: m.now + m.cfg.Probe/2}
	x.probing = p
	m.try(p)
	m.schedule(x)
}

// try pings the member directly.
func (m *Machine) try(p *probe) {
	p.open++
	m.ping(p.of, func(pong *Message) { m.tried(p, pong != nil) })
}

// widen begins the second half of a probe.
func (m *Machine) widen(p *probe) {
	p.wide, p.deadline = true, m.now+m.cfg.Probe/2
	m.try(p)
	for _, y := range m.pick(helpers, p.of) {
		p.open++
		target := p.of.peer()
		m.call(y, &Message{Kind: KindAsk, Target: &target}, m.cfg.Probe, func(told *Message) {
			m.tried(p, told != nil && told.Alive)
		})
	}
	m.schedule(p.of)
}

// tried notes that one of the calls of a probe has ended. When none is left
// there is nothing to wait for.
func (m *Machine) tried(p *probe, answered bool) {
	p.open--
	switch x := p.of; {
	case x.probing != p: // it is over
	case answered:
		m.cleared(x)
	case p.open == 0:
		m.silent(p)
	}
}

// silent ends a half of a probe that brought no sign of life.
func (m *Machine) silent(p *probe) {
	x := p.of
	if !p.wide {
		m.widen(p)
		return
	}
	m.abroad = min(m.abroad+abroadMore, len(m.live))
	if x.accused {
		m.bury(x)
	} else {
		m.doubt(x, true)
	}
}

// probeNext probes the next contact of the round, once in each period, and now and
// then whoever is the next. Each round has every member once, in an order of its own
// (SWIM §4.3).
func (m *Machine) probeNext() {
	if m.self == nil || m.now < m.probeAt {
		return
	}
	m.probeAt = max(m.probeAt+m.cfg.Probe, m.now+m.cfg.Probe/2)
	if m.periods++; m.periods%abroadEvery == 0 {
		m.abroad++
	}
	for range 2 {
		for m.turn < len(m.round) {
			x := m.round[m.turn]
			m.round[m.turn] = nil
			m.turn++
			if x.gone || x.claim != alive || x.probing != nil {
				continue
			}
			if m.isContact(x) {
				m.probe(x)
				return
			}
			if m.abroad > 0 {
				m.abroad--
				m.probe(x)
				return
			}
		}
		m.round, m.turn = append(m.round[:0], m.live...), 0
		m.rand.Shuffle(len(m.round), func(i, j int) { m.round[i], m.round[j] = m.round[j], m.round[i] })
	}
}

// watched returns the member that this one watches: the next one by peer id
// that is alive and has not already failed half a probe. So each member has
// somebody who looks after it in every period, and when two neighbours fall
// silent at once the second is noticed half a period after the first.
func (m *Machine) watched() *member {
	if m.self == nil {
		return nil
	}
	at := m.find(m.self.peer())
	for i := 1; i < min(len(m.order), neighbours+1); i++ {
		x := m.order[(at+i)%len(m.order)]
		if x.claim == alive && (x.probing == nil || !x.probing.wide) {
			return x
		}
	}
	return nil
}

// watch probes the watched member when it has not been known to live for a
// whole period.
func (m *Machine) watch() {
	for x := m.watched(); x != nil && x.probing == nil && x.known+m.cfg.Probe <= m.now; x = m.watched() {
		m.probe(x)
	}
}

func (m *Machine) nextWatch() time.Duration {
	x := m.watched()
	if x == nil || x.probing != nil {
		return never
	}
	return x.known + m.cfg.Probe
}
