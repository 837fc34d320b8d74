package mesh

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"datamesh"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/network"
)

// state is what only the owner's goroutine touches.
type state struct {
	machine *ring.Machine
	replies map[uint64]chan<- *ring.Message // to the handlers of requests
	token   uint64
	met     bool // whether Net.met is closed

	compared []chan struct{} // closed when no comparison of tables is under way
}

func (n *Net) newState(cfg Config) (*state, error) {
	var seed [8]byte
	rand.Read(seed[:]) // never fails
	rcfg := ring.Config{Mesh: n.genesis.MeshID(), Probe: cfg.Probe, Seed: binary.BigEndian.Uint64(seed[:])}
	var self *ring.Record
	if cfg.Role == ring.Storage {
		capacity, used := cfg.Usage()
		var err error
		self, err = ring.Sign(cfg.Key, ring.Record{Mesh: rcfg.Mesh, Seq: uint64(time.Now().UnixMilli()), Role: ring.Storage,
			Labels: cfg.Labels, Addrs: n.Addrs(), Capacity: capacity, Used: used})
		if err != nil {
			return nil, err
		}
	}
	m, err := ring.New(rcfg, self, cfg.Key)
	if err != nil {
		return nil, err
	}
	return &state{machine: m, replies: map[uint64]chan<- *ring.Message{}}, nil
}

// selfTime is how often a node looks at its own addresses and fill.
const selfTime = 15 * time.Second

// run owns the state until the node ends.
func (n *Net) run(st *state) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	self := time.NewTicker(selfTime)
	defer self.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case f := <-n.do:
			f(st)
		case <-timer.C:
			n.step(st, ring.Tick{})
		case <-self.C:
			if n.usage != nil {
				capacity, used := n.usage()
				n.step(st, ring.Self{Addrs: n.Addrs(), Capacity: capacity, Used: used})
			}
		}
		timer.Reset(time.Until(st.machine.Next()))
	}
}

// step tells the machine what happened, and carries out what it asks for: only
// when there is a new view to see is anyone told of it.
func (n *Net) step(st *state, events ...ring.Event) {
	var effects []ring.Effect
	for _, ev := range events {
		effects = append(effects, st.machine.Step(time.Now(), ev)...)
	}
	n.view.Store(st.machine.View())
	if !st.met && st.machine.Synced() {
		st.met = true
		close(n.met)
	}
	if !st.machine.Comparing() {
		for _, done := range st.compared {
			close(done)
		}
		st.compared = nil
	}
	for _, e := range effects {
		n.carryOut(st, e)
	}
}

func (n *Net) carryOut(st *state, e ring.Effect) {
	switch e := e.(type) {
	case ring.Call:
		n.wg.Go(func() { n.call(e) })
	case ring.Reply:
		if reply := st.replies[e.Token]; reply != nil {
			reply <- e.Message
			delete(st.replies, e.Token)
		}
	case ring.Changed:
		select {
		case n.changed <- struct{}{}:
		default: // it has not yet been heard that there is something to hear
		}
	}
}

// tell has the owner run f.
func (n *Net) tell(ctx context.Context, f func(*state)) error {
	select {
	case n.do <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ctx.Done():
		return errClosed
	}
}

func (n *Net) event(ev ring.Event) {
	n.tell(n.ctx, func(st *state) { n.step(st, ev) }) // fails only when the node ends
}

// call carries out one call of the machine and tells it what came of it.
func (n *Net) call(c ring.Call) {
	answer, took, err := n.ask(c)
	if err != nil {
		n.event(ring.Failed{Token: c.Token})
		return
	}
	n.event(ring.Response{Token: c.Token, Message: answer, Took: took})
}

// disconnected hints that a peer may be gone.
func (n *Net) disconnected(_ network.Network, c network.Conn) {
	if n.host.Network().Connectedness(c.RemotePeer()) == network.Connected {
		return
	}
	if id, err := datamesh.PeerFromMultihash(string(c.RemotePeer())); err == nil {
		select { // a hint that comes while the owner is busy is not waited for
		case n.do <- func(st *state) { n.step(st, ring.Disconnected{Peer: id}) }:
		default:
		}
	}
}
