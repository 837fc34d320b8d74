package ring

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"datamesh"

	"github.com/google/go-cmp/cmp"
)

// request gives a node a message and returns its reply.
func (n *node) request(from datamesh.PeerID, msg *Message) *Message {
	msg.Version = Version
	for _, e := range n.m.Step(n.w.now, Request{from, msg, 1 << 40}) {
		if r, ok := e.(Reply); ok && r.Token == 1<<40 {
			return r.Message
		}
	}
	return nil
}

func TestTheSameSeedGivesTheSameRun(t *testing.T) {
	run := func(seed uint64) string {
		w := newWorld(t, seed)
		mesh(w, 6)
		w.loss = 0.1
		w.nodes[2].kill(true)
		w.run(20 * time.Minute)
		w.nodes[2].restart(w.nodes[3])
		w.run(20 * time.Minute)
		return fmt.Sprintf("%x", w.trace.Sum(nil))
	}
	if a, b := run(1), run(1); a != b {
		t.Errorf("%s and %s", a, b)
	}
	if a, b := run(1), run(2); a == b {
		t.Error("two seeds give one run")
	}
}

func TestAViewDoesNotChange(t *testing.T) {
	w := newWorld(t, 1)
	mesh(w, 6)
	m := w.nodes[0].m
	v := m.View()
	before := append([]Member(nil), v.members...)
	if m.View() != v {
		t.Error("a view is made anew without need")
	}
	self, ok := v.Lookup(w.nodes[0].id)
	if !ok || self.State != Alive || v.Len() != 6 || v.Live() != 6 {
		t.Errorf("%+v, %d members, %d live", self, v.Len(), v.Live())
	}
	w.nodes[3].kill(true)
	w.run(10 * w.probe)
	if d := cmp.Diff(before, v.members, cmp.AllowUnexported(Member{})); d != "" {
		t.Error(d)
	}
	after, _ := m.View().Lookup(w.nodes[3].id)
	if after.State != Dead || w.now.Sub(after.Since) > 10*w.probe || m.View().Live() != 5 {
		t.Errorf("%+v", after)
	}
	var last datamesh.PeerID
	for x := range m.View().All() {
		if comparePeers(last, x.Record.Peer) > 0 {
			t.Error("not in order")
		}
		if last = x.Record.Peer; x.State == Alive && x.Record.Peer != w.nodes[0].id && x.RTT == 0 {
			t.Errorf("no round-trip time for %v", x.Record.Peer)
		}
	}
}

func TestForgedAndOldFactsAreRefused(t *testing.T) {
	w := newWorld(t, 1)
	mesh(w, 3)
	n, x := w.nodes[0], w.nodes[1]
	old := x.m.Self()
	x.step(Self{Addrs: []string{"/ip4/10.7.7.7/tcp/7"}, Capacity: old.Capacity, Used: old.Used})
	w.run(w.probe)
	cur := x.m.Self()
	forged := *cur
	forged.Seq += 5
	foreign, _ := Sign(testKey(77), Record{Mesh: datamesh.MeshID{9}, Seq: 5, Role: Storage})
	client, _ := Sign(testKey(78), Record{Mesh: testMesh, Seq: 5, Role: Client})
	for what, f := range map[string]Fact{
		"replayed":     {Claim: alive, Record: old.Encode()},
		"forged":       {Claim: alive, Record: forged.Encode()},
		"another mesh": {Claim: alive, Record: foreign.Encode()},
		"a client":     {Claim: alive, Record: client.Encode()},
		"no record":    {Claim: alive, Record: []byte("x")},
		"unknown":      {Claim: alive, Peer: &foreign.Peer, Seq: 5},
		"not yet":      {Claim: dead, Peer: &cur.Peer, Seq: cur.Seq + 1},
	} {
		n.request(w.nodes[2].id, &Message{Kind: KindPing, Facts: []Fact{f}})
		m, _ := n.m.View().Lookup(x.id)
		if n.m.View().Len() != 3 || m.State != Alive || m.Record.Seq != cur.Seq {
			t.Errorf("%s: %d members, %+v", what, n.m.View().Len(), m)
		}
	}
	for _, r := range []*Record{foreign, client} {
		if n.step(Learned{Record: r}); n.m.View().Len() != 3 {
			t.Errorf("learned of %v in mesh %v", r.Role, r.Mesh)
		}
	}
}

func TestAStrangerIsHeardOnlyAboutItself(t *testing.T) {
	w := newWorld(t, 1)
	mesh(w, 3)
	n, x := w.nodes[0], w.nodes[1]
	w.cut = func(a, b *node) bool { return true }
	w.run(w.probe * 5 / 4)
	other, _ := Sign(testKey(78), testRecord(78, w.now))
	facts := []Fact{{Claim: dead, Peer: &x.id, Seq: x.m.Self().Seq}, {Claim: alive, Record: other.Encode()}}
	before := n.m.state(x.id)
	if pong := n.request(datamesh.PeerID{5}, &Message{Kind: KindPing, Facts: facts}); pong.Facts != nil {
		t.Error("a stranger is told news")
	}
	if n.m.state(x.id) != before || n.m.View().Len() != 3 {
		t.Error("a stranger is believed")
	}
	n.request(other.Peer, &Message{Kind: KindPing, Facts: facts[1:]})
	if n.m.state(other.Peer) != Alive {
		t.Error("a newcomer is not believed that it is there")
	}
}

func TestALiarOnlyMakesAMemberRefute(t *testing.T) {
	for _, c := range []claim{suspect, dead} {
		w := newWorld(t, 1)
		mesh(w, 10)
		x, deaths := w.nodes[4], 0
		falseDeaths(w, &deaths)
		was := x.m.Self().Seq
		for i := range 200 {
			seq := x.m.Self().Seq
			n := w.nodes[i%4]
			lie := &Message{Version: Version, Kind: KindPing, Facts: []Fact{{Claim: c, Peer: &x.id, Seq: seq}}}
			w.count++
			n.asked[w.count] = &flight{from: w.nodes[9], to: n, fromLife: -1}
			n.step(Request{w.nodes[9].id, lie, w.count})
			w.run(w.probe / 3)
		}
		w.run(2 * w.probe)
		if deaths > 0 || !all(w.nodes, w.nodes, Alive) {
			t.Errorf("%d deaths\n%s", deaths, w.tables())
		}
		t.Logf("claim %d: %d refutations of 200 lies", c, x.m.Self().Seq-was)
	}
}

func TestOnlyAConsiderableChangeOfFillIsSpread(t *testing.T) {
	w := newWorld(t, 1)
	mesh(w, 3)
	x := w.nodes[0]
	r := x.m.Self()
	x.step(Self{Addrs: r.Addrs, Capacity: r.Capacity, Used: r.Used + r.Capacity/21})
	if x.m.Self() != r {
		t.Error("a small change is announced")
	}
	used := r.Used + r.Capacity/19
	x.step(Self{Addrs: append([]string{""}, r.Addrs...), Capacity: r.Capacity, Used: used})
	w.runUntil("the fill is known", 4*w.probe, func() bool {
		for _, n := range w.nodes {
			if m, _ := n.m.View().Lookup(x.id); m.Record.Used != used {
				return false
			}
		}
		return true
	})
}

func TestAJoinerGetsALargeTableInOneComparison(t *testing.T) {
	w := newWorld(t, 1)
	boot := w.add(false)
	const n = 1000
	for i := range n {
		draft := testRecord(i, w.now)
		if i%10 == 0 {
			draft.Addrs = slices.Repeat([]string{strings.Repeat("x", MaxAddr)}, MaxAddrs)
		}
		rec, err := Sign(testKey(1000+i), draft)
		if err != nil {
			t.Fatal(err)
		}
		m := boot.m
		m.Step(w.now, Learned{Record: rec})
		m.setClaim(m.members[rec.Peer], alive)
		m.due = nil
	}
	joiner, obs := w.add(false), w.add(true)
	for _, x := range []*node{joiner, obs} {
		m := x.m
		calls := 0
		queue := m.Step(w.now, Learned{Record: boot.m.Self()})
		for len(queue) > 0 {
			c, ok := queue[0].(Call)
			queue = queue[1:]
			if !ok || c.To != boot.id {
				continue
			}
			calls++
			reply := boot.request(x.id, w.wire(x, c.Message))
			queue = append(queue, m.Step(w.now, Response{c.Token, w.wire(boot, reply), time.Millisecond})...)
		}
		if got := m.View().Len(); got < n+1 || !m.Synced() {
			t.Errorf("%d members after %d calls", got, calls)
		}
		t.Logf("%d members in %d calls", n, calls)
	}
}
