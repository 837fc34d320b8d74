package node

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// A thief was first, and the user has added the true successor as another contact,
// whose name sorts before or after: what is shared with that one is his, is not
// passed on to the thief, and is not taken back with what the thief has.
func TestWhoIsAddedInsteadOfAThiefsIsHimself(t *testing.T) {
	ctx := t.Context()
	old, thief, next := ringOf(t, 1), ringOf(t, 2), ringOf(t, 3)
	to := next.OwnerKey()
	for _, name := range []string{"a", "z"} {
		c, err := catalog.Open(ctx, filepath.Join(t.TempDir(), "user.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		n := &Node{catalog: c}
		add := func(name string, owner datamesh.OwnerKey) {
			t.Helper()
			if err := c.SetContact(ctx, catalog.Contact{Owner: owner, Name: name, Recipient: "his", Card: 1, Created: time.Unix(1, 0)}); err != nil {
				t.Fatal(err)
			}
		}
		add("m", old.OwnerKey())
		for _, s := range []format.Successor{format.Succeed(old.OwnerKey(), thief.Owner), format.Succeed(old.OwnerKey(), next.Owner)} {
			if _, err := c.Claim(ctx, old.OwnerKey(), []format.Successor{s}, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		id := datamesh.ObjectID{9}
		if err := c.AddShare(ctx, catalog.Share{ID: datamesh.ObjectID{8}, Object: id, To: &to, Created: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
		if kept, err := n.keepers(ctx, id, nil); !errors.Is(err, errs.Refused) {
			t.Errorf("what is shared with who is not followed is passed on to %+v, %v", kept, err)
		}
		add(name, to)
		kept, err := n.keepers(ctx, id, nil)
		if err != nil || len(kept) != 1 || kept[0].Name != name {
			t.Errorf("%s: it is passed on to %+v, %v", name, kept, err)
		}
		if k := byOwner(kept)[to]; k.Owner != to {
			t.Errorf("%s: it is sealed to %+v", name, k)
		}
		if picked, err := n.toTakeBack(ctx, id, UnshareOptions{From: "m"}); !errors.Is(err, errs.FileNotFound) {
			t.Errorf("%s: with the thief's, %+v is taken back, %v", name, picked, err)
		}
		if picked, err := n.toTakeBack(ctx, id, UnshareOptions{From: name}); err != nil || len(picked) != 1 {
			t.Errorf("%s: got %+v, %v", name, picked, err)
		}
		if shares, err := n.Shares(ctx); err != nil || len(shares.Shares) != 1 || shares.Shares[0].Contact != name {
			t.Errorf("%s: listed %+v, %v", name, shares, err)
		}
		if err := c.RemoveContact(ctx, to); !errors.Is(err, errs.Exists) {
			t.Errorf("%s: who has something shared is removed: %v", name, err)
		}
		if err := c.RemoveContact(ctx, old.OwnerKey()); err != nil {
			t.Errorf("%s: the one of the thief stays: %v", name, err)
		}
	}
}

// An id that a letter lists is anybody's word: it hides nothing that another has
// sent, and who a contact was does not speak for who he is.
func TestLettersOfOthersHideNothing(t *testing.T) {
	old, next := ringOf(t, 1).OwnerKey(), ringOf(t, 2).OwnerKey()
	of := func(owner datamesh.OwnerKey, id byte, at int64) Received {
		return Received{ID: datamesh.ObjectID{id}, Address: owner.Address(), Name: "x", Created: time.Unix(at, 0)}
	}
	box := new(Inbox)
	box.add([]Received{of(old, 1, 9)})
	box.add([]Received{of(next, 1, 1)})
	box.add([]Received{of(next, 1, 1)})
	if len(box.Objects) != 2 || box.Objects[1].Address != next.Address() {
		t.Errorf("got %+v", box.Objects)
	}
	f := followed{read: []recordsOf{{owner: old}, {owner: next}}}
	all := []Received{of(old, 1, 9), of(next, 3, 5), of(next, 2, 1)}
	if o := f.named(all, "x"); o == nil || o.ID != (datamesh.ObjectID{3}) {
		t.Errorf("got %+v", o)
	}
	if o := f.named(all[:1], "x"); o == nil || o.ID != (datamesh.ObjectID{1}) {
		t.Errorf("of before: %+v", o)
	}
	if o := f.named(all, "y"); o != nil {
		t.Errorf("got %+v", o)
	}
}

// Each home tells once that a contact is followed, whoever has learnt of it: a get,
// a revocation or another home, which tell nobody.
func TestWhoIsFollowedIsToldOnce(t *testing.T) {
	ctx := t.Context()
	old, next := ringOf(t, 1), ringOf(t, 2)
	c, err := catalog.Open(ctx, filepath.Join(t.TempDir(), "user.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := &Node{catalog: c}
	k := catalog.Contact{Owner: old.OwnerKey(), Name: "ann", Recipient: "his", Card: 1, Created: time.Unix(1, 0)}
	if err := c.SetContact(ctx, k); err != nil {
		t.Fatal(err)
	}
	told := func(want int) {
		t.Helper()
		now, err := n.contactNow(ctx, k)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.tell(ctx, &followed{contact: now}); len(got) != want {
			t.Errorf("told %q, want %d", got, want)
		}
	}
	told(0)
	if _, err := c.Claim(ctx, old.OwnerKey(), []format.Successor{format.Succeed(old.OwnerKey(), next.Owner)}, time.Now()); err != nil {
		t.Fatal(err)
	}
	told(1)
	told(0)
}
