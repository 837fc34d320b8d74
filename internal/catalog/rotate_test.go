package catalog_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

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
	less, more := datamesh.ObjectID{2}, datamesh.ObjectID{9}
	mustReplace(t, a, id, more, 1)
	mustReplace(t, b, id, less, 1)
	mesh.both(a, b)
	anew := open(t, filepath.Join(t.TempDir(), "user.db"))
	mesh.learn(anew)
	for what, c := range map[string]*catalog.Catalog{"a": a, "b": b, "one that comes anew": anew} {
		if twins, err := c.Twins(t.Context()); err != nil || len(twins) != 1 || twins[0] != (catalog.Twin{ID: more, Kept: less}) {
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

// What is deleted is known by each id that it had.
func TestWhatIsDeletedIsKnownByEachIDThatItHad(t *testing.T) {
	mesh, a, b, id := two(t)
	if was, err := a.DeletedWas(t.Context()); err != nil || len(was) != 0 {
		t.Errorf("of none: %v, %v", was, err)
	}
	second, third := datamesh.ObjectID{0x21}, datamesh.ObjectID{0x12}
	mustReplace(t, a, id, second, 1)
	mustReplace(t, a, second, third, 2)
	if was, err := a.DeletedWas(t.Context()); err != nil || len(was) != 0 {
		t.Errorf("before it is deleted: %v, %v", was, err)
	}
	if err := a.Delete(t.Context(), third, time.Now(), 1, false); err != nil {
		t.Fatal(err)
	}
	mesh.both(a, b)
	for what, c := range map[string]*catalog.Catalog{"who deleted": a, "the other": b} {
		was, err := c.DeletedWas(t.Context())
		if err != nil || len(was) != 1 || !slices.Contains(was[third], id) {
			t.Errorf("%s: got %v, %v", what, was, err)
		}
	}
}

// What is known of an object goes with it to its new id: names, tags, the pin, what
// the file was, that it is shared, and what is to be settled of it.
func TestAReplacementTakesAllAlong(t *testing.T) {
	ctx := t.Context()
	mesh := newCloud(t)
	a, b := open(t, filepath.Join(t.TempDir(), "user.db")), open(t, filepath.Join(t.TempDir(), "user.db"))
	e := entry(1, "first", "tag")
	e.Further, e.Pinned, e.Type, e.Mode, e.ModTime = []string{"dir/second", "third"}, true, "text/plain", 0o640, time.Unix(5, 6).UTC()
	other := entry(2, "other")
	to := datamesh.OwnerKey{3}
	shares := []catalog.Share{
		{ID: datamesh.ObjectID{0x31}, Object: e.ID, To: &to, Name: "first", Created: time.Unix(1, 0).UTC()},
		{ID: datamesh.ObjectID{0x32}, Object: e.ID, Name: "first", Created: time.Unix(2, 0).UTC(), Expires: time.Unix(1<<33, 0).UTC()},
		{ID: datamesh.ObjectID{0x33}, Object: other.ID, Name: "other", Created: time.Unix(3, 0).UTC()},
	}
	for _, err := range []error{
		a.Add(ctx, e), a.Add(ctx, other), a.SetContact(ctx, catalog.Contact{Owner: to, Name: "bob", Recipient: "his", Card: 1, Created: time.Unix(1, 0)}),
		a.AddShare(ctx, shares[0]), a.AddShare(ctx, shares[1]), a.AddShare(ctx, shares[2]),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	mesh.both(a, b)
	if err := b.Delete(ctx, e.ID, time.Unix(9, 0), 1, false); err != nil { // which the other says something against, and so is disputed
		t.Fatal(err)
	}
	if _, _, err := a.EditObject(ctx, e.ID, func(e *catalog.Entry) { e.Tags = []string{"tag", "more"} }); err != nil {
		t.Fatal(err)
	}
	mesh.both(a, b)
	e.Tags = []string{"tag", "more"}
	for _, c := range []*catalog.Catalog{a, b} {
		if ids, err := c.Disputed(ctx); err != nil || !slices.Equal(ids, []datamesh.ObjectID{e.ID}) {
			t.Fatalf("%v are disputed, %v", ids, err)
		}
	}
	old := e.ID
	e.ID = datamesh.ObjectID{0x21}
	mustReplace(t, a, old, e.ID, 1)
	if ids, err := a.Disputed(ctx); err != nil || !slices.Equal(ids, []datamesh.ObjectID{e.ID}) {
		t.Errorf("%v are disputed, %v", ids, err)
	}
	mesh.both(a, b)
	anew := open(t, filepath.Join(t.TempDir(), "user.db"))
	mesh.learn(anew)
	for what, c := range map[string]*catalog.Catalog{"who replaced": a, "who learnt of it": b, "one that comes anew": anew} {
		if got, err := c.ByID(ctx, e.ID); err != nil || !gocmp.Equal(got, e) {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, gocmp.Diff(e, got))
		}
		if got, err := c.ByName(ctx, "third"); err != nil || got.ID != e.ID {
			t.Errorf("%s: by a further name it is %v, %v", what, got.ID, err)
		}
		wantFound(t, c)
		for _, word := range []string{"second", "first", "more"} {
			found := 0
			for got, err := range c.Search(ctx, []string{word}) {
				if found++; err != nil || got.ID != e.ID {
					t.Errorf("%s: search finds %v, %v", what, got.ID, err)
				}
			}
			if found == 0 {
				t.Errorf("%s: %q is not found", what, word)
			}
		}
		all, err := c.Shares(ctx)
		if err != nil || len(all) != len(shares) {
			t.Fatalf("%s: %d shares, %v", what, len(all), err)
		}
		for _, s := range all {
			want := e.ID
			if s.ID == shares[2].ID {
				want = other.ID
			}
			if s.Object != want || !s.Active(time.Unix(10, 0)) {
				t.Errorf("%s: share %+v", what, s)
			}
		}
		known, err := c.KnownObjects(ctx)
		if err != nil || known[old] != catalog.Replaced || known[e.ID] != catalog.Listed || known[shares[0].ID] != catalog.Listed {
			t.Errorf("%s knows the old as %v and the new as %v, %v", what, known[old], known[e.ID], err)
		}
	}
	if err := b.Delete(ctx, e.ID, time.Unix(11, 0), 1, false); err != nil {
		t.Fatal(err)
	}
	if all, err := b.Shares(ctx); err != nil || all[1].ID != shares[1].ID || !all[1].Away || all[0].Away {
		t.Errorf("when it is deleted it is shared: %+v, %v", all, err)
	}
}

// What is said of an object by its old id, without knowing of the new one, is of
// that, if it is later; also what is shared by it.
func TestWhatIsSaidByAnOldIDIsOfTheObject(t *testing.T) {
	ctx := t.Context()
	for _, later := range []bool{true, false} {
		mesh, a, b, id := two(t)
		now := datamesh.ObjectID{0x21}
		edit := func(c *catalog.Catalog, id datamesh.ObjectID, tag string) {
			t.Helper()
			if _, _, err := c.EditObject(ctx, id, func(e *catalog.Entry) { e.Tags, e.Pinned = []string{tag}, true }); err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.Copy(ctx, id, "", "also "+tag); err != nil {
				t.Fatal(err)
			}
		}
		mustReplace(t, a, id, now, 1)
		edit(b, id, "by the old")
		if err := b.AddShare(ctx, catalog.Share{ID: datamesh.ObjectID{0x31}, Object: id, Name: "name", Created: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
		want := "by the old"
		if !later {
			want = "by the new"
			for range 10 { // so that its clock is the later one, whatever the time is
				edit(a, now, "not yet")
				if _, err := a.Unname(ctx, now, "also not yet"); err != nil {
					t.Fatal(err)
				}
			}
			edit(a, now, want)
		}
		mesh.both(a, b)
		for what, c := range map[string]*catalog.Catalog{"who replaced": a, "who did not know": b} {
			twins, err := c.Twins(ctx)
			if err != nil || len(twins) != 1 || twins[0] != (catalog.Twin{ID: id, Kept: now}) {
				t.Fatalf("%s: %v are to go, %v", what, twins, err)
			}
			if err := c.Rejoin(ctx, twins[0]); err != nil {
				t.Fatal(err)
			}
			if twins, err := c.Twins(ctx); err != nil || len(twins) != 0 {
				t.Errorf("%s: then %v, %v", what, twins, err)
			}
		}
		mesh.both(a, b)
		wantSame(t, "both", a, b)
		for what, c := range map[string]*catalog.Catalog{"who replaced": a, "who did not know": b} {
			l := list(t, c)
			if len(l) != 1 || l[0].ID != now || !l[0].Pinned || !slices.Equal(l[0].Tags, []string{want}) || !slices.Equal(l[0].Names(), []string{"name", "also " + want}) {
				t.Errorf("%s, later %t: %+v", what, later, l)
			}
			if all, err := c.Shares(ctx); err != nil || len(all) != 1 || all[0].Object != now {
				t.Errorf("%s: shares %+v, %v", what, all, err)
			}
			wantFound(t, c)
		}
	}
}

// What is shared by an id that is no object's any more is found by the new one.
func TestSharesOfAnOldIDAreMoved(t *testing.T) {
	ctx := t.Context()
	mesh, a, b, id := two(t)
	now := datamesh.ObjectID{0x21}
	mustReplace(t, a, id, now, 1)
	if err := b.AddShare(ctx, catalog.Share{ID: datamesh.ObjectID{0x31}, Object: id, Name: "name", Created: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	mesh.both(a, b)
	if err := a.MoveShares(ctx); err != nil {
		t.Fatal(err)
	}
	mesh.both(a, b)
	for what, c := range map[string]*catalog.Catalog{"who replaced": a, "who shared": b} {
		if all, err := c.Shares(ctx); err != nil || len(all) != 1 || all[0].Object != now {
			t.Errorf("%s: shares %+v, %v", what, all, err)
		}
	}
}

// A deletion by the old id that was said before the replacement, and not known,
// does not hold, and the mesh may have heard it.
func TestADeletionBeforeAReplacementIsDisputed(t *testing.T) {
	ctx := t.Context()
	mesh, a, b, id := two(t)
	now := datamesh.ObjectID{5}
	if err := b.Delete(ctx, id, time.Unix(1, 0), 1, false); err != nil {
		t.Fatal(err)
	}
	mustReplace(t, a, id, now, 1)
	mesh.both(a, b)
	for what, c := range map[string]*catalog.Catalog{"who replaced": a, "who deleted": b} {
		if l := list(t, c); len(l) != 1 || l[0].ID != now {
			t.Errorf("%s lists %+v", what, l)
		}
		if ids, err := c.Disputed(ctx); err != nil || !slices.Equal(ids, []datamesh.ObjectID{now}) {
			t.Errorf("%s: %v are disputed, %v", what, ids, err)
		}
		if doomed, err := c.Doomed(ctx); err != nil || len(doomed) != 0 {
			t.Errorf("%s: %v are doomed, %v", what, doomed, err)
		}
	}
}
