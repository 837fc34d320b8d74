package object

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// delete deletes an object.
func (u *user) delete(id datamesh.ObjectID, final bool) error {
	u.t.Helper()
	c, err := u.Condemn(u.t.Context(), id)
	if err != nil {
		return err
	}
	return c.Delete(u.t.Context(), final)
}

// shards counts what all members have.
func (w *world) shards() (n int) {
	w.t.Helper()
	for _, m := range w.members {
		keys, err := m.store.List(w.t.Context(), datamesh.First, 1<<20)
		if err != nil {
			w.t.Fatal(err)
		}
		n += len(keys)
	}
	return n
}

// lists are contents that are in the manifest, in segments, and in segments
// whose list has segments of its own.
func lists(u *user) map[string][]byte {
	u.content = 64 << 10
	return map[string][]byte{"inline": noise(1, 1000), "segments": noise(2, 500_000), "list": noise(3, 700_000)}
}

func TestDeletedObjectsAreGoneAndCanBeBroughtBack(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	ids := map[string]datamesh.ObjectID{}
	contents := lists(u)
	for name, content := range contents {
		opt := options
		if name == "list" {
			opt.MaxList = 1
		}
		ids[name] = u.put(content, opt).ID
	}
	before := w.shards()
	for name, id := range ids {
		if err := u.delete(id, false); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := u.delete(id, false); !errors.Is(err, errs.Deleted) {
			t.Errorf("%s: deleted again: %v, want kind Deleted", name, err)
		}
		if _, err := u.Manifest(t.Context(), id); !errors.Is(err, errs.Deleted) {
			t.Errorf("%s: got %v, want kind Deleted", name, err)
		}
	}
	if n := w.shards(); n != 0 {
		t.Errorf("%d shards are left", n)
	}
	for name, id := range ids {
		for range 2 { // the second time there is nothing to do
			if survives, err := u.Undelete(t.Context(), id); err != nil || survives != 2 {
				t.Errorf("%s: undelete: survives %d, %v", name, survives, err)
			}
		}
		u.get(id, contents[name])
	}
	if n := w.shards(); n != before {
		t.Errorf("%d shards are there, want %d", n, before)
	}
	for name, id := range ids {
		if err := u.delete(id, true); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := u.Undelete(t.Context(), id); !errors.Is(err, errs.Deleted) {
			t.Errorf("%s: undelete of what is gone for good: %v, want kind Deleted", name, err)
		}
	}
	if _, err := u.Undelete(t.Context(), datamesh.ObjectID{1}); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("undelete of what was not deleted: %v, want kind FileNotFound", err)
	}
}

// Whoever reads what was sealed to him cannot delete it, nor bring it back.
func TestOnlyTheOwnerDeletes(t *testing.T) {
	w := newWorld(t, 6)
	u, other := newUser(t, w), newUser(t, w)
	var err error
	if other.ring, err = keyring.New(keyring.Root{8}); err != nil {
		t.Fatal(err)
	}
	opt := options
	opt.To = append(opt.To, other.ring.Recipient)
	content := noise(1, 200_000)
	id := u.put(content, opt).ID
	other.get(id, content)
	if err := other.delete(id, false); !errors.Is(err, errs.Authentication) {
		t.Errorf("got %v, want kind Authentication", err)
	}
	u.get(id, content)
	if err := u.delete(id, false); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Undelete(t.Context(), id); !errors.Is(err, errs.Authentication) {
		t.Errorf("undelete: got %v, want kind Authentication", err)
	}
}

// A word that too few have heard is not said to have been heard, and can be
// said again.
func TestDeletingNeedsAMajority(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	u.content = 64 << 10
	content := noise(1, 300_000)
	id := u.put(content, options).ID
	c, err := u.Condemn(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	drops := func(method storetest.Method, _ datamesh.ShardKey) storetest.Fault {
		if method == storetest.Drop {
			return storetest.Fail
		}
		return storetest.None
	}
	for _, m := range w.members[:6] {
		m.do(drops)
	}
	if err := c.Delete(t.Context(), false); !errors.Is(err, errs.Unavailable) {
		t.Errorf("got %v, want kind Unavailable", err)
	}
	for _, m := range w.members[:6] {
		m.set(storetest.None)
	}
	if err := u.delete(id, false); err != nil {
		t.Errorf("again: %v", err)
	}
	if n := w.shards(); n != 0 {
		t.Errorf("%d shards are left", n)
	}
	if _, err := u.Undelete(t.Context(), id); err != nil {
		t.Error(err)
	}
	u.get(id, content)
	w.kill(w.members[1:]...) // a node that is cut off does not delete for itself alone
	if err := c.Delete(t.Context(), false); !errors.Is(err, errs.Unavailable) {
		t.Errorf("alone: got %v, want kind Unavailable", err)
	}
}

// A delete that ends at any word, and is begun again, deletes all.
func TestDeleteGoesOnWhereItEnded(t *testing.T) {
	for drops := 0; ; drops += 7 {
		w := newWorld(t, 7)
		u := newUser(t, w)
		u.content = 64 << 10
		opt := options
		opt.MaxList = 1
		id := u.put(noise(1, 300_000), opt).ID
		c, err := u.Condemn(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var left atomic.Int64
		left.Store(int64(drops))
		for _, m := range w.members {
			m.do(func(method storetest.Method, _ datamesh.ShardKey) storetest.Fault {
				if method != storetest.Drop || left.Add(-1) >= 0 {
					return storetest.None
				}
				cancel()
				return storetest.Fail
			})
		}
		err = c.Delete(ctx, false)
		cancel()
		for _, m := range w.members {
			m.set(storetest.None)
		}
		again := u.delete(id, false)
		if again != nil && !errors.Is(again, errs.Deleted) {
			t.Fatalf("after %d words: %v, and then %v", drops, err, again)
		}
		if _, e := u.Manifest(t.Context(), id); !errors.Is(e, errs.Deleted) {
			t.Errorf("after %d words: %v, want kind Deleted", drops, e)
		}
		if n := w.shards(); n > 6*3 { // of those who were not told: they learn it from the registrars
			t.Errorf("after %d words: %d shards are left", drops, n)
		}
		if err == nil {
			return
		}
	}
}

// What cannot be brought back whole stays deleted.
func TestUndeleteThatFailsChangesNothing(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	u.content = 64 << 10
	content := noise(1, 300_000)
	id := u.put(content, options).ID
	if err := u.delete(id, false); err != nil {
		t.Fatal(err)
	}
	away := w.members[:5]
	w.kill(away...)
	if survives, err := u.Undelete(t.Context(), id); !errors.Is(err, errs.Unavailable) {
		t.Errorf("survives %d, %v, want kind Unavailable", survives, err)
	}
	for _, m := range away {
		m.set(storetest.None)
	}
	w.see(nil)
	if err := u.delete(id, false); !errors.Is(err, errs.Deleted) {
		t.Errorf("deleted again: %v, want kind Deleted", err)
	}
	if n := w.shards(); n != 0 {
		t.Errorf("%d shards are there", n)
	}
	if _, err := u.Undelete(t.Context(), id); err != nil {
		t.Error(err)
	}
	u.get(id, content)
}

// Who says that an object was deleted, and does not show its owner's word, does
// not have a deletion pass for one that is done.
func TestDeletingBelievesNobodyThatItIsDone(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	content := noise(1, 1000)
	id := u.put(content, options).ID
	liar := w.nearest(id)[0]
	liar.locate = func(datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
		return nil, nil, errs.New(errs.Deleted, "it was deleted")
	}
	for _, m := range w.members {
		m.do(func(method storetest.Method, _ datamesh.ShardKey) storetest.Fault {
			if method == storetest.Get || method == storetest.GetRange {
				return storetest.Fail
			}
			return storetest.None
		})
	}
	if err := u.delete(id, false); !errors.Is(err, errs.Unavailable) {
		t.Errorf("while nobody serves it: %v, want kind Unavailable", err)
	}
	for _, m := range w.members {
		m.set(storetest.None)
	}
	u.get(id, content)
	if err := u.delete(id, false); err != nil {
		t.Error(err)
	}
}

// Who was away when an object was brought back still says that it was deleted.
// He is not believed, whatever else cannot be reached.
func TestOldWordsAreNotBelieved(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	content := noise(1, 1000)
	id := u.put(content, options).ID
	if err := u.delete(id, false); err != nil {
		t.Fatal(err)
	}
	away := w.nearest(id)[:2]
	w.kill(away...)
	if _, err := u.Undelete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.members {
		m.do(func(method storetest.Method, _ datamesh.ShardKey) storetest.Fault {
			if method == storetest.Get || method == storetest.GetRange {
				return storetest.Fail
			}
			return storetest.None
		})
	}
	w.see(nil)
	if _, err := u.Manifest(t.Context(), id); !errors.Is(err, errs.Unavailable) {
		t.Errorf("while nobody serves it: %v, want kind Unavailable", err)
	}
	w.kill(slices.DeleteFunc(slices.Clone(w.members), func(m *member) bool { return slices.Contains(away, m) })...)
	if _, err := u.Manifest(t.Context(), id); !errors.Is(err, errs.Unavailable) {
		t.Errorf("with those who were away: %v, want kind Unavailable", err)
	}
	for _, m := range w.members {
		m.set(storetest.None)
	}
	w.see(nil)
	u.get(id, content)
}

// Of an object of which only a part was deleted that part can be brought back,
// and then the deletion is no longer to go on.
func TestUndeleteOfADeletionThatHasNotEnded(t *testing.T) {
	for _, some := range []int{1, 2} {
		w := newWorld(t, 9)
		u := newUser(t, w)
		u.content = 64 << 10
		opt := options
		opt.MaxList = 1
		content := noise(1, 300_000)
		id := u.put(content, opt).ID
		if _, err := u.Undelete(t.Context(), id); !errors.Is(err, errs.FileNotFound) {
			t.Errorf("of what is whole: %v, want kind FileNotFound", err)
		}
		c, err := u.Condemn(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		said := c.Word(false)
		deleted := c.all[1+c.list:]
		if some == 2 {
			deleted = c.all[1:]
		}
		word := func(s *sentence) *datamesh.Deletion { return format.NewDeletion(u.ring.Owner, s.d, 1) }
		if err := u.say(t.Context(), deleted, word); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Get(t.Context(), id, func(*format.Manifest) (io.Writer, int64, error) { return io.Discard, 0, nil }); !errors.Is(err, errs.Deleted) || !strings.Contains(err.Error(), id.String()) {
			t.Errorf("get of a part: %v, want kind Deleted, of the object", err)
		}
		if survives, err := u.Undelete(t.Context(), id); err != nil || survives != 2 {
			t.Errorf("survives %d, %v", survives, err)
		}
		u.get(id, content)
		if c, err = u.Condemn(t.Context(), id); err != nil || !c.BroughtBackSince(said) {
			t.Errorf("it is not known that it was brought back: %v", err)
		}
	}
}

// A journal that is an old copy, of a put that has succeeded since, does not
// cost the object: what was deleted for it can be brought back.
func TestOldCopyOfAJournalCostsNothing(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	content := noise(1, 300_000)
	var copied map[string][]byte
	result, err := u.Put(t.Context(), bytes.NewReader(content), options, func(PutResult) error {
		copied = u.journals()
		return nil
	})
	if err != nil || len(copied) == 0 {
		t.Fatalf("put: %v, %d journals", err, len(copied))
	}
	if err := u.journal.Close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range copied {
		if err := os.WriteFile(filepath.Join(u.dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u.begin()
	if swept, err := u.journal.Sweep(t.Context(), w, func(datamesh.ObjectID) (bool, error) { return false, nil }); err != nil || swept == 0 {
		t.Fatalf("swept %d, %v", swept, err)
	}
	if _, err := u.Undelete(t.Context(), result.ID); err != nil {
		t.Error(err)
	}
	u.get(result.ID, content)
}

// journals returns the files of the user's journals.
func (u *user) journals() map[string][]byte {
	u.t.Helper()
	files := map[string][]byte{}
	names, err := filepath.Glob(filepath.Join(u.dir, "*"+journalSuffix))
	if err != nil {
		u.t.Fatal(err)
	}
	for _, name := range names {
		if files[filepath.Base(name)], err = os.ReadFile(name); err != nil {
			u.t.Fatal(err)
		}
	}
	return files
}

// Which objects are gone a majority of those says who keep the words, whatever one
// of them has missed.
func TestGoneIsWhatAMajoritySays(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	var ids []datamesh.ObjectID
	for i := range 6 {
		ids = append(ids, u.put(noise(uint64(i), 1000), options).ID)
	}
	for _, id := range ids[:3] {
		if err := u.delete(id, false); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := u.Undelete(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	wants := func(want ...datamesh.ObjectID) {
		t.Helper()
		got, err := u.Gone(t.Context(), append(ids, ids...))
		if err != nil || !slices.Equal(got, append(want, want...)) {
			t.Errorf("got %v, %v, want %v twice", got, err, want)
		}
	}
	wants(ids[1], ids[2])
	w.kill(w.members[:4]...)
	wants(ids[1], ids[2])
	w.kill(w.members[4])
	if got, err := u.Gone(t.Context(), ids); !errors.Is(err, errs.Unavailable) {
		t.Errorf("with four of nine: got %v, %v, want kind Unavailable", got, err)
	}
	if got, err := u.Gone(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("of nothing: got %v, %v", got, err)
	}
}
