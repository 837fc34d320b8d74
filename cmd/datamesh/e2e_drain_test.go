//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datamesh/internal/node"
)

// A service that is told to end finishes what is under way, and begins nothing.
func TestServiceDrains(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 3)
	x := m.members[1]
	source, content, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	defer content.Close()
	cmd := x.command("put", "-", "--name", "late")
	cmd.Stdin = source
	put := start(t, cmd)
	all := noisy(1, 16<<20+192<<10)
	const last = 64 << 10
	if _, err := content.Write(all[:len(all)-last]); err != nil { // a segment, and some of the next
		t.Fatal(err)
	}
	eventually(t, "the put runs in the service", func() bool {
		list := result[node.Transfers](t, x.run(t, "transfers"))
		return len(list.Transfers) == 1 && list.Transfers[0].State == node.Running && list.Transfers[0].Sealed > 0
	})
	x.task.signal(t, syscall.SIGTERM)
	eventually(t, "its local API takes no more", func() bool {
		_, err := os.Lstat(filepath.Join(x.home, "run", "api.sock"))
		return err != nil
	})
	if _, err := content.Write(all[len(all)-last:]); err != nil {
		t.Fatal(err)
	}
	content.Close()
	stored := result[node.Stored](t, put.wait(t))
	if o := x.task.wait(t); o.code != 0 {
		t.Errorf("the service exited with %d: %s", o.code, o.stderr)
	}
	x.user.reads(t, stored.ID, all)
}

// Another version of the program goes on with a home as it is.
func TestUpgradeKeepsEverything(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 3)
	x := m.members[1]
	content := noisy(1, 1<<20)
	stored := x.put(t, content, "--name", "kept", "--tags", "a,b")
	before, list := x.ready, result[node.List](t, x.run(t, "list"))

	newer := filepath.Join(t.TempDir(), "datamesh")
	if err := build(newer, "-ldflags", "-X main.version=0.2.0-test"); err != nil {
		t.Fatal(err)
	}
	x.task.signal(t, syscall.SIGTERM)
	x.task.wait(t)
	upgraded := *m
	upgraded.exe = newer
	x.mesh = &upgraded
	restart(t, x)
	var version struct{ Version string }
	if o := x.run(t, "version"); json.Unmarshal(o.stdout, &version) != nil || version.Version != "0.2.0-test" {
		t.Fatalf("it is %s", o.stdout)
	}
	if diff := cmp.Diff(before, x.ready); diff != "" {
		t.Errorf("after the upgrade (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(list, result[node.List](t, x.run(t, "list"))); diff != "" {
		t.Errorf("the list (-before +after):\n%s", diff)
	}
	x.reads(t, stored.ID, content)
	m.settle(t)
}
