//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/node"
)

// A user is a home, and the commands that are run in it.
type user struct {
	mesh *mesh
	home string
	wrap []string // the command line that runs its commands, instead of the mesh's
	env  []string // of its commands, beside the mesh's

	identity string // that its commands are for; "": the one that the home uses
}

// newcomer makes a home that knows of nothing.
func (m *mesh) newcomer() *user {
	m.users++
	return &user{mesh: m, home: filepath.Join(m.dir, fmt.Sprintf("u%d", m.users))}
}

// user makes a home that has joined the mesh and has no service.
func (m *mesh) user(t testing.TB) *user {
	t.Helper()
	u := m.newcomer()
	u.join(t)
	return u
}

// elsewhere makes a second such home of the same user.
func (u *user) elsewhere(t testing.TB) *user {
	t.Helper()
	other := u.mesh.newcomer()
	backup := other.home + ".backup"
	result[node.Identity](t, u.run(t, "id")) // makes one if there is none yet
	result[any](t, u.run(t, "keys", "export", backup))
	result[any](t, other.run(t, "keys", "import", backup))
	other.join(t)
	return other
}

// join makes the home remember the mesh.
func (u *user) join(t testing.TB) {
	t.Helper()
	result[node.Peers](t, u.run(t, append(u.mesh.door(t), "peers")...))
}

// command prepares a command in the home.
func (u *user) command(args ...string) *exec.Cmd {
	wrap := u.wrap
	if wrap == nil {
		wrap = u.mesh.wrap
	}
	if u.identity != "" {
		args = slices.Concat([]string{"--identity", u.identity}, args)
	}
	line := slices.Concat(wrap, []string{u.mesh.exe, "--json", "--home", u.home}, args)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = slices.Concat(u.mesh.env, u.env)
	return cmd
}

// run runs a command to its end.
func (u *user) run(t testing.TB, args ...string) outcome {
	t.Helper()
	return start(t, u.command(args...)).wait(t)
}

// put stores content, which must be possible.
func (u *user) put(t testing.TB, content []byte, flags ...string) node.Stored {
	t.Helper()
	cmd := u.command(append([]string{"put", "-"}, flags...)...)
	cmd.Stdin = bytes.NewReader(content)
	return result[node.Stored](t, start(t, cmd).wait(t))
}

// reads gets an object, which must have the content.
func (u *user) reads(t testing.TB, id datamesh.ObjectID, content []byte) node.Fetched {
	t.Helper()
	out := filepath.Join(u.mesh.dir, "out")
	fetched := result[node.Fetched](t, u.run(t, "get", id.String(), out))
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content) {
		t.Fatalf("get %s: other bytes came back: %d, want %d", id, len(got), len(content))
	}
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	return fetched
}
