package ring

import (
	"container/heap"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math/rand/v2"
	"testing"
	"time"

	"datamesh"
)

var testMesh = datamesh.MeshID{0: 'm', 31: 1}

// world runs machines on one heap of events under a clock of its own. The
// same seed gives the same run.
type world struct {
	t     testing.TB
	probe time.Duration
	evict time.Duration
	now   time.Time
	rand  *rand.Rand
	queue events
	count uint64
	nodes []*node
	peers map[datamesh.PeerID]*node

	loss     float64               // of each request and each answer
	delay    func() time.Duration  // of each
	cut      func(a, b *node) bool // whether a's messages do not reach b
	trace    hash.Hash             // of all that is sent
	onChange func(n *node)         // after a Step that changed n's view
}

// node is a machine that runs, or did.
type node struct {
	w       *world
	key     ed25519.PrivateKey
	id      datamesh.PeerID
	m       *Machine
	life    int  // counts restarts
	up      bool // its machine runs
	refuses bool // when it is not up its host refuses calls at once
	timer   uint64
	asked   map[uint64]*flight
	bytes   int // that it sent
	calls   int // that it made
}

// flight is a request on its way, or its answer.
type flight struct {
	from, to         *node
	fromLife, toLife int
	call             Call
	sent             time.Time
	done             bool
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{t: t, probe: 5 * time.Second, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		rand: rand.New(rand.NewPCG(seed, 1)), trace: sha256.New(), peers: make(map[datamesh.PeerID]*node)}
	w.delay = func() time.Duration { return time.Duration(1+w.rand.IntN(40)) * time.Millisecond }
	return w
}

func testKey(i int) ed25519.PrivateKey {
	seed := sha256.Sum256(fmt.Appendf(nil, "peer %d", i))
	return ed25519.NewKeyFromSeed(seed[:])
}

func testRecord(i int, now time.Time) Record {
	return Record{Mesh: testMesh, Seq: uint64(now.UnixMilli()), Role: Storage,
		Labels: Labels{Site: "home", Host: fmt.Sprintf("box%d", i), Owner: "ann"},
		Addrs:  []string{fmt.Sprintf("/ip4/10.0.%d.%d/tcp/40871", i/250, i%250)}, Capacity: 1 << 40, Used: 1 << 30}
}

// add starts a storage member, or an observer.
func (w *world) add(observer bool) *node {
	i := len(w.nodes)
	key := testKey(i)
	n := &node{w: w, key: key, id: datamesh.PeerID(key.Public().(ed25519.PublicKey))}
	w.nodes = append(w.nodes, n)
	w.peers[n.id] = n
	if observer {
		w.start(n, nil)
	} else {
		rec := testRecord(i, w.now)
		w.start(n, &rec)
	}
	return n
}

// start gives a node a new machine.
func (w *world) start(n *node, self *Record) {
	m, err := New(Config{Mesh: testMesh, Probe: w.probe, Evict: w.evict, Seed: w.rand.Uint64()}, self, n.key)
	if err != nil {
		w.t.Fatal(err)
	}
	n.m, n.up, n.life, n.asked = m, true, n.life+1, make(map[uint64]*flight)
	n.step(Tick{})
}

// restart starts a node anew that remembers these others.
func (n *node) restart(others ...*node) {
	rec := *n.m.Self()
	rec.Seq = uint64(n.w.now.UnixMilli())
	n.w.start(n, &rec)
	n.meet(others...)
}

// mesh starts n members that have all known each other for a while.
func mesh(w *world, n int) {
	for range n {
		w.add(false)
	}
	for _, x := range w.nodes {
		var others []*Record
		for _, o := range w.nodes {
			others = append(others, o.m.Self())
		}
		x.m.Acquaint(others)
		w.at(w.now.Add(time.Duration(w.rand.Int64N(int64(w.probe)))), func() { x.step(Tick{}) })
	}
	w.run(3 * w.probe)
}

// meet tells a node of others, as a hello would.
func (n *node) meet(others ...*node) {
	for _, o := range others {
		if o != n {
			n.step(Learned{Record: o.m.Self()})
		}
	}
}

// resume lets a node that was killed go on as if it had only been stopped.
func (n *node) resume() {
	n.up = true
	n.step(Tick{})
}

func (n *node) kill(refuses bool) { n.up, n.refuses = false, refuses }

// step gives the machine an event and sets its effects on their way.
func (n *node) step(ev Event) {
	w, changed := n.w, false
	for _, e := range n.m.Step(w.now, ev) {
		switch e := e.(type) {
		case Call:
			w.send(n, e)
		case Reply:
			f := n.asked[e.Token]
			delete(n.asked, e.Token)
			w.answer(f, e.Message)
		case Changed:
			changed = true
		}
	}
	if changed && w.onChange != nil {
		w.onChange(n)
	}
	next := n.m.Next()
	if !next.After(w.now) {
		w.t.Fatalf("after %T the next step is due at once", ev)
	}
	w.count++
	n.timer = w.count
	timer, life := n.timer, n.life
	w.at(next, func() {
		if n.up && n.life == life && n.timer == timer {
			n.step(Tick{})
		}
	})
}

func (w *world) lost(a, b *node) bool {
	return w.loss > 0 && w.rand.Float64() < w.loss || w.cut != nil && w.cut(a, b)
}

// wire encodes and decodes a message, and counts it.
func (w *world) wire(n *node, msg *Message) *Message {
	b := msg.Encode()
	n.bytes += len(b)
	binary.Write(w.trace, binary.BigEndian, w.now.UnixNano())
	w.trace.Write(n.id[:])
	w.trace.Write(b)
	msg, err := DecodeMessage(b)
	if err != nil {
		w.t.Fatalf("a machine made what it cannot read: %v", err)
	}
	return msg
}

func (w *world) send(from *node, c Call) {
	to := w.peers[c.To]
	from.calls++
	f := &flight{from: from, to: to, fromLife: from.life, call: c, sent: w.now}
	msg := w.wire(from, c.Message)
	w.at(w.now.Add(c.Timeout), func() { f.end(Failed{c.Token}) })
	if w.lost(from, to) {
		return
	}
	w.at(w.now.Add(w.delay()), func() {
		switch {
		case to.up:
			w.count++
			token := w.count
			f.toLife, to.asked[token] = to.life, f
			to.step(Request{from.id, msg, token})
		case to.refuses:
			w.at(w.now.Add(w.delay()), func() { f.end(Failed{c.Token}) })
		}
	})
}

func (w *world) answer(f *flight, msg *Message) {
	if f == nil {
		w.t.Fatal("a second reply")
	}
	if msg == nil {
		w.t.Fatalf("%v refused", f.call.Message.Kind)
	}
	msg = w.wire(f.to, msg)
	if w.lost(f.to, f.from) {
		return
	}
	w.at(w.now.Add(w.delay()), func() { f.end(Response{f.call.Token, msg, w.now.Sub(f.sent)}) })
}

func (f *flight) end(ev Event) {
	switch {
	case f.done || f.from.life != f.fromLife:
	case !f.from.up: // stopped: it finds the call ended when it goes on
		f.from.w.at(f.from.w.now.Add(f.call.Timeout), func() { f.end(Failed{f.call.Token}) })
	default:
		f.done = true
		f.from.step(ev)
	}
}

// run lets time go by.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.queue) > 0 && !w.queue[0].at.After(end) {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

// runUntil lets time go by until done, which must be before limit, and
// returns how long that took.
func (w *world) runUntil(what string, limit time.Duration, done func() bool) time.Duration {
	w.t.Helper()
	for start := w.now; ; w.run(w.probe / 20) {
		if took := w.now.Sub(start); done() {
			return took
		} else if took > limit {
			w.t.Fatalf("not within %v: %s\n%s", limit, what, w.tables())
		}
	}
}

// all reports whether each of these nodes holds each of those for state.
func all(of, those []*node, state State) bool {
	for _, n := range of {
		for _, o := range those {
			if n.m.state(o.id) != state {
				return false
			}
		}
	}
	return true
}

func (m *Machine) state(id datamesh.PeerID) State {
	if x := m.members[id]; x != nil {
		return x.state
	}
	return 0
}

func (w *world) tables() (s string) {
	for _, n := range w.nodes {
		for _, o := range w.nodes {
			s += n.m.state(o.id).String()[:1]
		}
		s += fmt.Sprintf(" up %v\n", n.up)
	}
	return s
}

type event struct {
	at time.Time
	n  uint64
	do func()
}

type events []event

func (w *world) at(t time.Time, do func()) {
	w.count++
	heap.Push(&w.queue, event{t, w.count, do})
}

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].n < q[j].n
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	e := (*q)[len(*q)-1]
	(*q)[len(*q)-1] = event{}
	*q = (*q)[:len(*q)-1]
	return e
}
