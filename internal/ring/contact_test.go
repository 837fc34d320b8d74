package ring

import (
	"testing"
	"time"
)

// Two members are contacts of each other or neither is the other's, and each has as many
// in a large mesh as in a small one.
func TestContactsAreMutualAndAsManyInALargeMesh(t *testing.T) {
	for _, n := range []int{2, 20, contacts + 1, 300, 600} {
		w := newWorld(t, 1)
		var all []*Record
		for range n {
			all = append(all, w.add(false).m.Self())
		}
		some := w.nodes[:min(n, 40)]
		for _, x := range some {
			x.m.Acquaint(all)
		}
		sum := 0
		for _, x := range some {
			for _, y := range x.m.live {
				if x.m.isContact(y) {
					sum++
				}
			}
			for _, o := range some {
				if o != x && x.m.isContact(x.m.members[o.id]) != o.m.isContact(o.m.members[x.id]) {
					t.Errorf("%d members: one is a contact of the other alone", n)
				}
			}
		}
		mean := float64(sum) / float64(len(some))
		t.Logf("%d members: %.1f contacts each", n, mean)
		if want := float64(min(n-1, contacts)); mean < 0.85*want || mean > 1.15*want {
			t.Errorf("%d members: %.1f contacts each, want %.0f", n, mean, want)
		}
	}
}

// Of a mesh in two halves each member asks but its contacts among the dead, and all meet
// again.
func TestTwoHalvesOfALargeMeshMeetAgain(t *testing.T) {
	const n = contacts + contacts/2
	for seed := range uint64(*long) {
		w := newWorld(t, seed)
		mesh(w, n)
		half := make(map[*node]bool)
		for _, x := range w.nodes[:n/2] {
			half[x] = true
		}
		w.cut = func(a, b *node) bool { return half[a] != half[b] }
		w.run(90 * time.Second)
		for _, x := range w.nodes {
			if live := x.m.View().Live(); live != n/2 {
				t.Fatalf("seed %d: %d live in one half, want %d", seed, live, n/2)
			}
		}
		w.cut = nil
		took := w.runUntil("all are alive", 40*w.probe, func() bool { return all(w.nodes, w.nodes, Alive) })
		t.Logf("seed %d: %v", seed, took)
	}
}

// A few members of a large mesh that are cut off find that all others are dead, few of
// whom are their contacts, and that one of them is. So do those who were told of
// members that never were.
func TestAFewOfALargeMeshFindAllOthersDead(t *testing.T) {
	const few, n = 3, 900
	w := newWorld(t, 1)
	for range n {
		w.add(false)
	}
	var everybody []*Record
	for _, x := range w.nodes {
		everybody = append(everybody, x.m.Self())
	}
	left, others := w.nodes[:few], w.nodes[few:]
	for _, x := range left {
		x.m.Acquaint(everybody)
		x.step(Tick{})
	}
	for _, o := range others {
		o.kill(false)
	}
	took := w.runUntil("all others are dead", n*w.probe, func() bool { return all(left, others, Dead) })
	t.Logf("%d others are dead after %v", len(others), took)
	if !all(left, left, Alive) {
		t.Error("one who lives is held for dead")
	}
	left[0].kill(false)
	w.runUntil("one of them is dead", 6*w.probe, func() bool { return all(left[1:], left[:1], Dead) })
}
