package store

import (
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

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

		if err := d.Drop(t.Context(), s.Deletion(datamesh.Final)); err != nil {
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

// What a full disk is said to be reaches people who know of no shards.
func TestFullIsSaidInSizesThatPeopleRead(t *testing.T) {
	r := &room{dir: t.TempDir(), capacity: 1 << 30, reserve: 64 << 20, used: 1<<30 - 64<<20 - 1<<10}
	for what, c := range map[string]struct {
		err        error
		want, hint string
	}{
		"a full disk": {noSpaceFor(753452, 40669184, 64<<20),
			"the disk is full: 38.8 MiB are free, and 64.0 MiB are kept free", "datamesh config set store.reserve SIZE"},
		"a disk with too little room": {noSpaceFor(2<<20, 65<<20, 64<<20),
			"the disk has no room for 2.0 MiB: 65.0 MiB are free, and 64.0 MiB are kept free", "datamesh config set store.reserve SIZE"},
		"a full store": {r.fits(2 << 10),
			"the store has no room for 2.0 KiB: of 1.0 GiB it may take, 64.0 MiB are free, and 64.0 MiB are kept free", "datamesh config set store.capacity SIZE"},
	} {
		if c.err == nil || c.err.Error() != c.want || !errors.Is(c.err, errs.Full) || !strings.HasSuffix(errs.HintFor(c.err), c.hint) {
			t.Errorf("%s: got %v, hint %q, want %s, hint …%q", what, c.err, errs.HintFor(c.err), c.want, c.hint)
		}
	}
}

// TestPutsInProgressShareTheDisk claims room on the disk for two shards whose
// bytes are not written yet, and of which it has room for either.
func TestPutsInProgressShareTheDisk(t *testing.T) {
	dir := t.TempDir()
	free, err := freeSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := &room{dir: dir, capacity: math.MaxInt64, reserve: free / 2}
	if err := r.take(free / 3); err != nil {
		t.Fatal(err)
	}
	if err := r.take(free / 3); !errors.Is(err, errs.Full) {
		t.Errorf("the second: got %v, want kind Full", err)
	}
	r.written(free / 3) // to another disk, as it were
	if err := r.take(free / 3); err != nil {
		t.Error(err)
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
	there, trash := make(map[datamesh.ShardKey]bool), make(map[datamesh.ShardKey]bool)
	generation := make(map[int]uint64)
	for step := range 500 {
		n, index := random.IntN(len(samples)), random.IntN(5)
		s := samples[n]
		deleted := func() bool { return s.Deletion(generation[n]).Gone() }
		switch what := random.IntN(100); {
		case what < 60:
			err := d.Put(t.Context(), s.Descriptor, index, s.Bytes[index])
			switch {
			case err == nil && !deleted():
				there[s.Key(index)] = true
			case errors.Is(err, errs.Deleted) && deleted():
			case errors.Is(err, errs.Full) && !there[s.Key(index)]:
			default:
				t.Fatalf("step %d: put: %v", step, err)
			}
		case what < 90:
			if err := d.Remove(t.Context(), s.Key(index)); err != nil {
				t.Fatalf("step %d: remove: %v", step, err)
			}
			delete(there, s.Key(index))
		case what < 97:
			word := s.Deletion(generation[n] + uint64(random.IntN(3)))
			if random.IntN(20) == 0 {
				word = s.Deletion(datamesh.Final)
			}
			if err := d.Drop(t.Context(), word); err != nil {
				t.Fatalf("step %d: drop: %v", step, err)
			}
			if word.Generation <= generation[n] {
				break
			}
			generation[n] = word.Generation
			from, to := there, trash
			if !word.Gone() {
				from, to = trash, there
			}
			for _, key := range s.Keys() {
				if from[key] {
					to[key] = true
				}
				delete(from, key)
				if word.Final() {
					delete(trash, key)
				}
			}
		case what < 98:
			if purged, err := d.Purge(t.Context(), 0); err != nil || purged != len(trash) {
				t.Fatalf("step %d: purged %d, %v, want %d", step, purged, err, len(trash))
			}
			clear(trash)
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

// Records on segments of which nothing is here are taken while there is room,
// and those on others always.
func TestRecordsOfStrangersEndBeforeTheDisk(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	held, trashed, registered, gone := storetest.Segment(t, 1, 2, 1, 2*small), storetest.Segment(t, 2, 2, 1, 2*small), storetest.Segment(t, 3, 2, 1, 2*small), storetest.Segment(t, 4, 2, 1, 2*small)
	held.Put(t, d, 0)
	trashed.Put(t, d, 0)
	report := func(s *storetest.Sample) error {
		return d.Report(t.Context(), []Report{{Descriptor: s.Descriptor, Holdings: []Holding{{Index: 0, Peer: datamesh.PeerID{1}}}}})
	}
	drop := func(s *storetest.Sample, generation uint64) error { return d.Drop(t.Context(), s.Deletion(generation)) }
	if err := errors.Join(report(registered), drop(trashed, 1), drop(gone, 1)); err != nil {
		t.Fatal(err)
	}
	closeDisk(t, d)
	d = openDisk(t, dir, Options{Reserve: 1 << 60})
	strange := storetest.Segment(t, 5, 2, 1, 2*small)
	if err := report(strange); !errors.Is(err, errs.Full) {
		t.Errorf("report: got %v, want kind Full", err)
	}
	if err := drop(strange, 1); !errors.Is(err, errs.Full) {
		t.Errorf("drop: got %v, want kind Full", err)
	}
	if _, err := d.Deletion(t.Context(), strange.Segment); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("its word: got %v, want kind FileNotFound", err)
	}
	if err := errors.Join(report(registered), report(held), drop(trashed, 2), drop(registered, 1), drop(held, 1), drop(gone, 2), drop(gone, 3)); err != nil {
		t.Errorf("on what is known: %v", err)
	}
	checkAccount(t, d)
}

// What records may take grows with the capacity and with what is stored.
func TestRecordsHaveALimit(t *testing.T) {
	for _, c := range []struct {
		capacity, used, trash, index int64
		full                         bool
	}{
		{1 << 20, 0, 0, 64 << 20, false},
		{1 << 20, 0, 0, 64<<20 + 1, true},
		{1 << 30, 0, 0, 256 << 20, false},
		{1 << 30, 0, 0, 256<<20 + 1, true},
		{1 << 30, 100, 20, 256<<20 + 120, false},
		{1 << 30, 100, 20, 256<<20 + 121, true},
	} {
		r := &room{dir: t.TempDir(), capacity: c.capacity, used: c.used, trash: c.trash}
		if err := r.fitsRecords(c.index, 1); errors.Is(err, errs.Full) != c.full {
			t.Errorf("%+v: got %v", c, err)
		}
		if err := r.fitsRecords(c.index+max(c.capacity/4, minIndex), 2); errors.Is(err, errs.Full) != c.full {
			t.Errorf("%+v, twice as much: got %v", c, err)
		}
	}
}

// Pages of the index that are empty are no records.
func TestEmptyPagesAreNoRecords(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{Capacity: 1 << 20, Reserve: 1 << 10})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	spoil(t, d, `INSERT INTO payloads (id, data) VALUES (1, zeroblob(?))`, minIndex+2<<20)
	spoil(t, d, `DELETE FROM holdings`) // so that the log is in the index
	err := d.Report(t.Context(), []Report{{Descriptor: s.Descriptor, Holdings: []Holding{{0, peer(1)}}}})
	if !errors.Is(err, errs.Full) {
		t.Fatalf("report beside as much as there may be: got %v, want kind Full", err)
	}
	spoil(t, d, `DELETE FROM payloads`)
	report(t, d, s, Holding{0, peer(1)})
}
