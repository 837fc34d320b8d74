package catalog_test

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
)

func TestFind(t *testing.T) {
	c := named(t, "twice", "twice", "gone", "lost", "moved")
	ids := map[string]datamesh.ObjectID{}
	for _, e := range list(t, c) {
		if _, there := ids[e.Name]; !there { // the newest
			ids[e.Name] = e.ID
		}
	}
	now := datamesh.ObjectID{0x99}
	mustReplace(t, c, ids["moved"], now, 1)
	for name, final := range map[string]bool{"gone": false, "lost": true} {
		if err := c.Delete(t.Context(), ids[name], time.Now(), 1, final); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Copy(t.Context(), ids["twice"], "", "further"); err != nil {
		t.Fatal(err)
	}
	unknown := datamesh.ObjectID{0x77}
	for id, want := range map[datamesh.ObjectID]catalog.Found{
		ids["twice"]: {ID: ids["twice"], Name: "twice"},
		ids["gone"]:  {ID: ids["gone"], Deleted: true},
		ids["lost"]:  {ID: ids["lost"], Deleted: true, Final: true},
		ids["moved"]: {ID: now, Name: "moved"},
		now:          {ID: now, Name: "moved"},
		unknown:      {ID: unknown},
	} {
		if f, err := c.Find(t.Context(), id); err != nil || f != want {
			t.Errorf("%v: %+v, %v; want %+v", id, f, err, want)
		}
	}
	for name, want := range map[string]catalog.Found{
		"twice":   {ID: ids["twice"], Name: "twice", Named: 2},
		"further": {ID: ids["twice"], Name: "further", Named: 1},
		"moved":   {ID: now, Name: "moved", Named: 1},
	} {
		if f, err := c.FindName(t.Context(), name); err != nil || f != want {
			t.Errorf("%s: %+v, %v; want %+v", name, f, err, want)
		}
	}
	for _, name := range []string{"gone", "lost", "never", ""} {
		if f, err := c.FindName(t.Context(), name); !errors.Is(err, errs.FileNotFound) {
			t.Errorf("%q: %+v, %v", name, f, err)
		}
	}
	if err := c.Delete(t.Context(), now, time.Now(), 1, false); err != nil {
		t.Fatal(err)
	}
	if f, err := c.Find(t.Context(), ids["moved"]); err != nil || f != (catalog.Found{ID: now, Deleted: true}) {
		t.Errorf("by its id of before: %+v, %v", f, err)
	}
}

// While another process writes, many find what they look for at the same time, and on
// the same few connections.
func TestManyFindWhileOthersWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user.db")
	c, other := open(t, path), open(t, path)
	e := entry(1, "name")
	if err := c.Add(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := c.Belong(t.Context(), datamesh.OwnerKey{1}); err != nil {
		t.Fatal(err)
	}
	now := datamesh.ObjectID{0x99}
	mustReplace(t, c, e.ID, now, 1)
	if err := c.BeginEpoch(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	writes, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		_, _, err := other.EditObject(t.Context(), now, func(*catalog.Entry) { close(writes); <-release })
		done <- err
	}()
	select {
	case <-writes:
	case err := <-done:
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 20 {
				if f, err := c.Find(t.Context(), e.ID); err != nil || f.ID != now {
					t.Errorf("by id: %+v, %v", f, err)
				}
				if f, err := c.FindName(t.Context(), "name"); err != nil || f.ID != now {
					t.Errorf("by name: %+v, %v", f, err)
				}
				if err := c.Belong(t.Context(), datamesh.OwnerKey{1}); err != nil {
					t.Error(err)
				}
				if epoch, _, err := c.Epoch(t.Context()); err != nil || epoch != 1 {
					t.Errorf("epoch %d, %v", epoch, err)
				}
			}
		})
	}
	all.Wait()
	if n := c.Closed(); n != 0 {
		t.Errorf("%d connections were made in vain", n)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
