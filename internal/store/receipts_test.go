package store

import (
	"crypto/ed25519"
	"path/filepath"
	"testing"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
)

// receipt is one of a shard at that time.
func receipt(t *testing.T, s *storetest.Sample, index int, at int64) *datamesh.Receipt {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	r, err := format.SignReceipt(key, datamesh.Receipt{Segment: s.Descriptor.Segment, Index: index, Shard: s.Descriptor.Shards[index], Time: at})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func receive(t *testing.T, d *Disk, s *storetest.Sample, receipts ...*datamesh.Receipt) {
	t.Helper()
	r := Report{Descriptor: s.Descriptor, Holdings: []Holding{{0, peer(1)}}, Receipts: receipts}
	if err := d.Report(t.Context(), []Report{r}); err != nil {
		t.Fatal(err)
	}
}

func wantReceipts(t *testing.T, d *Disk, s *storetest.Sample, want ...*datamesh.Receipt) {
	t.Helper()
	got, err := d.Receipts(t.Context(), s.Descriptor.Segment)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, receipts, -want +got:\n%s", err, diff)
	}
}

func TestReceiptsAreKeptUpToALimit(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s, other := storetest.Segment(t, 1, 4, 2, 4*small), storetest.Segment(t, 2, 4, 2, 4*small)
	wantReceipts(t, d, s)
	a, b := receipt(t, s, 1, 10), receipt(t, s, 2, 5)
	receive(t, d, s, a)
	receive(t, d, s, b, a)
	receive(t, d, other, receipt(t, other, 0, 7))
	closeDisk(t, d)
	d = openDisk(t, dir, Options{})
	wantReceipts(t, d, s, b, a)
	var want []*datamesh.Receipt
	for i := range 2 * MaxReceipts {
		r := receipt(t, s, 0, int64(100+i))
		receive(t, d, s, r)
		if i >= MaxReceipts {
			want = append([]*datamesh.Receipt{r}, want...)
		}
	}
	wantReceipts(t, d, s, want...)
	wantReceipts(t, d, other, receipt(t, other, 0, 7))
	if err := d.Drop(t.Context(), s.Deletion(1)); err != nil {
		t.Fatal(err)
	}
	wantReceipts(t, d, s)
	if err := d.Forget(t.Context(), []datamesh.SegmentID{other.Descriptor.Segment}); err != nil {
		t.Fatal(err)
	}
	wantReceipts(t, d, other)
	checkAccount(t, d)
}

func TestStoreWithoutReceiptsIsGivenThem(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	closeDisk(t, d)
	execSQL(t, filepath.Join(dir, "node.db"), `DROP TRIGGER receipts_of_nothing; DROP TABLE receipts`)
	d = openDisk(t, dir, Options{})
	r := receipt(t, s, 0, 1)
	receive(t, d, s, r)
	wantReceipts(t, d, s, r)
}

// A report does not fail for want of a table that only receipts need.
func TestReportsAreEnteredWithoutTheTableOfReceipts(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	if _, err := d.index.conn.ExecContext(t.Context(), `DROP TRIGGER receipts_of_nothing; DROP TABLE receipts`); err != nil {
		t.Fatal(err)
	}
	receive(t, d, s, receipt(t, s, 0, 1))
	wantHolders(t, d, s, Holding{0, peer(1)})
}
