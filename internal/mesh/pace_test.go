package mesh

import (
	"slices"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestLooksAreRareWhileNothingChanges(t *testing.T) {
	a := start(t, first(t))
	var p pace
	var looks []int
	for turn := range 64 {
		if p.turn(a.View()) {
			looks = append(looks, turn)
		}
	}
	if want := []int{0, 1, 3, 7, 15, 31, 47, 63}; !slices.Equal(looks, want) {
		t.Errorf("looks in the turns %v, want %v", looks, want)
	}
	b := start(t, through(t, a))
	a.waitFor(t, "the other", func(v *ring.View) bool { return stateOf(v, b.ID()) == ring.Alive })
	before := a.View()
	for turn, want := range []bool{true, true, false, true} {
		if got := p.turn(before); got != want {
			t.Errorf("with another member, turn %d: got %t, want %t", turn, got, want)
		}
	}
	stop(t, b)
	a.waitFor(t, "doubt", func(v *ring.View) bool { return stateOf(v, b.ID()) != ring.Alive })
	if !p.turn(a.View()) {
		t.Error("no look although a member has fallen silent")
	}
}

// In a large mesh somebody comes or goes in every turn.
func TestLooksAreRareInALargeMesh(t *testing.T) {
	var p pace
	looks := 0
	for turn := range 10 * 1000 / membersATurn {
		members := make([]ring.Member, 1000)
		for i := range members {
			members[i] = ring.Member{Record: &ring.Record{Peer: datamesh.PeerID{byte(i >> 8), byte(i)}}, State: ring.Alive}
		}
		members[turn].State = ring.Dead
		if p.turn(ring.NewView(members)) {
			looks++
		}
	}
	if looks < 9 || looks > 11 {
		t.Errorf("%d looks, want about 10", looks)
	}
}

// What changes in a table all the time is no reason to look for others.
func TestRoundTripsAreNoChange(t *testing.T) {
	a := start(t, first(t))
	b := start(t, through(t, a))
	alive := func(v *ring.View) bool { return stateOf(v, b.ID()) == ring.Alive }
	a.waitFor(t, "the other", alive)
	rtts := map[time.Duration]bool{}
	want := sumOf(a.View())
	eventually(t, "a third round trip", func() bool {
		v := a.View()
		m, _ := v.Lookup(b.ID())
		rtts[m.RTT] = true
		if alive(v) && sumOf(v) != want {
			t.Fatal("the table has changed")
		}
		return len(rtts) == 3
	})
}

// Nothing but a look keeps Kademlia's table true.
func TestLooksForgetTheDead(t *testing.T) {
	nodes := startMesh(t, 3)
	a, gone := nodes[0], peer.ID(nodes[2].ID().Multihash())
	eventually(t, "Kademlia knows the other", func() bool { return a.dht.RoutingTable().Find(gone) != "" })
	stop(t, nodes[2])
	a.waitFor(t, "its death", func(v *ring.View) bool { return stateOf(v, nodes[2].ID()) == ring.Dead })
	a.lookAbout(t.Context(), discoverBudget)
	if a.dht.RoutingTable().Find(gone) != "" {
		t.Error("Kademlia still names a member that is dead")
	}
}

// A member that only others in Kademlia know is found in a few looks.
func TestLooksFindWhomOnlyOthersKnow(t *testing.T) {
	cfg := first(t)
	a := start(t, cfg)
	var others []*Net
	for range 2 {
		other := storage(t)
		other.Genesis = cfg.Genesis
		others = append(others, start(t, other))
	}
	b, c := others[0], others[1]
	for _, pair := range [][2]*Net{{a, b}, {b, c}} {
		if err := pair[0].connect(t.Context(), peer.ID(pair[1].ID().Multihash()), pair[1].Addrs()); err != nil {
			t.Fatal(err)
		}
		for i := range pair {
			eventually(t, "Kademlia knows the other", func() bool {
				return pair[i].dht.RoutingTable().Find(peer.ID(pair[1-i].ID().Multihash())) != ""
			})
		}
	}
	a.lookAbout(t.Context(), discoverBudget)
	for _, n := range []*Net{a, b, c} {
		n.waitFor(t, "all three", func(v *ring.View) bool { return count(v, ring.Alive) == 3 })
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	guard := time.After(hang)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-guard:
			t.Fatalf("waits in vain: %s", what)
		}
	}
}
