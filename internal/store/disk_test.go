package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
)

// small and large are lengths of shards that are rows and files.
const (
	small = 3_000
	large = 100_000
)

func openDisk(t testing.TB, dir string, opt Options) *Disk {
	t.Helper()
	d, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeDisk(t, d) })
	return d
}

func closeDisk(t testing.TB, d *Disk) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// checkAccount compares the account with what is on disk, byte for byte.
func checkAccount(t testing.TB, d *Disk) {
	t.Helper()
	u := d.Usage()
	var trashed int
	row := d.index.read.QueryRow(`SELECT count(*), ifnull(sum(size), 0) FROM trash`)
	trash := int64(0)
	if err := row.Scan(&trashed, &trash); err != nil {
		t.Fatal(err)
	}
	if trash != u.Trash {
		t.Errorf("trash: %d bytes, the account has %d", trash, u.Trash)
	}
	got := Usage{Used: u.Used + u.Trash, Shards: u.Shards + trashed}
	var want Usage
	row = d.index.read.QueryRow(`SELECT count(*), ifnull(sum(length(data)), 0) FROM payloads`)
	if err := row.Scan(&want.Shards, &want.Used); err != nil {
		t.Fatal(err)
	}
	for _, path := range shardFiles(t, d.dir) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		want.Used += info.Size()
		want.Shards++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("usage, -on disk +account:\n%s", diff)
	}
	if u.Used+u.Trash+u.Reserve+u.Free != u.Capacity || u.Free < 0 || u.Reserve < 0 {
		t.Errorf("usage does not add up: %+v", u)
	}
	if temps, err := os.ReadDir(d.tempDir()); err != nil || len(temps) > 0 {
		t.Errorf("%d temporary files are left, %v", len(temps), err)
	}
}

func shardFiles(t testing.TB, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "shards"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestSizeIsWhatAShardTakes(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	a, b := storetest.Segment(t, 1, 4, 2, 4*small), storetest.Segment(t, 2, 4, 2, 4*large)
	a.Put(t, d, 0)
	b.Put(t, d, 0)
	got := d.Usage().Used
	for key, least := range map[datamesh.ShardKey]int64{a.Key(0): small, b.Key(0): large} {
		size, err := d.Size(t.Context(), key)
		if err != nil || size < least {
			t.Errorf("size: %d, %v, want at least %d", size, err, least)
		}
		got -= size
	}
	if got != 0 {
		t.Errorf("the sizes are %d bytes less than what is used", got)
	}
	if _, err := d.Size(t.Context(), a.Key(1)); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("size of what is not there: %v", err)
	}
}

func TestShardsAreThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	a, b := storetest.Segment(t, 1, 4, 2, 4*small), storetest.Segment(t, 2, 4, 2, 4*large)
	for i := range 6 {
		a.Put(t, d, i)
		b.Put(t, d, i)
	}
	if err := d.Drop(t.Context(), a.Deletion(1)); err != nil {
		t.Fatal(err)
	}
	before := d.Usage()
	closeDisk(t, d)

	d = openDisk(t, dir, Options{Capacity: before.Capacity})
	for i := range 6 {
		b.Check(t, d, i)
	}
	if err := d.Put(t.Context(), a.Descriptor, 0, a.Bytes[0]); !errors.Is(err, errs.Deleted) {
		t.Errorf("put of a deleted segment: %v", err)
	}
	if diff := cmp.Diff(before, d.Usage()); diff != "" {
		t.Errorf("usage, -before +after:\n%s", diff)
	}
	checkAccount(t, d)
}

func TestSecondOpenerIsLockedOut(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, errs.Locked) {
		t.Errorf("second open: got %v, want kind Locked", err)
	}
	closeDisk(t, d)
	openDisk(t, dir, Options{})
}

func TestClosedStoreAnswersUnavailable(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*small)
	closeDisk(t, d)
	_, _, get := d.Get(t.Context(), s.Key(0), nil)
	_, _, getRange := d.GetRange(t.Context(), s.Key(0), 0, 1)
	_, has := d.Has(t.Context(), s.Keys())
	_, list := d.List(t.Context(), datamesh.First, 1)
	_, deletion := d.Deletion(t.Context(), s.Descriptor.Segment)
	_, _, locate := d.Locate(t.Context(), s.Descriptor.Segment)
	for call, err := range map[string]error{
		"put": d.Put(t.Context(), s.Descriptor, 0, s.Bytes[0]), "get": get, "range": getRange, "has": has, "list": list,
		"drop": d.Drop(t.Context(), s.Deletion(1)), "deletion": deletion, "remove": d.Remove(t.Context(), s.Key(0)),
		"report": d.Report(t.Context(), nil), "locate": locate,
	} {
		if !errors.Is(err, errs.Unavailable) {
			t.Errorf("%s: got %v, want kind Unavailable", call, err)
		}
	}
}

func TestCloseWaitsForPutsInProgress(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 16, 16, 16*large)
	var kept [32]bool
	var wait sync.WaitGroup
	for i := range s.Bytes {
		wait.Go(func() {
			err := d.Put(t.Context(), s.Descriptor, i, s.Bytes[i])
			if kept[i] = err == nil; !kept[i] && !errors.Is(err, errs.Unavailable) {
				t.Errorf("put beside close: %v", err)
			}
		})
	}
	closeDisk(t, d)
	wait.Wait()
	d = openDisk(t, dir, Options{})
	for i := range s.Bytes {
		if kept[i] {
			s.Check(t, d, i)
		}
	}
	checkAccount(t, d)
}

func TestRemovedShardCanBePutAgain(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	for seed, size := range []int{small, large} {
		s := storetest.Segment(t, uint64(seed), 2, 1, 2*size)
		s.Put(t, d, 0)
		s.Put(t, d, 1)
		for range 2 {
			if err := d.Remove(t.Context(), s.Key(0)); err != nil {
				t.Fatal(err)
			}
			checkAccount(t, d)
		}
		if _, _, err := d.Get(t.Context(), s.Key(0), nil); !errors.Is(err, errs.FileNotFound) {
			t.Errorf("get of a removed shard: %v", err)
		}
		s.Check(t, d, 1)
		s.Put(t, d, 0)
		s.Check(t, d, 0)
		checkAccount(t, d)
	}
}

func TestHighestGenerationIsKept(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*small)
	if _, err := d.Deletion(t.Context(), s.Descriptor.Segment); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("deletion of what was not dropped: %v", err)
	}
	for _, step := range []struct{ drop, want uint64 }{{5, 5}, {3, 5}, {1 << 63, 1 << 63}, {6, 1 << 63}} {
		if err := d.Drop(t.Context(), s.Deletion(step.drop)); err != nil {
			t.Fatal(err)
		}
		got, err := d.Deletion(t.Context(), s.Descriptor.Segment)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.Deletion(step.want), got); diff != "" {
			t.Errorf("after generation %d, -want +got:\n%s", step.drop, diff)
		}
	}
}
