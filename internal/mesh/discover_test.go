package mesh

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/ring"
)

// With a period of hours nothing comes by itself.
func still(cfg Config) Config {
	cfg.Probe = 10 * time.Hour
	return cfg
}

func greetingsOf(t *testing.T, n *Net) map[datamesh.PeerID]Presence {
	t.Helper()
	all := n.Discover(t.Context())
	if !slices.IsSortedFunc(all, func(a, b Presence) int { return bytes.Compare(a.Record.Peer[:], b.Record.Peer[:]) }) {
		t.Errorf("%v is not in the order of the ids", all)
	}
	byID := map[datamesh.PeerID]Presence{}
	for _, g := range all {
		byID[g.Record.Peer] = g
	}
	if len(byID) != len(all) {
		t.Errorf("%v has a member twice", all)
	}
	return byID
}

func TestDiscoverTellsWhoIsThereNow(t *testing.T) {
	a := start(t, still(first(t)))
	b, c := start(t, still(through(t, a))), start(t, still(through(t, a)))
	for _, n := range []*Net{b, c} {
		a.waitFor(t, "the others", func(v *ring.View) bool { return stateOf(v, n.ID()) == ring.Alive })
	}
	stop(t, c)
	got := greetingsOf(t, a)
	if g := got[b.ID()]; !g.Answers || g.Latency <= 0 {
		t.Errorf("one that is there: got %+v", g)
	}
	if g, ok := got[c.ID()]; !ok || g.Answers || g.Latency != 0 {
		t.Errorf("one that is gone: got %+v, %t", g, ok)
	}
	if len(got) != 2 {
		t.Errorf("got %d members, want 2", len(got))
	}
	cfg := still(through(t, b)) // of which nobody tells a
	cfg.Agent = "test/1"
	d := start(t, cfg)
	b.waitFor(t, "the new one", func(v *ring.View) bool { return stateOf(v, d.ID()) == ring.Alive })
	if g := greetingsOf(t, a)[d.ID()]; !g.Answers {
		t.Errorf("one that is new: got %+v", g)
	}
	agent, protocols := a.Speaks(d.ID())
	if agent != cfg.Agent || !slices.Contains(protocols, "hello/1") || !slices.Contains(protocols, ringProtocol) {
		t.Errorf("the new one speaks %q, %q", agent, protocols)
	}
}

// Comparing alone, without Kademlia, brings a member that another knows.
func TestCompareBringsWhomOthersKnow(t *testing.T) {
	a := start(t, still(first(t)))
	b := start(t, still(through(t, a)))
	a.waitFor(t, "the other", func(v *ring.View) bool { return stateOf(v, b.ID()) == ring.Alive })
	r, err := ring.Sign(newKey(t), ring.Record{Mesh: a.Genesis().MeshID(), Seq: 1, Role: ring.Storage})
	if err != nil {
		t.Fatal(err)
	}
	b.event(ring.Learned{Record: r, State: ring.Dead, Since: time.Now()})
	knows := func(v *ring.View) bool { _, ok := v.Lookup(r.Peer); return ok }
	b.waitFor(t, "the third", knows)
	if knows(a.View()) {
		t.Fatal("it has come by itself")
	}
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	a.compare(ctx, datamesh.PeerID{})
	if !knows(a.View()) || ctx.Err() != nil {
		t.Errorf("it is not known after a comparison (%v)", ctx.Err())
	}
}

func TestDiscoverEndsWithItsContextAndItsNode(t *testing.T) {
	a := start(t, still(first(t)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := a.Discover(ctx); got == nil || len(got) != 0 {
		t.Errorf("got %v, want an empty list", got)
	}
	stop(t, a)
	if got := a.Discover(t.Context()); got == nil || len(got) != 0 {
		t.Errorf("got %v, want an empty list", got)
	}
}
