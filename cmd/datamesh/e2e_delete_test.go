//go:build unix

package main

import (
	"bytes"
	"fmt"
	"testing"

	"datamesh/internal/node"
)

// trash returns how many bytes the members that run have in their trash, after
// checking that their accounts are exact.
func (m *mesh) trash(t *testing.T) (bytes int64) {
	t.Helper()
	m.inventory(t)
	for _, x := range m.running() {
		bytes += result[node.Stats](t, x.run(t, "stats")).Store.Trash
	}
	return bytes
}

// What is deleted while members are away is gone when they return, and can be
// brought back with what they have of it.
func TestDeletedObjectsStayDeleted(t *testing.T) {
	t.Parallel()
	m := healing(t, 7, "DATAMESH_STORE_TRASH=1h")
	owner := m.user(t)
	contents, shards := map[string][]byte{}, map[string]int{}
	total := 0
	for i := range 12 {
		name := fmt.Sprint("file ", i)
		contents[name] = noisy(byte(i), 1000<<(i%11))
		shards[name] = owner.put(t, contents[name], "--name", name).Shards
		total += shards[name]
	}
	m.wholes(t, total)

	away := m.members[2]
	kill(away)
	for i := range 6 {
		name := fmt.Sprint("file ", i)
		result[node.Removed](t, owner.run(t, "rm", name))
		problem(t, owner.run(t, "get", name, "-"), 1)
		total -= shards[name]
	}
	for _, o := range result[node.DeletedObjects](t, owner.run(t, "list", "--deleted")).Objects {
		if !o.Done || o.Until.IsZero() {
			t.Errorf("got %+v", o)
		}
	}
	owner.heals(t, 2)
	restart(t, away)
	m.wholes(t, total)
	if m.trash(t) == 0 {
		t.Error("there is no trash")
	}

	away = m.members[4]
	kill(away)
	for i := range 3 {
		name := fmt.Sprint("file ", i)
		result[node.Undeleted](t, owner.run(t, "undelete", name))
		total += shards[name]
	}
	restart(t, away)
	owner.heals(t, 2)
	m.wholes(t, total)
	for name, want := range contents {
		o := owner.run(t, "get", name, "-")
		if gone := name >= "file 3" && name < "file 6"; gone != (o.code != 0) || !gone && !bytes.Equal(o.stdout, want) {
			t.Errorf("get %s: exit status %d, %d bytes, want %d: %s", name, o.code, len(o.stdout), len(want), o.stderr)
		}
	}
	for name := range contents {
		if name < "file 3" || name >= "file 6" {
			result[node.Removed](t, owner.run(t, "rm", name, "--now"))
		}
	}
	m.wholes(t, 0)
}

// The trash is emptied after its time, and a node that was away for longer than
// that asks before it tells what it holds.
func TestTrashIsEmptied(t *testing.T) {
	t.Parallel()
	m := healing(t, 7, "DATAMESH_STORE_TRASH=3s")
	owner := m.user(t)
	stored := owner.put(t, noisy(1, 300_000), "--name", "a")
	kept := owner.put(t, noisy(2, 300_000), "--name", "b")
	m.wholes(t, stored.Shards+kept.Shards)
	away := m.members[3]
	kill(away)
	result[node.Removed](t, owner.run(t, "rm", "a"))
	eventually(t, "the trash is empty", func() bool { return m.trash(t) == 0 })
	p := problem(t, owner.run(t, "undelete", "a"), 5)
	if p.Kind != "Unavailable" {
		t.Errorf("got %+v", p)
	}
	result[node.Removed](t, owner.run(t, "rm", "a")) // the mesh is told again
	if p := problem(t, owner.run(t, "rm", "a"), 1); p.Kind != "Deleted" {
		t.Errorf("got %+v, want Deleted: what cannot be brought back stays deleted", p)
	}
	restart(t, away)
	m.wholes(t, kept.Shards)
	owner.heals(t, 2)
	owner.reads(t, kept.ID, noisy(2, 300_000))
}
