package ring

import (
	"math"
	"testing"
	"time"
)

func TestTwoHalvesMeetAgain(t *testing.T) {
	for seed := range uint64(2) {
		w := newWorld(t, seed)
		mesh(w, 9)
		left, right := w.nodes[:6], w.nodes[6:]
		side := make(map[*node]bool)
		for _, n := range left {
			side[n] = true
		}
		w.cut = func(a, b *node) bool { return side[a] != side[b] }
		w.runUntil("each half holds the other for dead", 7*w.probe, func() bool {
			return all(left, right, Dead) && all(right, left, Dead)
		})
		w.run(time.Hour)
		if !all(left, left, Alive) || !all(right, right, Alive) {
			t.Fatalf("seed %d: a half fell apart\n%s", seed, w.tables())
		}
		deaths := 0
		falseDeaths(w, &deaths)
		w.cut = nil
		took := w.runUntil("one table", 14*w.probe, func() bool { return all(w.nodes, w.nodes, Alive) })
		w.run(10 * w.probe)
		t.Logf("seed %d: one table after %v", seed, took)
		if deaths > 0 || !all(w.nodes, w.nodes, Alive) {
			t.Errorf("seed %d: %d members died of the meeting\n%s", seed, deaths, w.tables())
		}
	}
}

func TestAReturnerIsAliveAtOnce(t *testing.T) {
	w := newWorld(t, 1)
	mesh(w, 6)
	gone := w.nodes[5]
	before := gone.m.Self().Seq
	gone.kill(true)
	w.runUntil("dead", 6*w.probe, func() bool { return all(w.nodes[:5], w.nodes[5:], Dead) })
	w.run(time.Hour)
	gone.restart(w.nodes[2])
	took := w.runUntil("alive", w.probe, func() bool { return all(w.nodes, w.nodes, Alive) })
	w.run(w.probe)
	for _, n := range w.nodes {
		if m, _ := n.m.View().Lookup(gone.id); m.Record.Seq <= before {
			t.Errorf("held at %d, was %d", m.Record.Seq, before)
		}
	}
	t.Logf("after %v", took)
}

func TestASleeperKillsNobody(t *testing.T) {
	for seed := range uint64(3) {
		w := newWorld(t, seed)
		mesh(w, 6)
		w.nodes[5].kill(false)
		w.run(time.Hour)
		deaths := 0
		falseDeaths(w, &deaths)
		w.nodes[5].resume()
		w.runUntil("it is alive", 14*w.probe, func() bool { return all(w.nodes, w.nodes, Alive) })
		if deaths > 0 {
			t.Errorf("seed %d: %d members died of its sleep", seed, deaths)
		}
	}
}

// A returner that meets a liar first is told that all others died long ago,
// and does not forget them before it has asked them itself.
func TestAReturnerIsNotTalkedOutOfItsMembers(t *testing.T) {
	w := newWorld(t, 1)
	mesh(w, 6)
	x, liar, others := w.nodes[0], w.nodes[1], w.nodes[2:]
	w.cut = func(a, b *node) bool { return a == x && b != liar || b == x && a != liar }
	x.restart(w.nodes...)
	var lies []Fact
	for _, o := range others {
		lies = append(lies, Fact{Claim: dead, Peer: &o.id, Seq: o.m.Self().Seq, Age: math.MaxUint32})
	}
	x.request(liar.id, &Message{Kind: KindPing, Facts: lies})
	w.run(w.probe / 2)
	for _, o := range others {
		if x.m.state(o.id) != Dead {
			t.Errorf("%v is %v, want dead", o.id, x.m.state(o.id))
		}
	}
	w.cut = nil
	w.runUntil("they live", 3*w.probe, func() bool { return all(w.nodes[:1], others, Alive) })
}

func TestAReturnerThatKnowsNobodyIsFound(t *testing.T) {
	w := newWorld(t, 1)
	mesh(w, 6)
	w.nodes[5].kill(true)
	w.run(time.Hour)
	w.nodes[5].restart()
	w.runUntil("alive", 14*w.probe, func() bool { return all(w.nodes, w.nodes, Alive) })
}

func TestAClockSetBackIsOvercome(t *testing.T) {
	w := newWorld(t, 1)
	mesh(w, 6)
	x := w.nodes[5]
	x.kill(true)
	w.run(time.Hour)
	rec := *x.m.Self()
	rec.Seq, rec.Addrs = rec.Seq-1_000_000, []string{"/ip4/10.9.9.9/tcp/1"}
	w.start(x, &rec)
	x.meet(w.nodes[0])
	w.runUntil("its new address is known", 6*w.probe, func() bool {
		for _, n := range w.nodes {
			if m, _ := n.m.View().Lookup(x.id); m.Record.Addrs[0] != rec.Addrs[0] {
				return false
			}
		}
		return true
	})
}

func TestTwoIslandsMerge(t *testing.T) {
	for _, n := range []int{3, 20} {
		w := newWorld(t, uint64(n))
		for range n {
			w.add(false).meet(w.nodes[0])
		}
		w.run(10 * w.probe)
		for range n {
			w.add(false).meet(w.nodes[n])
		}
		w.run(10 * w.probe)
		if w.nodes[0].m.View().Len() != n || w.nodes[n].m.View().Len() != n {
			t.Fatal("there are no islands")
		}
		w.nodes[n+1].meet(w.nodes[1])
		took := w.runUntil("one table", 8*w.probe, func() bool { return all(w.nodes, w.nodes, Alive) })
		t.Logf("%d and %d: %v", n, n, took)
	}
}

func TestThePowerComesBack(t *testing.T) {
	w := newWorld(t, 1)
	mesh(w, 6)
	for _, n := range w.nodes {
		n.kill(true)
	}
	w.run(time.Hour)
	for _, n := range w.nodes[:5] {
		n.restart(w.nodes...)
	}
	w.runUntil("five live and one is known to be dead", 6*w.probe, func() bool {
		return all(w.nodes[:5], w.nodes[:5], Alive) && all(w.nodes[:5], w.nodes[5:], Dead)
	})
	late := w.add(false)
	late.meet(w.nodes[0])
	w.runUntil("a newcomer is told of the dead one", 6*w.probe, func() bool {
		return all(w.nodes[6:], w.nodes[:5], Alive) && all(w.nodes[6:], w.nodes[5:6], Dead)
	})
}

func TestTheDeadAreForgotten(t *testing.T) {
	w := newWorld(t, 1)
	w.evict = 2 * time.Hour
	mesh(w, 6)
	w.nodes[5].kill(false)
	w.run(time.Hour)
	late := w.add(false)
	late.meet(w.nodes[0])
	w.run(55 * time.Minute)
	live := append(w.nodes[:5:5], late)
	if !all(live, w.nodes[5:6], Dead) {
		t.Fatalf("not remembered\n%s", w.tables())
	}
	w.run(10 * time.Minute)
	if !all(live, w.nodes[5:6], 0) {
		t.Fatalf("not forgotten\n%s", w.tables())
	}
	w.run(time.Hour)
	for _, n := range live {
		if got := n.m.View().Len(); got != 6 {
			t.Errorf("%d members, want 6", got)
		}
	}
}

func TestAnObserverSeesAllAndIsSeenByNone(t *testing.T) {
	w := newWorld(t, 1)
	mesh(w, 6)
	obs := w.add(true)
	obs.meet(w.nodes[3])
	w.runUntil("the observer knows all", w.probe, func() bool {
		return all(w.nodes[6:], w.nodes[:6], Alive) && obs.m.Synced()
	})
	w.nodes[0].kill(false)
	w.runUntil("the observer knows of the death", 8*w.probe, func() bool {
		return all(w.nodes[6:], w.nodes[:1], Dead)
	})
	w.nodes[0].restart(w.nodes[1])
	w.runUntil("the observer knows of the return", 3*w.probe, func() bool {
		return all(w.nodes[6:], w.nodes[:1], Alive)
	})
	w.cut = func(a, b *node) bool { return a == obs || b == obs }
	w.runUntil("the observer is alone", 30*w.probe, func() bool {
		return all(w.nodes[6:], w.nodes[:6], Dead)
	})
	w.cut = nil
	w.runUntil("the observer is back", 14*w.probe, func() bool {
		return all(w.nodes[6:], w.nodes[:6], Alive)
	})
	for _, n := range w.nodes {
		if _, ok := n.m.View().Lookup(obs.id); ok {
			t.Error("the observer is in a table")
		}
	}
}
