package mirror

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/tree"
)

func open(t *testing.T, in string) *Memory {
	t.Helper()
	m, err := Open(t.Context(), in, "/dir", "name")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestMemoryRemembersWhatItIsTold(t *testing.T) {
	in := filepath.Join(t.TempDir(), "syncs")
	if all, _, err := Look(t.Context(), in, "/dir", "name"); err != nil || len(all) != 0 {
		t.Errorf("of none: %v, %v", all, err)
	}
	if _, err := os.Stat(in); !os.IsNotExist(err) {
		t.Errorf("to look has made it: %v", err)
	}
	m := open(t, in)
	want := map[string]Last{
		".":     {State{Type: tree.Directory, Mode: 0o755, ModTime: time.Unix(1, 5).UTC()}, State{Type: tree.Directory, Mode: 0o755, ModTime: time.Unix(1, 5).UTC(), ID: datamesh.ObjectID{1}}},
		"a":     {State{Size: 1 << 40, Mode: 0o600, ModTime: time.Unix(-9, 0).UTC()}, State{Size: 1 << 40, ID: datamesh.ObjectID{2}}},
		"a/ä\n": {State{Type: tree.Symlink, Size: 2, Target: "..", ModTime: time.Unix(3e9, 0).UTC()}, State{Type: tree.Symlink, Size: 2, ID: datamesh.ObjectID{3}}},
	}
	for path, l := range want {
		if err := errors.Join(m.Set(t.Context(), path, Last{}), m.Set(t.Context(), path, l)); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Update(t.Context(), map[string]Last{"b": want["a"], "c": want["a"]}, []string{"b", "c", "never"}); err != nil {
		t.Fatal(err)
	}
	if inode, err := m.Inode(t.Context()); inode != "" || err != nil {
		t.Errorf("a new one has the inode %q, %v", inode, err)
	}
	if err := m.SetInode(t.Context(), "7"); err != nil {
		t.Fatal(err)
	}
	check := func(what string, got map[string]Last, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
	got, err := m.All(t.Context())
	check("open", got, err)
	got, inode, err := Look(t.Context(), in, "/dir", "name")
	if inode != "7" {
		t.Errorf("the inode is %q", inode)
	}
	check("looked at beside", got, err)
	if _, err := Open(t.Context(), in, "/dir", "name"); !errors.Is(err, errs.Locked) {
		t.Errorf("twice: %v", err)
	}
	for _, other := range [][2]string{{"/dir", "other"}, {"/other", "name"}} {
		m, err := Open(t.Context(), in, other[0], other[1])
		if err != nil {
			t.Fatal(err)
		}
		if all, err := m.All(t.Context()); err != nil || len(all) > 0 {
			t.Errorf("another pair has %v, %v", all, err)
		}
		m.Close()
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	got, err = open(t, in).All(t.Context())
	check("opened again", got, err)
}

func TestMemoryThatIsNotUnderstoodIsLeftAlone(t *testing.T) {
	in := t.TempDir()
	m := open(t, in)
	exec := func(statement string) {
		t.Helper()
		if _, err := m.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	try := func(what string, kind errs.Kind) {
		t.Helper()
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		for how, open := range map[string]func() error{
			"open": func() error {
				m, err := Open(t.Context(), in, "/dir", "name")
				if err == nil {
					_, err = m.All(t.Context())
					err = errors.Join(err, m.Close())
				}
				return err
			},
			"look": func() error { _, _, err := Look(t.Context(), in, "/dir", "name"); return err },
		} {
			if err := open(); errs.KindOf(err) != kind || kind != errs.Other && errs.HintFor(err) == "" {
				t.Errorf("%s: %s: %v", what, how, err)
			}
		}
	}
	exec(`INSERT INTO last VALUES ('../up', '', 0, 0, 0, '', zeroblob(32), '', 0, 0, 0)`)
	try("a path that leads out", errs.Database)
	m = &Memory{path: m.path}
	if err := m.connect(""); err != nil {
		t.Fatal(err)
	}
	exec(`PRAGMA user_version = 3`)
	try("a newer version", errs.Configuration)
	if err := os.WriteFile(m.path, []byte("no database, but as long as the head of one would be at the very least, and a little more than that"), 0o600); err != nil {
		t.Fatal(err)
	}
	m = new(Memory)
	try("no database", errs.Database)
}

// A process that ended while it made a memory leaves an empty file.
func TestMemoryOfNothingIsMade(t *testing.T) {
	in := t.TempDir()
	if err := os.WriteFile(fileOf(in, "/dir", "name"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := open(t, in)
	if err := m.Set(t.Context(), "a", Last{}); err != nil {
		t.Error(err)
	}
}

// What a program of before has remembered is kept, and the inode is not known.
func TestMemoryOfTheFirstVersionIsUpdated(t *testing.T) {
	in := t.TempDir()
	m := open(t, in)
	want := map[string]Last{"a": {Local: State{Size: 1}, Mesh: State{Size: 1}}}
	if err := m.Update(t.Context(), want, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.db.ExecContext(t.Context(), `ALTER TABLE pair DROP COLUMN inode; PRAGMA user_version = 1`); err != nil {
		t.Fatal(err)
	}
	m.Close()
	if all, inode, err := Look(t.Context(), in, "/dir", "name"); err != nil || inode != "" || !cmp.Equal(all, want) {
		t.Errorf("it has %v, %q, %v", all, inode, err)
	}
	for range 2 {
		m = open(t, in)
		all, err := m.All(t.Context())
		if err != nil || !cmp.Equal(all, want) {
			t.Errorf("it has %v, %v", all, err)
		}
		if err := m.SetInode(t.Context(), "8"); err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
	if _, inode, err := Look(t.Context(), in, "/dir", "name"); err != nil || inode != "8" {
		t.Errorf("the inode is %q, %v", inode, err)
	}
}
