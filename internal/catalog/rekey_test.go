package catalog_test

import (
	"slices"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
)

// begun returns the one object that is being stored anew.
func begun(t *testing.T, c *catalog.Catalog) catalog.Rekeyed {
	t.Helper()
	all, err := c.Rekeyed(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("got %+v, %v, want one", all, err)
	}
	return all[0]
}

// An object that has the content under other keys has all that is said of the other,
// and stands where that stood among versions.
func TestRekeyTakesAllAlong(t *testing.T) {
	mesh, a, b, id := two(t)
	ctx := t.Context()
	e, err := a.ByID(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	later := entry(9, e.Name)
	later.Created = e.Created.Add(time.Hour)
	if err := a.Add(ctx, later); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Copy(ctx, id, "", "further"); err != nil {
		t.Fatal(err)
	}
	if e, _, err = a.EditObject(ctx, id, func(e *catalog.Entry) { e.Pinned = true }); err != nil {
		t.Fatal(err)
	}
	now := datamesh.ObjectID{7}
	if err := a.Rekey(ctx, id, catalog.Entry{ID: now, Name: "not this", Size: e.Size, StoredBytes: 99}, true); err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string]error{
		"twice":            a.Rekey(ctx, id, catalog.Entry{ID: datamesh.ObjectID{8}}, true),
		"into what is":     a.Rekey(ctx, later.ID, catalog.Entry{ID: now}, true),
		"what is not":      a.Rekey(ctx, datamesh.ObjectID{6}, catalog.Entry{ID: datamesh.ObjectID{5}}, true),
		"into what it was": a.Rekey(ctx, later.ID, catalog.Entry{ID: id}, true),
	} {
		want := errs.Exists
		if what == "what is not" {
			want = errs.FileNotFound
		}
		if errs.KindOf(got) != want {
			t.Errorf("%s: got %v, want kind %s", what, got, want.Name())
		}
	}
	r := begun(t, a)
	if r.Old != id || r.Now != now || !r.Final || r.Condemned {
		t.Errorf("got %+v", r)
	}
	if err := a.Supersede(ctx, r, time.Now(), 1, false); err != nil {
		t.Fatal(err)
	}
	if r = begun(t, a); !r.Condemned || r.Final {
		t.Errorf("got %+v", r)
	}
	if err := a.Supersede(ctx, r, time.Now(), 1, false); errs.KindOf(err) != errs.FileNotFound {
		t.Errorf("twice: %v", err)
	}
	mesh.both(a, b)
	for what, c := range map[string]*catalog.Catalog{"here": a, "elsewhere": b} {
		got, err := c.ByID(ctx, now)
		if err != nil || got.Name != e.Name || !slices.Equal(got.Further, e.Further) || !slices.Equal(got.Tags, e.Tags) || !got.Pinned ||
			!got.Created.Equal(e.Created) || got.Type != e.Type || got.Mode != e.Mode || !got.ModTime.Equal(e.ModTime) || got.StoredBytes != 99 {
			t.Errorf("%s: got %+v, %v, want as %+v", what, got, err, e)
		}
		versions, err := c.Versions(ctx, e.Name)
		if err != nil || len(versions) != 3 || versions[0].ID != later.ID || versions[1].ID != now || versions[2].ID != id || versions[2].Deleted.IsZero() {
			t.Errorf("%s: versions %+v, %v", what, versions, err)
		}
	}
	wantSame(t, "the other home", a, b)
	if left, err := b.Rekeyed(ctx); err != nil || len(left) != 0 {
		t.Errorf("the other home has %+v to do, %v", left, err)
	}
	if err := a.EndRekey(ctx, r); err != nil {
		t.Fatal(err)
	}
	if left, err := a.Rekeyed(ctx); err != nil || len(left) != 0 {
		t.Errorf("left: %+v, %v", left, err)
	}
}

// What is taken from the new object here is not given back to it by the old one, and
// what another home has given the old one since is.
func TestSupersedeHearsOfTheOldAlone(t *testing.T) {
	for _, heard := range []bool{false, true} {
		mesh, a, b, id := two(t)
		ctx := t.Context()
		if _, _, err := a.Copy(ctx, id, "", "further"); err != nil {
			t.Fatal(err)
		}
		mesh.both(a, b)
		now := datamesh.ObjectID{7}
		if err := a.Rekey(ctx, id, catalog.Entry{ID: now}, true); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Unname(ctx, now, "further"); err != nil {
			t.Fatal(err)
		}
		want := []string(nil)
		if heard {
			if _, _, err := b.Copy(ctx, id, "", "heard"); err != nil {
				t.Fatal(err)
			}
			mesh.both(a, b)
			want = []string{"further", "heard"} // of the old one all is said at once
		}
		if err := a.Supersede(ctx, begun(t, a), time.Now(), 1, true); err != nil {
			t.Fatal(err)
		}
		if e, err := a.ByID(ctx, now); err != nil || !slices.Equal(e.Further, want) {
			t.Errorf("heard %v: got %q, %v, want %q", heard, e.Further, err, want)
		}
	}
}

// What is shared is not condemned, and neither is what is there alone.
func TestSupersedeRefuses(t *testing.T) {
	_, a, _, id := two(t)
	ctx := t.Context()
	now := datamesh.ObjectID{7}
	if err := a.Rekey(ctx, id, catalog.Entry{ID: now}, true); err != nil {
		t.Fatal(err)
	}
	share := catalog.Share{ID: datamesh.ObjectID{8}, Object: id, Name: "a", Created: time.Now()}
	if err := a.AddShare(ctx, share); err != nil {
		t.Fatal(err)
	}
	if err := a.Supersede(ctx, begun(t, a), time.Now(), 1, true); errs.KindOf(err) != errs.Exists {
		t.Errorf("shared: %v", err)
	}
	if err := a.Withdraw(ctx, share.ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(ctx, now, time.Now(), 1, false); err != nil {
		t.Fatal(err)
	}
	if err := a.Supersede(ctx, begun(t, a), time.Now(), 1, true); errs.KindOf(err) != errs.FileNotFound {
		t.Errorf("the new one is deleted: %v", err)
	}
	if _, err := a.ByID(ctx, id); err != nil {
		t.Errorf("the old one: %v", err)
	}
}
