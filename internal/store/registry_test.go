package store

import (
	"errors"
	"sync"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func peer(n byte) datamesh.PeerID { return datamesh.PeerID{n} }

func report(t *testing.T, d *Disk, s *storetest.Sample, holdings ...Holding) {
	t.Helper()
	if err := d.Report(t.Context(), []Report{{Descriptor: s.Descriptor, Holdings: holdings}}); err != nil {
		t.Fatal(err)
	}
}

func wantHolders(t *testing.T, d *Disk, s *storetest.Sample, want ...Holding) {
	t.Helper()
	desc, got, err := d.Locate(t.Context(), s.Descriptor.Segment)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.Descriptor, desc); diff != "" {
		t.Errorf("descriptor, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("holders, -want +got:\n%s", diff)
	}
}

func TestReportedHoldersAreLocated(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	if _, _, err := d.Locate(t.Context(), s.Descriptor.Segment); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("locate of what nobody reported: %v", err)
	}
	report(t, d, s, Holding{3, peer(1)}, Holding{0, peer(2)})
	report(t, d, s, Holding{3, peer(3)}, Holding{0, peer(2)})
	closeDisk(t, d)
	d = openDisk(t, dir, Options{})
	wantHolders(t, d, s, Holding{0, peer(2)}, Holding{3, peer(3)}, Holding{3, peer(1)})
	checkAccount(t, d)
}

// A store that has shards of a segment knows its shape, though not who has
// the others.
func TestSegmentOfWhichNobodyReported(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	s.Put(t, d, 3)
	wantHolders(t, d, s)
}

func TestFourPeersReportedLastAreKept(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	for n := range byte(5) {
		report(t, d, s, Holding{0, peer(n)}, Holding{1, peer(n)})
	}
	report(t, d, s, Holding{0, peer(1)}, Holding{0, peer(9)})
	wantHolders(t, d, s,
		Holding{0, peer(9)}, Holding{0, peer(1)}, Holding{0, peer(4)}, Holding{0, peer(3)},
		Holding{1, peer(4)}, Holding{1, peer(3)}, Holding{1, peer(2)}, Holding{1, peer(1)})
}

func TestHoldersOutliveTheShardsAndNotTheSegment(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s, other := storetest.Segment(t, 1, 4, 2, 4*small), storetest.Segment(t, 2, 4, 2, 4*small)
	s.Put(t, d, 0)
	report(t, d, s, Holding{0, peer(1)})
	if err := d.Remove(t.Context(), s.Key(0)); err != nil {
		t.Fatal(err)
	}
	wantHolders(t, d, s, Holding{0, peer(1)})
	if err := d.Drop(t.Context(), s.Deletion(1)); err != nil {
		t.Fatal(err)
	}
	err := d.Report(t.Context(), []Report{
		{Descriptor: s.Descriptor, Holdings: []Holding{{0, peer(1)}}},
		{Descriptor: other.Descriptor, Holdings: []Holding{{5, peer(2)}}},
	})
	if !errors.Is(err, errs.Deleted) {
		t.Errorf("report of a deleted segment: got %v, want kind Deleted", err)
	}
	if _, _, err := d.Locate(t.Context(), s.Descriptor.Segment); !errors.Is(err, errs.Deleted) {
		t.Errorf("locate of a deleted segment: %v", err)
	}
	wantHolders(t, d, other, Holding{5, peer(2)})
}

func TestReportRefusesWhatIsWrong(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	forged := *s.Descriptor
	forged.Signature[0] ^= 1
	for what, r := range map[string]Report{
		"an index above k+m":  {Descriptor: s.Descriptor, Holdings: []Holding{{0, peer(1)}, {6, peer(1)}}},
		"an index below 0":    {Descriptor: s.Descriptor, Holdings: []Holding{{-1, peer(1)}}},
		"a forged descriptor": {Descriptor: &forged, Holdings: []Holding{{0, peer(1)}}},
	} {
		if err := d.Report(t.Context(), []Report{r}); !errors.Is(err, errs.Integrity) {
			t.Errorf("%s: got %v, want kind Integrity", what, err)
		}
	}
	if _, _, err := d.Locate(t.Context(), s.Descriptor.Segment); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("locate: %v", err)
	}
}

func TestReportsBesidePutsAndDrops(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	var wait sync.WaitGroup
	for seed := range uint64(30) {
		s := storetest.Segment(t, seed, 4, 2, 4*small)
		wait.Go(func() { report(t, d, s, Holding{0, peer(1)}, Holding{1, peer(2)}) })
		wait.Go(func() { s.Put(t, d, int(seed%6)) })
	}
	wait.Wait()
	for seed := range uint64(30) {
		s := storetest.Segment(t, seed, 4, 2, 4*small)
		wantHolders(t, d, s, Holding{0, peer(1)}, Holding{1, peer(2)})
	}
	checkAccount(t, d)
}
