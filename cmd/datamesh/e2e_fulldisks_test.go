//go:build linux

package main

import (
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"datamesh/internal/node"
	"datamesh/internal/storetest"
)

// smallDisk mounts a disk of 32 MiB that has the member's home.
func (x *member) smallDisk(t *testing.T) {
	t.Helper()
	const why = "NOT TESTED: a mesh of full disks needs root, to mount them: %v"
	if os.Geteuid() != 0 {
		t.Skipf(why, "this is not root")
	}
	if err := os.Mkdir(x.home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", x.home, "tmpfs", 0, "size=32m,mode=700"); err != nil {
		t.Skipf(why, err)
	}
	t.Cleanup(func() {
		kill(x)
		if err := syscall.Unmount(x.home, 0); err != nil {
			t.Error(err)
		}
	})
}

// fill leaves no room on the member's disk.
func (x *member) fill(t *testing.T) {
	t.Helper()
	storetest.FillDisk(x.home)
}

// free takes away what fills the member's disk.
func (x *member) free(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(x.home, "others*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing fills the disk of %s, %v", x.home, err)
	}
	for _, file := range files {
		remove(t, file)
	}
}

// Disks fill up, one, two, and then all: what can go on does, what cannot says
// so, and with room again all is made good. Registrars whose disks are full
// cannot write down who holds what: until they can, copies that are too many
// may stay.
func TestMeshWithFullDisksGoesOn(t *testing.T) {
	t.Parallel()
	onlyNightly(t, "a mesh of which some disks, and then all, are full")
	m := emptyMesh(t, "DATAMESH_REPAIR_GRACE=2s", "DATAMESH_REPAIR_INTERVAL=20s", "DATAMESH_PUT_GRACE=3s",
		"DATAMESH_STORE_CAPACITY=30M", "DATAMESH_STORE_RESERVE=1M")
	first := m.add(t, "bootstrap", "--port", "0")
	first.smallDisk(t)
	first.start(t)
	for range 7 {
		m.add(t, append([]string{"service", "--port", "0"}, first.door()...)...).smallDisk(t)
	}
	startAll(t, m.members[1:]...)
	m.settle(t)
	owner := m.user(t)
	all, segments := owner.puts(t, 0, 12)
	m.complete(t, segments)
	put := func(seed int) {
		t.Helper()
		more, n := owner.puts(t, seed, 12)
		maps.Copy(all, more)
		segments += n
	}

	for i, x := range m.members[:2] {
		x.fill(t)
		before := len(x.ledger(t).sizes)
		put(50 * (i + 1))
		owner.readable(t, all)
		if n := len(x.ledger(t).sizes); n != before {
			t.Errorf("%s has no room, and took %d shards", x.home, n-before)
		}
		m.complete(t, segments)
	}
	lost := m.members[7]
	kill(lost)
	m.complete(t, segments)
	owner.readable(t, all)
	restart(t, lost)
	m.settle(t)
	m.whole(t, segments, 2*len(all))

	for _, x := range m.members[2:] {
		x.fill(t)
	}
	for i, size := range []int64{1000, 200_000, 2 << 20} {
		p := problem(t, owner.run(t, "put", noiseFile(t, "x", byte(i), size)), 12)
		if p.Kind != "Full" || p.Hint == "" {
			t.Errorf("a put of %d bytes where no disk has room: got %+v, want Full and a hint", size, p)
		}
	}
	if list := result[node.List](t, owner.run(t, "list")); len(list.Objects) != len(all) {
		t.Errorf("the catalog has %d objects, want %d", len(list.Objects), len(all))
	}
	m.whole(t, segments, 2*len(all))
	owner.readable(t, all)
	kill(lost)
	x := m.members[0]
	x.seesDead(t, 1)
	eventually(t, "segments wait", func() bool { return x.counters(t)[waiting] > 0 })
	x.repair(t, 9)
	owner.readable(t, all)

	for _, x := range m.running() {
		x.free(t)
	}
	m.complete(t, segments)
	put(150)
	owner.readable(t, all)
	m.complete(t, segments)
}
