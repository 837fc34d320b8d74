package mesh

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"
)

const (
	memberTime    = 5 * time.Second // for one member
	membersAtOnce = 32              // at once
	lookTime      = 5 * time.Second // in Kademlia, which waits for the dead
	compared      = 3               // members' tables: one may not have heard of who has just come
)

// A Presence is what came of asking a member whether it is there.
type Presence struct {
	Record  *ring.Record
	Answers bool
	Latency time.Duration // of its hello, without connecting
}

// Discover asks the mesh who is there now: it greets every other member that
// it knows, dead ones too, looks about in Kademlia, compares its table with those
// of some who answer, and greets whoever that has brought. It returns them in the order
// of their ids.
func (n *Net) Discover(ctx context.Context) []Presence { return n.discover(ctx, n.greetMember) }

// A greeter greets a member.
type greeter func(ctx context.Context, r *ring.Record) Presence

func (n *Net) discover(ctx context.Context, greet greeter) []Presence {
	ctx, cancel := context.WithTimeout(ctx, discoverBudget)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	greeted := map[datamesh.PeerID]Presence{}
	half, stop := context.WithTimeout(ctx, discoverBudget/2) // the dead may be many
	n.greetMembers(half, greeted, greet)
	stop()
	if n.dht != nil {
		n.lookAbout(ctx, lookTime)
	}
	asked := 0
	for id, g := range greeted {
		if g.Answers && asked < compared {
			n.compare(ctx, id) // after which the view has whomever Kademlia knew, too
			asked++
		}
	}
	n.greetMembers(ctx, greeted, greet)
	all := []Presence{}
	for _, g := range greeted {
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b Presence) int { return strings.Compare(string(a.Record.Peer[:]), string(b.Record.Peer[:])) })
	return all
}

// Silent greets every other member that is not known to be dead, and returns
// those that do not answer.
func (n *Net) Silent(ctx context.Context) []datamesh.PeerID { return n.silent(ctx, n.greetMember) }

func (n *Net) silent(ctx context.Context, greet greeter) (silent []datamesh.PeerID) {
	ctx, cancel := context.WithTimeout(ctx, discoverBudget)
	defer cancel()
	greeted := map[datamesh.PeerID]Presence{}
	for m := range n.View().All() {
		if m.State == ring.Dead {
			greeted[m.Record.Peer] = Presence{Answers: true} // not asked
		}
	}
	n.greetMembers(ctx, greeted, greet)
	for id, g := range greeted {
		if !g.Answers {
			silent = append(silent, id)
		}
	}
	return silent
}

// greetMembers greets the members that have not been, those that live first: the
// dead may take all the time that there is.
func (n *Net) greetMembers(ctx context.Context, greeted map[datamesh.PeerID]Presence, greet greeter) {
	var mu sync.Mutex // guards greeted
	var group errgroup.Group
	group.SetLimit(membersAtOnce)
	members := slices.SortedStableFunc(n.View().All(), func(a, b ring.Member) int { return cmp.Compare(a.State, b.State) })
	for _, m := range members {
		id := m.Record.Peer
		mu.Lock()
		_, done := greeted[id]
		mu.Unlock()
		if done || id == n.ID() {
			continue
		}
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, memberTime)
			defer cancel()
			g := greet(ctx, m.Record)
			mu.Lock()
			defer mu.Unlock()
			greeted[id] = g
			return nil
		})
	}
	group.Wait() // none fails
}

// greetMember greets a member, and tells the ring what it has learnt.
func (n *Net) greetMember(ctx context.Context, r *ring.Record) Presence {
	m, err := n.hello(ctx, r.Peer, r.Addrs...)
	if err != nil || !n.learn(m) {
		return Presence{Record: r}
	}
	return Presence{Record: m.record, Answers: true, Latency: m.took}
}

// learn tells the ring of a peer that has greeted, if it is a member of this
// mesh.
func (n *Net) learn(m *met) bool {
	if m.record == nil || m.genesis.MeshID() != n.genesis.MeshID() {
		return false
	}
	n.event(ring.Learned{Record: m.record})
	return true
}

// compare compares the table with that of a member, and returns when that is
// done.
func (n *Net) compare(ctx context.Context, with datamesh.PeerID) {
	done := make(chan struct{})
	err := n.tell(ctx, func(st *state) {
		st.compared = append(st.compared, done)
		n.step(st, ring.Compare{With: with})
	})
	if err != nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Speaks returns what a connected peer has said of its program and of what it
// serves in this mesh, such as "shard/1".
func (n *Net) Speaks(id datamesh.PeerID) (agent string, protocols []string) {
	p := peer.ID(id.Multihash())
	if v, err := n.host.Peerstore().Get(p, "AgentVersion"); err == nil {
		agent, _ = v.(string)
	}
	known, _ := n.host.Peerstore().GetProtocols(p) // of a peer that is gone there are none
	for _, name := range known {
		if rest, ok := strings.CutPrefix(string(name), n.prefix); ok {
			protocols = append(protocols, rest)
		} else if rest, ok := strings.CutPrefix(string(name), "/datamesh/"); ok {
			protocols = append(protocols, rest)
		}
	}
	slices.Sort(protocols)
	return agent, protocols
}
