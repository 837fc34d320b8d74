//go:build unix

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"datamesh/internal/node"
)

// healing makes a mesh of n members that rebuild what is missing soon.
func healing(t *testing.T, n int, settings ...string) *mesh {
	m := emptyMesh(t, append([]string{"DATAMESH_REPAIR_GRACE=2s", "DATAMESH_REPAIR_INTERVAL=20s"}, settings...)...)
	m.grow(t, n)
	return m
}

// heals waits until every object survives so many losses.
func (u *user) heals(t *testing.T, survives int) {
	t.Helper()
	var worst string
	eventually(t, fmt.Sprintf("all objects survive %d losses", survives), func() bool {
		o := u.run(t, "health")
		if o.code == 5 {
			return false // it has not joined in time
		}
		if o.code != 0 && o.code != 9 {
			t.Fatalf("health: exit status %d: %s", o.code, o.stderr)
		}
		h := document[node.Health](t, o.stdout)
		for _, x := range h.Objects {
			if x.Survives < survives {
				if now := fmt.Sprintf("%s survives %d: %s", x.Name, x.Survives, x.Problem); now != worst {
					worst = now
					t.Log(worst)
				}
				return false
			}
		}
		return len(h.Objects) > 0
	})
}

// Machines die for good, no client is there, and no node has the owner's key.
func TestMeshHealsItself(t *testing.T) {
	t.Parallel()
	m := healing(t, 9)
	owner := m.user(t)
	content := map[string][]byte{}
	for i := range 100 {
		name := fmt.Sprint("file ", i)
		content[name] = noisy(byte(i), 1000<<(i%12))
		owner.put(t, content[name], "--name", name)
	}
	for _, want := range []struct{ kill, survives int }{{2, 2}, {1, 2}, {2, 1}, {1, 1}} {
		for range want.kill {
			kill(m.running()[0])
		}
		owner.heals(t, want.survives)
	}
	for name, want := range content {
		o := owner.run(t, "get", name, "-")
		if o.code != 0 || !bytes.Equal(o.stdout, want) {
			t.Errorf("get %s: exit status %d, %d bytes, want %d: %s", name, o.code, len(o.stdout), len(want), o.stderr)
		}
	}
}

// inventory returns how many shards each member that runs has, and checks that
// its account is exact.
func (m *mesh) inventory(t *testing.T) (shards int) {
	t.Helper()
	for _, x := range m.running() {
		s := result[node.Stats](t, x.run(t, "stats"))
		if s.Store == nil || s.Store.Used+s.Store.Trash+s.Store.Reserve+s.Store.Free != s.Store.Capacity {
			t.Errorf("%s: the account does not add up: %+v", x.home, s.Store)
			continue
		}
		shards += int(s.Store.Shards)
	}
	return shards
}

// wholes waits until each shard is held once, and no more.
func (m *mesh) wholes(t *testing.T, shards int) {
	t.Helper()
	last := -1
	eventually(t, fmt.Sprintf("the members hold %d shards", shards), func() bool {
		n := m.inventory(t)
		if n != last {
			last = n
			t.Logf("the members hold %d shards of %d", n, shards)
		}
		return n == shards
	})
}

// A node that lost its disk, and one that returns after what it held was
// rebuilt, leave all whole and nothing twice. So does a shard that has rotted.
func TestNodesThatReturnAreMadeWhole(t *testing.T) {
	t.Parallel()
	m := healing(t, 8)
	owner := m.user(t)
	shards := 0
	content := map[string][]byte{}
	for i := range 20 {
		name := fmt.Sprint("file ", i)
		content[name] = noisy(byte(i), 1000<<(i%11))
		shards += owner.put(t, content[name], "--name", name).Shards
	}
	m.wholes(t, shards)

	empty := m.members[1]
	kill(empty)
	if err := os.RemoveAll(filepath.Join(empty.home, "store")); err != nil {
		t.Fatal(err)
	}
	restart(t, empty)
	owner.heals(t, 2)
	m.wholes(t, shards)

	away := m.members[2]
	kill(away)
	m.wholes(t, shards) // without what it has
	owner.heals(t, 2)
	restart(t, away)
	m.wholes(t, shards)
	owner.heals(t, 2)
	surplus := 0.0
	for _, x := range m.members {
		surplus += x.counters(t)["datamesh_surplus_shards_total"]
	}
	if surplus == 0 {
		t.Error("no shard was counted as one too many")
	}

	rotten := slices.MaxFunc(m.members, func(a, b *member) int { return cmp.Compare(len(a.shardFiles(t)), len(b.shardFiles(t))) })
	damaged := 0
	for _, path := range rotten.shardFiles(t) {
		flip(t, path)
		damaged++
	}
	if damaged == 0 {
		t.Fatal("the member has no shard that is a file")
	}
	if o := rotten.run(t, "scrub"); o.code != 9 {
		t.Errorf("scrub: exit status %d: %s", o.code, o.stderr)
	}
	owner.heals(t, 2)
	m.wholes(t, shards)
	for name, want := range content {
		o := owner.run(t, "get", name, "-")
		if o.code != 0 || !bytes.Equal(o.stdout, want) {
			t.Errorf("get %s: exit status %d, %d bytes, want %d: %s", name, o.code, len(o.stdout), len(want), o.stderr)
		}
	}
}
