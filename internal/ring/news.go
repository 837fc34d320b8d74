package ring

import (
	"math/bits"
	"time"
)

const fanout = 3 // members that urgent news goes to, four times in a period

// spread makes a member's fact news, to be told on λ·log(n) times (SWIM §4.1,
// piggybacked on pings and their answers). What is urgent does not wait for
// the next probe, as in HashiCorp's memberlist.
func (m *Machine) spread(x *member, urgent bool) {
	if m.self == nil {
		return
	}
	x.left = bits.Len(uint(len(m.live))) + 3
	if urgent && !x.urgent {
		x.urgent = true
		m.urgent++
	}
	if !x.inNews {
		x.inNews = true
		m.news = append(m.news, x)
	}
}

// toldOn counts that a member's fact was told.
func (m *Machine) toldOn(x *member) {
	if x.left > 1 {
		x.left--
		return
	}
	m.hush(x)
}

// hush stops the spread of a member's fact.
func (m *Machine) hush(x *member) {
	x.left = 0
	if x.urgent {
		x.urgent = false
		m.urgent--
	}
}

// factsFor returns news for a member, as much as has room on a ping, and the
// rumour about itself that it has to refute. An observer gets none.
func (m *Machine) factsFor(to *member) []Fact {
	if to == nil {
		return nil
	}
	var facts []Fact
	if to.notice || to.claim >= suspect {
		id := to.peer()
		facts = append(facts, Fact{Claim: suspect, Peer: &id, Seq: to.rec.Seq})
		to.notice = false
	}
	if to.claim != alive {
		return facts // news may be lost on it
	}
	room := pingRoom
	for range len(m.news) {
		x := m.news[0]
		if x.left == 0 {
			x.inNews = false
			m.news = m.news[1:]
			continue
		}
		if x != to {
			f := m.fact(x)
			if room -= f.size(); room < 0 {
				break
			}
			facts = append(facts, f)
		}
		m.news = append(m.news[1:], x)
		if x != to {
			m.toldOn(x)
		}
	}
	return facts
}

// push sends urgent news to a few members at random.
func (m *Machine) push() {
	if m.now < m.nextPush() {
		return
	}
	m.pushAt = m.now + m.cfg.Probe/4
	for _, x := range m.pick(fanout, nil) {
		m.ping(x, nil)
	}
}

func (m *Machine) nextPush() time.Duration {
	if m.urgent == 0 || len(m.live) == 0 {
		return never
	}
	return m.pushAt
}
