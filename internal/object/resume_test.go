package object

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/compress"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/storetest"
)

// resumable are the options of a put that can be resumed.
var resumable = PutOptions{Name: "film", K: 4, M: 2, MinSurvives: -1, Source: Source{1}, Stored: nothing}

// nothing is what a user has stored who has stored nothing.
func nothing(datamesh.ObjectID) (bool, error) { return false, nil }

// stops gives content, and then stops the put.
type stops struct {
	io.Reader
	stop func()
}

func (s stops) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err == io.EOF {
		s.stop()
		return n, context.Canceled
	}
	return n, err
}

// interrupt puts the content and is interrupted after half of it, when as many
// segments are confirmed and kept.
func (u *user) interrupt(content []byte, opt PutOptions) {
	u.t.Helper()
	ctx, cancel := context.WithCancel(u.t.Context())
	defer cancel()
	var confirmed atomic.Int64 // shards
	half := len(content) / 2 / u.content * u.content
	done := make(chan struct{})
	opt.Events.Confirmed = func(int) {
		if int(confirmed.Add(1)) >= half/u.content*(opt.K+opt.M) {
			select {
			case <-done:
			default:
				close(done)
			}
		}
	}
	stop := func() {
		<-done
		want := half / u.content
		for range 60_000 { // a segment is kept after its last shard is confirmed
			if u.kept() >= want {
				break
			}
			<-time.After(time.Millisecond)
		}
		if n := u.kept(); n < want {
			u.t.Errorf("%d of %d segments are kept", n, want)
		}
		cancel()
	}
	_, err := u.Put(ctx, stops{bytes.NewReader(content[:half]), stop}, opt, commit)
	if !errors.Is(err, context.Canceled) {
		u.t.Fatalf("an interrupted put: %v", err)
	}
}

// kept returns how many segments another put of their content could use.
func (u *user) kept() int {
	places := map[int]bool{}
	for _, name := range u.files() {
		puts, err := readJournal(name)
		if err != nil {
			return 0
		}
		for _, what := range puts {
			for _, l := range what {
				if l.kept != nil {
					places[l.kept.place] = true
				}
			}
		}
	}
	return len(places)
}

// halfway returns a user of ten segments' content, whose put of that was
// interrupted after half of it.
func halfway(t *testing.T, w *world) (u *user, content []byte) {
	t.Helper()
	u, content = newUser(t, w), noise(1, 700_000)
	u.content = 70_000
	u.interrupt(content, resumable)
	return u, content
}

// interrupted returns the puts that can be resumed.
func (u *user) interrupted(stored Stored) []Interrupted {
	u.t.Helper()
	list, err := u.journal.Interrupted(u.t.Context(), u.ring.Identities, stored)
	if err != nil {
		u.t.Fatal(err)
	}
	return list
}

// The same process and the next one go on where a put was interrupted.
func TestInterruptedPutIsResumed(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := newWorld(t, 6)
		u, content := halfway(t, w)
		if restart {
			u.crash()
		}
		if swept := u.sweep(); swept != 0 {
			t.Errorf("%d segments were swept that can be used", swept)
		}
		list := u.interrupted(nothing)
		if len(list) != 1 || list[0].Name != "film" || list[0].Bytes != 350_000 {
			t.Fatalf("interrupted %+v", list)
		}
		puts := calls(w, storetest.Put)
		result := u.put(content, resumable)
		if result.Resumed != list[0].Bytes {
			t.Errorf("%d bytes were resumed of %d", result.Resumed, list[0].Bytes)
		}
		left := (len(content) - int(result.Resumed)) / u.content
		if got, want := calls(w, storetest.Put)-puts, left*6+3; got != want {
			t.Errorf("%d shards were sent, want %d", got, want)
		}
		u.sweep(result.ID)
		u.get(result.ID, content)
		held := 0
		for _, m := range w.members {
			held += len(m.holds(t))
		}
		if want := 10*6 + 3; held != want { // the manifest is small
			t.Errorf("the members hold %d shards, want %d", held, want)
		}
		if list := u.interrupted(nothing); len(list) > 0 {
			t.Errorf("interrupted %+v", list)
		}
	}
}

func calls(w *world, method storetest.Method) (n int) {
	for _, m := range w.members {
		n += m.called(method)
	}
	return n
}

// A put of another source or of another code begins anew.
func TestOnlyTheSamePutIsResumed(t *testing.T) {
	other, code := resumable, resumable
	other.Source = Source{2}
	code.K = 3
	for name, opt := range map[string]PutOptions{"source": other, "code": code, "no source": options} {
		u, _ := halfway(t, newWorld(t, 6))
		content := noise(2, 700_000)
		result := u.put(content, opt)
		if result.Resumed != 0 {
			t.Errorf("another %s: %d bytes were resumed", name, result.Resumed)
		}
		u.get(result.ID, content)
	}
}

// What the holders have lost meanwhile is stored anew.
func TestResumedPutAsksTheHolders(t *testing.T) {
	w := newWorld(t, 6)
	u, content := halfway(t, w)
	w.kill(w.members[0], w.members[1], w.members[2])
	result := u.put(content, resumable)
	if result.Resumed != 0 || result.Survives < 1 {
		t.Errorf("with half of each segment gone: %+v", result)
	}
	u.get(result.ID, content)
}

// A put that cannot be resumed any more, or shall not be, is swept.
func TestInterruptedPutIsSweptInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, forget := range []bool{false, true} {
			for _, restart := range []bool{false, true} {
				u, _ := halfway(t, newWorld(t, 6))
				if restart {
					u.crash()
				}
				if forget {
					list := u.interrupted(nothing)
					if len(list) != 1 {
						t.Fatalf("interrupted %+v", list)
					}
					if err := u.journal.Forget(t.Context(), list[0].ID); err != nil {
						t.Fatal(err)
					}
					wantKind(t, "forget it twice", u.journal.Forget(t.Context(), list[0].ID), errs.FileNotFound)
				} else {
					<-time.After(testResume + time.Second) // virtual
				}
				if swept := u.sweep(); swept == 0 {
					t.Errorf("nothing was swept (forgotten %v, restart %v)", forget, restart)
				}
				u.clean()
			}
		}
	})
}

// Whatever comes of a resumed put, nothing that is stored is swept with the
// interrupted one.
func TestResumedSegmentsBelongToTheNewPut(t *testing.T) {
	u, content := halfway(t, newWorld(t, 6))
	u.crash()
	id := u.die(content, resumable) // after its commit
	if swept := u.sweep(id); swept > 5 {
		t.Errorf("%d segments were swept", swept)
	}
	u.get(id, content)

	again, _ := halfway(t, newWorld(t, 6))
	_, err := again.Put(t.Context(), bytes.NewReader(content), resumable, func(PutResult) error { return errTest })
	if !errors.Is(err, errTest) {
		t.Errorf("put: %v", err)
	}
	again.sweep()
	again.clean()
}

// A put that died after its commit has an object, which no other put takes
// segments from.
func TestNothingOfAStoredObjectIsTakenOver(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	u.content = 70_000
	content := noise(1, 700_000)
	id := u.die(content, resumable) // after its commit, and before any sweep
	opt := resumable
	opt.Stored = func(asked datamesh.ObjectID) (bool, error) { return asked == id, nil }
	if list := u.interrupted(opt.Stored); len(list) > 0 {
		t.Errorf("interrupted %+v", list)
	}
	_, err := u.Put(t.Context(), bytes.NewReader(content), opt, func(PutResult) error { return errTest })
	if !errors.Is(err, errTest) {
		t.Errorf("put: %v", err)
	}
	u.sweep(id)
	u.get(id, content)
}

// Who dies between giving a segment away and taking it over has it in no
// journal: it is neither used nor swept.
func TestCrashInATakeoverLosesNothingThatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, content := halfway(t, newWorld(t, 6))
		u.crash()
		old := u.files()
		u.interrupt(content, resumable) // it takes over what the first has left
		u.crash()
		for _, name := range u.files() {
			if !slices.Contains(old, name) { // as if nothing of that had been written
				if err := os.Truncate(name, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		result := u.put(content, resumable)
		if result.Resumed != 0 {
			t.Errorf("%d bytes were resumed", result.Resumed)
		}
		<-time.After(testResume + time.Second) // virtual
		u.sweep(result.ID)
		u.get(result.ID, content)
	})
}

// What a put has left in a journal that takes no more records is of no use to
// another, and in nobody's way.
func TestNothingIsTakenFromABrokenJournal(t *testing.T) {
	u, content := halfway(t, newWorld(t, 6))
	u.journal.files[0].failed = errTest
	result := u.put(content, resumable)
	if result.Resumed != 0 {
		t.Errorf("%d bytes were resumed", result.Resumed)
	}
	u.sweep(result.ID)
	u.get(result.ID, content)
}

// What a program of before has left knows its content by another sum: a put
// begins anew.
func TestNothingIsTakenFromAnOlderJournal(t *testing.T) {
	u, content := halfway(t, newWorld(t, 6))
	u.tag(func(int) string { return strings.Repeat("0", 64) })
	if list := u.interrupted(nothing); len(list) != 1 {
		t.Fatalf("interrupted %+v", list)
	}
	result := u.put(content, resumable)
	if result.Resumed != 0 {
		t.Errorf("%d bytes were resumed", result.Resumed)
	}
	u.get(result.ID, content)
}

// tag has the journal know the content of kept segments by other tags, given their places.
func (u *user) tag(as func(place int) string) {
	u.t.Helper()
	for _, e := range u.journal.left {
		for _, l := range e.what {
			if l.kept == nil {
				continue
			}
			m, err := format.OpenManifest(l.kept.sealed, u.ring.Identities)
			if err != nil {
				u.t.Fatal(err)
			}
			m.Tags[0] = as(l.kept.place)
			if l.kept.sealed, err = format.SealManifest(m, []crypt.Recipient{u.ring.Recipient}); err != nil {
				u.t.Fatal(err)
			}
		}
	}
}

// A put goes on with what is known by a hash of its content: what was compressed, and
// what a program of before has left.
func TestContentKnownByItsHashIsResumed(t *testing.T) {
	auto := resumable
	auto.Compress = compress.Auto
	for name, test := range map[string]struct {
		content      []byte
		first, later PutOptions
		before       bool
		resumed      int64
	}{
		"of before":                    {noise(1, 700_000), resumable, resumable, true, 350_000},
		"compressed":                   {prose(1, 700_000), auto, auto, false, 350_000},
		"compressed, not to be later":  {prose(1, 700_000), auto, resumable, false, 0},
		"as it was, later compressed":  {prose(1, 700_000), resumable, auto, false, 350_000},
		"does not compress, but might": {noise(1, 700_000), auto, auto, false, 350_000},
	} {
		for _, changed := range []bool{false, true} {
			u := newUser(t, newWorld(t, 6))
			u.content = 70_000
			u.interrupt(test.content, test.first)
			if test.before {
				u.tag(func(place int) string {
					buf := make([]byte, crypt.SealedLen(u.content))
					n, err := crypt.Fill(buf, bytes.NewReader(test.content[place*u.content:]), u.content)
					if err != nil {
						t.Fatal(err)
					}
					sum, err := sumOf(buf, n)
					if err != nil {
						t.Fatal(err)
					}
					return sum
				})
			}
			if changed && test.resumed > 0 {
				content := bytes.Clone(test.content)
				content[100_000] ^= 1
				_, err := u.Put(t.Context(), bytes.NewReader(content), test.later, commit)
				wantKind(t, name+", changed", err, errs.IO)
				continue
			}
			result := u.put(test.content, test.later)
			if result.Resumed != test.resumed {
				t.Errorf("%s: %d bytes were resumed", name, result.Resumed)
			}
			u.get(result.ID, test.content)
		}
	}
}

// What a failed put has had deleted by some peers is of no use to another.
func TestNothingOfAnUndonePutIsTakenOver(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := newWorld(t, 6)
		u := newUser(t, w)
		u.content = 70_000
		content := noise(1, 700_000)
		_, err := u.Put(t.Context(), bytes.NewReader(content), resumable, func(PutResult) error {
			w.kill(w.members[0]) // which so keeps what it has
			return errTest
		})
		if !errors.Is(err, errTest) {
			t.Fatalf("put: %v", err)
		}
		if restart {
			u.crash()
		}
		if list := u.interrupted(nothing); len(list) > 0 {
			t.Errorf("restart %v: interrupted %+v", restart, list)
		}
		w.members[0].set(storetest.None)
		w.see(nil)
		if swept := u.sweep(); swept == 0 {
			t.Errorf("restart %v: nothing was swept", restart)
		}
		u.clean()
	}
}

// A put that would go on with what is being swept does not wait for that once
// it is cancelled.
func TestResumedPutCanBeCancelledDuringASweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, content := halfway(t, newWorld(t, 6))
		u.crash()
		release, ok := u.journal.visit(t.Context(), u.files()[0]) // as a sweep does
		if !ok {
			t.Fatal("the journal is in use")
		}
		defer release()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := u.Put(ctx, bytes.NewReader(content), resumable, commit)
			done <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("put: %v", err)
		}
	})
}

// A put that is interrupted while it takes over what another has left loses
// nothing of that.
func TestResumedPutIsInterruptedAtOnce(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := newWorld(t, 6)
		u, content := halfway(t, w)
		before := u.interrupted(nothing)
		if len(before) != 1 {
			t.Fatalf("interrupted %+v", before)
		}
		if restart {
			u.crash()
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, m := range w.members {
			m.do(func(method storetest.Method, _ datamesh.ShardKey) storetest.Fault {
				if method == storetest.Has {
					cancel()
				}
				return storetest.None
			})
		}
		if _, err := u.Put(ctx, bytes.NewReader(content), resumable, commit); !errors.Is(err, context.Canceled) {
			t.Errorf("put: %v", err)
		}
		if after := u.interrupted(nothing); len(after) != 1 || after[0].Bytes != before[0].Bytes {
			t.Errorf("restart %v: interrupted %+v, want %+v", restart, after, before)
		}
	}
}

// Other content of the same source is not mixed with what was stored of it.
func TestResumedPutOfOtherContentFails(t *testing.T) {
	other := noise(1, 700_000)
	other[100_000]++
	for name, content := range map[string][]byte{"a byte": other, "the end": noise(1, 100_000)} {
		u, _ := halfway(t, newWorld(t, 6))
		_, err := u.Put(t.Context(), bytes.NewReader(content), resumable, commit)
		wantKind(t, "with "+name+" changed", err, errs.IO)
		result := u.put(content, resumable) // begins anew
		if result.Resumed != 0 {
			t.Errorf("with %s changed: %d bytes were resumed", name, result.Resumed)
		}
		u.get(result.ID, content)
		u.sweep(result.ID)
		held := 0
		for _, m := range u.w.members {
			held += len(m.holds(t))
		}
		if held != result.Shards {
			t.Errorf("with %s changed: the members hold %d shards, want %d", name, held, result.Shards)
		}
	}
}

func TestPutTellsHowItGoesOn(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	u.content = 70_000
	var sealed, sent, confirmed atomic.Int64
	opt := options
	opt.Events = PutEvents{
		Sealed: func(n int) { sealed.Add(int64(n)) },
		Sent:   func(n int) { sent.Add(int64(n)) },
		Confirmed: func(n int) {
			if c, s := confirmed.Add(int64(n)), sent.Load(); c > s {
				t.Errorf("%d bytes are confirmed of %d that were sent", c, s)
			}
		},
	}
	result := u.put(noise(1, 700_000), opt)
	if sealed.Load() != 700_000 || confirmed.Load() != result.StoredBytes {
		t.Errorf("sealed %d of %d, confirmed %d of %d", sealed.Load(), 700_000, confirmed.Load(), result.StoredBytes)
	}
	sealed.Store(0)
	u.put([]byte("small"), opt)
	if sealed.Load() != 5 {
		t.Errorf("sealed %d of 5", sealed.Load())
	}
}

func TestGetFromAnOffset(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	u.content = 70_000
	for _, n := range []int{0, 1, 5_000, 300_000} {
		content := noise(uint64(n), n)
		id := u.put(content, options).ID
		for _, from := range []int{0, 1, n / 2, 69_999, 70_000, 70_001, 140_000, n - 1, n} {
			if from < 0 || from > n {
				continue
			}
			var got bytes.Buffer
			_, err := u.Get(t.Context(), id, func(*format.Manifest) (io.Writer, int64, error) { return &got, int64(from), nil })
			if err != nil || !bytes.Equal(got.Bytes(), content[from:]) {
				t.Errorf("from %d of %d: %d bytes, %v", from, n, got.Len(), err)
			}
		}
		for _, from := range []int64{-1, int64(n) + 1} {
			_, err := u.Get(t.Context(), id, func(*format.Manifest) (io.Writer, int64, error) { return io.Discard, from, nil })
			wantKind(t, "a get from outside", err, errs.Invalid)
		}
	}
}
