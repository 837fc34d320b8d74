package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
)

// What was dropped can be brought back while the store has been open for less
// than the time of the trash since: neither a clock that jumps between two runs
// nor the time between them counts.
func TestTrashAgesWhileTheStoreIsOpen(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	opt := Options{Now: func() time.Time { return now }}
	d := openDisk(t, dir, opt)
	var samples []*storetest.Sample
	for seed, size := range []int{small, large, small} {
		s := storetest.Segment(t, uint64(seed), 2, 1, 2*size)
		s.Put(t, d, 0)
		samples = append(samples, s)
	}
	drop := func(n int, generation uint64) {
		t.Helper()
		if err := d.Drop(t.Context(), samples[n].Deletion(generation)); err != nil {
			t.Fatal(err)
		}
		checkAccount(t, d)
	}
	purge := func(want int) {
		t.Helper()
		if n, err := d.Purge(t.Context(), time.Hour); n != want || err != nil {
			t.Errorf("purged %d, %v, want %d", n, err, want)
		}
		checkAccount(t, d)
	}
	drop(0, 1)
	drop(1, 1)
	now = now.Add(40 * time.Minute)
	drop(2, 1)
	purge(0)
	closeDisk(t, d)
	now = now.Add(30 * 24 * time.Hour)
	d = openDisk(t, dir, opt)
	if files := shardFiles(t, dir); len(files) != 1 {
		t.Errorf("the files of shards: %q, want the one in the trash", files)
	}
	purge(0)
	now = now.Add(10 * time.Minute)
	drop(0, 2)
	samples[0].Check(t, d, 0)
	now = now.Add(10 * time.Minute)
	purge(1)
	now = now.Add(-time.Hour) // somebody sets the clock
	purge(0)
	now = now.Add(time.Hour)
	drop(1, 2) // too late
	drop(2, 2)
	samples[2].Check(t, d, 0)
	if _, _, err := d.Get(t.Context(), samples[1].Key(0), nil); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("what was purged: %v", err)
	}
	samples[1].Put(t, d, 0) // it may be put again
	checkAccount(t, d)
	if u := d.Usage(); u.Trash != 0 || u.Shards != 3 {
		t.Errorf("usage: %+v", u)
	}
}

// What is in the trash can be brought back when the index had to be made again;
// what was deleted for ever cannot. What a purge has left behind goes with the next.
func TestTrashOutlivesItsIndex(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	opt := Options{Capacity: 1 << 30, Now: func() time.Time { return now }}
	d := openDisk(t, dir, opt)
	row, file, gone := storetest.Segment(t, 1, 2, 1, 2*small), storetest.Segment(t, 2, 2, 1, 2*large), storetest.Segment(t, 3, 2, 1, 2*large)
	now = now.Add(24 * time.Hour)
	for _, s := range []*storetest.Sample{row, file} {
		s.Put(t, d, 0)
		if err := d.Drop(t.Context(), s.Deletion(1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Drop(t.Context(), gone.Deletion(datamesh.Final)); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(d.path(file.Key(0)))
	if err != nil {
		t.Fatal(err)
	}
	want := d.Usage()
	closeDisk(t, d)
	db := filepath.Join(dir, "node.db")
	root := rootPage(t, db, "positions")
	blank(t, db, func(n int, _ []byte) bool { return n == root })

	d = openDisk(t, dir, opt)
	checkAccount(t, d)
	if diff := cmp.Diff(want, d.Usage()); diff != "" {
		t.Errorf("usage, -want +got:\n%s", diff)
	}
	if n, err := d.Purge(t.Context(), time.Hour); n != 0 || err != nil {
		t.Errorf("purged %d, %v, and nothing had its time", n, err)
	}
	if err := d.Drop(t.Context(), row.Deletion(2)); err != nil {
		t.Fatal(err)
	}
	row.Check(t, d, 0)
	now = now.Add(2 * time.Hour)
	if n, err := d.Purge(t.Context(), time.Hour); n != 1 || err != nil {
		t.Errorf("purged %d, %v, want 1", n, err)
	}
	path := d.path(file.Key(0))
	closeDisk(t, d)
	if err := os.WriteFile(path, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	d = openDisk(t, dir, opt)
	checkAccount(t, d)
	if n, err := d.Purge(t.Context(), time.Hour); n != 1 || err != nil {
		t.Errorf("purged %d of what a purge had left, %v", n, err)
	}
	checkAccount(t, d)
}

// Words are kept in the order of their segments, whether they delete or bring
// back, until they are forgotten.
func TestWordsAreListedAndForgotten(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	words := map[datamesh.SegmentID]*datamesh.Deletion{}
	var samples []*storetest.Sample
	for seed := range uint64(9) {
		s := storetest.Segment(t, seed, 2, 1, 2*small)
		s.Put(t, d, 0)
		del := s.Deletion(1 + seed%3)
		if err := d.Drop(t.Context(), del); err != nil {
			t.Fatal(err)
		}
		samples, words[s.Segment] = append(samples, s), del
	}
	list := func() map[datamesh.SegmentID]*datamesh.Deletion {
		t.Helper()
		got := map[datamesh.SegmentID]*datamesh.Deletion{}
		var after datamesh.SegmentID
		for {
			page, err := d.Words(t.Context(), after, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range page {
				if string(w.Descriptor.Segment[:]) <= string(after[:]) {
					t.Error("the words are not in order")
				}
				after = w.Descriptor.Segment
				got[after] = w
			}
			if len(page) < 2 {
				return got
			}
		}
	}
	if diff := cmp.Diff(words, list()); diff != "" {
		t.Errorf("words, -want +got:\n%s", diff)
	}
	for i, s := range samples {
		forget := []*datamesh.Deletion{words[s.Segment]}
		if i == 8 {
			forget[0] = s.Deletion(1) // not the word that is kept
		}
		if err := d.ForgetWords(t.Context(), forget); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(words, list()); diff != "" { // each of what is here, or in the trash
		t.Errorf("words that are left, -want +got:\n%s", diff)
	}
	old := samples[1] // which was brought back
	if err := d.Drop(t.Context(), old.Deletion(1)); err != nil {
		t.Fatal(err)
	}
	old.Check(t, d, 0)
	if _, err := d.Purge(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, s := range samples {
		if err := d.Remove(t.Context(), s.Key(0)); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range samples[:8] {
		if err := d.ForgetWords(t.Context(), []*datamesh.Deletion{s.Deletion(1 + uint64(i)%3)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(); len(got) != 1 {
		t.Errorf("%d words are left, want 1", len(got))
	}
}
