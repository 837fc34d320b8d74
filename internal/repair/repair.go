// Package repair keeps segments whole: it finds out which have lost shards,
// and rebuilds those, with no key, no leader and no owner. Every member does it
// for the segments that it is a registrar of.
//
// [Machine] decides and is pure; [Keeper] carries out. What is known of who
// holds what comes from the holders themselves: each tells the registrars of
// its shards which those are, as sums over ranges of keys that cost next to
// nothing while they agree. [Registry] is the other end of that.
//
// What is missing is what none of those that a majority of a segment's
// registrars name has, when it is asked. A rebuilt shard is checked against the
// descriptor before it is given to anybody.
package repair

import (
	"context"

	"datamesh"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// A Net is the mesh as a member sees it, this member included.
type Net interface {
	View() *ring.View
	Shards(peer datamesh.PeerID) datamesh.ShardStore
	Report(ctx context.Context, peer datamesh.PeerID, reports []store.Report) error
	Locate(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error)
	Compare(ctx context.Context, peer datamesh.PeerID, sums transfer.Sums) ([]int, error)
	Holds(ctx context.Context, peer datamesh.PeerID, r transfer.Range) ([]datamesh.SegmentID, []*datamesh.Deletion, error)
	Words(ctx context.Context, peer datamesh.PeerID, w transfer.Words) ([]datamesh.SegmentID, []*datamesh.Deletion, error)
	PutRecord(ctx context.Context, peer datamesh.PeerID, r *datamesh.Record) error
	CompareRecords(ctx context.Context, peer datamesh.PeerID, l transfer.RecordList) ([]datamesh.RecordKey, []*datamesh.Record, error)
	Spare(ctx context.Context, peer datamesh.PeerID, key datamesh.ShardKey) error
	Pledge(ctx context.Context, peer datamesh.PeerID, key datamesh.ShardKey) error
}

// An Index is what this member has on its own disk. [store.Disk] is one.
type Index interface {
	Track(ctx context.Context, after datamesh.SegmentID, limit int) ([]store.Tracked, error)
	Held(ctx context.Context, after datamesh.ShardKey, limit int) ([]store.Held, error)
	Reported(ctx context.Context, peer datamesh.PeerID, after datamesh.ShardKey, limit int) ([]store.Held, error)
	Correct(ctx context.Context, peer datamesh.PeerID, after, upto datamesh.ShardKey, keys []datamesh.ShardKey) ([]datamesh.SegmentID, []*datamesh.Deletion, error)
	Report(ctx context.Context, reports []store.Report) error
	Locate(ctx context.Context, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error)
	Owned(ctx context.Context, owner datamesh.OwnerKey, after datamesh.SegmentID, limit int) (list []*datamesh.Descriptor, last datamesh.SegmentID, more bool, err error)
	Proven(ctx context.Context, proofs []store.Proof) error
	Proofs(ctx context.Context, segments []datamesh.SegmentID) ([]store.Proof, error)
	Receipts(ctx context.Context, segment datamesh.SegmentID) ([]*datamesh.Receipt, error)
	Drop(ctx context.Context, del *datamesh.Deletion) error
	Words(ctx context.Context, after datamesh.SegmentID, limit int) ([]*datamesh.Deletion, error)
	Deletion(ctx context.Context, segment datamesh.SegmentID) (*datamesh.Deletion, error)
	ForgetWords(ctx context.Context, words []*datamesh.Deletion) error
	PutRecord(ctx context.Context, r *datamesh.Record) error
	RecordKeys(ctx context.Context, after datamesh.RecordKey, limit int) ([]datamesh.RecordKey, error)
	Record(ctx context.Context, key datamesh.RecordKey) (*datamesh.Record, error)
	HasRecords(ctx context.Context, keys []datamesh.RecordKey) ([]bool, error)
	ForgetRecords(ctx context.Context, keys []datamesh.RecordKey) error
	Forget(ctx context.Context, segments []datamesh.SegmentID) error
	Remove(ctx context.Context, key datamesh.ShardKey) error
}

var _ Index = (*store.Disk)(nil)

// page is how many rows of the index are read at once.
const page = 256
