//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/node"
)

// discovers returns what discover says, by peer.
func (u *user) discovers(t *testing.T) map[datamesh.PeerID]node.Found {
	t.Helper()
	byID := map[datamesh.PeerID]node.Found{}
	for _, f := range result[node.Discovered](t, u.run(t, "discover")).Members {
		byID[f.PeerID] = f
	}
	return byID
}

// With a period of an hour nobody looks for others by itself: discover asks.
func TestDiscoverAsksTheMeshNow(t *testing.T) {
	t.Parallel()
	m := emptyMesh(t, "DATAMESH_RING_PROBE=1h")
	m.grow(t, 3)
	first, second, third := m.members[0], m.members[1], m.members[2]
	u := m.user(t)
	for _, f := range u.discovers(t) {
		if !f.Answers || f.New || f.LatencyMS <= 0 || len(f.Addrs) == 0 {
			t.Errorf("of a member that is remembered and runs: got %+v", f)
		}
	}
	kill(third)
	fourth := m.add(t, append([]string{"service", "--port", "0"}, second.door()...)...)
	fourth.start(t)

	doc := result[node.Discovered](t, u.run(t, "discover"))
	if doc.New != 1 {
		t.Errorf("got %d that are new, want 1", doc.New)
	}
	byID := map[datamesh.PeerID]node.Found{}
	for _, f := range doc.Members {
		byID[f.PeerID] = f
	}
	for _, x := range m.members {
		f, ok := byID[x.ready.PeerID]
		if !ok || f.Answers != (x != third) || f.New != (x == fourth) || (f.LatencyMS > 0) != (x != third) {
			t.Errorf("%s: got %+v, %t", x.home, f, ok)
		}
	}
	if again := result[node.Discovered](t, u.run(t, "discover")); again.New != 0 {
		t.Errorf("what was found was not remembered: %+v", again)
	}

	got := first.discovers(t) // a service asks as well
	if len(got) != 3 || !got[second.ready.PeerID].Answers || !got[fourth.ready.PeerID].Answers || got[third.ready.PeerID].Answers {
		t.Errorf("a service: got %+v", got)
	}
	if first.sees(t, "alive", fourth) != 1 {
		t.Error("who was found is not in the table of members")
	}
}

func TestBandwidthMovesBytesBothWays(t *testing.T) {
	t.Parallel()
	m := emptyMesh(t, "DATAMESH_RING_PROBE=1h") // or who is silent may be dead before it is asked
	m.grow(t, 3)
	a, b, c := m.members[0], m.members[1], m.members[2]
	const size = 8 << 20
	one := result[node.Bandwidth](t, a.run(t, "bandwidth", b.ready.PeerID.String(), "--size", "8M"))
	if len(one.Peers) != 1 || one.Peers[0].PeerID != b.ready.PeerID {
		t.Fatalf("got %+v, want %s alone", one, b.ready.PeerID)
	}
	all := result[node.Bandwidth](t, m.user(t).run(t, "bandwidth", "--size", "1M"))
	if len(all.Peers) != 3 || len(all.Failed) != 0 {
		t.Errorf("a client: got %+v, want three peers", all)
	}
	for _, p := range append(all.Peers, one.Peers...) {
		if p.LatencyMS <= 0 || p.SentPerSecond <= 0 || p.ReceivedPerSecond <= 0 || p.Sent != p.Received {
			t.Errorf("got %+v", p)
		}
	}
	if p := one.Peers[0]; p.Sent != size || p.Received != size {
		t.Errorf("got %+v, want %d bytes each way", p, size)
	}

	c.pause(t)
	o := a.run(t, "bandwidth", "--size", "1M")
	if o.code != 3 {
		t.Errorf("one of two is silent: exited with %d, want 3: %s%s", o.code, o.stdout, o.stderr)
	}
	partial := document[node.Bandwidth](t, o.stdout)
	if len(partial.Peers) != 1 || partial.Peers[0].PeerID != b.ready.PeerID || len(partial.Failed) != 1 || partial.Failed[0].PeerID != c.ready.PeerID || partial.Failed[0].Error == "" {
		t.Errorf("got %+v, want %s measured and %s failed", partial, b.ready.PeerID, c.ready.PeerID)
	}
	if p := document[api.Problem](t, lastLine(o.stderr)); p.Kind != "Partial" || p.Code != 3 || p.Hint == "" {
		t.Errorf("got %+v", p)
	}
	o = a.run(t, "bandwidth", c.ready.PeerID.String())
	if doc := document[node.Bandwidth](t, o.stdout); o.code != 5 || len(doc.Peers) != 0 || len(doc.Failed) != 1 {
		t.Errorf("it alone: exited with %d, want 5: %s", o.code, o.stdout)
	}
	c.task.signal(t, syscall.SIGCONT)
	if o := a.run(t, "bandwidth", a.ready.PeerID.String()); o.code != 2 {
		t.Errorf("itself: exited with %d, want 2", o.code)
	}
}

// Members that were away find each other again without a command, wherever
// they come back.
func TestMembersFindEachOtherAgain(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 3)
	a, b, c := m.members[0], m.members[1], m.members[2]
	dead := func(x *member) {
		t.Helper()
		for _, y := range m.members {
			if y != x {
				eventually(t, fmt.Sprintf("%s holds %s for dead", y.home, x.home), func() bool { return y.sees(t, "dead", x) == 1 })
			}
		}
	}
	c.pause(t)
	dead(c)
	c.task.signal(t, syscall.SIGCONT)
	m.settle(t)

	kill(c)
	dead(c)
	before := nearestAddr(c.ready.Addrs)
	restart(t, c)
	if got := nearestAddr(c.ready.Addrs); got != before {
		t.Errorf("it is at %s again, want %s", got, before)
	}
	m.settle(t)

	kill(c)
	dead(c)
	c.start(t, "service", "--port", fmt.Sprint(freePort(t)))
	if got := nearestAddr(c.ready.Addrs); got == before {
		t.Fatalf("it is at %s again", got)
	}
	m.settle(t)

	for _, x := range []*member{a, b} { // which write down where others are, but not at once
		eventually(t, x.home+" remembers where c is", func() bool {
			remembered, err := os.ReadFile(filepath.Join(x.home, "mesh"))
			return err == nil && bytes.Contains(remembered, []byte(nearestAddr(c.ready.Addrs)))
		})
	}
	kill(a, b) // both are elsewhere than c remembers
	a.start(t, "bootstrap", "--port", fmt.Sprint(freePort(t)))
	b.start(t, "service", "--port", fmt.Sprint(freePort(t)))
	m.settle(t)
}
