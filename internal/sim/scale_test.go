package sim

import (
	"math"
	"os"
	"testing"
	"time"
)

func scaled(nodes, machines int) Scale {
	return Scale{Seed: 1, Nodes: nodes, Machines: machines, Rest: 5 * time.Minute, Events: 1, Objects: 9, Size: 1 << 20}
}

// differ reports by how much one number is more or less than another, of that.
func differ(a, b float64) float64 { return math.Abs(a-b) / b }

// What a put and a get take does not grow with the mesh, nor what a node sends at rest
// beyond some size, and all know soon of who dies.
func TestCostsDoNotGrowWithTheMesh(t *testing.T) {
	unraced(t)
	nodes := []int{10, 100, 250}
	if os.Getenv("TEST_DATAMESH_FULL") == "1" {
		nodes[2] = 1000
	}
	var costs []ScaleCosts
	for _, n := range nodes {
		c, err := scaled(n, n).Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d nodes: %+v, at rest %+v", n, c, c.AtRest())
		costs = append(costs, c)
		if rest := c.AtRest().Sum(); rest > 2000 {
			t.Errorf("%d nodes: each sends %.0f bytes a second at rest", n, rest)
		}
		if c.Put.Requests > 26 || c.Get.Requests > 12 { // a get that finds all slow asks more
			t.Errorf("%d nodes: a put takes %.0f requests, a get %.0f", n, c.Put.Requests, c.Get.Requests)
		}
		if c.Ring.Dead > 6*ringPeriod || c.Ring.Dead == 0 {
			t.Errorf("%d nodes: a death is known after %v", n, c.Ring.Dead)
		}
	}
	small, large := costs[1], costs[2]
	for what, x := range map[string][2]float64{
		"requests of a put":        {large.Put.Requests, small.Put.Requests},
		"bytes of a put":           {large.Put.Bytes, costs[0].Put.Bytes},
		"bytes of a get":           {large.Get.Bytes, costs[0].Get.Bytes},
		"calls of the ring":        {large.Ring.Calls, costs[0].Ring.Calls},
		"bytes of the ring":        {large.Ring.Rest, small.Ring.Rest},
		"connections for the ring": {large.Ring.Conns, small.Ring.Conns},
		"requests of an inventory": {large.Inventory.Requests, small.Inventory.Requests},
	} {
		if differ(x[0], x[1]) > 0.15 {
			t.Errorf("%s: %.4g in a large mesh, and %.4g in a small one", what, x[0], x[1])
		}
	}
}

// With fewer machines than nodes each sends what it would with as many.
func TestMachinesActForNodes(t *testing.T) {
	unraced(t)
	cost := func(machines int) RingCosts {
		w, err := NewRings(1, 200, machines)
		if err != nil {
			t.Fatal(err)
		}
		c, err := w.Costs(10*time.Minute, 2)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d machines: %+v", machines, c)
		return c
	}
	all, some := cost(200), cost(50)
	for what, x := range map[string][2]float64{
		"bytes at rest":   {some.Rest, all.Rest},
		"connections":     {some.Conns, all.Conns},
		"bytes of a join": {some.Join, all.Join},
	} {
		if differ(x[0], x[1]) > 0.2 {
			t.Errorf("%s: %.4g by fewer machines, and %.4g by all", what, x[0], x[1])
		}
	}
}

func TestTheSameSeedGivesTheSameRing(t *testing.T) {
	run := func(seed uint64) [32]byte {
		w, err := NewRings(seed, 20, 20)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Costs(time.Minute, 1); err != nil {
			t.Fatal(err)
		}
		return w.Digest()
	}
	first := run(1)
	if run(1) != first {
		t.Error("two runs with seed 1 differ")
	}
	if run(2) == first {
		t.Error("seeds 1 and 2 give the same run")
	}
}

func TestMembersOfDifferentCapacitiesAreEquallyFull(t *testing.T) {
	unraced(t)
	for _, c := range []struct {
		nodes, sites int
		capacities   []int64
	}{{100, 0, []int64{1, 2, 4, 8, 16, 32, 64, 100}}, {100, 10, []int64{1, 2, 4, 8, 16, 32, 64, 100}}, {10, 0, []int64{2, 3}}} {
		fullest, mean := Balance(1, c.nodes, c.sites, c.capacities)
		t.Logf("%+v: %.3f, %.3f on average", c, fullest, mean)
		if ratio := fullest / mean; ratio > 1.3 || ratio < 1 {
			t.Errorf("%+v: the fullest is %.3f times as full as all on average", c, ratio)
		}
	}
}
