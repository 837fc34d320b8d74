package store

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

// end is the key after all others.
var end = datamesh.ShardKey{Segment: datamesh.SegmentID(slices.Repeat([]byte{0xff}, 32)), Index: datamesh.MaxShards}

func keysOf(list []Held) (keys []datamesh.ShardKey) {
	for _, h := range list {
		keys = append(keys, h.Key())
	}
	return keys
}

func wantKeys(t *testing.T, what string, list []Held, err error, want ...datamesh.ShardKey) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(want, datamesh.ShardKey.Compare)
	if diff := cmp.Diff(want, keysOf(list), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s, -want +got:\n%s", what, diff)
	}
}

func TestRegistryIsReadInPages(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	want := map[datamesh.SegmentID][]Holding{}
	for seed := range uint64(7) {
		s := storetest.Segment(t, seed, 4, 2, 4*small)
		if seed == 6 {
			s.Put(t, d, 3) // nobody reported it
			want[s.Descriptor.Segment] = nil
			continue
		}
		report(t, d, s, Holding{0, peer(1)}, Holding{5, peer(2)}, Holding{0, peer(3)})
		want[s.Descriptor.Segment] = []Holding{{0, peer(3)}, {0, peer(1)}, {5, peer(2)}}
	}
	got := map[datamesh.SegmentID][]Holding{}
	for after := (datamesh.SegmentID{}); ; {
		page, err := d.Track(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page {
			got[s.Descriptor.Segment] = s.Holdings
		}
		if len(page) < 2 {
			break
		}
		after = page[1].Descriptor.Segment
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("registry, -want +got:\n%s", diff)
	}
}

func TestInventoryTellsWhatIsHereAndWhatPeersHave(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	a, b := storetest.Segment(t, 1, 4, 2, 4*small), storetest.Segment(t, 2, 4, 2, 4*small)
	a.Put(t, d, 0)
	a.Put(t, d, 4)
	b.Put(t, d, 1)
	list, err := d.Held(t.Context(), datamesh.First, 10)
	wantKeys(t, "held", list, err, a.Key(0), a.Key(4), b.Key(1))
	first, err := d.Held(t.Context(), datamesh.First, 1)
	wantKeys(t, "the first", first, err, keysOf(list)[0])
	rest, err := d.Held(t.Context(), keysOf(list)[0], 10)
	wantKeys(t, "those after it", rest, err, keysOf(list)[1:]...)

	report(t, d, a, Holding{0, peer(1)}, Holding{1, peer(2)})
	report(t, d, b, Holding{3, peer(1)})
	list, err = d.Reported(t.Context(), peer(1), datamesh.First, 10)
	wantKeys(t, "reported of 1", list, err, a.Key(0), b.Key(3))
}

// What a peer says of itself takes the place of what was said of it before.
func TestPeerCorrectsWhatIsSaidOfIt(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	var s []*storetest.Sample
	for seed := range uint64(4) {
		s = append(s, storetest.Segment(t, seed, 4, 2, 4*small))
	}
	slices.SortFunc(s, func(a, b *storetest.Sample) int { return a.Key(0).Compare(b.Key(0)) })
	for _, x := range s[:3] {
		report(t, d, x, Holding{0, peer(1)}, Holding{0, peer(2)})
	}
	if err := d.Drop(t.Context(), s[2].Deletion(1)); err != nil {
		t.Fatal(err)
	}
	held := []datamesh.ShardKey{s[1].Key(5), s[2].Key(0), s[3].Key(2)}
	unknown, deleted, err := d.Correct(t.Context(), peer(1), datamesh.First, end, held)
	if err != nil {
		t.Fatal(err)
	}
	if want := []datamesh.SegmentID{s[3].Descriptor.Segment}; !slices.Equal(unknown, want) {
		t.Errorf("unknown are %v, want %v", unknown, want)
	}
	if len(deleted) != 1 || deleted[0].Descriptor.Segment != s[2].Descriptor.Segment {
		t.Errorf("deleted: %v", deleted)
	}
	wantHolders(t, d, s[0], Holding{0, peer(2)})
	wantHolders(t, d, s[1], Holding{0, peer(2)}, Holding{5, peer(1)})

	// Outside of its range nothing changes.
	if _, _, err := d.Correct(t.Context(), peer(2), s[0].Key(5), s[1].Key(5), nil); err != nil {
		t.Fatal(err)
	}
	wantHolders(t, d, s[0], Holding{0, peer(2)})
	wantHolders(t, d, s[1], Holding{5, peer(1)})

	// A descriptor of which nothing is left goes.
	if _, _, err := d.Correct(t.Context(), peer(2), datamesh.First, end, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Locate(t.Context(), s[0].Descriptor.Segment); errs.KindOf(err) != errs.FileNotFound {
		t.Errorf("locate: %v", err)
	}
	for _, key := range []datamesh.ShardKey{s[0].Key(0), {Segment: s[3].Descriptor.Segment, Index: datamesh.MaxShards}} {
		_, _, err := d.Correct(t.Context(), peer(1), s[1].Key(0), s[2].Key(0), []datamesh.ShardKey{key})
		if errs.KindOf(err) != errs.Invalid {
			t.Errorf("%v in a range that it is not in: %v", key, err)
		}
	}
}

// A store that an earlier version has made gets what was added since.
func TestStoreOfAnEarlierVersionIsBroughtUpToDate(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	report(t, d, s, Holding{3, peer(1)})
	if _, err := d.index.conn.ExecContext(t.Context(), `DROP INDEX holders_by_peer`); err != nil {
		t.Fatal(err)
	}
	closeDisk(t, d)
	d = openDisk(t, dir, Options{})
	var n int
	if err := d.index.read.QueryRow(`SELECT count(*) FROM sqlite_schema WHERE name = 'holders_by_peer'`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d indices, %v", n, err)
	}
	list, err := d.Reported(t.Context(), peer(1), datamesh.First, 10)
	wantKeys(t, "reported", list, err, s.Key(3))
}

func TestForgottenHoldersLeaveTheShardsThatAreHere(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	a, b := storetest.Segment(t, 1, 4, 2, 4*small), storetest.Segment(t, 2, 4, 2, 4*small)
	a.Put(t, d, 3)
	report(t, d, a, Holding{0, peer(1)})
	report(t, d, b, Holding{0, peer(1)})
	if err := d.Forget(t.Context(), []datamesh.SegmentID{a.Segment, b.Segment}); err != nil {
		t.Fatal(err)
	}
	wantHolders(t, d, a)
	a.Check(t, d, 3)
	if _, _, err := d.Locate(t.Context(), b.Segment); errs.KindOf(err) != errs.FileNotFound {
		t.Errorf("locate: %v", err)
	}
}
