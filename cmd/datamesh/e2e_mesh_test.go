//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"datamesh"
)

// A mesh is one of real processes on this machine, with homes of their own.
type mesh struct {
	dir     string   // holds all homes
	exe     string   // the program
	env     []string // of all processes
	wrap    []string // the command line that runs theirs, if any
	members []*member
	users   int
}

// newMesh starts a mesh of n members and waits until all see each other.
func newMesh(t testing.TB, n int) *mesh {
	t.Helper()
	m := emptyMesh(t)
	m.grow(t, n)
	return m
}

// emptyMesh makes a mesh without members, in which what is read comes from the
// mesh. Its settings may be overridden.
func emptyMesh(t testing.TB, settings ...string) *mesh {
	t.Helper()
	m := &mesh{exe: theProgram(t), dir: t.TempDir()}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "DATAMESH_") {
			m.env = append(m.env, entry)
		}
	}
	m.env = append(m.env, "DATAMESH_MESH_LISTEN=127.0.0.1", "DATAMESH_RING_PROBE=1s", "DATAMESH_PUT_GRACE=1m", "DATAMESH_CACHE_TTL=0s")
	m.env = append(m.env, settings...)
	return m
}

// grow starts the first n members, one of which begins the mesh, and waits
// until all see each other.
func (m *mesh) grow(t testing.TB, n int) {
	t.Helper()
	first := m.add(t, "bootstrap", "--port", "0")
	first.start(t)
	var others []*member
	for range n - 1 {
		others = append(others, m.add(t, append([]string{"service", "--port", "0"}, first.door()...)...))
	}
	startAll(t, others...)
	m.settle(t)
}

// add makes a member that is yet to be started. The end of its log is shown if
// the test fails.
func (m *mesh) add(t testing.TB, flags ...string) *member {
	x := &member{user: user{mesh: m, home: filepath.Join(m.dir, fmt.Sprint(len(m.members)+1))}, flags: flags}
	m.members = append(m.members, x)
	t.Cleanup(func() {
		log, err := os.ReadFile(x.log())
		if bytes.Contains(log, []byte("DATA RACE")) {
			t.Errorf("%s has found a race", x.home)
		}
		if t.Failed() {
			t.Logf("%s is %s; its log ends with (%v)\n%s", x.home, x.ready.PeerID, err, log[max(0, len(log)-4000):])
		}
	})
	return x
}

// running returns the members whose processes run.
func (m *mesh) running() []*member {
	var all []*member
	for _, x := range m.members {
		if x.task != nil && x.task.running() {
			all = append(all, x)
		}
	}
	return all
}

func (m *mesh) byID(t testing.TB, id datamesh.PeerID) *member {
	t.Helper()
	for _, x := range m.members {
		if x.ready.PeerID == id {
			return x
		}
	}
	t.Fatalf("peer %s is none of the members", id)
	return nil
}

// door returns the flags to join the mesh by, through a member that runs.
func (m *mesh) door(t testing.TB) []string {
	t.Helper()
	running := m.running()
	if len(running) == 0 {
		t.Fatal("no member runs")
	}
	return running[0].door()
}

// settle waits until all members that run see each other alive.
func (m *mesh) settle(t testing.TB) {
	t.Helper()
	running := m.running()
	for _, x := range running {
		eventually(t, x.home+" sees the others alive", func() bool {
			return x.sees(t, "alive", running...) == len(running)-1
		})
	}
}
