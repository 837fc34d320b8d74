//go:build linux

package main

import (
	"fmt"
	"os/exec"
	"testing"

	"datamesh"
	"datamesh/internal/node"
)

// A split is two networks with a cable between them, which can be pulled out.
// Nobody is told of that: packets get lost, as when a line is cut far away.
type split struct {
	t     *testing.T
	sides [2]string // network namespaces
	hub   string    // the namespace of a bridge that has them as ports
}

func newSplit(t *testing.T) *split {
	t.Helper()
	const what = "what comes of a mesh that falls apart"
	s := &split{t: t, hub: newNamespace(t, what)}
	ip(t, "-n", s.hub, "link", "add", "hub", "type", "bridge")
	ip(t, "-n", s.hub, "link", "set", "hub", "up")
	for i := range s.sides {
		side := newNamespace(t, what)
		s.sides[i] = side
		if out, err := exec.Command("ip", "-n", side, "link", "add", "line", "type", "veth", "peer", "name", s.port(i), "netns", s.hub).CombinedOutput(); err != nil {
			t.Skipf("NOT TESTED: %s needs pairs of virtual Ethernet interfaces: %v: %s", what, err, out)
		}
		ip(t, "-n", side, "addr", "add", s.addr(i)+"/32", "dev", "lo")
		ip(t, "-n", side, "link", "set", "line", "up")
		ip(t, "-n", side, "route", "add", "10.78.0.0/16", "dev", "line", "src", s.addr(i))
		ip(t, "-n", s.hub, "link", "set", s.port(i), "up", "master", "hub")
	}
	return s
}

func (s *split) port(side int) string { return fmt.Sprint("port", side) }
func (s *split) addr(side int) string { return fmt.Sprintf("10.78.%d.1", side+1) }

// wrap returns the command line that runs another on a side.
func (s *split) wrap(side int) []string { return []string{"ip", "netns", "exec", s.sides[side]} }

func (s *split) cut()  { ip(s.t, "-n", s.hub, "link", "set", s.port(1), "nomaster") }
func (s *split) heal() { ip(s.t, "-n", s.hub, "link", "set", s.port(1), "master", "hub") }

// A mesh of nine falls apart into six and three, for longer than the grace, and
// both sides are used. When it has grown together nothing is lost and nothing
// is there twice.
func TestMeshThatFellApartIsWholeAgain(t *testing.T) {
	t.Parallel()
	onlyInFull(t, "what comes of a mesh that falls apart")
	s := newSplit(t)
	m := emptyMesh(t, "DATAMESH_REPAIR_GRACE=2s", "DATAMESH_REPAIR_INTERVAL=20s", "DATAMESH_PUT_GRACE=3s", "DATAMESH_MESH_LISTEN=0.0.0.0")
	m.wrap = s.wrap(0)
	first := m.add(t, "bootstrap", "--port", "0")
	first.start(t)
	for i := 1; i < 9; i++ {
		x := m.add(t, append([]string{"service", "--port", "0"}, first.door()...)...)
		if i >= 6 {
			x.wrap = s.wrap(1)
		}
	}
	startAll(t, m.members[1:]...)
	m.settle(t)
	six, three := m.members[:6], m.members[6:]
	here := m.user(t)
	there := m.newcomer()
	there.wrap = s.wrap(1)
	there.join(t)
	before, segments := here.puts(t, 0, 24)
	m.complete(t, segments)

	s.cut()
	sides := []struct {
		ours, theirs []*member
		user         *user
	}{{six, three, here}, {three, six, there}}
	for _, side := range sides {
		for _, x := range side.ours {
			eventually(t, x.home+" sees the others dead", func() bool { return x.sees(t, "dead", side.theirs...) == len(side.theirs) })
		}
	}
	during := make([]map[datamesh.ObjectID][]byte, len(sides))
	for i, side := range sides {
		var more int
		during[i], more = side.user.puts(t, 100*(i+1), 12)
		segments += more
		side.user.readable(t, during[i])
		segments -= side.user.deletes(t, during[i], 3)
	}
	segments -= here.deletes(t, before, 6)
	eventuallyIn(t, patience, "the six have rebuilt what they can", func() bool {
		held, known := copies(t, six)
		for _, d := range known {
			if n := indices(held, d); n >= d.K && n < len(d.Shards) {
				return false
			}
		}
		return true
	})
	rebuilt := 0.0
	for _, x := range six {
		rebuilt += x.counters(t)[repaired]
	}
	if rebuilt == 0 {
		t.Error("the six have rebuilt nothing, so nothing can be there twice")
	}

	s.heal()
	m.settle(t)
	m.complete(t, segments)
	for i, side := range sides {
		side.user.heals(t, 2)
		side.user.readable(t, during[i])
	}
	here.readable(t, before)
	here.elsewhere(t).readable(t, before)
}

// deletes deletes so many of the objects, of those that can be deleted now, and
// returns how many segments they had.
func (u *user) deletes(t *testing.T, objects map[datamesh.ObjectID][]byte, n int) (segments int) {
	t.Helper()
	for id := range objects {
		if n == 0 {
			return segments
		}
		o := u.run(t, "rm", id.String())
		if o.code == 5 { // too much of its manifest is on the other side
			continue
		}
		segments += result[node.Removed](t, o).Segments
		delete(objects, id)
		n--
	}
	t.Fatalf("%d objects more should be deleted", n)
	return 0
}
