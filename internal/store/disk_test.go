package store

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
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
	got := Usage{Used: u.Used, Shards: u.Shards}
	var want Usage
	row := d.index.read.QueryRow(`SELECT count(*), ifnull(sum(length(data)), 0) FROM payloads`)
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
	if u.Used+u.Reserve+u.Free != u.Capacity || u.Free < 0 || u.Reserve < 0 {
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

func TestConcurrentPutsNeverExceedTheCapacity(t *testing.T) {
	for _, size := range []int{small, large} {
		const fits = 10
		s := storetest.Segment(t, 1, 16, 16, 16*size)
		d := openDisk(t, t.TempDir(), Options{Capacity: int64(fits*(size+2_500)) + 10, Reserve: 10})
		var kept atomic.Int64
		var wait sync.WaitGroup
		for i := range s.Bytes {
			wait.Go(func() {
				switch err := d.Put(t.Context(), s.Descriptor, i, s.Bytes[i]); {
				case err == nil:
					kept.Add(1)
				case !errors.Is(err, errs.Full):
					t.Errorf("put: got %v, want kind Full", err)
				}
			})
		}
		wait.Wait()
		u := d.Usage()
		if int(kept.Load()) != u.Shards || u.Shards < fits || u.Used > u.Capacity-u.Reserve {
			t.Errorf("%d puts of %d bytes were acknowledged: %+v", kept.Load(), size, u)
		}
		checkAccount(t, d)

		if err := d.Drop(t.Context(), s.Deletion(1)); err != nil {
			t.Errorf("drop in a full store: %v", err)
		}
		checkAccount(t, d)
		storetest.Segment(t, 2, 16, 16, 16*size).Put(t, d, 0)
		checkAccount(t, d)
	}
}

func TestPutAgainInAFullStore(t *testing.T) {
	s := storetest.Segment(t, 1, 1, 1, large)
	d := openDisk(t, t.TempDir(), Options{Capacity: large * 3 / 2, Reserve: 1})
	s.Put(t, d, 0)
	if err := d.Put(t.Context(), s.Descriptor, 1, s.Bytes[1]); !errors.Is(err, errs.Full) {
		t.Errorf("put of another shard: got %v, want kind Full", err)
	}
	s.Put(t, d, 0)
	checkAccount(t, d)
}

func TestCapacityBelowWhatIsUsed(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*large)
	s.Put(t, d, 0)
	s.Put(t, d, 1)
	closeDisk(t, d)
	d = openDisk(t, dir, Options{Capacity: large, Reserve: 10})
	checkAccount(t, d)
	s.Check(t, d, 0)
	if err := d.Put(t.Context(), s.Descriptor, 2, s.Bytes[2]); !errors.Is(err, errs.Full) {
		t.Errorf("put: got %v, want kind Full", err)
	}
}

func TestReserveTakesFivePercentByDefault(t *testing.T) {
	for capacity, reserve := range map[int64]int64{1_000_000: 50_000, 100 << 30: 1 << 30} {
		if u := openDisk(t, t.TempDir(), Options{Capacity: capacity}).Usage(); u.Reserve != reserve {
			t.Errorf("reserve of %d: got %d, want %d", capacity, u.Reserve, reserve)
		}
	}
	if _, err := Open(t.TempDir(), Options{Capacity: 5, Reserve: 6}); !errors.Is(err, errs.Configuration) {
		t.Errorf("reserve above the capacity: got %v, want kind Configuration", err)
	}
}

func TestAFullDiskIsFull(t *testing.T) {
	err := &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	if got := kindOf(err); got != errs.Full {
		t.Errorf("kind of %v: got %s, want Full", err, got.Name())
	}
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

// TestAccountIsExactAtEachStep does what comes to its mind, and knows what
// should be there.
func TestAccountIsExactAtEachStep(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	opt := Options{Capacity: 40 * large, Reserve: 1000}
	d := openDisk(t, dir, opt)
	var samples []*storetest.Sample
	for i := range uint64(20) {
		samples = append(samples, storetest.Segment(t, seed+i, 3, 2, 3*[]int{small, large}[i%2]))
	}
	there := make(map[datamesh.ShardKey]bool)
	deleted := make(map[int]bool)
	for step := range 300 {
		n, index := random.IntN(len(samples)), random.IntN(5)
		s := samples[n]
		switch what := random.IntN(100); {
		case what < 60:
			err := d.Put(t.Context(), s.Descriptor, index, s.Bytes[index])
			switch {
			case err == nil && !deleted[n]:
				there[s.Key(index)] = true
			case errors.Is(err, errs.Deleted) && deleted[n]:
			case errors.Is(err, errs.Full) && !there[s.Key(index)]:
			default:
				t.Fatalf("step %d: put: %v", step, err)
			}
		case what < 90:
			if err := d.Remove(t.Context(), s.Key(index)); err != nil {
				t.Fatalf("step %d: remove: %v", step, err)
			}
			delete(there, s.Key(index))
		case what < 95:
			if err := d.Drop(t.Context(), s.Deletion(uint64(step))); err != nil {
				t.Fatalf("step %d: drop: %v", step, err)
			}
			deleted[n] = true
			for _, key := range s.Keys() {
				delete(there, key)
			}
		default:
			closeDisk(t, d)
			d = openDisk(t, dir, opt)
		}
		checkAccount(t, d)
		if got := d.Usage().Shards; got != len(there) {
			t.Fatalf("step %d: %d shards, want %d", step, got, len(there))
		}
	}
	for _, s := range samples {
		for i, key := range s.Keys() {
			if there[key] {
				s.Check(t, d, i)
			}
		}
	}
}
