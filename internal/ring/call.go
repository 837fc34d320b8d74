package ring

import (
	"time"

	"datamesh"
)

// call is a request that has no answer yet.
type call struct {
	to   datamesh.PeerID
	kind Kind
	done func(*Message) // is given the answer, or nil
}

// call sends a request. Done may be nil.
func (m *Machine) call(x *member, msg *Message, timeout time.Duration, done func(*Message)) {
	msg.Version = Version
	m.lastCall++
	m.calls[m.lastCall] = call{x.peer(), msg.Kind, done}
	m.effects = append(m.effects, Call{m.lastCall, x.peer(), x.rec.Addrs, msg, timeout})
}

// answered ends a call. An answer of the wrong kind is none.
func (m *Machine) answered(token uint64, msg *Message, took time.Duration) {
	c, ok := m.calls[token]
	if !ok {
		return
	}
	delete(m.calls, token)
	if msg != nil && msg.Kind != c.kind.answer() {
		msg = nil
	}
	if x := m.members[c.to]; x != nil && msg != nil {
		if c.kind == KindPing {
			x.rtt, m.view = took, nil
		}
		m.heard(x)
		m.joining = c.kind == KindPull && !m.synced
		m.learnAll(msg.Facts)
		m.joining = false
	}
	if c.done != nil {
		c.done(msg)
	}
}

// serve answers a request, at once or when it can.
func (m *Machine) serve(req Request) {
	if req.Message == nil || req.Message.Kind.answer() == 0 {
		m.effects = append(m.effects, Reply{Token: req.Token})
		return
	}
	if m.members[req.From] == nil {
		m.introduced(req.From, req.Message.Facts)
	}
	from := m.members[req.From] // nil for an observer
	if from == m.self {
		from = nil
	}
	if from != nil {
		m.heard(from)
		m.learnAll(req.Message.Facts)
	}
	var msg *Message
	switch req.Message.Kind {
	case KindPing:
		m.announce() // before the answer, for a refutation to be in it
		msg = &Message{Kind: KindPong, Facts: m.factsFor(from)}
	case KindAsk:
		m.ask(*req.Message.Target, req.Token)
		return
	case KindDigest:
		msg = &Message{Kind: KindDiffer, Buckets: m.differing(req.Message.Sums)}
	case KindPull:
		msg = m.page(req.Message, from)
	}
	m.reply(req.Token, msg)
}

func (m *Machine) reply(token uint64, msg *Message) {
	msg.Version = Version
	m.effects = append(m.effects, Reply{token, msg})
}

// ask pings a member on behalf of another one, which waits for the answer.
func (m *Machine) ask(target datamesh.PeerID, token uint64) {
	x := m.members[target]
	if x == nil || x == m.self {
		m.reply(token, &Message{Kind: KindTold, Alive: x != nil})
		return
	}
	m.call(x, m.pingFor(x), m.cfg.Probe/2, func(pong *Message) {
		m.reply(token, &Message{Kind: KindTold, Alive: pong != nil})
	})
}

// ping calls a member for a sign of life, with news.
func (m *Machine) ping(x *member, done func(*Message)) {
	m.call(x, m.pingFor(x), 2*m.cfg.Probe, done)
}

// pingFor returns a ping with news for x. Those who may not know this member
// are told who it is.
func (m *Machine) pingFor(x *member) *Message {
	facts := m.factsFor(x)
	if m.self != nil && x.claim != alive {
		facts = append(facts, m.fact(m.self))
	}
	return &Message{Kind: KindPing, Facts: facts}
}
