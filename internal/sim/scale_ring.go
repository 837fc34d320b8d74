package sim

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/ring"
)

// What messages take on the interface, in bytes, all headers and both ways: a
// call of the ring beside its messages, on the stream that is kept, what a stream
// and a connection take beside that, and a connection that nobody uses, in a
// second. BenchmarkWire of package mesh has measured them.
const (
	wireCall   = 232
	wireStream = 846
	wireDial   = 8184
	wireIdle   = 12.1
)

const (
	ringPeriod = 5 * time.Second  // ring.probe, by default
	streamKept = 90 * time.Second // for which package mesh keeps a stream of the ring
)

// Traffic is what nodes have sent. Each byte of a call, there and back, counts
// for its caller: on average a node is called as often as it calls.
type Traffic struct {
	Calls, Streams, Dials int64
	Messages              int64 // bytes of requests and answers
}

// Bytes returns what that is on the interface.
func (t Traffic) Bytes() float64 {
	return float64(t.Messages + wireCall*t.Calls + wireStream*t.Streams + wireDial*t.Dials)
}

// Rings is the membership of a mesh, in a time of its own: machines of package
// ring as they are, whose messages are encoded, carried, decoded and counted.
//
// With fewer machines than nodes each acts for several. Each has a table of all
// nodes and is one of them; who calls another node is answered by the machine
// that acts for it. What a machine sends, it sends as one of so many nodes would;
// but news has fewer to reach, so that how long that takes is that of a mesh of
// so many machines. It is not safe for concurrent use.
type Rings struct {
	now      time.Time
	rand     *rand.Rand
	calendar calendar
	trace    hash.Hash
	mesh     datamesh.MeshID
	tokens   uint64

	records  []*ring.Record // of the nodes, by number
	number   map[datamesh.PeerID]int
	machines []*ringMachine // act for the nodes, by number modulo their number
	joined   []*ringMachine // of those who have joined since
	aside    Traffic        // to and from those who have joined, and to the dead
	dead     map[int]bool
	changed  func(*ringMachine) // after a Step that changed its table; may be nil
}

// A ringMachine is a node's part of the ring.
type ringMachine struct {
	w       *Rings
	number  int
	machine *ring.Machine
	timer   uint64
	asked   map[uint64]*ringCall
	conns   map[datamesh.PeerID]bool
	streams map[datamesh.PeerID]time.Time // when the one that is kept was used last
	sent    Traffic
}

// A ringCall is a request on its way, or its answer.
type ringCall struct {
	from  *ringMachine
	call  ring.Call
	began time.Time
	sent  *Traffic // where it counts
	done  bool
}

// NewRings returns a mesh of nodes that have all known each other for a while.
func NewRings(seed uint64, nodes, machines int) (*Rings, error) {
	w := &Rings{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rand: rand.New(rand.NewPCG(seed, 0)), trace: sha256.New(),
		mesh: datamesh.MeshID{'s', 'c', 'a', 'l', 'e'}, number: map[datamesh.PeerID]int{}, dead: map[int]bool{}}
	keys := make([]ed25519.PrivateKey, nodes)
	for i := range keys {
		var err error
		if keys[i], err = w.add(); err != nil {
			return nil, err
		}
	}
	sorted := slices.SortedFunc(slices.Values(w.records), compareRecords)
	for i := range min(nodes, machines) {
		x, err := w.machine(i, keys[i])
		if err != nil {
			return nil, err
		}
		x.machine.Acquaint(sorted)
		w.machines = append(w.machines, x)
	}
	for _, x := range w.machines {
		w.after(time.Duration(w.rand.Int64N(int64(ringPeriod))), func() { x.step(ring.Tick{}) })
	}
	return w, nil
}

func compareRecords(a, b *ring.Record) int { return bytes.Compare(a.Peer[:], b.Peer[:]) }

// add adds a node, as others know it.
func (w *Rings) add() (ed25519.PrivateKey, error) {
	var seed [ed25519.SeedSize]byte
	for i := range seed {
		seed[i] = byte(w.rand.Uint32())
	}
	key, i := ed25519.NewKeyFromSeed(seed[:]), len(w.records)
	rec, err := ring.Sign(key, ring.Record{Mesh: w.mesh, Seq: uint64(w.now.UnixMilli()), Role: ring.Storage,
		Labels:   ring.Labels{Site: fmt.Sprint("site-", i%10), Host: fmt.Sprint("host-", i), Owner: "owner"},
		Addrs:    []string{fmt.Sprintf("/ip4/10.%d.%d.%d/tcp/40871", i>>16, i>>8&0xff, i&0xff), fmt.Sprintf("/ip4/10.%d.%d.%d/udp/40871/quic-v1", i>>16, i>>8&0xff, i&0xff)},
		Capacity: 1 << 40, Used: 1 << 38})
	if err != nil {
		return nil, err
	}
	w.number[rec.Peer] = i
	w.records = append(w.records, rec)
	return key, nil
}

func (w *Rings) machine(number int, key ed25519.PrivateKey) (*ringMachine, error) {
	m, err := ring.New(ring.Config{Mesh: w.mesh, Probe: ringPeriod, Seed: w.rand.Uint64()}, w.records[number], key)
	return &ringMachine{w: w, number: number, machine: m, asked: map[uint64]*ringCall{},
		conns: map[datamesh.PeerID]bool{}, streams: map[datamesh.PeerID]time.Time{}}, err
}

// actor returns the machine that acts for a node when another calls it.
func (w *Rings) actor(number int, caller *ringMachine) *ringMachine {
	nodes := len(w.records) - len(w.joined)
	if number >= nodes {
		return w.joined[number-nodes]
	}
	x := w.machines[number%len(w.machines)]
	if x == caller {
		x = w.machines[(number+1)%len(w.machines)]
	}
	return x
}

func (w *Rings) after(d time.Duration, do func()) { w.calendar.add(w.now.Add(d), do) }

func (w *Rings) delay() time.Duration { return time.Duration(1+w.rand.IntN(40)) * time.Millisecond }

// Run lets time go by.
func (w *Rings) Run(d time.Duration) {
	end := w.now.Add(d)
	for {
		e, ok := w.calendar.next(end)
		if !ok {
			break
		}
		w.now = e.at
		e.do()
	}
	w.now = end
}

// Digest returns a sum of all that was sent, and when.
func (w *Rings) Digest() [32]byte { return [32]byte(w.trace.Sum(nil)) }

// Sent returns what all machines have sent to each other.
func (w *Rings) Sent() (all Traffic) {
	for _, x := range w.machines {
		all.Calls, all.Streams = all.Calls+x.sent.Calls, all.Streams+x.sent.Streams
		all.Dials, all.Messages = all.Dials+x.sent.Dials, all.Messages+x.sent.Messages
	}
	return all
}

// Conns returns how many connections a node has on average.
func (w *Rings) Conns() float64 {
	n := 0
	for _, x := range w.machines {
		n += len(x.conns)
	}
	return float64(n) / float64(len(w.machines))
}

func (x *ringMachine) step(ev ring.Event) {
	w := x.w
	if w.dead[x.number] {
		return
	}
	changed := false
	for _, e := range x.machine.Step(w.now, ev) {
		switch e := e.(type) {
		case ring.Call:
			w.send(x, e)
		case ring.Reply:
			c := x.asked[e.Token]
			delete(x.asked, e.Token)
			w.answer(x, c, e.Message)
		case ring.Changed:
			changed = true
		}
	}
	if changed && w.changed != nil {
		w.changed(x)
	}
	w.tokens++
	x.timer = w.tokens
	timer := x.timer
	w.calendar.add(x.machine.Next(), func() {
		if x.timer == timer {
			x.step(ring.Tick{})
		}
	})
}

// wire encodes and decodes a message, and counts it.
func (w *Rings) wire(sent *Traffic, msg *ring.Message) *ring.Message {
	b := msg.Encode()
	sent.Messages += int64(len(b))
	binary.Write(w.trace, binary.BigEndian, w.now.UnixNano())
	w.trace.Write(b)
	msg, err := ring.DecodeMessage(b)
	if err != nil {
		panic(fmt.Sprint("sim: a machine made what it cannot read: ", err))
	}
	return msg
}

func (w *Rings) send(from *ringMachine, c ring.Call) {
	number, known := w.number[c.To]
	call := &ringCall{from: from, call: c, began: w.now, sent: &from.sent}
	if nodes := len(w.records) - len(w.joined); from.number >= nodes || number >= nodes || w.dead[number] {
		call.sent = &w.aside
	}
	call.sent.Calls++
	msg := w.wire(call.sent, c.Message)
	w.after(c.Timeout, func() { call.end(ring.Failed{Token: c.Token}) })
	if !known || w.dead[number] {
		return
	}
	to := w.actor(number, from)
	from.connect(c.To, to, call.sent)
	w.after(w.delay(), func() {
		w.tokens++
		to.asked[w.tokens] = call
		to.step(ring.Request{From: w.records[from.number].Peer, Message: msg, Token: w.tokens})
	})
}

// connect counts a connection, and a stream, if there are none.
func (x *ringMachine) connect(to datamesh.PeerID, actor *ringMachine, sent *Traffic) {
	if !x.conns[to] {
		x.conns[to] = true
		if x.w.records[actor.number].Peer == to { // else nobody is that node
			actor.conns[x.w.records[x.number].Peer] = true
		}
		sent.Dials++
	}
	if used, ok := x.streams[to]; !ok || x.w.now.Sub(used) > streamKept {
		sent.Streams++
	}
	x.streams[to] = x.w.now
}

func (w *Rings) answer(from *ringMachine, c *ringCall, msg *ring.Message) {
	if msg == nil {
		panic("sim: a machine refuses what another has made")
	}
	msg = w.wire(c.sent, msg)
	w.after(w.delay(), func() { c.end(ring.Response{Token: c.call.Token, Message: msg, Took: w.now.Sub(c.began)}) })
}

func (c *ringCall) end(ev ring.Event) {
	if !c.done {
		c.done = true
		c.from.step(ev)
	}
}

// await lets time go by until all machines that live know that a node is in this
// state, and returns how long that took, or an error after limit.
func (w *Rings) await(number int, state ring.State, limit time.Duration) (time.Duration, error) {
	began, id := w.now, w.records[number].Peer
	left := map[*ringMachine]bool{}
	for _, x := range slices.Concat(w.machines, w.joined) {
		left[x] = x.number != number && !w.dead[x.number]
		if !left[x] {
			delete(left, x)
		}
	}
	w.changed = func(x *ringMachine) {
		if m, ok := x.machine.View().Lookup(id); ok && m.State == state {
			delete(left, x)
		}
	}
	defer func() { w.changed = nil }()
	for len(left) > 0 {
		if w.now.Sub(began) > limit {
			return 0, fmt.Errorf("after %v %d of %d do not know that node %d is %v", limit, len(left), len(w.machines), number, state)
		}
		w.Run(ringPeriod / 20)
	}
	return w.now.Sub(began), nil
}

// Kill has a node that one of the machines watches fall silent, and returns after
// how long all know that it is dead.
func (w *Rings) Kill() (time.Duration, error) {
	order := make([]int, len(w.records))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return compareRecords(w.records[a], w.records[b]) })
	order = slices.DeleteFunc(order, func(i int) bool { return w.dead[i] })
	var may []int // be killed: those after a machine, and no machines if there are others
	for i, number := range order {
		before := order[(i+len(order)-1)%len(order)]
		if before < len(w.machines) && (number >= len(w.machines) || len(w.machines) >= len(w.records)-len(w.joined)) && number < len(w.records)-len(w.joined) {
			may = append(may, number)
		}
	}
	if len(may) == 0 {
		return 0, fmt.Errorf("nobody is left to be killed")
	}
	number := may[w.rand.IntN(len(may))]
	w.dead[number] = true
	return w.await(number, ring.Dead, 24*ringPeriod)
}

// Join has a new node join through another, and returns how many bytes have gone to
// and from it until all know it and it knows all.
func (w *Rings) Join() (bytes float64, err error) {
	key, err := w.add()
	if err != nil {
		return 0, err
	}
	x, err := w.machine(len(w.records)-1, key)
	if err != nil {
		return 0, err
	}
	w.joined = append(w.joined, x)
	through := w.rand.IntN(len(w.machines))
	for w.dead[through] {
		through = w.rand.IntN(len(w.machines))
	}
	before := w.aside.Bytes()
	x.step(ring.Learned{Record: w.records[through]})
	if _, err = w.await(x.number, ring.Alive, 24*ringPeriod); err != nil {
		return 0, err
	}
	for !x.machine.Synced() {
		w.Run(ringPeriod / 20)
	}
	return w.aside.Bytes() - before, nil
}

// RingCosts is what membership costs in a mesh. Bytes are those that a node sends,
// which are as many as it receives, on average.
type RingCosts struct {
	Calls, Rest float64       // of a node at rest: calls, and bytes, in a second
	Conns       float64       // that a node keeps for that
	Death       float64       // bytes that each node sends since another has died
	Dead        time.Duration // until all know that, at most; 0: see [Rings]
	Join        float64       // bytes that each node sends since another has joined
	Joiner      float64       // bytes to and from the other, until all know it, and it all
}

// Costs lets time go by and counts. The cost of an event is the mean of so many.
func (w *Rings) Costs(rest time.Duration, events int) (c RingCosts, err error) {
	const window = 2 * time.Minute
	w.Run(10 * time.Minute) // in which each has probed all whom it probes
	sent := func(d time.Duration, do func() error) (each float64, err error) {
		before, end := w.Sent().Bytes(), w.now.Add(d)
		if err = do(); err == nil {
			w.Run(end.Sub(w.now))
		}
		return (w.Sent().Bytes() - before) / float64(len(w.machines)), err
	}
	calls := w.Sent().Calls
	all, _ := sent(rest, func() error { return nil })
	c.Rest, c.Conns = all/rest.Seconds(), w.Conns()
	c.Calls = float64(w.Sent().Calls-calls) / float64(len(w.machines)) / rest.Seconds()
	for range events {
		all, err := sent(window, func() error {
			bytes, err := w.Join()
			c.Joiner += bytes / float64(events)
			return err
		})
		if err != nil {
			return c, err
		}
		c.Join += (all - c.Rest*window.Seconds()) / float64(events)
	}
	for range events {
		all, err := sent(window, func() error {
			took, err := w.Kill()
			c.Dead = max(c.Dead, took)
			return err
		})
		if err != nil {
			return c, err
		}
		c.Death += (all - c.Rest*window.Seconds()) / float64(events)
	}
	if len(w.machines)+len(w.joined) < len(w.records) {
		c.Dead = 0
	}
	return c, nil
}

// TableBytes returns how many bytes of memory the table of a node takes for each
// member: what package ring knows of it, its record, and the view of that.
func TableBytes(seed uint64, nodes int) (perMember float64, err error) {
	w, err := NewRings(seed, nodes, 0)
	if err != nil {
		return 0, err
	}
	key, err := w.add()
	if err != nil {
		return 0, err
	}
	x, err := w.machine(nodes, key)
	if err != nil {
		return 0, err
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what was in pools
	runtime.ReadMemStats(&before)
	others := make([]*ring.Record, nodes)
	for i, r := range slices.SortedFunc(slices.Values(w.records[:nodes]), compareRecords) {
		if others[i], err = ring.DecodeRecord(r.Encode(), w.mesh); err != nil {
			return 0, err
		}
	}
	x.machine.Acquaint(others)
	view := x.machine.View()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(w)
	runtime.KeepAlive(x)
	runtime.KeepAlive(view)
	return float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / float64(nodes), nil
}
