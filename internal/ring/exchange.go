package ring

import (
	"math/bits"
	"time"

	"datamesh"
)

// maxPages bounds how long one partner can keep a comparison going.
const maxPages = 512

// exchange is a comparison of this table with that of one member (Demers et
// al. 1987, anti-entropy). Sums tell in which ranges of peer ids the two
// differ; for each of those this machine says what it holds, is told what it
// lacks, and sends what the other wants.
type exchange struct {
	with  *member
	spans []span // yet to be compared
	pages int
}

// span is a range of peer ids, both ends included.
type span struct{ from, to datamesh.PeerID }

func (m *Machine) nextSync() time.Duration {
	switch {
	case m.exchange != nil:
		return never
	case m.partner != nil || !m.synced && len(m.live) > 0:
		return min(m.syncAt, m.syncedAt+m.cfg.Probe/4)
	}
	return m.syncAt
}

// syncNext begins a comparison when it is time: at once with a member that
// has come back, since it may bring others, and else with any. After a return
// they follow each other closely at first, for what the news has missed.
func (m *Machine) syncNext() {
	if m.now < m.nextSync() {
		return
	}
	x := m.partner
	if m.partner = nil; x != nil || m.self == nil || !m.synced {
		m.interval = m.cfg.Probe // an observer has no other source
	}
	m.syncedAt = m.now
	m.syncAt = m.now + m.interval*3/4 + m.upTo(m.interval/2)
	m.interval = min(2*m.interval, m.cfg.Sync)
	if x == nil || x.place < 0 {
		picked := m.pick(1, nil)
		if len(picked) == 0 {
			return
		}
		x = picked[0]
	}
	m.exchange = &exchange{with: x}
	if m.synced {
		m.digest()
		return
	}
	m.exchange.add(0, 0xff)
	m.pull()
}

// digest asks in which buckets the tables differ. There is one for about
// every eight members.
func (m *Machine) digest() {
	depth := min(8, max(0, bits.Len(uint(len(m.members)))-3))
	msg := &Message{Kind: KindDigest, Sums: m.sumsTo(depth)}
	m.exchangeCall(msg, func(differ *Message) {
		last := -1
		for _, b := range differ.Buckets {
			lo, hi := int(b)<<(8-depth), (int(b)+1)<<(8-depth)-1
			if hi > 0xff || lo <= last {
				break // there is no such bucket
			}
			last = hi
			m.exchange.add(byte(lo), byte(hi))
		}
		m.pull()
	})
}

// add adds the ids whose first byte is lo to hi, together with those before.
func (e *exchange) add(lo, hi byte) {
	s := span{}
	for i := range s.to {
		s.to[i] = 0xff
	}
	s.from[0], s.to[0] = lo, hi
	if n := len(e.spans); n > 0 && e.spans[n-1].to[0]+1 == lo {
		e.spans[n-1].to = s.to
		return
	}
	e.spans = append(e.spans, s)
}

// pull compares the next range, as far as one message has room for it.
func (m *Machine) pull() {
	e := m.exchange
	if len(e.spans) == 0 || e.pages == maxPages {
		m.synchronised()
		return
	}
	e.pages++
	from, to := e.spans[0].from, e.spans[0].to
	facts, cut := m.rows(from, &to)
	msg := &Message{Kind: KindPull, Facts: facts, From: &from, To: &to}
	m.exchangeCall(msg, func(page *Message) {
		m.deliver(e.with, page.Want)
		switch next := page.Next; {
		case next != nil && comparePeers(*next, from) > 0 && comparePeers(*next, to) <= 0:
			e.spans[0].from = *next
		case cut:
			e.spans[0].from = after(to)
		default:
			e.spans = e.spans[1:]
		}
		m.pull()
	})
}

// synchronised ends a comparison.
func (m *Machine) synchronised() {
	m.exchange = nil
	if m.synced {
		return
	}
	m.synced = true
	m.touch()
	if m.self != nil {
		m.spread(m.self, true)
	}
}

// exchangeCall asks the partner. If it does not answer, the comparison ends;
// there will be another one. An observer, which probes nobody, has no other
// way to notice, and asks it until it is heard from or spoken for.
func (m *Machine) exchangeCall(msg *Message, done func(*Message)) {
	with := m.exchange.with
	m.call(with, msg, max(2*m.cfg.Probe, 10*time.Second), func(answer *Message) {
		if answer != nil {
			done(answer)
			return
		}
		m.exchange = nil
		if m.self == nil && with.claim == alive {
			m.enter(with, unproven, 0)
		}
	})
}

// deliver sends a member the records that it wants.
func (m *Machine) deliver(to *member, want []datamesh.PeerID) {
	if m.self == nil {
		return
	}
	var facts []Fact
	room := pageRoom
	for _, id := range want {
		x := m.members[id]
		if x == nil {
			continue
		}
		f := m.whole(x)
		if room -= f.size(); room < 0 {
			m.call(to, &Message{Kind: KindPing, Facts: facts}, 2*m.cfg.Probe, nil)
			facts, room = nil, pageRoom-f.size()
		}
		facts = append(facts, f)
	}
	if len(facts) > 0 {
		m.call(to, &Message{Kind: KindPing, Facts: facts}, 2*m.cfg.Probe, nil)
	}
}
