package repair

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/ring"
	"datamesh/internal/store"
)

// Signed returns a member's store that signs a receipt, with the member's key,
// for whoever wants one of a shard that it was given and that is stored. Of a
// mesh that is not known yet it signs none.
func Signed(inner datamesh.ShardStore, key ed25519.PrivateKey, mesh func() (id datamesh.MeshID, known bool)) datamesh.ShardStore {
	return &signed{inner, key, mesh}
}

type signed struct {
	datamesh.ShardStore
	key  ed25519.PrivateKey
	mesh func() (datamesh.MeshID, bool)
}

func (s *signed) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	if err := s.ShardStore.Put(ctx, d, index, shard); err != nil {
		return err
	}
	placer, take := datamesh.ReceiptWanted(ctx)
	if take == nil {
		return nil
	}
	mesh, known := s.mesh()
	if !known {
		return nil
	}
	r, err := format.SignReceipt(s.key, datamesh.Receipt{Mesh: mesh, Segment: d.Segment, Index: index, Shard: d.Shards[index],
		Placer: placer, Time: time.Now().Unix()})
	if err == nil { // with a clock that is decades off there is none
		take(r)
	}
	return nil
}

// place gives a shard to a peer, and returns the peer's receipt for it, or nil
// if it has given none that holds. Of a segment that was brought back the peer
// is told so first: else anybody could say there that it was deleted.
func (k *Keeper) place(ctx context.Context, d *datamesh.Descriptor, c Copy, shard []byte) (receipt *datamesh.Receipt, err error) {
	if last, err := k.index.Deletion(ctx, d.Segment); err == nil && !last.Gone() {
		if err := k.net.Shards(c.To).Drop(ctx, last); err != nil {
			return nil, err
		}
	}
	ctx = datamesh.WithReceipt(ctx, k.self, func(r *datamesh.Receipt) { receipt = r })
	if err := k.net.Shards(c.To).Put(ctx, d, c.Index, shard); err != nil {
		return nil, err
	}
	if r := receipt; r == nil || r.Holder != c.To || r.Placer != k.self || r.Index != c.Index || checkReceipt(k.net.View(), c.To, r, d) != nil {
		return nil, nil
	}
	return receipt, nil
}

// checkReceipt reports with an error of kind Authentication that a receipt is
// not of this segment in the mesh that a member is of.
func checkReceipt(view *ring.View, member datamesh.PeerID, r *datamesh.Receipt, d *datamesh.Descriptor) error {
	var mesh datamesh.MeshID
	if m, ok := view.Lookup(member); ok {
		mesh = m.Record.Mesh
	}
	return format.CheckReceipt(r, mesh, d)
}

// checked returns reports without the receipts of those who are no members. One
// that is forged, or of something else, is an error: whoever has placed a shard
// has checked its receipt. Kind: Authentication.
func (r *Registry) checked(reports []store.Report) ([]store.Report, error) {
	list, view := slices.Clone(reports), r.View()
	for i := range list {
		x := &list[i]
		var kept []*datamesh.Receipt
		for _, receipt := range x.Receipts {
			if view == nil { // of which mesh they should be is not known yet
				break
			}
			if err := checkReceipt(view, r.Self, receipt, x.Descriptor); err != nil {
				return nil, fmt.Errorf("report: %w", err)
			}
			if _, member := view.Lookup(receipt.Holder); member {
				kept = append(kept, receipt)
			}
		}
		x.Receipts = kept
	}
	return list, nil
}

// Receipts returns the receipts that came with reports of a segment.
func (r *Registry) Receipts(ctx context.Context, segment datamesh.SegmentID) ([]*datamesh.Receipt, error) {
	return r.Index.Receipts(ctx, segment)
}
