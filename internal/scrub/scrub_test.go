package scrub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/store"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
)

// small and large are lengths of shards that are rows and files.
const (
	small = 3_000
	large = 100_000
)

func open(t *testing.T, dir string) *store.Disk {
	t.Helper()
	d, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeDisk(t, d) })
	return d
}

func closeDisk(t *testing.T, d *store.Disk) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// fill puts so many segments of three shards each, and returns them in the
// order of their keys.
func fill(t *testing.T, d *store.Disk, segments, length int) []*storetest.Sample {
	t.Helper()
	var all []*storetest.Sample
	for i := range segments {
		s := storetest.Segment(t, uint64(length+i), 2, 1, 2*length)
		for j := range s.Bytes {
			s.Put(t, d, j)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *storetest.Sample) int { return a.Key(0).Compare(b.Key(0)) })
	return all
}

func keysOf(all ...*storetest.Sample) (keys []datamesh.ShardKey) {
	for _, s := range all {
		keys = append(keys, s.Keys()...)
	}
	slices.SortFunc(keys, datamesh.ShardKey.Compare)
	return keys
}

func pathOf(dir string, key datamesh.ShardKey) string {
	return filepath.Join(dir, "shards", fmt.Sprintf("%x", key.Segment[:1]), fmt.Sprintf("%x-%d", key.Segment[:], key.Index))
}

// flip changes the last bit of a file, or, from the end on, another.
func flip(t *testing.T, path string, fromEnd int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-fromEnd] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// told records events.
type told struct {
	mu                   sync.Mutex // guards the rest while a Scrub runs
	read                 int
	rotten, mended, kept []datamesh.ShardKey
	passed               []Result
	failed               []error
}

func (x *told) events() Events {
	add := func(to *[]datamesh.ShardKey) func(datamesh.ShardKey, error) {
		return func(key datamesh.ShardKey, _ error) { record(&x.mu, to, key) }
	}
	return Events{Read: func(n int) { x.read += n }, Rotten: add(&x.rotten), Mended: add(&x.mended), Kept: add(&x.kept),
		Passed: func(r Result) { record(&x.mu, &x.passed, r) }, Failed: func(err error) { record(&x.mu, &x.failed, err) }}
}

func record[T any](mu *sync.Mutex, to *[]T, v T) {
	mu.Lock()
	defer mu.Unlock()
	*to = append(*to, v)
}

func recorded[T any](mu *sync.Mutex, from *[]T) []T {
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(*from)
}

// seen is a store that records what is read of it, and fails as fail says.
type seen struct {
	*store.Disk
	mu   sync.Mutex // guards keys while a Scrub runs
	keys []datamesh.ShardKey
	fail func(key datamesh.ShardKey) error
}

func (s *seen) Verify(ctx context.Context, key datamesh.ShardKey, buf []byte) ([]byte, error) {
	record(&s.mu, &s.keys, key)
	if s.fail != nil {
		if err := s.fail(key); err != nil {
			return nil, err
		}
	}
	return s.Disk.Verify(ctx, key, buf)
}

func now(t *testing.T, s *Scrub) Result {
	t.Helper()
	r, err := s.Now(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// counts returns a result without what it lists, as a text.
func counts(r Result) string {
	return fmt.Sprintf("%d shards, %d dropped, %d mended, %d kept", r.Shards, r.Dropped, r.Mended, r.Kept)
}

func wantKeys(t *testing.T, what string, want, got []datamesh.ShardKey) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestRotIsFoundAndDropped(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	files, rows := fill(t, d, 3, large), fill(t, d, 2, small)
	closeDisk(t, d)
	rotten := []datamesh.ShardKey{files[0].Key(1), files[2].Key(0), rows[1].Key(2)}
	slices.SortFunc(rotten, datamesh.ShardKey.Compare)
	flip(t, pathOf(dir, files[0].Key(1)), 1)
	if err := os.Remove(pathOf(dir, files[2].Key(2))); err != nil { // which the store forgets by itself
		t.Fatal(err)
	}
	db, err := os.ReadFile(filepath.Join(dir, "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	db = bytes.ReplaceAll(db, rows[1].Bytes[2][:100], make([]byte, 100))
	if err := os.WriteFile(filepath.Join(dir, "node.db"), db, 0o600); err != nil {
		t.Fatal(err)
	}
	d = open(t, dir)
	if err := os.Remove(pathOf(dir, files[2].Key(0))); err != nil { // which it does not know yet
		t.Fatal(err)
	}
	flip(t, pathOf(dir, files[1].Key(0)), large+1) // its outboard

	var x told
	s := New(d, Options{Events: x.events()})
	var progress int
	r, err := s.Now(t.Context(), func(n int) { progress += n })
	if err != nil {
		t.Fatal(err)
	}
	if got, want := counts(r), "14 shards, 3 dropped, 1 mended, 0 kept"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	wantKeys(t, "rotten", rotten, x.rotten)
	wantKeys(t, "mended", []datamesh.ShardKey{files[1].Key(0)}, x.mended)
	for _, bad := range r.Damaged {
		want := store.Dropped
		if bad.Key == files[1].Key(0) {
			want = store.Mended
		}
		if bad.Fate != want || !errors.Is(bad.Reason, errs.Integrity) {
			t.Errorf("%v: got %v, %v, want %v", bad.Key, bad.Fate, bad.Reason, want)
		}
	}
	if len(r.Damaged) != 4 || len(x.passed) != 1 || len(x.failed) > 0 {
		t.Errorf("%d damaged, passed %d times, failed %v", len(r.Damaged), len(x.passed), x.failed)
	}
	if least := int64(7*large + 5*small); r.Bytes < least || int64(x.read) != r.Bytes || int64(progress) != r.Bytes {
		t.Errorf("read %d bytes, told of %d and %d, want the same and at least %d", r.Bytes, x.read, progress, least)
	}
	for _, key := range rotten {
		if _, err := d.Size(t.Context(), key); !errors.Is(err, errs.FileNotFound) {
			t.Errorf("%v is still there: %v", key, err)
		}
	}
	if got, want := counts(now(t, s)), "11 shards, 0 dropped, 0 mended, 0 kept"; got != want {
		t.Errorf("the second time: got %s, want %s", got, want)
	}
}

// A shard that reads well at the second time was misread.
func TestShardThatIsMisreadOnceStays(t *testing.T) {
	d := open(t, t.TempDir())
	files := fill(t, d, 1, large)
	misread := 0
	inner := &seen{Disk: d, fail: func(key datamesh.ShardKey) error {
		if key == files[0].Key(1) {
			misread++
			return errs.New(errs.Integrity, "misread")
		}
		return nil
	}}
	var x told
	if got, want := counts(now(t, New(inner, Options{Events: x.events()}))), "3 shards, 0 dropped, 0 mended, 0 kept"; got != want || misread != 1 {
		t.Errorf("got %s, misread %d times, want %s", got, misread, want)
	}
	for i := range files[0].Bytes {
		files[0].Check(t, d, i)
	}
	if len(x.rotten)+len(x.kept) > 0 {
		t.Errorf("told of %v, %v", x.rotten, x.kept)
	}
}

func TestShardThatCannotBeReadStaysAndEndsNoPass(t *testing.T) {
	d := open(t, t.TempDir())
	files := fill(t, d, 2, large)
	bad := files[0].Key(1)
	for _, kind := range []errs.Kind{errs.IO, errs.Database, errs.Unavailable} {
		inner := &seen{Disk: d, fail: func(key datamesh.ShardKey) error {
			if key == bad {
				return errs.New(kind, "it cannot be read")
			}
			return nil
		}}
		var x told
		r := now(t, New(inner, Options{Events: x.events()}))
		if got, want := counts(r), "6 shards, 0 dropped, 0 mended, 1 kept"; got != want {
			t.Errorf("%v: got %s, want %s", kind, got, want)
		}
		wantKeys(t, "kept", []datamesh.ShardKey{bad}, x.kept)
		wantKeys(t, "read", keysOf(files...), inner.keys)
		if len(r.Damaged) != 1 || r.Damaged[0].Fate != store.Kept || !errors.Is(r.Damaged[0].Reason, kind) {
			t.Errorf("%v: damaged: %+v", kind, r.Damaged)
		}
		files[0].Check(t, d, 1)
	}
}

// TestListOfDamageIsBounded has more damage than a result lists.
func TestListOfDamageIsBounded(t *testing.T) {
	s := New(nil, Options{})
	var r Result
	for range MaxDamaged + 5 {
		s.damaged(&r, Damage{}, nil)
	}
	if len(r.Damaged) != MaxDamaged {
		t.Errorf("%d are listed, want %d", len(r.Damaged), MaxDamaged)
	}
}

// A background is a Scrub that runs until stop is called.
type background struct {
	*Scrub
	store *seen
	told  told
	stop  func()
}

// run scrubs a store in the background of a bubble.
func run(t *testing.T, d *store.Disk, opt Options) *background {
	t.Helper()
	b := &background{store: &seen{Disk: d}}
	opt.Events = b.told.events()
	b.Scrub = New(b.store, opt)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	b.stop = func() {
		t.Helper()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	}
	return b
}

// seen returns the shards that were read, passes those that have ended, and
// failures what could not be done.
func (b *background) seen() []datamesh.ShardKey { return recorded(&b.store.mu, &b.store.keys) }
func (b *background) passes() []Result          { return recorded(&b.told.mu, &b.told.passed) }
func (b *background) failures() []error         { return recorded(&b.told.mu, &b.told.failed) }

// after waits, in the time of the bubble, and until all goroutines wait.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

const day = 24 * time.Hour

func TestRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		fill(t, d, 20, large)
		const rate = 200_000 // two files in a second
		began := time.Now()
		s := New(d, Options{Rate: rate})
		r := now(t, s)
		took, want := time.Since(began), time.Duration(float64(r.Bytes)/rate*float64(time.Second))
		if took > want || took < want-2*leastWait {
			t.Errorf("%d bytes in %v, want %v", r.Bytes, took, want)
		}

		rows := fill(t, d, 50, small)
		b := run(t, d, Options{Rate: rate, Interval: day})
		began = s.Ended().Add(day)
		after(day + 5*time.Minute)
		b.stop()
		if len(b.passes()) != 1 {
			t.Fatalf("passed %d times, want once", len(b.passes()))
		}
		r = b.passes()[0]
		counted := r.Bytes + int64(3*len(rows)*(leastRead-small)) // a row counts as what a disk reads
		ended := began.Add(time.Duration(float64(counted) / rate * float64(time.Second)))
		if got := b.Ended(); got.After(ended.Add(time.Second)) || got.Before(ended.Add(-2*time.Second)) {
			t.Errorf("%d bytes until %v, want %v", counted, got.Sub(began), ended.Sub(began))
		}
		if s := New(d, Options{}); s.pace.after(time.Now(), 1<<40) != 0 {
			t.Error("without a rate there is a wait")
		}
	})
}

func TestPaceSavesUpShortWaitsAndNoIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace{rate: 1 << 20}
		began := time.Now()
		for range 1024 {
			after(p.after(time.Now(), 1<<10)) // a millisecond each
		}
		if took := time.Since(began); took > time.Second || took < time.Second-leastWait {
			t.Errorf("1 MiB in small pieces took %v, want 1s", took)
		}
		began = time.Now()
		after(10 * time.Second)
		if wait := p.after(began, 1<<20); wait != 0 {
			t.Errorf("a slow read is followed by a wait of %v", wait)
		}
		if wait := p.after(time.Now(), 1<<20); wait != time.Second {
			t.Errorf("after a slow read the next one takes %v, want 1s", wait)
		}
	})
}

// A shard that was not read as the pass was interrupted is the first to come.
func TestShardThatWasInterruptedIsReadAgain(t *testing.T) {
	d := open(t, t.TempDir())
	all := keysOf(fill(t, d, 1, large)...)
	ctx, cancel := context.WithCancel(t.Context())
	s := New(&seen{Disk: d, fail: func(key datamesh.ShardKey) error {
		if key == all[1] {
			cancel()
		}
		return ctx.Err()
	}}, Options{Interval: day})
	if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("run: %v", err)
	}
	next := New(d, Options{})
	next.load(t.Context())
	if next.at.after != all[0] {
		t.Errorf("the position is %v, want %v", next.at.after, all[0])
	}
}

// TestPassGoesOnWhereItWas interrupts a pass and opens the store anew.
func TestPassGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := open(t, dir)
		all := keysOf(fill(t, d, 10, large)...)
		opt := Options{Rate: large, Interval: day} // a little less than a file in a second
		first := run(t, d, opt)
		after(10 * time.Second)
		first.stop()
		closeDisk(t, d)
		n := len(first.seen())
		if n < 8 || n > 12 {
			t.Fatalf("%d shards were read in 10 s", n)
		}
		if !first.Ended().IsZero() || len(first.passes()) > 0 {
			t.Error("the pass is said to have ended")
		}

		d = open(t, dir)
		second := run(t, d, opt)
		after(time.Minute)
		wantKeys(t, "read by both", all, slices.Concat(first.seen(), second.seen()))
		if len(second.passes()) != 1 {
			t.Errorf("passed %d times, want once", len(second.passes()))
		}
		second.stop()
	})
}

// A pass that is killed goes on where it was a minute before.
func TestPositionIsKeptEachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		all := keysOf(fill(t, d, 50, large)...)
		b := run(t, d, Options{Rate: large, Interval: day})
		after(70 * time.Second)
		killed := New(&seen{Disk: d}, Options{})
		killed.load(t.Context())
		at := slices.Index(all, killed.at.after)
		if n := len(b.seen()); at < n-15 || at > n-5 || n > 75 {
			t.Errorf("the position is that of shard %d, when %d are read", at, n)
		}
		b.stop()
	})
}

// TestPassWaitsForTheInterval opens the store anew between two passes.
func TestPassWaitsForTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := open(t, dir)
		all := keysOf(fill(t, d, 2, small)...)
		opt := Options{Interval: 7 * day}
		b := run(t, d, opt)
		synctest.Wait()
		wantKeys(t, "read at once", all, b.seen())
		ended := b.Ended()
		if ended.IsZero() || time.Since(ended) > time.Second {
			t.Errorf("ended %v, want now", ended)
		}
		after(3 * day)
		b.stop()
		closeDisk(t, d)
		wantKeys(t, "read before the interval is over", all, b.seen())

		d = open(t, dir)
		b = run(t, d, opt)
		after(4*day - time.Minute)
		if len(b.seen()) > 0 || !b.Ended().Equal(ended) {
			t.Errorf("%d shards were read before the interval was over; the last pass ended %v, want %v", len(b.seen()), b.Ended(), ended)
		}
		after(time.Minute)
		wantKeys(t, "read when it is over", all, b.seen())
		after(7 * day)
		wantKeys(t, "read after another", slices.Concat(all, all), b.seen())
		b.stop()
	})
}

// A clock that was set back puts a pass off by no more than the interval.
func TestClockThatWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		p := position{after: datamesh.First, ended: time.Now().Add(365 * day)}
		if err := d.SetPosition(t.Context(), name, p.encode()); err != nil {
			t.Fatal(err)
		}
		s := New(d, Options{Interval: day})
		s.load(t.Context())
		if wait := s.due(); wait != day {
			t.Errorf("waits for %v, want %v", wait, day)
		}
	})
}

// TestNowTakesTheTurnOfThePass asks for a pass while one goes on slowly.
func TestNowTakesTheTurnOfThePass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		all := keysOf(fill(t, d, 10, large)...)
		b := run(t, d, Options{Rate: large, Interval: day})
		after(5 * time.Second)
		before := len(b.seen())

		ctx, cancel := context.WithCancel(t.Context())
		var part Result
		gaveUp := make(chan error)
		go func() {
			var err error
			part, err = b.Now(ctx, nil)
			gaveUp <- err
		}()
		after(10 * time.Second)
		if _, err := b.Now(t.Context(), nil); !errors.Is(err, errs.Locked) || errs.HintFor(err) == errs.HintFor(errs.Locked) {
			t.Errorf("a second call: %v, want kind Locked", err)
		}
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("a call that was given up: %v", err)
		}
		after(5 * time.Second)
		during := before + int(part.Shards)
		if part.Shards < 5 {
			t.Errorf("who gave up has read %d shards in 10 s", part.Shards)
		}
		wantKeys(t, "read by who gave up", all[:part.Shards], b.seen()[before:during])
		wantKeys(t, "read in the background again", all[before:before+len(b.seen())-during], b.seen()[during:])
		if len(b.passes()) > 0 {
			t.Error("a pass is said to have ended")
		}

		before = len(b.seen())
		if got := now(t, b.Scrub); got.Shards != int64(len(all)) {
			t.Errorf("%d shards, want %d", got.Shards, len(all))
		}
		after(day - time.Minute)
		wantKeys(t, "read until the interval is over", all, b.seen()[before:])
		if len(b.passes()) != 1 {
			t.Errorf("passed %d times, want once", len(b.passes()))
		}
		after(5 * time.Minute)
		wantKeys(t, "read in all", slices.Concat(all, all), b.seen()[before:])
		b.stop()
	})
}

func TestPassThatCannotListIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		closeDisk(t, d)
		b := run(t, d, Options{Interval: day})
		after(2*failPause + failPause/2)
		if n := len(b.failures()); n != 4 { // the position, and three tries
			t.Errorf("failed %d times: %v", n, b.failures())
		}
		if _, err := b.Now(t.Context(), nil); !errors.Is(err, errs.Unavailable) {
			t.Errorf("now: %v", err)
		}
		b.stop()
	})
}

func TestPositionThatMakesNoSenseBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		all := keysOf(fill(t, d, 1, small)...)
		if err := d.SetPosition(t.Context(), name, []byte("nonsense")); err != nil {
			t.Fatal(err)
		}
		b := run(t, d, Options{Interval: day})
		synctest.Wait()
		wantKeys(t, "read", all, b.seen())
		if len(b.failures()) != 1 || !errors.Is(b.failures()[0], errs.Serialization) {
			t.Errorf("failed: %v", b.failures())
		}
		b.stop()
	})
}
