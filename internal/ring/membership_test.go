package ring

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var long = flag.Int("long", 1, "how many times as much the simulations do")

func TestAllLearnOfAllFromOneAddress(t *testing.T) {
	for _, n := range []int{1, 2, 3, 6, 20, 50} {
		for seed := range uint64(*long) {
			w := newWorld(t, seed)
			boot := w.add(false)
			for range n - 1 {
				w.add(false).meet(boot)
			}
			took := w.runUntil("all know all", 8*w.probe, func() bool {
				return all(w.nodes, w.nodes, Alive)
			})
			t.Logf("%d nodes, seed %d: %v", n, seed, took)
		}
	}
}

func TestTheKilledAreDeadEverywhereWithinSixPeriods(t *testing.T) {
	for _, n := range []int{3, 4, 6, 10, 20, 50, contacts + 16} {
		for _, killed := range []int{1, 2, 3} {
			for _, refuses := range []bool{false, true} {
				var worst time.Duration
				for seed := range uint64(*long * max(1, 20/n)) {
					if killed < n {
						worst = max(worst, timeToDeath(t, n, killed, refuses, seed))
					}
				}
				t.Logf("%d of %d, refusing calls %v: at most %.2f periods", killed, n, refuses, worst.Seconds()/5)
			}
		}
	}
}

func timeToDeath(t *testing.T, n, killed int, refuses bool, seed uint64) time.Duration {
	w := newWorld(t, seed)
	mesh(w, n)
	w.run(time.Duration(w.rand.Int64N(int64(10 * w.probe))))
	w.rand.Shuffle(n, func(i, j int) { w.nodes[i], w.nodes[j] = w.nodes[j], w.nodes[i] })
	for _, x := range w.nodes[:killed] {
		x.kill(refuses)
	}
	what := fmt.Sprintf("%d of %d dead everywhere, seed %d", killed, n, seed)
	return w.runUntil(what, 6*w.probe, func() bool {
		return all(w.nodes[killed:], w.nodes[:killed], Dead) && all(w.nodes[killed:], w.nodes[killed:], Alive)
	})
}

func TestADeathIsKnownWithinSixPeriodsAtFivePercentLoss(t *testing.T) {
	for _, n := range []int{3, 6, 20} {
		for seed := range uint64(*long * 60 / n) {
			w := newWorld(t, seed)
			w.probe = time.Second
			mesh(w, n)
			w.loss = 0.05
			w.nodes[0].kill(false)
			w.runUntil(fmt.Sprintf("seed %d", seed), 6*w.probe, func() bool {
				return all(w.nodes[1:], w.nodes[:1], Dead)
			})
		}
	}
}

// falseDeaths counts how often a node that is up comes to hold another for
// dead that is up too.
func falseDeaths(w *world, count *int) {
	held := make(map[[2]*node]bool)
	w.onChange = func(n *node) {
		for _, o := range w.nodes {
			is := o.up && n.m.state(o.id) == Dead
			if is && !held[[2]*node{n, o}] {
				*count++
			}
			held[[2]*node{n, o}] = is
		}
	}
	for _, n := range w.nodes {
		w.onChange(n)
	}
	*count = 0
}

func TestNobodyDiesOfFivePercentLoss(t *testing.T) {
	for _, c := range []struct {
		nodes int
		time  time.Duration
	}{{3, 2 * time.Hour}, {6, 3 * time.Hour}, {20, 30 * time.Minute}} {
		c.time *= time.Duration(*long)
		w := newWorld(t, 1)
		mesh(w, c.nodes)
		seq := w.nodes[0].m.Self().Seq
		deaths := 0
		falseDeaths(w, &deaths)
		w.loss = 0.05
		w.run(c.time)
		t.Logf("%d nodes, %v: %d deaths; the first node refuted %d times", c.nodes, c.time, deaths, w.nodes[0].m.Self().Seq-seq)
		if deaths > 0 {
			t.Errorf("%d nodes: %d false deaths in %v", c.nodes, deaths, c.time)
		}
	}
}

func TestABadLinkKillsNobodyElse(t *testing.T) {
	for seed := range uint64(*long) {
		w := newWorld(t, seed)
		mesh(w, 10)
		bad, deaths := w.nodes[3], 0
		w.onChange = func(n *node) {
			for _, o := range w.nodes {
				if n != bad && o != bad && n.m.state(o.id) == Dead {
					deaths++
				}
			}
		}
		w.cut = func(a, b *node) bool { return (a == bad || b == bad) && w.rand.Float64() < 0.6 }
		w.run(20 * time.Minute)
		if deaths > 0 {
			t.Errorf("seed %d: %d changes saw a good member dead", seed, deaths)
		}
		w.cut = nil
		w.runUntil("all is well again", 14*w.probe, func() bool { return all(w.nodes, w.nodes, Alive) })
	}
}

func TestAPauseIsNoDeath(t *testing.T) {
	w := newWorld(t, 1)
	mesh(w, 6)
	deaths := 0
	falseDeaths(w, &deaths)
	asleep := w.nodes[2]
	w.cut = func(a, b *node) bool { return a == asleep || b == asleep }
	w.run(2 * w.probe)
	w.cut = nil
	w.runUntil("the sleeper is alive", 2*w.probe, func() bool { return all(w.nodes, w.nodes, Alive) })
	if deaths > 0 {
		t.Errorf("%d deaths", deaths)
	}
}
