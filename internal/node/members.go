package node

import (
	"context"
	"crypto/ed25519"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/repair"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// members is the mesh as package object sees it: this node's own store and
// registry at hand, those of others over the network.
type members struct{ link *link }

func (m *members) View() *ring.View { return m.link.view() }

func (m *members) Probe(ctx context.Context, peer datamesh.PeerID) error {
	if peer == m.link.self {
		return nil
	}
	return m.link.client.Probe(ctx, peer)
}

func (m *members) Shards(peer datamesh.PeerID) datamesh.ShardStore {
	if peer == m.link.self && m.link.disk != nil {
		return m.link.local
	}
	return m.link.remote(peer)
}

func (m *members) Report(ctx context.Context, peer datamesh.PeerID, reports []store.Report) error {
	if peer == m.link.self && m.link.disk != nil {
		return m.link.disk.Report(ctx, reports)
	}
	return m.link.client.Report(ctx, peer, reports)
}

func (m *members) Locate(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	if peer == m.link.self && m.link.disk != nil {
		return m.link.disk.Locate(ctx, segment)
	}
	return m.link.client.Locate(ctx, peer, segment)
}

func (m *members) Find(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (found store.Found, err error) {
	if peer == m.link.self && m.link.disk != nil {
		found.Descriptor, found.Holdings, err = m.link.disk.Locate(ctx, segment)
		return found, err
	}
	return m.link.client.Find(ctx, peer, segment)
}

func (m *members) Compare(ctx context.Context, peer datamesh.PeerID, sums transfer.Sums) ([]int, error) {
	if peer == m.link.self && m.link.registry != nil {
		return m.link.registry.Compare(ctx, m.link.self, sums)
	}
	return m.link.client.Compare(ctx, peer, sums)
}

func (m *members) Holds(ctx context.Context, peer datamesh.PeerID, r transfer.Range) ([]datamesh.SegmentID, []*datamesh.Deletion, error) {
	if peer == m.link.self && m.link.registry != nil {
		return m.link.registry.Holds(ctx, m.link.self, r)
	}
	return m.link.client.Holds(ctx, peer, r)
}

func (m *members) Words(ctx context.Context, peer datamesh.PeerID, w transfer.Words) ([]datamesh.SegmentID, []*datamesh.Deletion, error) {
	if peer == m.link.self && m.link.disk != nil {
		return m.own().Words(ctx, m.link.self, w)
	}
	return m.link.client.Words(ctx, peer, w)
}

// Owned signs for the owner that this peer may ask another for his segments, and
// asks.
func (m *members) Owned(ctx context.Context, peer datamesh.PeerID, owner ed25519.PrivateKey, after datamesh.SegmentID) (list []*datamesh.Descriptor, next datamesh.SegmentID, more bool, err error) {
	to, ok := m.link.view().Lookup(peer)
	if !ok {
		return nil, next, false, errs.New(errs.Unavailable, "peer %s is no member", peer)
	}
	ask := transfer.OwnedAsk{Owner: datamesh.OwnerKey(owner.Public().(ed25519.PublicKey)), After: after,
		Signature: format.SignOwned(owner, to.Record.Mesh, peer, m.link.self)}
	if peer == m.link.self && m.link.disk != nil {
		return m.own().Owned(ctx, m.link.self, ask, ownedPage)
	}
	return m.link.client.Owned(ctx, peer, ask)
}

// ownedPage is how many segments of the own disk are looked at at once.
const ownedPage = 1024

// own returns this node's registry, also where there is no mesh.
func (m *members) own() *repair.Registry {
	if m.link.registry != nil {
		return m.link.registry
	}
	return &repair.Registry{Index: m.link.disk, Self: m.link.self, View: m.link.view}
}

func (m *members) PutRecord(ctx context.Context, peer datamesh.PeerID, r *datamesh.Record) error {
	if peer == m.link.self && m.link.disk != nil {
		return m.own().PutRecord(ctx, m.link.self, r)
	}
	return m.link.client.PutRecord(ctx, peer, r)
}

// Records returns those of an owner that a peer keeps.
func (m *members) Records(ctx context.Context, peer datamesh.PeerID, owner datamesh.OwnerKey) (list []*datamesh.Record, err error) {
	if peer != m.link.self || m.link.disk == nil {
		return m.link.client.Records(ctx, peer, owner)
	}
	for r, err := range m.own().Records(ctx, datamesh.RecordKey{Place: format.RecordPlace(owner)}) {
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

func (m *members) CompareRecords(ctx context.Context, peer datamesh.PeerID, l transfer.RecordList) ([]datamesh.RecordKey, []*datamesh.Record, error) {
	return m.link.client.CompareRecords(ctx, peer, l) // nobody compares with itself
}

func (m *members) Spare(ctx context.Context, peer datamesh.PeerID, key datamesh.ShardKey) error {
	return m.link.client.Spare(ctx, peer, key)
}

func (m *members) Pledge(ctx context.Context, peer datamesh.PeerID, key datamesh.ShardKey) error {
	if peer == m.link.self && m.link.registry != nil {
		return m.link.registry.Pledge(ctx, m.link.self, key)
	}
	return m.link.client.Pledge(ctx, peer, key)
}

// Receipts returns those that a registrar keeps of a segment, and why others
// that it has shown are none.
func (m *members) Receipts(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (list []*datamesh.Receipt, refused []error, err error) {
	if peer == m.link.self && m.link.disk != nil {
		list, err = m.link.disk.Receipts(ctx, segment)
		return list, nil, err
	}
	return m.link.client.Receipts(ctx, peer, segment)
}
