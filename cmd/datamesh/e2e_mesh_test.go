//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/node"
)

// A mesh is one of real processes on this machine, with homes of their own.
type mesh struct {
	dir     string   // holds all homes
	exe     string   // the program
	env     []string // settings
	wrap    []string // command line that all others are run by, if any
	members []*member
	users   int
}

// A user is a home, and the commands that are run in it.
type user struct {
	mesh *mesh
	home string
}

// A member is a user with a service, or with what was one.
type member struct {
	user
	flags []string // of its command line
	task  *task
	ready ready
}

// newMesh starts a mesh of n members and waits until all see each other.
func newMesh(t testing.TB, n int, settings ...string) *mesh {
	t.Helper()
	m := emptyMesh(t, settings...)
	m.grow(t, n)
	return m
}

func emptyMesh(t testing.TB, settings ...string) *mesh {
	t.Helper()
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	m := &mesh{dir: t.TempDir(), exe: exe}
	m.env = append([]string{"DATAMESH_MESH_LISTEN=127.0.0.1", "DATAMESH_RING_PROBE=1s", "DATAMESH_PUT_GRACE=1m"}, settings...)
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "DATAMESH_") {
			m.env = append(m.env, entry)
		}
	}
	return m
}

// grow starts n more members.
func (m *mesh) grow(t testing.TB, n int) {
	t.Helper()
	if len(m.members) == 0 {
		m.add(t, "bootstrap", "--port", "0").start(t)
		n--
	}
	door := m.door(t)
	for range n {
		m.add(t, append([]string{"service", "--port", "0"}, door...)...)
	}
	m.startAll(t)
	m.settle(t)
}

// add makes a member that is yet to be started. Its log is shown if the test
// fails.
func (m *mesh) add(t testing.TB, flags ...string) *member {
	x := &member{user: user{m, filepath.Join(m.dir, fmt.Sprint(len(m.members)+1))}, flags: flags}
	m.members = append(m.members, x)
	t.Cleanup(func() {
		if t.Failed() {
			log, err := os.ReadFile(x.log())
			t.Logf("%s %s: %v\n%s", x.home, x.ready.PeerID, err, log[max(0, len(log)-4000):])
		}
	})
	return x
}

func (x *member) log() string { return x.home + ".log" }

// launch starts the member's process, with the flags it was added with unless
// others are given, and returns a channel that receives what it says when it
// is ready.
func (x *member) launch(t testing.TB, flags ...string) <-chan ready {
	t.Helper()
	if len(flags) == 0 {
		flags = x.flags
	}
	log, err := os.OpenFile(x.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	said := &herald{said: make(chan ready, 1)}
	cmd := x.command(flags...)
	cmd.Stdout, cmd.Stderr = said, log
	x.task = start(t, cmd)
	return said.said
}

// A herald passes on the first line of a service, its document.
type herald struct {
	line []byte
	said chan ready
}

func (h *herald) Write(b []byte) (int, error) {
	h.line = append(h.line, b...)
	if !bytes.HasSuffix(h.line, []byte("\n")) {
		return len(b), nil
	}
	var r ready
	if err := json.Unmarshal(h.line, &r); err != nil {
		return 0, err
	}
	h.said <- r
	return len(b), nil
}

// start starts the member and waits until it is ready.
func (x *member) start(t testing.TB, flags ...string) {
	t.Helper()
	x.await(t, x.launch(t, flags...))
}

func (x *member) await(t testing.TB, said <-chan ready) {
	t.Helper()
	select {
	case x.ready = <-said:
	case <-x.task.ended:
		t.Fatalf("%s: it ended before it was ready: %v", x.home, x.task.cmd.ProcessState)
	case <-time.After(guard):
		t.Fatalf("%s: it is not ready", x.home)
	}
}

// restart starts members again that were killed, with no flags: they remember.
func restart(t testing.TB, members ...*member) {
	t.Helper()
	said := make([]<-chan ready, len(members))
	for i, x := range members {
		said[i] = x.launch(t, x.flags[0])
	}
	for i, x := range members {
		x.await(t, said[i])
	}
}

// startAll starts the members that were never started.
func (m *mesh) startAll(t testing.TB) {
	t.Helper()
	said := make([]<-chan ready, len(m.members))
	for i, x := range m.members {
		if x.task == nil {
			said[i] = x.launch(t)
		}
	}
	for i, x := range m.members {
		if said[i] != nil {
			x.await(t, said[i])
		}
	}
}

func (x *member) kill() { x.task.kill() }

func kill(members ...*member) {
	for _, x := range members {
		x.kill()
	}
}

// pause makes the member silent, as a machine that hangs is.
func (x *member) pause(t testing.TB) {
	t.Helper()
	x.task.signal(t, syscall.SIGSTOP)
	t.Cleanup(func() { x.task.cmd.Process.Signal(syscall.SIGCONT) }) // its error is that it has ended
}

func (x *member) resume(t testing.TB) {
	t.Helper()
	x.task.signal(t, syscall.SIGCONT)
}

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

// door returns the flags to join the mesh by.
func (m *mesh) door(t testing.TB) []string {
	t.Helper()
	running := m.running()
	if len(running) == 0 {
		t.Fatal("no member runs")
	}
	return running[0].door()
}

func (x *member) door() []string {
	return []string{"--bootstrap-peer", x.ready.PeerID.String(), "--bootstrap-addr", nearestAddr(x.ready.Addrs)}
}

// settle waits until all members that run see each other alive.
func (m *mesh) settle(t testing.TB) {
	t.Helper()
	running := m.running()
	for _, x := range running {
		eventually(t, x.home+" sees the others alive", func() bool { return x.sees(t) >= len(running)-1 })
	}
}

// sees returns how many of the other members that run are alive to x.
func (x *member) sees(t testing.TB) (n int) {
	t.Helper()
	peers := result[node.Peers](t, x.run(t, "peers"))
	for _, y := range x.mesh.running() {
		if slices.ContainsFunc(peers.Peers, func(p node.Peer) bool { return p.PeerID == y.ready.PeerID && p.State == "alive" }) {
			n++
		}
	}
	return n
}

// user makes a home without a service that has joined the mesh.
func (m *mesh) user(t testing.TB) *user {
	t.Helper()
	u := m.newcomer()
	u.join(t)
	return u
}

// newcomer makes a home that knows of nothing.
func (m *mesh) newcomer() *user {
	m.users++
	return &user{m, filepath.Join(m.dir, fmt.Sprintf("u%d", m.users))}
}

func (u *user) join(t testing.TB) {
	t.Helper()
	result[node.Peers](t, u.run(t, append(u.mesh.door(t), "peers")...))
}

// elsewhere makes a second home of the same user.
func (u *user) elsewhere(t testing.TB) *user {
	t.Helper()
	other := u.mesh.newcomer()
	backup := other.home + ".backup"
	result[any](t, u.run(t, "keys", "export", backup))
	result[any](t, other.run(t, "keys", "import", backup))
	other.join(t)
	return other
}

// command prepares a command in the home.
func (u *user) command(args ...string) *exec.Cmd {
	line := slices.Concat(u.mesh.wrap, []string{u.mesh.exe, "--json", "--home", u.home}, args)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = u.mesh.env
	return cmd
}

func (u *user) run(t testing.TB, args ...string) outcome {
	t.Helper()
	return start(t, u.command(args...)).wait(t)
}

// put stores what must be possible to store.
func (u *user) put(t testing.TB, content []byte, args ...string) node.Stored {
	t.Helper()
	cmd := u.command(append([]string{"put", "-"}, args...)...)
	cmd.Stdin = bytes.NewReader(content)
	return result[node.Stored](t, start(t, cmd).wait(t))
}

// get reads an object into a new file.
func (u *user) get(t testing.TB, ref string) outcome {
	t.Helper()
	return u.run(t, "get", ref, filepath.Join(t.TempDir(), "out"))
}

// reads gets an object, which must have the content.
func (u *user) reads(t testing.TB, id datamesh.ObjectID, content []byte) node.Fetched {
	t.Helper()
	fetched := result[node.Fetched](t, u.get(t, id.String()))
	got, err := os.ReadFile(fetched.Out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content) {
		t.Fatalf("get %s: got %d bytes, want %d others", id, len(got), len(content))
	}
	if err := os.Remove(fetched.Out); err != nil {
		t.Fatal(err)
	}
	return fetched
}
