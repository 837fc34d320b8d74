package mesh

import (
	"context"
	"crypto/ed25519"
	"net/netip"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/ring"
)

// hang is how long a test waits for what must come.
const hang = 2 * time.Minute

// probe is short, but not so short that a busy machine looks dead.
const probe = time.Second

var loopback = []netip.Addr{netip.MustParseAddr("127.0.0.1")}

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newGenesis(t testing.TB, name string) *format.Genesis {
	t.Helper()
	g, err := format.NewGenesis(name)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// storage is the configuration of a member with a key of its own.
func storage(t testing.TB) Config {
	return Config{Key: newKey(t), Role: ring.Storage, Listen: loopback, Probe: probe,
		Usage: func() (int64, int64) { return 1 << 30, 1 << 20 }}
}

// first is the configuration of the first member of a mesh.
func first(t testing.TB) Config {
	cfg := storage(t)
	cfg.Genesis = newGenesis(t, "test")
	return cfg
}

// through is the configuration of a member that joins through another.
func through(t testing.TB, member *Net) Config {
	cfg := storage(t)
	cfg.Join = []Peer{member.peer()}
	return cfg
}

func client(t testing.TB, member *Net) Config {
	return Config{Key: newKey(t), Role: ring.Client, Probe: probe, Join: []Peer{member.peer()}}
}

func (n *Net) peer() Peer { return Peer{ID: n.ID(), Addr: n.Addrs()[0]} }

// start starts a node that ends with the test, if it has not before.
func start(t testing.TB, cfg Config) *Net {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	n, err := New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n.ctx.Err() == nil {
			stop(t, n)
		}
	})
	return n
}

func stop(t testing.TB, n *Net) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// startMesh starts a mesh of so many members, each of which joins through the
// one before.
func startMesh(t testing.TB, size int) []*Net {
	t.Helper()
	nodes := []*Net{start(t, first(t))}
	for len(nodes) < size {
		nodes = append(nodes, start(t, through(t, nodes[len(nodes)-1])))
	}
	for _, n := range nodes {
		n.waitFor(t, "all others", func(v *ring.View) bool { return count(v, ring.Alive) == size })
	}
	return nodes
}

// waitFor waits until the member table is as it should be.
func (n *Net) waitFor(t testing.TB, what string, is func(*ring.View) bool) {
	t.Helper()
	guard := time.After(hang)
	for !is(n.View()) {
		select {
		case <-n.Changes():
		case <-guard:
			for m := range n.View().All() {
				t.Logf("%s %s", m.Record.Peer, m.State)
			}
			t.Fatalf("%s waits in vain for %s", n.ID(), what)
		}
	}
}

func count(v *ring.View, s ring.State) (n int) {
	for m := range v.All() {
		if m.State == s {
			n++
		}
	}
	return n
}

func stateOf(v *ring.View, id datamesh.PeerID) ring.State {
	m, _ := v.Lookup(id)
	return m.State
}
