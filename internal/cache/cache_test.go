package cache

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// A sample is a frame as it is fetched, which is the only one of its segment.
type sample struct {
	Frame
	sealed, text []byte
}

func newSample(seed uint64, n int) sample {
	text := make([]byte, n)
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	rand.NewChaCha8(key).Read(text)
	buf := make([]byte, crypt.SealedLen(n))
	copy(buf, text)
	k, sealed := crypt.Seal(buf, n)
	return sample{Frame{Segment: datamesh.SegmentID(key), Key: k, Length: n, Last: true}, sealed, text}
}

const full = datamesh.FrameContent

// A world is a cache, and what it has told.
type world struct {
	*Cache
	t               *testing.T
	opt             Options
	memory, disk    atomic.Int64 // found
	missed, damaged atomic.Int64
	emptied         atomic.Int64
	noRoom          error
	used            atomic.Int64 // that who is asked for room was told last
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	w := &world{t: t, opt: o}
	w.opt.TTL = time.Hour
	if o.Disk > 0 && o.Dir == "" {
		w.opt.Dir = filepath.Join(t.TempDir(), "cache")
	}
	w.opt.Room = func(used int64) error { w.used.Store(used); return w.noRoom }
	w.opt.Events = Events{
		Found: func(where string) {
			if where == Memory {
				w.memory.Add(1)
			} else {
				w.disk.Add(1)
			}
		},
		Missed:  func(string) { w.missed.Add(1) },
		Damaged: func() { w.damaged.Add(1) },
		Full:    func(error) { w.emptied.Add(1) },
	}
	w.begin()
	return w
}

// begin opens the cache as another process would.
func (w *world) begin() {
	w.t.Helper()
	c, err := New(w.opt)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Cache = c
	w.t.Cleanup(c.Close)
}

// flush writes what waits for it, as Run does.
func (w *world) flush() {
	for {
		select {
		case s := <-w.Cache.disk.queue:
			w.Cache.disk.write(s)
		default:
			return
		}
	}
}

// add has a frame come from the mesh.
func (w *world) add(s sample) {
	w.t.Helper()
	text, err := w.Open(s.Frame, slices.Clone(s.sealed), w.Moment())
	if err != nil || !bytes.Equal(text, s.text) {
		w.t.Fatalf("got %d bytes, %v", len(text), err)
	}
	clear(text) // the buffer is another's again
	if w.Cache != nil && w.Cache.disk != nil {
		w.flush()
	}
}

// has reports whether a frame is there, which must be the right one then.
func (w *world) has(s sample) bool {
	w.t.Helper()
	text, ok := w.Frame(s.Frame, w.Moment())
	if ok && !bytes.Equal(text, s.text) {
		w.t.Fatal("the cache has other bytes")
	}
	return ok
}

func (w *world) files() (names []string, size int64) {
	w.t.Helper()
	entries, err := os.ReadDir(w.opt.Dir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			w.t.Fatal(err)
		}
		names = append(names, e.Name())
		size += (info.Size() + block - 1) / block * block
	}
	return names, size
}

func TestWhatWasReadIsThereAgain(t *testing.T) {
	for name, o := range map[string]Options{"memory": {Memory: 1 << 20}, "disk": {Disk: 1 << 20}, "both": {Memory: 1 << 20, Disk: 1 << 20}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			for _, n := range []int{1, 1000, full} {
				s := newSample(uint64(n), n)
				if w.has(s) {
					t.Errorf("%d bytes are there before", n)
				}
				if w.add(s); !w.has(s) {
					t.Errorf("%d bytes are not there", n)
				}
			}
			s := newSample(1, 1)
			broken := slices.Clone(s.sealed)
			broken[0] ^= 1
			other := newSample(9, 1)
			if _, err := w.Open(other.Frame, broken, w.Moment()); !errors.Is(err, errs.Integrity) {
				t.Errorf("got %v, want Integrity", err)
			}
			if w.has(other) {
				t.Error("what did not open is there")
			}
		})
	}
}

// Whoever has another key, or takes the segment for another length, is not served.
func TestAFrameIsServedToWhoNamesItRightly(t *testing.T) {
	for name, o := range map[string]Options{"memory": {Memory: 1 << 20}, "disk": {Disk: 1 << 20}} {
		w := newWorld(t, o)
		s := newSample(1, 1000)
		for what, change := range map[string]func(*Frame){
			"key": func(f *Frame) { f.Key[0] ^= 1 }, "length": func(f *Frame) { f.Length-- }, "last": func(f *Frame) { f.Last = false }, "index": func(f *Frame) { f.Index++ },
		} {
			w.add(s)
			f := s.Frame
			change(&f)
			if _, ok := w.Frame(f, w.Moment()); ok {
				t.Errorf("%s: another %s is served", name, what)
			}
		}
	}
}

func TestTiersStayWithinTheirBytes(t *testing.T) {
	w := newWorld(t, Options{Memory: 1 << 20, Disk: 2 << 20})
	for i := range 200 {
		w.add(newSample(uint64(i), full-i*100))
		w.KeepObject(datamesh.ObjectID{byte(i)}, Reader{}, &Object{Manifest: &format.Manifest{Inline: make([]byte, 10_000)}}, w.Moment())
		memory, disk := w.Usage()
		_, size := w.files()
		if memory > 1<<20 || disk > 2<<20 || size > 2<<20 {
			t.Fatalf("after %d: %d bytes in memory, %d on the disk, in files of %d", i, memory, disk, size)
		}
	}
	if memory, disk := w.Usage(); memory < 1<<19 || disk < 1<<20 {
		t.Errorf("%d bytes in memory, %d on the disk: little is used", memory, disk)
	}
	tiny := newWorld(t, Options{Memory: 1000, Disk: 1000})
	s := newSample(1, full)
	if tiny.add(s); tiny.has(s) {
		t.Error("a frame fits into 1,000 bytes")
	}
	if names, _ := tiny.files(); len(names) > 0 {
		t.Errorf("files %v", names)
	}
}

// What is read often stays, however much is read once.
func TestAScanDoesNotFlushWhatIsHot(t *testing.T) {
	for name, o := range map[string]Options{"memory": {Memory: 4 << 20}, "disk": {Disk: 4 << 20}} {
		w := newWorld(t, o)
		hot := make([]sample, 20)
		for i := range hot {
			hot[i] = newSample(uint64(i), full)
			w.add(hot[i])
		}
		for range 5 {
			for _, s := range hot {
				w.has(s)
			}
		}
		for i := range 500 {
			w.add(newSample(uint64(1000+i), full))
		}
		there := 0
		for _, s := range hot {
			if w.has(s) {
				there++
			}
		}
		if there < len(hot)*9/10 {
			t.Errorf("%s: %d of %d are there after a scan", name, there, len(hot))
		}
	}
}

func TestDamagedFilesAreDropped(t *testing.T) {
	for name, damage := range map[string]func(path string, b []byte) error{
		"flipped":   func(path string, b []byte) error { b[len(b)/2] ^= 1; return os.WriteFile(path, b, 0o600) },
		"cut":       func(path string, b []byte) error { return os.WriteFile(path, b[:len(b)-1], 0o600) },
		"longer":    func(path string, b []byte) error { return os.WriteFile(path, append(b, 0), 0o600) },
		"empty":     func(path string, b []byte) error { return os.Truncate(path, 0) },
		"exchanged": func(path string, b []byte) error { return os.WriteFile(path, newSample(2, 1000).sealed, 0o600) },
	} {
		w := newWorld(t, Options{Disk: 1 << 20})
		s := newSample(1, 1000)
		w.add(s)
		path := filepath.Join(w.opt.Dir, s.name().String())
		b, err := os.ReadFile(path)
		if err == nil {
			err = damage(path, b)
		}
		if err != nil {
			t.Fatal(err)
		}
		if w.has(s) || w.damaged.Load() != 1 {
			t.Errorf("%s: it is served, or %d times found damaged", name, w.damaged.Load())
		}
		if names, _ := w.files(); len(names) > 0 {
			t.Errorf("%s: it is there still: %v", name, names)
		}
		if w.add(s); !w.has(s) {
			t.Errorf("%s: it is not there again", name)
		}
	}
	w := newWorld(t, Options{Disk: 1 << 20})
	s := newSample(1, 1000)
	w.add(s)
	if err := os.RemoveAll(w.opt.Dir); err != nil {
		t.Fatal(err)
	}
	if w.has(s) || w.damaged.Load() != 0 {
		t.Error("a file that somebody has removed is served, or called damaged")
	}
	if w.add(s); !w.has(s) {
		t.Error("it is not there again, in a directory that is made anew")
	}
	if err := errors.Join(os.RemoveAll(w.opt.Dir), os.WriteFile(w.opt.Dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	w.has(s) // it is gone
	w.add(s)
	if w.add(s); w.has(s) || w.emptied.Load() != 1 {
		t.Errorf("it is there without a directory, or that was told %d times", w.emptied.Load())
	}
}

// No content lies open in a file, nor can others read one.
func TestFilesAreSealed(t *testing.T) {
	w := newWorld(t, Options{Memory: 1 << 20, Disk: 1 << 20})
	s := newSample(1, 1000)
	w.add(s)
	names, _ := w.files()
	if len(names) != 1 {
		t.Fatalf("files %v", names)
	}
	b, err := os.ReadFile(filepath.Join(w.opt.Dir, names[0]))
	if err != nil || !bytes.Equal(b, s.sealed) || bytes.Contains(b, s.text[:32]) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if info, err := os.Stat(filepath.Join(w.opt.Dir, names[0])); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestADiskWithoutRoomIsLeft(t *testing.T) {
	w := newWorld(t, Options{Disk: 1 << 20})
	s := newSample(1, 1000)
	w.add(s)
	if !w.Cache.disk.look() || !w.has(s) {
		t.Error("it is not there while there is room")
	}
	if w.used.Load() < 1000 {
		t.Errorf("who is asked for room is told of %d bytes", w.used.Load())
	}
	w.noRoom = errs.New(errs.Full, "little is left")
	if w.Cache.disk.look() || w.has(s) || w.emptied.Load() != 1 {
		t.Error("it is there without room")
	}
	if names, _ := w.files(); len(names) > 0 {
		t.Errorf("files %v", names)
	}
}

// What is on the disk is there after a restart, and nothing else is.
func TestAnotherProcessHasWhatIsOnTheDisk(t *testing.T) {
	w := newWorld(t, Options{Memory: 1 << 20, Disk: 1 << 20})
	old, kept := newSample(1, 1000), newSample(2, 1000)
	w.add(old)
	w.add(kept)
	past := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(filepath.Join(w.opt.Dir, old.name().String()), past, past); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"new", "x", kept.name().String() + "0x", "00-1"} {
		if err := os.WriteFile(filepath.Join(w.opt.Dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.begin()
	if !w.has(kept) || w.disk.Load() != 1 || w.has(old) {
		t.Error("it has not what was there, or what was too old")
	}
	for size, damaged := range map[int64]int64{500: 1, 0: 0} { // after a power cut, say
		if err := os.Truncate(filepath.Join(w.opt.Dir, kept.name().String()), size); err != nil {
			t.Fatal(err)
		}
		w.damaged.Store(0)
		w.begin()
		if w.has(kept) || w.damaged.Load() != damaged {
			t.Errorf("cut to %d bytes: it is served, or %d times found damaged", size, w.damaged.Load())
		}
		if w.add(kept); !w.has(kept) {
			t.Errorf("cut to %d bytes: it is not there again", size)
		}
		w.begin() // without what is in memory
	}
	if names, _ := w.files(); len(names) != 1 {
		t.Errorf("files %v", names)
	}
	w.opt.Disk = 4096
	w.begin()
	w.add(newSample(3, 1000))
	if _, size := w.files(); size > 4096 {
		t.Errorf("%d bytes where 4096 are allowed", size)
	}
}

func TestWhatIsForgottenIsGone(t *testing.T) {
	w := newWorld(t, Options{Memory: 1 << 20, Disk: 1 << 20})
	s, other := newSample(1, 1000), newSample(2, 1000)
	id, r := datamesh.ObjectID(s.Segment), Reader{Epoch: 1}
	w.add(s)
	w.add(other)
	w.KeepObject(id, r, &Object{Manifest: &format.Manifest{}}, w.Moment())
	if _, ok := w.Object(id, Reader{}); ok {
		t.Error("another reader has the manifest")
	}
	if _, ok := w.Object(id, r); !ok {
		t.Error("its reader has it not")
	}
	w.Forget(s.Segment, len(s.sealed))
	if _, ok := w.Object(id, r); ok || w.has(s) || !w.has(other) {
		t.Error("not that was forgotten which should be")
	}
	late := newSample(3, 1000)
	if _, err := w.Open(late.Frame, slices.Clone(late.sealed), w.Moment()); err != nil {
		t.Fatal(err)
	}
	w.Forget(late.Segment, len(late.sealed)) // while it waits to be written
	w.flush()
	if w.has(late) {
		t.Error("what waited to be written is there")
	}
	w.KeepObject(id, r, &Object{Manifest: &format.Manifest{}}, w.Moment())
	w.Lock()
	if memory, disk := w.Usage(); memory != 0 || disk == 0 {
		t.Errorf("locked: %d bytes in memory, %d on the disk", memory, disk)
	}
	if !w.has(other) {
		t.Error("what is sealed on the disk is gone")
	}
}

// Nor is what was asked for before something was forgotten, or the keys went, kept when
// it comes after that.
func TestWhatComesLateIsNotKept(t *testing.T) {
	w := newWorld(t, Options{Memory: 1 << 20, Disk: 1 << 20})
	s, r := newSample(1, 1000), Reader{Epoch: 1}
	id := datamesh.ObjectID(s.Segment)
	for what, forget := range map[string]func(){
		"deleted": func() { w.Forget(s.Segment, len(s.sealed)) },
		"locked":  w.Lock,
	} {
		asked := w.Moment()
		forget()
		if _, err := w.Open(s.Frame, slices.Clone(s.sealed), asked); err != nil {
			t.Fatal(err)
		}
		w.KeepObject(id, r, &Object{Manifest: &format.Manifest{}}, asked)
		w.flush()
		if _, known := w.Object(id, r); known || w.has(s) {
			t.Errorf("%s: it is kept", what)
		}
	}
	w.add(s)
	if !w.has(s) {
		t.Error("what was asked for since is not kept")
	}
	asked := w.Moment()
	w.Lock()
	if _, ok := w.Frame(s.Frame, asked); !ok {
		t.Error("what is sealed on the disk is gone")
	}
	if memory, _ := w.Usage(); memory != 0 {
		t.Errorf("what comes from the disk then is kept: %d bytes", memory)
	}
}

func TestNoCacheIsEmpty(t *testing.T) {
	for _, o := range []Options{{}, {TTL: time.Hour}, {Memory: 1 << 20}} {
		if c, err := New(o); c != nil || err != nil {
			t.Errorf("%+v: %v, %v", o, c, err)
		}
	}
	w := &world{t: t}
	s := newSample(1, 1000)
	w.add(s)
	w.KeepObject(datamesh.ObjectID{1}, Reader{}, nil, w.Moment())
	_, known := w.Object(datamesh.ObjectID{1}, Reader{})
	if w.has(s) || known {
		t.Error("it has something")
	}
	w.Forget(s.Segment, 1000)
	w.Lock()
	w.Run(t.Context())
	w.Close()
	if done, err := w.Turn(t.Context(), s.Frame); done == nil || err != nil {
		t.Errorf("no turn: %v", err)
	}
}

// Of many that want a frame one has its turn, and the others wait.
func TestTurns(t *testing.T) {
	w := newWorld(t, Options{Memory: 1 << 20})
	s := newSample(1, full)
	var fetched atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			done, err := w.Turn(t.Context(), s.Frame)
			if err != nil {
				t.Error(err)
			}
			if done != nil {
				defer done()
			}
			if _, ok := w.Frame(s.Frame, w.Moment()); !ok {
				fetched.Add(1)
				if _, err := w.Open(s.Frame, slices.Clone(s.sealed), w.Moment()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := fetched.Load(); n != 1 {
		t.Errorf("it was fetched %d times", n)
	}
	if len(w.turns) > 0 {
		t.Errorf("%d turns are left", len(w.turns))
	}
}
