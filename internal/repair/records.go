package repair

import (
	"context"
	"errors"
	"iter"
	"slices"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"
	"datamesh/internal/transfer"
)

// records yields the keys of the records that are kept here and greater than
// after, in their order. It ends after an error.
func records(ctx context.Context, index Index, after datamesh.RecordKey) iter.Seq2[datamesh.RecordKey, error] {
	return func(yield func(datamesh.RecordKey, error) bool) {
		for {
			keys, err := index.RecordKeys(ctx, after, page)
			if err != nil {
				yield(after, err)
				return
			}
			for _, after = range keys {
				if !yield(after, nil) {
					return
				}
			}
			if len(keys) < page {
				return
			}
		}
	}
}

// read yields the records of some keys. What has gone meanwhile is left out, and
// what has rotted is forgotten: others give it again.
func read(ctx context.Context, index Index, keys iter.Seq2[datamesh.RecordKey, error]) iter.Seq2[*datamesh.Record, error] {
	return func(yield func(*datamesh.Record, error) bool) {
		for key, err := range keys {
			if err != nil {
				yield(nil, err)
				return
			}
			r, err := index.Record(ctx, key)
			switch {
			case errors.Is(err, errs.FileNotFound):
				continue
			case errors.Is(err, errs.Integrity):
				if err = index.ForgetRecords(ctx, []datamesh.RecordKey{key}); err == nil {
					continue
				}
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// PutRecord keeps an owner's record. Kinds, beside those of [Index]:
// Authentication (it is of another mesh), Unavailable.
func (r *Registry) PutRecord(ctx context.Context, from datamesh.PeerID, x *datamesh.Record) error {
	view := r.View()
	if view == nil {
		return errs.New(errs.Unavailable, "this peer is still starting")
	}
	if self, ok := view.Lookup(r.Self); !ok || self.Record.Mesh != x.Mesh {
		return errs.New(errs.Authentication, "record of another mesh, %s", x.Mesh)
	}
	return r.Index.PutRecord(ctx, x)
}

// Records yields the records of an owner that are kept here, after a key.
func (r *Registry) Records(ctx context.Context, after datamesh.RecordKey) iter.Seq2[*datamesh.Record, error] {
	return read(ctx, r.Index, func(yield func(datamesh.RecordKey, error) bool) {
		for key, err := range records(ctx, r.Index, after) {
			if err == nil && key.Place != after.Place || !yield(key, err) {
				return
			}
		}
	})
}

// CompareRecords compares a peer's records with those that are kept here.
func (r *Registry) CompareRecords(ctx context.Context, from datamesh.PeerID, theirs transfer.RecordList) (wanted []datamesh.RecordKey, missing iter.Seq2[*datamesh.Record, error], err error) {
	has, err := r.Index.HasRecords(ctx, theirs.Keys)
	if err != nil {
		return nil, nil, err
	}
	for i, key := range theirs.Keys {
		if !has[i] {
			wanted = append(wanted, key)
		}
	}
	nothing := func(func(*datamesh.Record, error) bool) {}
	if !theirs.Between {
		return wanted, nothing, nil
	}
	if err := r.isMember(from); err != nil {
		return nil, nil, err
	}
	view := r.View()
	if view == nil {
		return nil, nil, errs.New(errs.Unavailable, "this peer is still starting")
	}
	return wanted, read(ctx, r.Index, func(yield func(datamesh.RecordKey, error) bool) {
		for key, err := range sharedRecords(ctx, r.Index, view, theirs.After, theirs.Upto, from, r.Self) {
			if _, listed := slices.BinarySearchFunc(theirs.Keys, key, datamesh.RecordKey.Compare); (err != nil || !listed) && !yield(key, err) {
				return
			}
		}
	}), nil
}

// sharedRecords yields the keys greater than after, and not greater than upto, of
// the records that are here and that both of two members keep.
func sharedRecords(ctx context.Context, index Index, view *ring.View, after, upto datamesh.RecordKey, a, b datamesh.PeerID) iter.Seq2[datamesh.RecordKey, error] {
	return func(yield func(datamesh.RecordKey, error) bool) {
		p := places{view: view}
		for key, err := range records(ctx, index, after) {
			if err != nil {
				yield(key, err)
				return
			}
			if key.Compare(upto) > 0 {
				return
			}
			if all := p.registrars(key.Place); slices.Contains(all, a) && slices.Contains(all, b) && !yield(key, nil) {
				return
			}
		}
	}
}

// places finds the registrars of one place after the other, of which many are the
// same as the last.
type places struct {
	view  *ring.View
	more  int // how many more registrars than there are
	place [32]byte
	found []datamesh.PeerID // nil at the beginning
}

func (p *places) registrars(place [32]byte) []datamesh.PeerID {
	if p.found == nil || p.place != place {
		p.place, p.found = place, ring.Registrars(p.view, place, ring.RecordRegistrarCount(p.view.Live())+p.more)
	}
	return p.found
}
