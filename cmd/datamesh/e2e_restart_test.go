//go:build unix

package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/node"
)

func TestAllNodesKilledComeBackWithEverything(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	owner := m.user(t)
	contents := [][]byte{noisy(1, 10), noisy(2, 100_000), noisy(3, 1<<20), noisy(4, 18<<20)}
	var stored []datamesh.ObjectID
	for _, content := range contents {
		stored = append(stored, owner.put(t, content).ID)
	}
	var before []ready
	for _, x := range m.members {
		before = append(before, x.ready)
	}
	for range 2 { // the second time before they can have met
		kill(m.members...)
		restart(t, m.members...)
	}
	for i, x := range m.members {
		if diff := cmp.Diff(before[i], x.ready); diff != "" {
			t.Errorf("%s (-before +after):\n%s", x.home, diff)
		}
	}
	m.settle(t)
	reader := owner.elsewhere(t)
	for i, id := range stored {
		owner.reads(t, id, contents[i])
		reader.reads(t, id, contents[i])
	}
}

func TestPutsThatAPowerCutMeetsAreWholeOrGone(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	owner := m.user(t)
	kept := noisy(0, 1<<20)
	owner.put(t, kept, "--name", "kept")
	before, files := m.shards(t), m.shardFiles(t)
	var puts []upload
	for i, size := range []int64{1000, 100_000, 10 << 20, 40 << 20} { // the small ones may be through
		puts = append(puts, beginPut(t, owner, noisy(byte(i+1), size)))
	}
	eventually(t, "shards of the puts are stored", func() bool { return m.shardFiles(t) > files })
	kill(m.members...)
	acknowledged := 1
	for i := range puts {
		if o := puts[i].wait(t); o.code == 0 {
			puts[i].stored = result[node.Stored](t, o)
			acknowledged++
			before += puts[i].stored.Shards
		} else {
			problem(t, o, 5)
		}
	}
	restart(t, m.members...)
	m.settle(t)
	if list := result[node.List](t, owner.run(t, "list")); len(list.Objects) != acknowledged {
		t.Errorf("%d puts were acknowledged; the catalog has %+v", acknowledged, list.Objects)
	}
	eventually(t, "the shards of the other puts are gone", func() bool {
		o := owner.run(t, "peers")
		if o.code != 0 && o.code != 5 { // it may not join in time
			t.Fatalf("%v exited with %d: %s", o.args, o.code, o.stderr)
		}
		return m.shards(t) == before
	})
	for _, p := range puts {
		if p.stored.Size > 0 {
			owner.reads(t, p.stored.ID, p.content)
		}
	}
}

func TestWithoutItsBootstrapNodeAMeshServesAndGrows(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	owner := m.user(t)
	early := noisy(1, 1<<20)
	id := owner.put(t, early).ID
	kill(m.members[0])
	owner.reads(t, id, early)
	late := noisy(2, 1<<20)
	owner.reads(t, owner.put(t, late).ID, late)

	for _, door := range slices.Clone(m.members[1:]) {
		m.add(t, append([]string{"service"}, door.door()...)...).start(t)
	}
	m.settle(t)
	for _, x := range m.members[6:] {
		x.reads(t, x.put(t, late).ID, late)
	}
}
