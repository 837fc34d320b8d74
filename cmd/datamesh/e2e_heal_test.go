//go:build unix

package main

import (
	"bytes"
	"fmt"
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
