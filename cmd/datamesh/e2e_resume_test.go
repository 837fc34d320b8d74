//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"datamesh/internal/node"
)

// long is the size of a file that takes a while.
const long = 200 << 20

// interrupted returns what can be resumed in the home.
func (u *user) interrupted(t testing.TB) (left []node.Transfer) {
	t.Helper()
	for _, x := range result[node.Transfers](t, u.run(t, "transfers")).Transfers {
		if x.State == node.Interrupted {
			left = append(left, x)
		}
	}
	return left
}

// halfPut begins the put of a file and returns when some segments are stored. Files are
// there before their shards are acknowledged, but the fourth segment of six shards is not
// begun before one of the three others is stored and kept.
func halfPut(t *testing.T, u *user, file string) *task {
	t.Helper()
	before := u.mesh.shardFiles(t)
	put := start(t, u.command("put", "--compress", "off", file))
	eventually(t, "some segments are stored", func() bool { return u.mesh.shardFiles(t) > before+18 || !put.running() })
	return put
}

func TestInterruptedPutGoesOn(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	client, service := m.user(t), m.members[1]
	for i, c := range []struct {
		name      string
		owner     *user
		interrupt func(t *testing.T, put *task)
		code      int
	}{
		{"command by SIGINT", client, interrupt, 130},
		{"command by SIGKILL", client, func(_ *testing.T, put *task) { put.kill() }, -1},
		{"command with a service by SIGINT", &service.user, interrupt, 130},
		{"service by SIGKILL", &service.user, func(t *testing.T, put *task) {
			kill(service)
			put.wait(t)
			restart(t, service)
			m.settle(t)
		}, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := noiseFile(t, fmt.Sprintf("film-%d", i), byte(i), long)
			before := m.shards(t)
			put := halfPut(t, c.owner, file)
			c.interrupt(t, put)
			o := put.wait(t)
			if o.code != c.code || len(o.stdout) > 0 {
				t.Fatalf("put exited with %d, want %d, and printed %q: %s", o.code, c.code, o.stdout, o.stderr)
			}
			if c.code == 130 && !strings.Contains(string(o.stderr), "type the same again") {
				t.Errorf("it does not say that it can go on: %s", o.stderr)
			}
			for _, x := range result[node.List](t, c.owner.run(t, "list")).Objects {
				if x.Name == filepath.Base(file) {
					t.Errorf("the catalog has %+v", x)
				}
			}
			var left []node.Transfer
			eventually(t, "the put can be resumed", func() bool {
				left = c.owner.interrupted(t)
				return len(left) == 1
			})
			if left[0].Kind != node.PutTransfer || left[0].Name != filepath.Base(file) || left[0].Sealed == 0 {
				t.Errorf("interrupted: %+v", left[0])
			}
			stored := result[node.Stored](t, c.owner.run(t, "put", file))
			if stored.Resumed < left[0].Sealed || stored.Size != long || stored.Survives != 2 {
				t.Errorf("the same again: %+v, after %+v", stored, left[0])
			}
			out := filepath.Join(t.TempDir(), "out")
			result[node.Fetched](t, c.owner.run(t, "get", stored.ID.String(), out))
			if err := sameFile(file, out); err != nil {
				t.Error(err)
			}
			if c.owner != client {
				return // a service sweeps each ten minutes
			}
			comesTrue(t, "nothing else is left", func(t testing.TB) {
				result[node.Peers](t, c.owner.run(t, "peers"))
				if left, n := c.owner.interrupted(t), m.shards(t); len(left) > 0 || n != before+stored.Shards {
					t.Errorf("interrupted: %+v; the members have %d shards, want %d", left, n, before+stored.Shards)
				}
			})
		})
	}
}

func TestCancelledPutLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	owner := m.user(t)
	put := halfPut(t, owner, noiseFile(t, "film", 1, long))
	interrupt(t, put)
	if p := problem(t, put.wait(t), 130); !strings.Contains(p.Hint, "type the same again") {
		t.Errorf("hint %q", p.Hint)
	}
	left := owner.interrupted(t)
	if len(left) != 1 {
		t.Fatalf("interrupted: %+v", left)
	}
	exe, err := exec.LookPath("datamesh") // this test, as TestMain has it: a completion that is late says nothing
	if err != nil {
		t.Fatal(err)
	}
	complete := owner.command("__completeNoDesc", "transfers", "cancel", "")
	complete.Path, complete.Args[0] = exe, exe
	if o := start(t, complete).wait(t); !strings.HasPrefix(string(o.stdout), left[0].ID+"\n:") {
		t.Errorf("completed by %q, want %s", o.stdout, left[0].ID)
	}
	if got := result[cancelled](t, owner.run(t, "transfers", "cancel", left[0].ID, "--dry-run")); !got.DryRun || len(owner.interrupted(t)) != 1 {
		t.Errorf("dry run: %+v", got)
	}
	result[cancelled](t, owner.run(t, "transfers", "cancel", left[0].ID))
	comesTrue(t, "the shards are gone", func(t testing.TB) {
		result[node.Peers](t, owner.run(t, "peers"))
		if n := m.shards(t); n > 0 {
			t.Errorf("the members have %d shards", n)
		}
	})
	problem(t, owner.run(t, "transfers", "cancel", left[0].ID), 4)
}

func TestInterruptedGetGoesOn(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	client, member := m.user(t), m.members[1]
	service := &member.user
	for i, c := range []struct {
		name      string
		owner     *user
		interrupt func(t *testing.T, get *task)
		code      int
	}{
		{"command by SIGINT", client, interrupt, 130},
		{"command by SIGKILL", client, func(_ *testing.T, get *task) { get.kill() }, -1},
		{"command with a service by SIGINT", service, interrupt, 130},
		{"service by SIGKILL", service, func(t *testing.T, get *task) {
			kill(member)
			get.wait(t)
			restart(t, member)
			m.settle(t)
		}, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := noiseFile(t, fmt.Sprintf("film-%d", i), byte(i), long)
			stored := result[node.Stored](t, c.owner.run(t, "put", file))
			dir := t.TempDir()
			out := filepath.Join(dir, "out")
			get := start(t, c.owner.command("get", stored.ID.String(), out))
			eventually(t, "there is a checkpoint", func() bool {
				notes, err := filepath.Glob(filepath.Join(c.owner.home, "gets", "*.json"))
				return err == nil && len(notes) > 0 || !get.running()
			})
			c.interrupt(t, get)
			if o := get.wait(t); o.code != c.code {
				t.Fatalf("get exited with %d, want %d: %s%s", o.code, c.code, o.stdout, o.stderr)
			}
			if _, err := os.Lstat(out); err == nil {
				t.Fatal("half a file has the name of the whole")
			}
			left := c.owner.interrupted(t)
			if len(left) != 1 || left[0].Kind != node.GetTransfer || left[0].Received == 0 || left[0].Size != long {
				t.Fatalf("interrupted: %+v", left)
			}
			fetched := result[node.Fetched](t, c.owner.run(t, "get", stored.ID.String(), out))
			if fetched.Resumed != left[0].Received {
				t.Errorf("the same again: %+v, after %+v", fetched, left[0])
			}
			if err := sameFile(file, out); err != nil {
				t.Error(err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || len(c.owner.interrupted(t)) > 0 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

// A signal asks a transfer how far it is, and it goes on.
func TestSignalAsksHowFarAPutIs(t *testing.T) {
	t.Parallel()
	owner := newMesh(t, 1).user(t)
	cmd := owner.command("put", "--compress", "off", "-")
	cmd.Args = append(cmd.Args[:1], cmd.Args[2:]...) // without --json
	source, content, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	defer content.Close()
	cmd.Stdin = source
	log := &lines{}
	cmd.Stderr = log
	put := start(t, cmd)
	if _, err := content.Write(make([]byte, 40<<20)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it says how far it is", func() bool {
		put.signal(t, syscall.SIGUSR1)
		return strings.Contains(log.String(), "put: 32.0 MiB sealed, ")
	})
	content.Close()
	if o := put.wait(t); o.code != 0 {
		t.Errorf("put exited with %d: %s", o.code, log.String())
	}
}
