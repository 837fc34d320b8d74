package repair

import (
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/ring"
	"datamesh/internal/storetest"
	"datamesh/internal/transfer"
)

// Only who is authorised by the owner is told of his segments: not a stranger, nor
// one who has overheard the signature, nor a peer to which he has shown it.
func TestOwnedIsToldToTheOwnerAlone(t *testing.T) {
	w := newWorld(t, 3)
	m, other := w.members[0], w.members[1]
	s, theirs := storetest.Segment(t, 1, 2, 1, 100), storetest.Segment(t, 2, 2, 1, 100)
	for _, s := range []*storetest.Sample{s, theirs} {
		if err := m.disk.Put(t.Context(), s.Descriptor, 0, s.Bytes[0]); err != nil {
			t.Fatal(err)
		}
	}
	mesh := datamesh.MeshID{}
	if x, ok := w.viewOf(0).Lookup(m.id); ok {
		mesh = x.Record.Mesh
	}
	client := datamesh.PeerID{0xff}
	ask := func(signature [64]byte) transfer.OwnedAsk {
		return transfer.OwnedAsk{Owner: s.Descriptor.Owner, Signature: signature}
	}
	good := ask(format.SignOwned(s.Owner, mesh, m.id, client))
	list, _, more, err := m.registry.Owned(t.Context(), client, good, 10)
	if err != nil || more || len(list) != 1 || list[0].Segment != s.Segment {
		t.Errorf("the owner: %v, %v, %v", list, more, err)
	}
	for what, tt := range map[string]struct {
		from datamesh.PeerID
		ask  transfer.OwnedAsk
	}{
		"nobody's signature":         {client, ask([64]byte{})},
		"a stranger's":               {client, ask(format.SignOwned(theirs.Owner, mesh, m.id, client))},
		"one for another mesh":       {client, ask(format.SignOwned(s.Owner, datamesh.MeshID{9}, m.id, client))},
		"overheard":                  {datamesh.PeerID{0xfe}, good},
		"shown to another, who asks": {other.id, ask(format.SignOwned(s.Owner, mesh, other.id, client))},
		"one for another to answer":  {client, ask(format.SignOwned(s.Owner, mesh, other.id, client))},
	} {
		list, _, _, err := m.registry.Owned(t.Context(), tt.from, tt.ask, 10)
		if errs.KindOf(err) != errs.Authentication || len(list) > 0 {
			t.Errorf("%s: got %v, %v", what, list, err)
		}
	}
	starting := Registry{Index: m.disk, Self: m.id, View: func() *ring.View { return nil }}
	if _, _, _, err := starting.Owned(t.Context(), client, good, 10); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("a peer that is starting: %v", err)
	}
}
