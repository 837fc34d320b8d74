package catalog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
)

func open(t testing.TB, path string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func entry(n byte, name string, tags ...string) catalog.Entry {
	return catalog.Entry{
		ID: datamesh.ObjectID{n}, Name: name, Tags: tags, Size: int64(n) * 100, StoredBytes: int64(n) * 150,
		Created: time.Date(2026, 1, int(n), 12, 0, 0, 123456789, time.UTC),
		Type:    "text/plain", Mode: 0o640, ModTime: time.Date(2025, 1, int(n), 12, 0, 0, 987654321, time.UTC),
	}
}

func list(t *testing.T, c *catalog.Catalog) []catalog.Entry {
	t.Helper()
	var got []catalog.Entry
	for e, err := range c.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	return got
}

func TestWhatIsAddedIsThereAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a?b#c%20 d", "user.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	entries := []catalog.Entry{entry(2, "photo.jpg", "x", "ÿ,\""), entry(3, "photo.jpg"), entry(1, "")}
	c, err := catalog.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := c.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	c = open(t, path)
	newestFirst := []catalog.Entry{entries[1], entries[0], entries[2]}
	if diff := cmp.Diff(newestFirst, list(t, c)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	for _, want := range entries {
		got, err := c.ByID(t.Context(), want.ID)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("ByID: %v (-want +got):\n%s", err, diff)
		}
	}
	got, err := c.ByName(t.Context(), "photo.jpg")
	if diff := cmp.Diff(entries[1], got); diff != "" || err != nil {
		t.Errorf("ByName, the newest: %v (-want +got):\n%s", err, diff)
	}
	for name, want := range map[string]int{"photo.jpg": 2, "other": 0} {
		if n, err := c.Named(t.Context(), name); n != want || err != nil {
			t.Errorf("Named %s: got %d, %v, want %d", name, n, err, want)
		}
	}
	stats, err := c.Stats(t.Context())
	if want := (catalog.Stats{Objects: 3, Bytes: 600}); stats != want || err != nil {
		t.Errorf("Stats: got %v, %v, want %v", stats, err, want)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v, %v, want 0600", fi.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".datamesh-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestUnknownObjectsAreNotFound(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "user.db"))
	if err := c.Add(t.Context(), entry(1, "")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ByID(t.Context(), datamesh.ObjectID{9}); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("ByID: got %v, want FileNotFound", err)
	}
	for _, name := range []string{"", "none"} {
		if _, err := c.ByName(t.Context(), name); !errors.Is(err, errs.FileNotFound) {
			t.Errorf("ByName(%q): got %v, want FileNotFound", name, err)
		}
	}
}

func TestBadEntriesAreRefused(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "user.db"))
	if err := c.Add(t.Context(), entry(1, strings.Repeat("n", catalog.MaxName))); err != nil {
		t.Errorf("the longest name: %v", err)
	}
	for what, tt := range map[string]struct {
		entry catalog.Entry
		want  errs.Kind
	}{
		"too long":     {entry(2, strings.Repeat("n", catalog.MaxName+1)), errs.Invalid},
		"not UTF-8":    {entry(2, "\xff"), errs.Invalid},
		"tag no UTF-8": {entry(2, "a", "\xff"), errs.Invalid},
		"same id":      {entry(1, "other"), errs.Exists},
	} {
		if err := c.Add(t.Context(), tt.entry); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", what, err, tt.want)
		}
	}
	if got := list(t, c); len(got) != 1 {
		t.Errorf("%d entries, want 1", len(got))
	}
}

func TestManyMayCreateAndAddAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user.db")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c, err := catalog.Open(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for j := range 8 {
				for tries := 1; ; tries++ {
					began := time.Now()
					err := c.Add(t.Context(), catalog.Entry{ID: datamesh.ObjectID{byte(i), byte(j)}, Name: fmt.Sprint(i)})
					if errors.Is(err, errs.Locked) && time.Since(began) > 5*time.Second && tries < 10 { // it has waited: a lock of SQLite is not fair
						continue
					}
					if err != nil {
						t.Error(err)
					}
					break
				}
			}
		})
	}
	wg.Wait()
	if got := list(t, open(t, path)); len(got) != 64 {
		t.Errorf("%d entries, want 64", len(got))
	}
}

// Who closes a catalog gives up the journal next, and then others may delete
// what is not in the catalog.
func TestNothingIsAddedAfterClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user.db")
	open(t, path)
	for i := range byte(50) {
		c, err := catalog.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		began, added := make(chan bool), make(chan error)
		go func() {
			close(began)
			added <- c.Add(t.Context(), entry(i, ""))
		}()
		<-began
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		other := open(t, path)
		_, then := other.ByID(t.Context(), entry(i, "").ID)
		err = <-added
		if (err == nil) != (then == nil) {
			t.Errorf("entry %d: add %v, though after the close it was: %v", i, err, then)
		}
	}
}

func TestListStopsWhenAskedAndAllowsAddsMeanwhile(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "user.db"))
	for n := range byte(5) {
		if err := c.Add(t.Context(), entry(n+1, "a")); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range c.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Add(t.Context(), entry(9, "b")); err != nil {
			t.Error(err)
		}
		break
	}
	if got := list(t, c); len(got) != 6 {
		t.Errorf("%d entries, want 6", len(got))
	}
}

func TestCancelledIsCancelled(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "user.db"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Add(ctx, entry(1, "a")); !errors.Is(err, context.Canceled) {
		t.Errorf("Add: got %v, want context.Canceled", err)
	}
	for _, err := range c.List(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("List: got %v, want context.Canceled", err)
		}
	}
}

func TestFilesThatAreNoCatalogAreLeftAlone(t *testing.T) {
	exec := func(statement string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, path string)
		kind errs.Kind
		hint string
	}{
		{"of a newer version", exec(`PRAGMA user_version = 2`), errs.Configuration, "update datamesh"},
		{"without a version", exec(`PRAGMA user_version = 0`), errs.Database, "move it away"},
		{"of another program", exec(`PRAGMA application_id = 7`), errs.Configuration, "--home"},
		{"no database", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 500)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, errs.Database, "move it away"},
		{"cut short", func(t *testing.T, path string) {
			if err := os.Truncate(path, 1000); err != nil {
				t.Fatal(err)
			}
		}, errs.Database, "move it away"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "user.db")
			c, err := catalog.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			tt.do(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, err = catalog.Open(t.Context(), path)
			if err == nil {
				c.Close()
			}
			if !errors.Is(err, tt.kind) || !strings.Contains(errs.HintFor(err), tt.hint) {
				t.Errorf("got %v (%v), hint %q, want %v with a hint to %q", err, errs.KindOf(err), errs.HintFor(err), tt.kind, tt.hint)
			}
			if err := catalog.Check(t.Context(), path); !errors.Is(err, tt.kind) || !strings.Contains(errs.HintFor(err), tt.hint) {
				t.Errorf("check: got %v, hint %q, want %v with a hint to %q", err, errs.HintFor(err), tt.kind, tt.hint)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
}

// A catalog of before there were types, modes and times is listed as it is, and
// gets them when it is opened for more.
func TestEarlierCatalogGetsTypes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user.db")
	c, err := catalog.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	before, after := entry(1, "before"), entry(2, "after")
	before.Type, before.Mode, before.ModTime = "", 0, time.Time{}
	if err := errors.Join(c.Add(t.Context(), before), c.Close()); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(undoNames); err != nil {
		t.Fatal(err)
	}
	for _, column := range []string{"type", "mode", "modified"} {
		if _, err := db.Exec("ALTER TABLE object DROP COLUMN " + column); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := catalog.OpenToRead(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]catalog.Entry{before}, list(t, r)); diff != "" {
		t.Errorf("to read (-want +got):\n%s", diff)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = catalog.Open(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Add(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]catalog.Entry{after, before}, list(t, c)); diff != "" {
		t.Errorf("to write (-want +got):\n%s", diff)
	}
}

// undoNames makes a catalog be as it was before objects had several names.
const undoNames = `
DROP TRIGGER alias_of_none; DROP TRIGGER word_added; DROP TRIGGER word_changed; DROP TRIGGER word_gone; DROP TRIGGER word_named; DROP TRIGGER word_unnamed;
DROP VIEW wording; DROP TABLE word; DROP TABLE alias; DROP TABLE disputed;
ALTER TABLE object DROP COLUMN pinned;`

func TestDamagedPagesAreSaidToBeDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user.db")
	c, err := catalog.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range byte(200) {
		if err := c.Add(t.Context(), catalog.Entry{ID: datamesh.ObjectID{n}, Name: strings.Repeat("n", 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("\xa5", int(fi.Size())-4096)), 4096); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c, err = catalog.Open(t.Context(), path)
	if err == nil {
		defer c.Close()
		_, err = c.ByID(t.Context(), datamesh.ObjectID{7})
	}
	if !errors.Is(err, errs.Database) || !strings.Contains(errs.HintFor(err), "move it away") {
		t.Errorf("got %v, hint %q, want Database and what to do", err, errs.HintFor(err))
	}
	if err := catalog.Check(t.Context(), path); !errors.Is(err, errs.Database) || !strings.Contains(errs.HintFor(err), "move it away") {
		t.Errorf("check: got %v, hint %q, want Database and what to do", err, errs.HintFor(err))
	}
}

func TestCheckFindsNothingWrongWithACatalogInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user.db")
	if err := catalog.Check(t.Context(), path); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("got %v, want FileNotFound", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("check has made a catalog")
	}
	c := open(t, path)
	if err := c.Add(t.Context(), entry(1, "a")); err != nil {
		t.Fatal(err)
	}
	if err := catalog.Check(t.Context(), path); err != nil {
		t.Error(err)
	}
	if got := list(t, c); len(got) != 1 {
		t.Errorf("got %d entries after a check, want 1", len(got))
	}
}

func TestOpenToReadReadsAndMakesNoFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "user.db")
	files := func() (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	reads := func(want ...catalog.Entry) {
		t.Helper()
		before := files()
		c, err := catalog.OpenToRead(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, list(t, c)); diff != "" {
			t.Errorf("List (-want +got):\n%s", diff)
		}
		if err := c.Add(t.Context(), entry(9, "x")); err == nil {
			t.Error("it could be written to")
		}
		if diff := cmp.Diff(before, files()); diff != "" {
			t.Errorf("files while it is open (-before +after):\n%s", diff)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(before, files()); diff != "" {
			t.Errorf("files (-before +after):\n%s", diff)
		}
	}

	if _, err := catalog.OpenToRead(t.Context(), path); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("no catalog: got %v, want FileNotFound", err)
	}
	if found := files(); len(found) > 0 {
		t.Errorf("made %v", found)
	}

	c, err := catalog.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Add(t.Context(), entry(1, "a")); err != nil {
		t.Fatal(err)
	}
	if len(files()) != 3 {
		t.Fatalf("%v: the log is not beside the catalog", files())
	}
	reads(entry(1, "a")) // of which the log alone has the row
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if len(files()) != 1 {
		t.Fatalf("%v: the log is still there", files())
	}
	reads(entry(1, "a"))
}
