package catalog_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/storetest"
)

var noneKnown = func(list []datamesh.SegmentID) ([]bool, error) { return make([]bool, len(list)), nil }

func sees(t *testing.T, c *catalog.Catalog, at int64, all bool, list ...byte) map[byte]int64 {
	t.Helper()
	return seesBut(t, c, at, all, noneKnown, list...)
}

// seesBut sees strays, each of which has a byte for a name, and returns since when.
func seesBut(t *testing.T, c *catalog.Catalog, at int64, all bool, isKnown func([]datamesh.SegmentID) ([]bool, error), list ...byte) map[byte]int64 {
	t.Helper()
	var segments []datamesh.SegmentID
	for _, b := range list {
		segments = append(segments, datamesh.SegmentID{b})
	}
	seen, err := c.SeeStrays(t.Context(), time.Unix(at, 0), segments, all, isKnown)
	if err != nil {
		t.Fatal(err)
	}
	got := map[byte]int64{}
	for segment, first := range seen {
		got[segment[0]] = first.Unix()
	}
	return got
}

func wantSeen(t *testing.T, what string, got, want map[byte]int64) {
	t.Helper()
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// A stray is as old as this home has seen it without a break.
func TestStraysAreSeenSince(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user.db")
	c := open(t, path)
	if at, err := c.Looked(t.Context()); err != nil || !at.IsZero() {
		t.Errorf("looked at %v, %v", at, err)
	}
	wantSeen(t, "first", sees(t, c, 100, true, 1, 2, 3), map[byte]int64{1: 100, 2: 100, 3: 100})
	wantSeen(t, "when not all have answered", sees(t, c, 200, false, 1, 4), map[byte]int64{1: 100, 2: 100, 3: 100, 4: 200})
	two := func(list []datamesh.SegmentID) (known []bool, err error) {
		for _, segment := range list {
			known = append(known, segment[0] == 2)
		}
		return known, nil
	}
	wantSeen(t, "when one is known", seesBut(t, c, 300, false, two, 1), map[byte]int64{1: 100, 3: 100, 4: 200})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, path)
	wantSeen(t, "when all have answered", sees(t, c, 400, true, 1, 2), map[byte]int64{1: 100, 2: 400})
	wantSeen(t, "when one is back", sees(t, c, 500, true, 1, 2, 3), map[byte]int64{1: 100, 2: 400, 3: 500})
	wantSeen(t, "by a clock that was set back", sees(t, c, 50, true, 1, 2, 3, 5), map[byte]int64{1: 100, 2: 400, 3: 500, 5: 500})
	if at, err := c.Looked(t.Context()); err != nil || at.Unix() != 500 {
		t.Errorf("looked at %v, %v", at, err)
	}
	failed := errors.New("no")
	_, err := c.SeeStrays(t.Context(), time.Unix(600, 0), nil, false, func(list []datamesh.SegmentID) ([]bool, error) { return make([]bool, len(list)), failed })
	if !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	wantSeen(t, "after what failed", sees(t, c, 600, true, 1), map[byte]int64{1: 100})
}

// Words are kept from before they are sent until they are of no use.
func TestDiscardsAreKept(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "user.db"))
	var words []*datamesh.Deletion
	var segments []datamesh.SegmentID
	for i := range uint64(3) {
		s := storetest.Segment(t, i, 2, 1, 100)
		words = append(words, s.Deletion(1))
		segments = append(segments, s.Segment)
	}
	seen := func() (n int) {
		t.Helper()
		all, err := c.SeeStrays(t.Context(), time.Unix(1, 0), nil, false, noneKnown)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if _, err := c.SeeStrays(t.Context(), time.Unix(1, 0), segments, true, noneKnown); err != nil {
		t.Fatal(err)
	}
	want := func(what string, since int64, n, acked int) {
		t.Helper()
		list, err := c.Discards(t.Context(), time.Unix(since, 0))
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, d := range list {
			if d.Acked {
				got++
			}
			if !slices.ContainsFunc(words, func(w *datamesh.Deletion) bool { return gocmp.Equal(w, d.Word) }) {
				t.Errorf("%s: another word on %s", what, d.Word.Descriptor.Segment)
			}
		}
		if len(list) != n || got != acked {
			t.Errorf("%s: %d words, %d acknowledged, want %d and %d", what, len(list), got, n, acked)
		}
	}
	note := func(at int64, words ...*datamesh.Deletion) {
		t.Helper()
		if err := c.Discard(t.Context(), time.Unix(at, 0), words); err != nil {
			t.Fatal(err)
		}
	}
	note(100, words[:2]...)
	note(200, words[2])
	want("noted", 100, 3, 0)
	if err := c.DiscardDone(t.Context(), words[1:]); err != nil {
		t.Fatal(err)
	}
	want("acknowledged", 100, 3, 2)
	if n := seen(); n != 1 {
		t.Errorf("%d strays are left, want 1", n)
	}
	if err := c.ForgetDiscards(t.Context(), segments[1:2]); err != nil {
		t.Fatal(err)
	}
	want("without one", 100, 2, 1)
	want("of late", 150, 1, 1)
	want("those of before are forgotten", 0, 1, 1)
}

// What is known of an object says whether its segments must be known, and whose a
// segment is stays until the object is forgotten.
func TestObjectsAndTheirSegmentsAreKnown(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "user.db"))
	for i, name := range []string{"", "there", "leaving", "left", "for good"} {
		if i == 0 {
			continue
		}
		if err := c.Add(t.Context(), entry(byte(i), name)); err != nil {
			t.Fatal(err)
		}
		if i > 1 {
			if err := c.Delete(t.Context(), entry(byte(i), "").ID, time.Unix(1, 0), 1, i == 4); err != nil {
				t.Fatal(err)
			}
		}
	}
	id := func(n byte) datamesh.ObjectID { return entry(n, "").ID }
	if err := c.Done(t.Context(), id(3)); err != nil {
		t.Fatal(err)
	}
	run := datamesh.ObjectID{0xee}
	if err := c.Met(t.Context(), catalog.Source{Device: catalog.DeviceID{1}, What: run}); err != nil {
		t.Fatal(err)
	}
	known, err := c.KnownObjects(t.Context())
	want := map[datamesh.ObjectID]catalog.Known{id(1): catalog.Listed, id(2): catalog.Leaving, id(3): catalog.Left, id(4): catalog.Left, run: catalog.Replaced}
	if diff := gocmp.Diff(want, known); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}

	a, b := datamesh.SegmentID{1}, datamesh.SegmentID{2}
	for range 2 {
		if err := c.SetParts(t.Context(), id(1), []datamesh.SegmentID{a, b}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SetParts(t.Context(), id(2), []datamesh.SegmentID{b}); err != nil {
		t.Fatal(err)
	}
	parts := func(what string, segment datamesh.SegmentID, want ...datamesh.ObjectID) {
		t.Helper()
		got, err := c.PartOf(t.Context(), segment)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v", what, got, err)
		}
	}
	parts("of one", a, id(1))
	both, err := c.PartOf(t.Context(), b)
	if err != nil || len(both) != 2 {
		t.Errorf("of two: %v, %v", both, err)
	}
	if err := c.KeepParts(t.Context(), func(x datamesh.ObjectID) bool { return x == id(2) }); err != nil {
		t.Fatal(err)
	}
	parts("of none any more", a)
	parts("of one any more", b, id(2))
	for n, want := range map[byte]bool{1: false, 2: true, 3: false} {
		if is, err := c.IsWhole(t.Context(), id(n)); err != nil || is != want {
			t.Errorf("%d is whole: %v, %v", n, is, err)
		}
	}
}

// A catalog of a version without these tables gets them.
func TestCatalogWithoutStraysGetsThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user.db")
	c := open(t, path)
	if err := c.Add(t.Context(), entry(1, "x")); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"part", "whole", "stray", "discarded", "looked"} {
		if _, err := db.Exec(`DROP TABLE ` + table); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, path)
	wantSeen(t, "in new tables", sees(t, c, 100, true, 1), map[byte]int64{1: 100})
	if len(list(t, c)) != 1 {
		t.Error("the object is gone")
	}
}
