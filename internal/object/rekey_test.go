package object

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
)

// A keeper has opened a manifest once, and kept what it says.
type keeper struct {
	u *user
	m *format.Manifest
}

// keeps has somebody else read a second manifest of an object, which is then taken
// back.
func (u *user) keeps(id datamesh.ObjectID) keeper {
	u.t.Helper()
	friend, err := keyring.New(keyring.Root{8})
	if err != nil {
		u.t.Fatal(err)
	}
	m, err := u.Manifest(u.t.Context(), id)
	if err != nil {
		u.t.Fatal(err)
	}
	share, err := u.PutManifest(u.t.Context(), m, []crypt.Recipient{friend.Recipient}, 4, 2, commit)
	if err != nil {
		u.t.Fatal(err)
	}
	g := u.newGet(u.t.Context())
	g.ids = friend.Identities
	if m, err = g.manifest(u.t.Context(), share.ID); err != nil {
		u.t.Fatal(err)
	}
	c, err := u.CondemnManifest(u.t.Context(), share.ID)
	if err == nil {
		err = c.Delete(u.t.Context(), true)
	}
	if err != nil {
		u.t.Fatal(err)
	}
	return keeper{u, m}
}

// reads reads the content by what was kept alone.
func (k keeper) reads() ([]byte, error) {
	k.u.t.Helper()
	g := k.u.newGet(k.u.t.Context())
	defer g.findings()
	var got bytes.Buffer
	refs, peers, err := g.segments(k.u.t.Context(), k.m)
	if err == nil {
		err = g.content(k.u.t.Context(), &got, refs, peers)
	}
	return got.Bytes(), err
}

// Whoever has kept the keys of content reads it though what was sealed to him is
// deleted; when the content is stored anew, and deleted under those keys, he does
// not, and its owner does.
func TestKeptKeysOpenNothingOfWhatIsStoredAnew(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	for name, content := range lists(u) {
		if name == "inline" {
			continue // such a manifest has the content, and no keys
		}
		opt := PutOptions{Name: "a", Tags: []string{"b"}, Type: "text/plain", Mode: 0o640, K: 3, M: 4, MinSurvives: -1}
		if name == "list" {
			opt.MaxList = 100
		}
		old := u.put(content, opt).ID
		friend := u.keeps(old)
		if got, err := friend.reads(); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%s: what was only taken back: %d bytes, %v", name, len(got), err)
		}
		before := w.shards()

		x, err := u.Original(t.Context(), old)
		if err != nil || x.K != 3 || x.M != 4 || x.Manifest.Name != "a" || x.Manifest.Mode != 0o640 {
			t.Fatalf("%s: %+v, %v", name, x, err)
		}
		again := opt
		again.Stored = nothing
		got, err := u.Rekey(t.Context(), old, again, commit)
		if err != nil || got.ID == old || got.Size != int64(len(content)) {
			t.Fatalf("%s: got %+v, %v", name, got, err)
		}
		is, err := u.Manifest(t.Context(), got.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range append(friend.m.Segments, friend.m.List...) {
			for _, b := range append(is.Segments, is.List...) {
				if a.ID == b.ID || a.Key == b.Key {
					t.Errorf("%s: a segment or a key is the same", name)
				}
			}
		}
		u.get(old, content) // until it is deleted
		u.get(got.ID, content)
		if err := u.delete(old, true); err != nil {
			t.Fatal(err)
		}
		if n := w.shards(); n != before {
			t.Errorf("%s: %d shards are there, want %d: those of the new object in the place of the old", name, n, before)
		}
		if kept, err := friend.reads(); !errors.Is(err, errs.Deleted) || len(kept) > 0 {
			t.Errorf("%s: by the keys that were kept: %d bytes, %v", name, len(kept), err)
		}
		u.get(got.ID, content)
		if err := u.delete(got.ID, true); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.shards(); n != 0 {
		t.Errorf("%d shards are left of what was deleted", n)
	}
}

// What is so small that it is only copied says of its code only what it survives.
func TestTheCodeOfWhatIsSmallIsNotKnown(t *testing.T) {
	u := newUser(t, newWorld(t, 9))
	for n, k := range map[int]int{100: 0, 20_000: 3, 200_000: 3} {
		x, err := u.Original(t.Context(), u.put(noise(1, n), PutOptions{K: 3, M: 4, MinSurvives: -1}).ID)
		if err != nil || x.K != k || x.M != 4 {
			t.Errorf("%d bytes: %+v, %v, want %d+4", n, x, err, k)
		}
	}
}

// When it cannot be committed the object is as it was, and nothing is left over.
func TestWhatIsNotCommittedIsNotStoredAnew(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	content := noise(1, 300_000)
	id := u.put(content, options).ID
	before := w.shards()
	refused := errors.New("refused")
	if _, err := u.Rekey(t.Context(), id, options, func(PutResult) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	if n := w.shards(); n != before {
		t.Errorf("%d shards are there, want %d", n, before)
	}
	u.get(id, content)
}

// What was interrupted goes on, and sends nothing twice.
func TestStoringAnewGoesOn(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	u.content = 70_000
	content := noise(1, 700_000)
	id := u.put(content, options).ID
	opt := options
	opt.Stored = nothing
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var confirmed atomic.Int64
	opt.Events.Confirmed = func(n int) {
		if confirmed.Add(int64(n)) > int64(len(content)) { // of one and a half times that
			cancel()
		}
	}
	never := func(PutResult) error { t.Error("it was committed"); return nil }
	if _, err := u.Rekey(ctx, id, opt, never); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	opt.Events.Confirmed = nil
	got, err := u.Rekey(t.Context(), id, opt, commit)
	if err != nil || got.Resumed < 70_000 || got.Size != int64(len(content)) {
		t.Errorf("got %+v, %v", got, err)
	}
	u.get(got.ID, content)
	for _, id := range []datamesh.ObjectID{id, got.ID} {
		if err := u.delete(id, true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := u.journal.Sweep(t.Context(), w, nothing); err != nil { // what was on its way when it was interrupted
		t.Fatal(err)
	}
	u.clean()
}

func TestWhatIsNotTheOwnersAloneIsNotStoredAnew(t *testing.T) {
	u := newUser(t, newWorld(t, 9))
	friend, err := keyring.New(keyring.Root{8})
	if err != nil {
		t.Fatal(err)
	}
	opt := options
	opt.To = []crypt.Recipient{friend.Recipient}
	id := u.put(noise(1, 1000), opt).ID
	if x, err := u.Original(t.Context(), id); !errors.Is(err, ErrShared) {
		t.Errorf("got %+v, %v", x, err)
	}
}
