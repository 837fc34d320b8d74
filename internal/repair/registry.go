package repair

import (
	"context"
	"slices"
	"sync/atomic"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// A Registry is what a registrar answers with: the index of its disk, and the
// table of members, which says what it is a registrar of.
type Registry struct {
	Index Index
	Self  datamesh.PeerID
	View  func() *ring.View // its result is nil while there is none yet

	keeper  atomic.Pointer[Keeper] // is told of what changes here; nil while there is none yet
	pledges pledges
}

var _ transfer.Registry = (*Registry)(nil)

// Report enters what a peer reports. Kind, beside those of [Index]:
// Authentication (a receipt is not what it should be; nothing is entered).
func (r *Registry) Report(ctx context.Context, from datamesh.PeerID, reports []store.Report) error {
	reports, err := r.checked(reports)
	if err != nil {
		return err
	}
	err = r.Index.Report(ctx, r.ofMembers(reports))
	if k := r.keeper.Load(); k != nil && err == nil {
		k.hear(Told{from, reports})
	}
	return err
}

// ofMembers leaves out holders that are no members: whatever they are said to
// hold, they cannot be reached.
func (r *Registry) ofMembers(reports []store.Report) []store.Report {
	view := r.View()
	if view == nil {
		return reports
	}
	list := slices.Clone(reports)
	for i := range list {
		list[i].Holdings = slices.DeleteFunc(slices.Clone(list[i].Holdings), func(h store.Holding) bool {
			_, ok := view.Lookup(h.Peer)
			return !ok
		})
	}
	return list
}

// isMember reports with an error that a peer is no member. Kind:
// Authentication.
func (r *Registry) isMember(peer datamesh.PeerID) error {
	if view := r.View(); view != nil {
		if _, ok := view.Lookup(peer); !ok {
			return errs.New(errs.Authentication, "peer %s is no storage member of the mesh", peer)
		}
	}
	return nil
}

// Locate returns what was reported of a segment.
func (r *Registry) Locate(ctx context.Context, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	return r.Index.Locate(ctx, segment)
}

// Owned returns to an owner, who has signed that this peer may ask for him, his
// segments of which something is known here. Kinds, beside those of [Index]:
// Authentication, Unavailable.
func (r *Registry) Owned(ctx context.Context, from datamesh.PeerID, ask transfer.OwnedAsk, limit int) (list []*datamesh.Descriptor, last datamesh.SegmentID, more bool, err error) {
	view := r.View()
	if view == nil {
		return nil, last, false, errs.New(errs.Unavailable, "this peer is still starting")
	}
	self, ok := view.Lookup(r.Self)
	if !ok {
		return nil, last, false, errs.New(errs.Unavailable, "this peer is no member of the mesh yet")
	}
	if err := format.VerifyOwned(ask.Owner, ask.Signature, self.Record.Mesh, r.Self, from); err != nil {
		return nil, last, false, err
	}
	return r.Index.Owned(ctx, ask.Owner, ask.After, limit)
}

// Proofs returns what holders of the segments have last proven to this member.
func (r *Registry) Proofs(ctx context.Context, segments []datamesh.SegmentID) ([]store.Proof, error) {
	return r.Index.Proofs(ctx, segments)
}

// Compare compares what a peer says that it holds of the segments that this
// member keeps track of, and the owners' words and records that both keep, with
// what is known here.
func (r *Registry) Compare(ctx context.Context, from datamesh.PeerID, theirs transfer.Sums) ([]int, error) {
	if err := r.isMember(from); err != nil {
		return nil, err
	}
	view := r.View()
	if view == nil {
		return nil, errs.New(errs.Unavailable, "this peer is still starting")
	}
	ours := theirs.Like()
	for after := datamesh.First; ; {
		list, err := r.Index.Reported(ctx, from, after, page)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if tracks(view, list[i].Descriptor, r.Self) {
				ours.Add(list[i].Key())
			}
		}
		if len(list) < page {
			break
		}
		after = list[page-1].Key()
	}
	for del, err := range words(ctx, r.Index, datamesh.SegmentID{}, last) {
		if err != nil {
			return nil, err
		}
		if from != r.Self && shared(view, del.Descriptor, from, r.Self) {
			ours.AddWord(transfer.NewWord(del))
		}
	}
	if from == r.Self {
		return ours.Differ(theirs), nil
	}
	for key, err := range sharedRecords(ctx, r.Index, view, datamesh.RecordKey{}, lastRecord(last), from, r.Self) {
		if err != nil {
			return nil, err
		}
		ours.AddRecord(key)
	}
	return ours.Differ(theirs), nil
}

// Holds enters what a peer holds in a range.
func (r *Registry) Holds(ctx context.Context, from datamesh.PeerID, x transfer.Range) ([]datamesh.SegmentID, []*datamesh.Deletion, error) {
	if err := r.isMember(from); err != nil {
		return nil, nil, err
	}
	unknown, deleted, err := r.Index.Correct(ctx, from, x.After, x.Upto, x.Keys)
	if k := r.keeper.Load(); k != nil && err == nil {
		k.hear(Corrected{})
	}
	return unknown, deleted, err
}

// Spare passes on that a shard may be one too many, if a member says so.
func (r *Registry) Spare(from datamesh.PeerID, key datamesh.ShardKey) {
	if r.isMember(from) != nil {
		return
	}
	if k := r.keeper.Load(); k != nil {
		k.Spare(key)
	}
}

// Pledge promises to keep a shard.
func (r *Registry) Pledge(ctx context.Context, from datamesh.PeerID, key datamesh.ShardKey) error {
	if err := r.isMember(from); err != nil {
		return err
	}
	if k := r.keeper.Load(); k != nil {
		return k.Pledge(ctx, key)
	}
	return errs.New(errs.Unavailable, "this peer is still starting")
}

// tracks reports whether a member is a registrar of a segment.
func tracks(view *ring.View, d *datamesh.Descriptor, peer datamesh.PeerID) bool {
	return slices.Contains(registrars(view, d), peer)
}
