package object

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"datamesh/internal/cache"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/storetest"
)

// cached gives the user a cache, in which what is on the disk is written beside.
func (u *user) cached(o cache.Options) {
	u.t.Helper()
	o.TTL = time.Hour
	c, err := cache.New(o)
	if err != nil {
		u.t.Fatal(err)
	}
	u.Cache = c
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	u.t.Cleanup(func() {
		stop()
		running.Wait()
		c.Close()
	})
}

// Ranges are what the content has there, whatever the cache has of it, also while its
// files are damaged.
func TestRangesAreTheContentWhateverIsCached(t *testing.T) {
	seed := rand.Uint64()
	for name, o := range map[string]cache.Options{
		"none": {}, "tiny": {Memory: 200_000, Disk: 200_000}, "memory": {Memory: 16 << 20}, "disk": {Disk: 16 << 20}, "both": {Memory: 1 << 20, Disk: 16 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			u, id, content := ranged(t, newWorld(t, 6))
			small := noise(9, 150_000)
			other := u.put(small, options).ID
			o.Dir = filepath.Join(t.TempDir(), "cache")
			u.cached(o)
			for i := range 300 {
				n := 1 << random.IntN(21)
				from := random.IntN(rangedLen)
				if random.IntN(3) == 0 { // what may have been read before
					from = random.IntN(8) * 100_000
				}
				u.partIs(id, content, from, n)
				if i%10 == 0 {
					u.partIs(other, small, random.IntN(len(small)), n)
					u.get(other, small)
				}
				if i%20 == 0 {
					damageOne(t, o.Dir, random)
				}
			}
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
			if memory, disk := u.Cache.Usage(); memory > o.Memory || disk > o.Disk {
				t.Errorf("%d bytes in memory, %d on the disk", memory, disk)
			}
		})
	}
}

// damageOne damages some file of a cache, if there is one.
func damageOne(t *testing.T, dir string, random *rand.Rand) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "*-*"))
	if len(files) == 0 {
		return
	}
	path := files[random.IntN(len(files))]
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return // it is being removed
	}
	b[random.IntN(len(b))] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Error(err)
	}
}

// What was read a moment ago takes nothing of the mesh, and what was not takes not more
// than without a cache.
func TestACacheTakesNoRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u, id, content := ranged(t, w)
		x := newWire(w)
		o := u.over(x)
		o.partIs(id, content, 0, 1) // connects
		plain, trips := x.measured(func() { o.partIs(id, content, 100_000, 64<<10) })
		c, err := cache.New(cache.Options{Memory: 16 << 20, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		o.Cache = c
		// Of the answers to where the manifest is the last may be cut off.
		if n, took := x.measured(func() { o.partIs(id, content, 100_000, 64<<10) }); n > plain+1<<10 || took > trips || took > 3 {
			t.Errorf("with an empty cache: %d bytes in %d round trips; without %d in %d", n, took, plain, trips)
		}
		if n, took := x.measured(func() { o.partIs(id, content, 110_000, 50_000) }); n != 0 || took != 0 {
			t.Errorf("again: %d bytes in %d round trips", n, took)
		}
		if n, took := x.measured(func() { o.partIs(id, content, 190_000, 20_000) }); n == 0 || n > 100_000 || took != 1 {
			t.Errorf("a frame more: %d bytes in %d round trips, want one", n, took)
		}
		pass(time.Minute) // for which no manifest is believed
		if n, _ := x.measured(func() { o.partIs(id, content, 110_000, 50_000) }); n == 0 || n > 20_000 {
			t.Errorf("a minute later: %d bytes, want those of the manifest", n)
		}
	})
}

// A get of much leaves the cache as it is.
func TestALargeGetIsNotCached(t *testing.T) {
	u, id, content := ranged(t, newWorld(t, 6))
	u.cached(cache.Options{Memory: 16 << 20})
	u.get(id, content)
	if memory, _ := u.Cache.Usage(); memory > 16<<10 { // the manifest
		t.Errorf("%d bytes are kept", memory)
	}
	small := noise(1, 100_000)
	other := u.put(small, options).ID
	u.get(other, small)
	if memory, _ := u.Cache.Usage(); memory < int64(len(small)) {
		t.Errorf("%d bytes are kept of a small object", memory)
	}
}

// Many who want the same range at once have it fetched once. In simulated time nobody is
// late, however busy this machine is.
func TestAFrameIsFetchedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u, id, content := ranged(t, w)
		u.cached(cache.Options{Memory: 16 << 20})
		u.partIs(id, content, 0, 1) // the manifest
		before := calls(w, storetest.GetRange)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { u.partIs(id, content, 300_000, 1000) })
		}
		all.Wait()
		if n := calls(w, storetest.GetRange) - before; n != 1 {
			t.Errorf("it was fetched %d times", n)
		}
	})
}

// What its owner has deleted is not served, nor is anything without the keys, or with
// others.
func TestTheCacheServesNothingThatMustNotBeRead(t *testing.T) {
	u, id, content := ranged(t, newWorld(t, 6))
	u.cached(cache.Options{Memory: 16 << 20, Disk: 16 << 20, Dir: filepath.Join(t.TempDir(), "cache")})
	u.partIs(id, content, 0, 1000)

	var locked atomic.Bool
	keys := u.keys
	u.keys = func() (*keyring.Ring, error) {
		if locked.Load() {
			return nil, errs.New(errs.Authentication, "locked")
		}
		return keys()
	}
	locked.Store(true)
	got, _, err := u.part(id, 0, 1000)
	if wantKind(t, "locked", err, errs.Authentication); len(got) > 0 {
		t.Errorf("%d bytes were written", len(got))
	}
	locked.Store(false)

	stranger, _, err := crypt.NewIdentity([32]byte{3})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, err = u.GetRangeWith(t.Context(), id, []crypt.Identity{stranger}, func(*format.Manifest) (io.Writer, int64, int64, error) { return &out, 0, 1000, nil })
	if wantKind(t, "a stranger", err, errs.Decryption); out.Len() > 0 {
		t.Errorf("%d bytes were written", out.Len())
	}
	later, err := u.ring.Since(1)
	if err != nil {
		t.Fatal(err)
	}
	u.ring = later // as after a rotation: it is opened anew
	u.partIs(id, content, 0, 1000)

	condemned, err := u.Condemn(t.Context(), id)
	if err == nil {
		err = condemned.Delete(t.Context(), false)
	}
	if err != nil {
		t.Fatal(err)
	}
	if memory, disk := u.Cache.Usage(); memory != 0 || disk != 0 {
		t.Errorf("%d bytes in memory and %d on the disk are kept of what was deleted", memory, disk)
	}
	got, _, err = u.part(id, 0, 1000)
	if !errors.Is(err, errs.Deleted) || len(got) > 0 {
		t.Errorf("deleted: got %d bytes, %v", len(got), err)
	}
}

// What the mesh has lost meanwhile is served as long as it is there, and its manifest is
// asked for again when something is not.
func TestAManifestThatIsOfNoUseIsForgotten(t *testing.T) {
	w := newWorld(t, 6)
	u, id, content := ranged(t, w)
	u.cached(cache.Options{Memory: 16 << 20})
	u.partIs(id, content, 0, 1000)
	w.kill(w.members...)
	u.partIs(id, content, 0, 1000)
	for i := range 2 {
		if _, _, err := u.part(id, 1<<20, 1000); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%d: got %v", i, err)
		}
	}
	if _, _, err := u.part(id, 0, 1000); errs.KindOf(err) != errs.Unavailable {
		t.Error(fmt.Errorf("without a manifest: got %w", err))
	}
}
