//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"datamesh/internal/node"
)

func TestInterruptedPutLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	keeper, content := m.user(t), noisy(1, 1<<20)
	kept := keeper.put(t, content)
	before := m.shards(t)
	if before != kept.Shards {
		t.Fatalf("the members have %d shards of %d", before, kept.Shards)
	}
	client, service := m.user(t), m.members[1]
	for _, c := range []struct {
		name      string
		owner     *user
		interrupt func(t *testing.T, put *task) // and waits for its end
		code      int
	}{
		{"command by SIGINT", client, interrupt, 130},
		{"command by SIGKILL", client, func(_ *testing.T, put *task) { put.kill() }, -1},
		{"command with a service by SIGINT", &service.user, interrupt, 130},
		{"command with a service by SIGKILL", &service.user, func(_ *testing.T, put *task) { put.kill() }, -1},
		{"service by SIGKILL", &service.user, func(t *testing.T, put *task) {
			kill(service)
			put.wait(t)
			restart(t, service)
		}, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			put, more := half(t, c.owner)
			c.interrupt(t, put)
			if o := put.wait(t); o.code != c.code || len(o.stdout) > 0 {
				t.Errorf("put exited with %d, want %d, and printed %q: %s", o.code, c.code, o.stdout, o.stderr)
			}
			more.Close()
			c.owner.cleansUp(t, before)
			keeper.reads(t, kept.ID, content)
		})
	}
}

func TestSourceThatChangesIsNotStored(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	owner := m.user(t)
	for _, c := range []struct {
		name   string
		change func(path string) error
	}{
		{"shrinks", func(path string) error { return os.Truncate(path, 20<<20) }},
		{"changes", func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("changed"), 0)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(file, 256<<20); err != nil { // a multiple of what is read ahead
				t.Fatal(err)
			}
			put := start(t, owner.command("put", "--compress", "off", file))
			eventually(t, "the first segment is about to be sent", func() bool {
				journals, err := filepath.Glob(filepath.Join(owner.home, "puts", "*"))
				return err == nil && len(journals) > 0 || !put.running()
			})
			put.signal(t, syscall.SIGSTOP)
			if err := c.change(file); err != nil {
				t.Fatal(err)
			}
			put.signal(t, syscall.SIGCONT)
			p := problem(t, put.wait(t), 1)
			if p.Kind != "IO" || !strings.Contains(p.Error, "changed while it was read") || p.Hint == "" {
				t.Errorf("got %+v, want that the file changed", p)
			}
			owner.cleansUp(t, 0)
		})
	}
}

func interrupt(t *testing.T, put *task) { put.signal(t, os.Interrupt) }

// half begins a put and returns when members have shards of it. Its content
// does not end before the file is closed.
func half(t *testing.T, u *user) (*task, *os.File) {
	t.Helper()
	source, content, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	t.Cleanup(func() { content.Close() })
	before := u.mesh.shardFiles(t)
	cmd := u.command("put", "--compress", "off", "-", "--name", "half")
	cmd.Stdin = source
	put := start(t, cmd)
	go content.Write(make([]byte, 40<<20)) // ends when either end is closed
	eventually(t, "shards of the put are stored", func() bool {
		return u.mesh.shardFiles(t) > before
	})
	return put, content
}

// cleansUp checks that the user's catalog is empty and that the members keep
// only so many shards once a command of the user has met the mesh again.
func (u *user) cleansUp(t *testing.T, want int) {
	t.Helper()
	if list := result[node.List](t, u.run(t, "list")); len(list.Objects) > 0 {
		t.Errorf("the catalog has %+v", list.Objects)
	}
	comesTrue(t, "the shards of the put are gone", func(t testing.TB) {
		result[node.Peers](t, u.run(t, "peers"))
		if n := u.mesh.shards(t); n != want {
			t.Errorf("the members have %d shards, want %d", n, want)
		}
	})
}

// shards returns how many shards all members say that they have.
func (m *mesh) shards(t testing.TB) (n int) {
	t.Helper()
	for _, x := range m.members {
		n += int(result[node.Stats](t, x.run(t, "stats")).Store.Shards)
	}
	return n
}

// shardFiles returns how many files of shards the members have.
func (m *mesh) shardFiles(t *testing.T) (n int) {
	t.Helper()
	for _, x := range m.members {
		n += len(x.shardFiles(t))
	}
	return n
}
