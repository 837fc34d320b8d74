package store

import (
	"bytes"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
)

// ownedBy reads the list of an owner's segments, some rows at a time.
func ownedBy(t *testing.T, d *Disk, owner datamesh.OwnerKey, limit int) (all []datamesh.SegmentID, pages int) {
	t.Helper()
	for after, more := (datamesh.SegmentID{}), true; more; pages++ {
		var list []*datamesh.Descriptor
		var err error
		if list, after, more, err = d.Owned(t.Context(), owner, after, limit); err != nil {
			t.Fatal(err)
		}
		if len(list) > limit {
			t.Fatalf("%d segments, limit %d", len(list), limit)
		}
		for _, x := range list {
			all = append(all, x.Segment)
		}
	}
	return all, pages
}

// What an owner has not deleted is listed, whether shards of it are here or others
// are known to have them, and nothing of another's; each call looks at so many
// rows, whomever they are of.
func TestOwnedListsWhatIsNotDeleted(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	mine := storetest.Segment(t, 0, 2, 1, 100)
	var want []datamesh.SegmentID
	for i := range uint64(40) {
		s := storetest.Segment(t, i, 2, 1, 100)
		if i%4 == 0 { // it is his
			x, err := format.NewDescriptor(mine.Owner, 2, 1, 100, s.Descriptor.Shards)
			if err != nil {
				t.Fatal(err)
			}
			s = &storetest.Sample{Descriptor: x, Bytes: s.Bytes, Owner: mine.Owner}
		}
		if i%8 < 4 {
			if err := d.Put(t.Context(), s.Descriptor, 1, s.Bytes[1]); err != nil {
				t.Fatal(err)
			}
		} else if err := d.Report(t.Context(), []Report{{Descriptor: s.Descriptor, Holdings: []Holding{{Index: 2, Peer: datamesh.PeerID{7}}}}}); err != nil {
			t.Fatal(err)
		}
		switch {
		case i == 8 || i == 12:
			if err := d.Drop(t.Context(), s.Deletion(1)); err != nil {
				t.Fatal(err)
			}
		case i == 16: // and is brought back
			for generation := range uint64(2) {
				if err := d.Drop(t.Context(), s.Deletion(1+generation)); err != nil {
					t.Fatal(err)
				}
			}
			fallthrough
		case i%4 == 0:
			want = append(want, s.Segment)
		}
	}
	slices.SortFunc(want, func(a, b datamesh.SegmentID) int { return bytes.Compare(a[:], b[:]) })
	owner := mine.Descriptor.Owner
	got, pages := ownedBy(t, d, owner, 7)
	if diff := cmp.Diff(want, got); diff != "" || pages < 5 {
		t.Errorf("in %d pages (-want +got):\n%s", pages, diff)
	}
	if got, _ := ownedBy(t, d, owner, 1000); !slices.Equal(got, want) {
		t.Errorf("at once: %d, want %d", len(got), len(want))
	}
	if got, _ := ownedBy(t, d, datamesh.OwnerKey{9}, 7); len(got) > 0 {
		t.Errorf("of an owner of whom there is nothing: %v", got)
	}
	if list, _, more, err := d.Owned(t.Context(), owner, datamesh.SegmentID{}, 0); err != nil || more || len(list) > 0 {
		t.Errorf("no rows: %v, %v, %v", list, more, err)
	}
}
