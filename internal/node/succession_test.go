package node

import (
	"testing"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
)

// A later card takes no successor back, and one who has not agreed is none.
func TestSuccessorsAreReadFromAllCards(t *testing.T) {
	var rings []*keyring.Ring
	for i := range byte(4) {
		ring, err := keyring.New(keyring.Root{i + 1})
		if err != nil {
			t.Fatal(err)
		}
		rings = append(rings, ring)
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
