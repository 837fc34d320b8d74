package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

// TestDropOnAFullDisk has others fill the disk to the last byte, again and
// again, while everything is dropped, one half of it after a restart.
func TestDropOnAFullDisk(t *testing.T) {
	for _, size := range []int{100, small, 60_000, large} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			disk := storetest.SmallDisk(t)
			dir, opt := filepath.Join(disk, "store"), Options{Reserve: 8 << 20}
			d := openDisk(t, dir, opt)
			var kept []*storetest.Sample
			for seed := range uint64(400) {
				s := storetest.Segment(t, seed, 1, 0, size)
				if d.Put(t.Context(), s.Descriptor, 0, s.Bytes[0]) != nil {
					break // it is full
				}
				kept = append(kept, s)
			}
			for i, s := range kept {
				if i == len(kept)/2 {
					closeDisk(t, d)
					storetest.FillDisk(disk)
					d = openDisk(t, dir, opt)
				}
				storetest.FillDisk(disk)
				if err := d.Drop(t.Context(), s.Deletion(1)); err != nil {
					t.Fatalf("drop %d of %d: %v", i, len(kept), err)
				}
			}
			checkAccount(t, d)
			closeDisk(t, d)
		})
	}
}

// What others fill the disk with counts as taken in what is offered, and in no
// account.
func TestOfferIsWhatTheDiskHasRoomFor(t *testing.T) {
	disk := storetest.SmallDisk(t)
	d := openDisk(t, filepath.Join(disk, "store"), Options{Capacity: 12 << 20, Reserve: 1 << 20})
	s := storetest.Segment(t, 1, 1, 0, large)
	s.Put(t, d, 0)
	used := d.Usage().Used
	check := func(taken int64) {
		t.Helper()
		if c, n := d.Offer(); c != 11<<20 || n != taken || d.Usage().Used != used {
			t.Errorf("of %d bytes %d are taken, want %d, and %d are used", c, n, taken, d.Usage().Used)
		}
	}
	check(used)
	storetest.FillDisk(disk)
	check(11 << 20)
	files, err := filepath.Glob(filepath.Join(disk, "others*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the disk is filled by %v, %v", files, err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	check(used)
	closeDisk(t, d)
}

// TestCorrectionOnAFullDisk has a peer take back what it has said when others
// have filled the disk. What it has besides does not take the room that is
// kept for drops.
func TestCorrectionOnAFullDisk(t *testing.T) {
	disk := storetest.SmallDisk(t)
	d := openDisk(t, filepath.Join(disk, "store"), Options{Reserve: 8 << 20})
	var reports []Report
	var keys []datamesh.ShardKey
	var samples []*storetest.Sample
	for seed := range uint64(200) {
		s := storetest.Segment(t, seed, 4, 2, 4*small)
		samples, keys = append(samples, s), append(keys, s.Keys()...)
		reports = append(reports, Report{Descriptor: s.Descriptor, Holdings: []Holding{{0, peer(1)}, {1, peer(1)}}})
	}
	if err := d.Report(t.Context(), reports); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(keys, datamesh.ShardKey.Compare)
	for n := range 3 { // again, when what was freed is taken
		storetest.FillDisk(disk)
		var fewer []datamesh.ShardKey // each of a segment that is known
		for i, key := range keys {
			if key.Index == 0 && i%7 >= n {
				fewer = append(fewer, key)
			}
		}
		if _, _, err := d.Correct(t.Context(), peer(1), datamesh.First, end, fewer); err != nil {
			t.Fatalf("fewer on a full disk: %v", err)
		}
		list, err := d.Reported(t.Context(), peer(1), datamesh.First, len(keys))
		wantKeys(t, "reported of 1", list, err, fewer...)
	}
	storetest.FillDisk(disk)
	list, err := d.Reported(t.Context(), peer(1), datamesh.First, len(keys))
	if err != nil {
		t.Fatal(err)
	}
	gone := list[0].Key()
	_, _, err = d.Correct(t.Context(), peer(1), gone, end, keys[slices.Index(keys, gone)+1:])
	if errs.KindOf(err) != errs.Full {
		t.Errorf("more on a full disk: got %v, want kind Full", err)
	}
	list, err = d.Reported(t.Context(), peer(1), datamesh.First, len(keys))
	if err != nil || slices.ContainsFunc(list, func(h Held) bool { return h.Index != 0 }) {
		t.Errorf("more was entered: %v, %v", keysOf(list), err)
	}
	known := map[datamesh.SegmentID]bool{}
	for _, h := range list {
		known[h.Descriptor.Segment] = true
	}
	for _, s := range samples[:40] {
		storetest.FillDisk(disk)
		err := d.Drop(t.Context(), s.Deletion(1))
		if known[s.Segment] && err != nil || !known[s.Segment] && errs.KindOf(err) != errs.Full {
			t.Fatalf("drop, of a segment that is known %t: %v", known[s.Segment], err)
		}
	}
}

// TestRecordsOnAFullDisk has others fill the disk to the last byte. An owner can
// still write what supersedes as much as it takes, and nothing that was taken is
// lost by what is not.
func TestRecordsOnAFullDisk(t *testing.T) {
	disk := storetest.SmallDisk(t)
	dir, opt := filepath.Join(disk, "store"), Options{Reserve: 8 << 20}
	d := openDisk(t, dir, opt)
	payload := make([]byte, 3000)
	for seq := range uint64(40) {
		putRecord(t, d, errs.Other, logged(t, 1, 1, seq+1, 0, payload))
	}
	closeDisk(t, d)
	storetest.FillDisk(disk)
	d = openDisk(t, dir, opt)
	storetest.FillDisk(disk)
	putRecord(t, d, errs.Full, logged(t, 1, 1, 41, 0, payload))
	putRecord(t, d, errs.Full, logged(t, 2, 1, 1, 0, payload))
	if n := len(recordsIn(t, d)); n != 40 {
		t.Fatalf("%d records are left of 40", n)
	}
	var last *datamesh.Record
	for seq := range uint64(40) {
		storetest.FillDisk(disk)
		last = logged(t, 1, 1, 41+seq, 40+seq, payload)
		putRecord(t, d, errs.Other, last)
	}
	wantRecords(t, "in the end", d, last)
	closeDisk(t, d)
}

// An upgrade for which the disk has no room says so before it takes what there is, and
// is done when there is more.
func TestUpgradeOnAFullDisk(t *testing.T) {
	of, first, deleted, third := earlier(t)
	disk := storetest.SmallDisk(t)
	dir := filepath.Join(disk, "store")
	if err := os.CopyFS(dir, os.DirFS(of)); err != nil {
		t.Fatal(err)
	}
	spare := filepath.Join(dir, "node.spare") // what an Open itself needs
	if err := os.WriteFile(spare, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	storetest.FillDisk(disk)
	for range 2 {
		_, err := Open(dir, Options{})
		if !errors.Is(err, errs.Full) || !strings.Contains(errs.HintFor(err), "KiB") {
			t.Fatalf("got %v, hint %q, want kind Full and how much it takes", err, errs.HintFor(err))
		}
	}
	others, err := filepath.Glob(filepath.Join(disk, "others*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range others {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	closeDisk(t, wantEarlier(t, dir, first, deleted, third))
}
