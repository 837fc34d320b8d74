package node

import (
	"errors"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
)

// A later card takes no successor back, and one who has not agreed is none.
func TestSuccessorsAreReadFromAllCards(t *testing.T) {
	var rings []*keyring.Ring
	for i := range byte(4) {
		rings = append(rings, ringOf(t, i+1))
	}
	self := rings[0].OwnerKey()
	first, second, forged := format.Succeed(self, rings[1].Owner), format.Succeed(self, rings[2].Owner), format.Succeed(self, rings[3].Owner)
	forged.Consent[0] ^= 1
	other := format.Succeed(rings[1].OwnerKey(), rings[3].Owner) // has agreed, but to another's
	var records []*datamesh.Record
	says := func(to *format.Successor) {
		t.Helper()
		n := uint64(len(records) + 1)
		payload, err := format.EncodeCard(&format.Card{Clock: n, Recipients: []string{rings[0].Recipient.String()}, Successor: to})
		if err != nil {
			t.Fatal(err)
		}
		r, err := format.NewRecord(rings[0].Owner, datamesh.MeshID{1}, [16]byte{2}, n, 0, payload)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	for _, x := range []struct {
		says *format.Successor
		want int
	}{{nil, 0}, {&forged, 0}, {&other, 0}, {&first, 1}, {nil, 1}, {&first, 1}, {&second, 2}, {nil, 2}} {
		says(x.says)
		if got := claimsIn(self, records); len(got) != x.want {
			t.Errorf("after %d cards: %+v, want %d", len(records), got, x.want)
		}
		if card, _ := cardIn(records); card == nil || card.Clock != uint64(len(records)) {
			t.Errorf("the card that holds is %+v", card)
		}
	}
}

// A thief of the keys takes the card away that names the successor. Both homes of
// the owner know of it, and either says it again.
func TestSuccessionsAreSaidAgain(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	ring := ringOf(t, 9)
	keys, err := p.one.heldKeys()
	if err != nil {
		t.Fatal(err)
	}
	self, to := keys.OwnerKey(), format.Succeed(keys.OwnerKey(), ring.Owner)
	l, err := p.two.connectToShare(ctx)
	if err != nil {
		t.Fatal(err)
	}
	named := func() (names bool, posts []*datamesh.Record) {
		t.Helper()
		found, err := l.objects.Records(ctx, self)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range found.Records {
			if format.IsPost(r.Payload) {
				posts = append(posts, r)
			}
		}
		claims := claimsIn(self, found.Records)
		return len(claims) == 1 && claims[0] == to, posts
	}
	for i, n := range []*running{p.one, p.one, p.two} {
		if s, err := n.Succeed(ctx, to); err != nil || s.Successor != ring.OwnerKey() || len(s.Warnings) > 0 {
			t.Fatalf("%d: got %+v, %v", i, s, err)
		}
		is, posts := named()
		if !is {
			t.Errorf("%d: no card names the successor", i)
		}
		for _, r := range posts {
			payload, err := format.EncodeCard(&format.Card{Clock: 1, Recipients: []string{keys.Recipient.String()}})
			if err != nil {
				t.Fatal(err)
			}
			instead, err := format.NewRecord(keys.Owner, r.Mesh, r.Device, 1<<40, 1<<40-1, payload)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.objects.PutRecord(ctx, instead); err != nil && !errors.Is(err, errs.Exists) {
				t.Fatal(err)
			}
		}
		if is, _ := named(); is {
			t.Errorf("%d: the thief has taken nothing away", i)
		}
	}
	if _, err := p.two.Succeed(ctx, format.Succeed(self, ringOf(t, 8).Owner)); !errors.Is(err, errs.Exists) {
		t.Errorf("another successor: %v", err)
	}
	forged := to
	forged.Consent[0] ^= 1
	if _, err := p.two.Succeed(ctx, forged); !errors.Is(err, errs.Authentication) {
		t.Errorf("one who has not agreed: %v", err)
	}
}

func ringOf(t *testing.T, root byte) *keyring.Ring {
	t.Helper()
	ring, err := keyring.New(keyring.Root{root})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}
