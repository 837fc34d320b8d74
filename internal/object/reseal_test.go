package object

import (
	"errors"
	"testing"

	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
)

// since has the user have the keys of a later epoch.
func (u *user) since(epoch int) {
	u.t.Helper()
	ring, err := u.ring.Since(epoch)
	if err != nil {
		u.t.Fatal(err)
	}
	u.ring = ring
}

func TestAManifestIsSealedAnewAndTheContentStays(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	for name, content := range lists(u) {
		opt := options
		if name == "list" {
			opt.MaxList = 100
		}
		var err error
		if u.ring, err = keyring.New(keyring.Root{7}); err != nil {
			t.Fatal(err)
		}
		old := u.put(content, opt).ID
		before := w.shards()
		u.since(2)
		got, err := u.Reseal(t.Context(), old, options, commit)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.ID == old || got.Epoch != 2 || got.Size != int64(len(content)) || got.Segments != 1 {
			t.Errorf("%s: got %+v", name, got)
		}
		if err := u.DropManifest(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if err := u.DropManifest(t.Context(), old); err != nil {
			t.Errorf("%s: again: %v", name, err)
		}
		if n := w.shards(); n != before {
			t.Errorf("%s: %d shards are there, want %d: those of the new manifest in the place of the old", name, n, before)
		}
		u.get(got.ID, content)
		if _, err := u.Manifest(t.Context(), old); !errors.Is(err, errs.Deleted) {
			t.Errorf("%s: the old manifest: %v", name, err)
		}
		all := *u.ring // who has the age identity of before and nothing else
		u.ring = &keyring.Ring{Owner: all.Owner, Identities: all.Identities[1:], Recipient: all.First, First: all.First}
		if _, err := u.Manifest(t.Context(), got.ID); !errors.Is(err, errs.Decryption) {
			t.Errorf("%s: the identities of before: %v", name, err)
		}
		u.ring = &all
		if err := u.delete(got.ID, true); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.shards(); n != 0 {
		t.Errorf("%d shards are left of what was deleted", n)
	}
}

func TestWhatIsNotTheOwnersAloneIsNotSealedAnew(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	classic, err := crypt.ParseRecipient("age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj")
	if err != nil {
		t.Fatal(err)
	}
	friend, err := keyring.New(keyring.Root{8})
	if err != nil {
		t.Fatal(err)
	}
	never := func(PutResult) error { t.Error("it was committed"); return nil }
	for what, to := range map[string]crypt.Recipient{"classic": classic, "hybrid": friend.Recipient} {
		opt := options
		opt.To = []crypt.Recipient{to}
		if _, err := u.Reseal(t.Context(), u.put(noise(1, 1000), opt).ID, options, never); !errors.Is(err, ErrShared) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	opt := options
	opt.To = []crypt.Recipient{friend.Recipient}
	shared := u.put(noise(2, 1000), opt).ID
	u.ring = friend
	if err := u.DropManifest(t.Context(), shared); !errors.Is(err, errs.Authentication) {
		t.Errorf("drop what another owner has stored: got %v", err)
	}
}

// When it cannot be committed the object is as it was, and nothing is left over.
func TestWhatIsNotCommittedIsNotSealedAnew(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	id := u.put(noise(1, 100_000), options).ID
	before := w.shards()
	refused := errors.New("refused")
	if _, err := u.Reseal(t.Context(), id, options, func(PutResult) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	if n := w.shards(); n != before {
		t.Errorf("%d shards are there, want %d", n, before)
	}
	u.get(id, noise(1, 100_000))
}
