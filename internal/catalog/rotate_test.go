package catalog_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
)

// two returns the catalogs of two devices that have the same object.
func two(t *testing.T) (mesh *cloud, a, b *catalog.Catalog, id datamesh.ObjectID) {
	t.Helper()
	mesh = newCloud(t)
	a, b = open(t, filepath.Join(t.TempDir(), "user.db")), open(t, filepath.Join(t.TempDir(), "user.db"))
	e := entry(1, "name", "tag")
	if err := a.Add(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	mesh.both(a, b)
	return mesh, a, b, e.ID
}

// both has two devices tell each other everything.
func (c *cloud) both(a, b *catalog.Catalog) {
	c.t.Helper()
	for range 2 {
		c.send(a)
		c.send(b)
		c.learn(a)
		c.learn(b)
	}
}

func mustReplace(t *testing.T, c *catalog.Catalog, old, now datamesh.ObjectID, epoch int) {
	t.Helper()
	if err := c.Replace(t.Context(), old, now, epoch); err != nil {
		t.Fatal(err)
	}
}

func TestAnObjectIsKnownByEachIDThatItHad(t *testing.T) {
	mesh, a, b, id := two(t)
	second, third := datamesh.ObjectID{0x21}, datamesh.ObjectID{0x12}
	if err := a.BeginEpoch(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if epoch, complete, err := a.Epoch(t.Context()); err != nil || epoch != 1 || complete {
		t.Errorf("epoch %d, complete %t, %v", epoch, complete, err)
	}
	mustReplace(t, a, id, second, 1)
	mesh.both(a, b)
	mustReplace(t, b, second, third, 2)
	mesh.both(a, b)
	anew := open(t, filepath.Join(t.TempDir(), "user.db"))
	mesh.learn(anew)
	for what, c := range map[string]*catalog.Catalog{"a": a, "b": b, "one that comes anew": anew} {
		for _, was := range []datamesh.ObjectID{id, second, third} {
			if now, err := c.Current(t.Context(), was); err != nil || now != third {
				t.Errorf("%s: %v is %v now, %v", what, was, now, err)
			}
			if is, err := c.WasObject(t.Context(), was); err != nil || !is {
				t.Errorf("%s: %v is not known, %v", what, was, err)
			}
		}
		entries := list(t, c)
		if len(entries) != 1 || entries[0].ID != third || entries[0].Name != "name" || !slices.Equal(entries[0].Tags, []string{"tag"}) {
			t.Errorf("%s has %+v", what, entries)
		}
		if epoch, _, err := c.Epoch(t.Context()); err != nil || epoch != 2 {
			t.Errorf("%s: epoch %d, %v", what, epoch, err)
		}
		if behind, err := c.Behind(t.Context(), 2); err != nil || len(behind) != 0 {
			t.Errorf("%s: %v are behind, %v", what, behind, err)
		}
	}
	unknown := datamesh.ObjectID{0x77}
	if now, err := a.Current(t.Context(), unknown); err != nil || now != unknown {
		t.Errorf("one that was never here is %v, %v", now, err)
	}
	if is, err := a.WasObject(t.Context(), unknown); err != nil || is {
		t.Errorf("one that was never here: %t, %v", is, err)
	}
	for c, want := range map[*catalog.Catalog]datamesh.ObjectID{a: id, b: second} {
		got, err := c.Undropped(t.Context())
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("to be deleted are %v, %v", got, err)
		}
		if err := c.Dropped(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Undropped(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("then %v, %v", got, err)
		}
	}
}

func TestWhatIsDeletedOrGoneIsNotReplaced(t *testing.T) {
	_, a, _, id := two(t)
	if err := a.Delete(t.Context(), id, time.Unix(1, 0), 1, false); err != nil {
		t.Fatal(err)
	}
	for _, id := range []datamesh.ObjectID{id, {0x77}} {
		if err := a.Replace(t.Context(), id, datamesh.ObjectID{2}, 1); errs.KindOf(err) != errs.FileNotFound {
			t.Errorf("got %v", err)
		}
	}
	if behind, err := a.Behind(t.Context(), 1); err != nil || len(behind) != 0 {
		t.Errorf("%v are behind, %v", behind, err)
	}
}

// Two devices seal one manifest anew without knowing of each other: all agree
// which of the two is to go.
func TestOneOfTwoReplacementsIsToGo(t *testing.T) {
	mesh, a, b, id := two(t)
	less, more := datamesh.ObjectID{1}, datamesh.ObjectID{9}
	mustReplace(t, a, id, more, 1)
	mustReplace(t, b, id, less, 1)
	mesh.both(a, b)
	anew := open(t, filepath.Join(t.TempDir(), "user.db"))
	mesh.learn(anew)
	for what, c := range map[string]*catalog.Catalog{"a": a, "b": b, "one that comes anew": anew} {
		if twins, err := c.Twins(t.Context()); err != nil || len(twins) != 1 || twins[0] != more {
			t.Errorf("%s: %v are to go, %v", what, twins, err)
		}
	}
	if err := b.Forget(t.Context(), more); err != nil {
		t.Fatal(err)
	}
	mesh.both(a, b)
	for what, c := range map[string]*catalog.Catalog{"a": a, "b": b} {
		for _, was := range []datamesh.ObjectID{id, less, more} {
			if now, err := c.Current(t.Context(), was); err != nil || now != less {
				t.Errorf("%s: %v is %v, %v", what, was, now, err)
			}
		}
		if twins, err := c.Twins(t.Context()); err != nil || len(twins) != 0 {
			t.Errorf("%s: %v are to go, %v", what, twins, err)
		}
	}
}

// A device deletes an object by the id that it had before: it is the new one that
// is to go, unless it was brought back since.
func TestADeletionByAnOldIDIsOfTheObject(t *testing.T) {
	mesh, a, b, id := two(t)
	now := datamesh.ObjectID{5}
	mustReplace(t, a, id, now, 1)
	mesh.send(a)
	later := time.Now().Add(time.Second)
	if err := b.Delete(t.Context(), id, later, 1, false); err != nil {
		t.Fatal(err)
	}
	if err := b.Done(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	mesh.both(a, b)
	for what, c := range map[string]*catalog.Catalog{"who replaced": a, "who deleted": b} {
		if doomed, err := c.Doomed(t.Context()); err != nil || len(doomed) != 1 || doomed[0] != (catalog.Doom{ID: now}) {
			t.Errorf("%s: got %v, %v", what, doomed, err)
		}
	}
	if err := a.Delete(t.Context(), now, later, 1, false); err != nil {
		t.Fatal(err)
	}
	if err := a.Undelete(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	mesh.both(a, b)
	for what, c := range map[string]*catalog.Catalog{"who replaced": a, "who deleted": b} {
		if doomed, err := c.Doomed(t.Context()); err != nil || len(doomed) != 0 {
			t.Errorf("%s: once it was brought back: %v, %v", what, doomed, err)
		}
	}
}
