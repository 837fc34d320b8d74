package repair

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// receipts returns what a member keeps of a segment.
func (m *member) receipts(s *storetest.Sample) []*datamesh.Receipt {
	m.w.t.Helper()
	list, err := m.registry.Receipts(m.w.t.Context(), s.Segment)
	if err != nil {
		m.w.t.Fatal(err)
	}
	return list
}

// Whoever is given a shard by a repair signs for it, and all registrars keep
// that.
func TestRepairsLeaveReceiptsWithTheRegistrars(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 9)
		all := w.put(5, 4, 2)
		w.kill(w.members[4:6]...)
		began, k := time.Now(), w.mender()
		r, err := k.Mend(t.Context(), ids(all), false)
		if err != nil || r.Shards == 0 || r.Failed > 0 {
			t.Fatalf("got %+v, %v", r, err)
		}
		for _, s := range all {
			placed := map[datamesh.ShardKey]datamesh.PeerID{}
			for _, p := range r.Placed {
				if p.Segment == s.Segment {
					placed[s.Key(p.Index)] = p.At
				}
			}
			for _, peer := range registrars(w.View(), s.Descriptor) {
				list := w.member(peer).receipts(s)
				if len(list) != len(placed) {
					t.Errorf("a registrar has %d receipts, want %d", len(list), len(placed))
				}
				for _, x := range list {
					if err := format.CheckReceipt(x, w.mesh, s.Descriptor); err != nil {
						t.Error(err)
					}
					if x.Placer != k.self || x.Holder != placed[s.Key(x.Index)] || x.Time < began.Unix() || x.Time > time.Now().Unix() {
						t.Errorf("got %+v, want one of %v", x, placed)
					}
				}
			}
		}
	})
}

// A registrar takes no receipt that is forged or of something else, and nothing
// of the report that it came with; one of a stranger it leaves out.
func TestRegistrarsRefuseReceiptsThatAreNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	s, other := coded(t, 1, 2, 1), coded(t, 2, 2, 1)
	m, holder := w.members[0], w.members[1]
	sign := func(by *member, change func(*datamesh.Receipt)) *datamesh.Receipt {
		t.Helper()
		r := datamesh.Receipt{Mesh: w.mesh, Segment: s.Segment, Index: 1, Shard: s.Descriptor.Shards[1], Placer: m.id, Time: 1}
		change(&r)
		signed, err := format.SignReceipt(by.key, r)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	report := func(receipts ...*datamesh.Receipt) error {
		return m.registry.Report(t.Context(), holder.id, []store.Report{{Descriptor: s.Descriptor,
			Holdings: []store.Holding{{Index: 1, Peer: holder.id}}, Receipts: receipts}})
	}
	good := sign(holder, func(*datamesh.Receipt) {})
	forged := *good
	forged.Holder = w.members[2].id
	later := *good
	later.Time++
	for what, bad := range map[string]*datamesh.Receipt{
		"another has signed it": &forged,
		"it was changed":        &later,
		"of another mesh":       sign(holder, func(r *datamesh.Receipt) { r.Mesh = datamesh.MeshID{9} }),
		"of another segment":    sign(holder, func(r *datamesh.Receipt) { r.Segment = other.Segment }),
		"of another shard":      sign(holder, func(r *datamesh.Receipt) { r.Shard = s.Descriptor.Shards[0] }),
		"of a shard too many":   sign(holder, func(r *datamesh.Receipt) { r.Index = 3 }),
	} {
		if err := report(good, bad); !errors.Is(err, errs.Authentication) {
			t.Errorf("%s: got %v, want kind Authentication", what, err)
		}
	}
	if _, _, err := m.disk.Locate(t.Context(), s.Segment); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("of reports that were refused: got %v", err)
	}
	stranger := w.make(1)
	if err := report(sign(stranger, func(*datamesh.Receipt) {}), good); err != nil {
		t.Fatal(err)
	}
	if list := m.receipts(s); len(list) != 1 || *list[0] != *good {
		t.Errorf("got %+v, want the one of a member", list)
	}
}

// A liar is a store that takes shards and signs something else for them.
type liar struct {
	datamesh.ShardStore
	lie *datamesh.Receipt
}

func (l *liar) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	if _, take := datamesh.ReceiptWanted(ctx); take != nil {
		take(l.lie)
	}
	return l.ShardStore.Put(datamesh.WithReceipt(ctx, datamesh.PeerID{}, func(*datamesh.Receipt) {}), d, index, shard)
}

// A holder that signs for something else keeps its shard, and nobody is told of
// its receipt, so that the report of the repair is not refused for it.
func TestRepairGoesOnWithoutAReceiptThatIsNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 9)
		all := w.put(5, 4, 2)
		lie, err := format.SignReceipt(w.members[0].key, datamesh.Receipt{Mesh: w.mesh, Time: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range w.members {
			m.store = &liar{m.store, lie}
		}
		w.kill(w.members[4:6]...)
		r, err := w.mender().Mend(t.Context(), ids(all), false)
		if err != nil || r.Shards == 0 || r.Failed > 0 || w.missing(all) > 0 {
			t.Errorf("got %+v, %v", r, err)
		}
		for _, s := range all {
			for _, peer := range registrars(w.View(), s.Descriptor) {
				if list := w.member(peer).receipts(s); len(list) > 0 {
					t.Errorf("a registrar keeps %+v", list[0])
				}
			}
		}
	})
}
