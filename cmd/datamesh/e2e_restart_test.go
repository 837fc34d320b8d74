//go:build unix

package main

import (
	"slices"
	"testing"

	"datamesh"

	"github.com/google/go-cmp/cmp"
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

func TestWithoutItsBootstrapNodeAMeshServesAndGrows(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	owner := m.user(t)
	early := noisy(1, 1<<20)
	id := owner.put(t, early).ID
	m.members[0].kill()
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
