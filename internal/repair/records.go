package repair

import (
	"context"
	"errors"
	"iter"
	"maps"
	"math"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
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
	return keepRecord(ctx, r.Index, view, r.Self, x)
}

// keepRecord keeps a record of the mesh that a member is of. Kind, beside those
// of [Index]: Authentication (it is of another mesh).
func keepRecord(ctx context.Context, index Index, view *ring.View, member datamesh.PeerID, r *datamesh.Record) error {
	if m, ok := view.Lookup(member); !ok || m.Record.Mesh != r.Mesh {
		return errs.New(errs.Authentication, "record of another mesh, %s", r.Mesh)
	}
	return index.PutRecord(ctx, r)
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

// recordRegistrars returns the members that keep the records of a place, and so
// many more that may be among them to their own eyes.
func recordRegistrars(view *ring.View, place [32]byte, more int) []datamesh.PeerID {
	return ring.Registrars(view, place, ring.RecordRegistrarCount(view.Live())+more)
}

// places finds the registrars of one place after the other, of which many are the
// same as the last.
type places struct {
	view  *ring.View
	more  int
	place [32]byte
	found []datamesh.PeerID // nil at the beginning
}

func (p *places) registrars(place [32]byte) []datamesh.PeerID {
	if p.found == nil || p.place != place {
		p.place, p.found = place, recordRegistrars(p.view, place, p.more)
	}
	return p.found
}

// keptRecords calls do with the keys of the records that are this member's to
// keep, and with who else keeps them.
func (k *Keeper) keptRecords(ctx context.Context, view *ring.View, do func(datamesh.RecordKey, []datamesh.PeerID)) error {
	p := places{view: view}
	for key, err := range records(ctx, k.index, datamesh.RecordKey{}) {
		if err != nil {
			return err
		}
		if all := p.registrars(key.Place); slices.Contains(all, k.self) {
			do(key, all)
		}
	}
	return nil
}

// lastRecord returns a key that no record of a place is greater than.
func lastRecord(place [32]byte) datamesh.RecordKey {
	return datamesh.RecordKey{Place: place, Device: [16]byte(last[:]), Seq: math.MaxUint64, Digest: last}
}

// tellRecords compares the records of the places of a range that are kept here
// and there, and gives and takes what is missing. Without any here it asks for
// none: who has some comes with them, and most ranges differ by shards alone.
func (k *Keeper) tellRecords(ctx context.Context, peer datamesh.PeerID, first, last [32]byte) error {
	l := transfer.RecordList{Between: true, After: datamesh.RecordKey{Place: first}}
	flush := func(upto datamesh.RecordKey) error {
		l.Upto = upto
		err := k.exchangeRecords(ctx, peer, l)
		l.After, l.Keys = upto, nil
		return err
	}
	end, some := lastRecord(last), false
	for key, err := range sharedRecords(ctx, k.index, k.net.View(), l.After, end, k.self, peer) {
		if err != nil {
			return err
		}
		some = true
		if l.Keys = append(l.Keys, key); len(l.Keys) == transfer.MaxRecordKeys {
			if err := flush(key); err != nil {
				return err
			}
		}
	}
	if !some {
		return nil
	}
	return flush(end)
}

// exchangeRecords tells a peer of all records in a range, gives it those that it
// wants, and takes those that are not here. What it has no room for, or this
// member, does not keep others from being taken.
func (k *Keeper) exchangeRecords(ctx context.Context, peer datamesh.PeerID, l transfer.RecordList) error {
	for {
		missing, _, err := k.giveRecords(ctx, peer, l)
		if err != nil || len(missing) == 0 {
			return err
		}
		before := l.After
		for _, r := range missing {
			if err := keepRecord(ctx, k.index, k.net.View(), k.self, r); err != nil && !errors.Is(err, errs.Exists) && !errors.Is(err, errs.Full) {
				return err
			}
			if key := format.RecordKey(r); key.Compare(l.After) > 0 {
				l.After = key // one answer may have no room for all
			}
		}
		if l.After == before {
			return errs.New(errs.Serialization, "peer %s gives what was not asked for", peer)
		}
		i, _ := slices.BinarySearchFunc(l.Keys, l.After, datamesh.RecordKey.Compare)
		l.Keys = l.Keys[i:]
	}
}

// giveRecords gives a peer those of a list that it wants, and returns those that
// it does not take for want of room, and what it has besides.
func (k *Keeper) giveRecords(ctx context.Context, peer datamesh.PeerID, l transfer.RecordList) (missing []*datamesh.Record, refused []datamesh.RecordKey, err error) {
	wanted, missing, err := k.net.CompareRecords(ctx, peer, l)
	if err != nil {
		return nil, nil, err
	}
	for r, err := range read(ctx, k.index, seq(wanted)) {
		if err != nil {
			return nil, nil, err
		}
		switch err := k.net.PutRecord(ctx, peer, r); {
		case errors.Is(err, errs.Full):
			refused = append(refused, format.RecordKey(r))
		case err != nil && !errors.Is(err, errs.Exists):
			return nil, nil, err
		}
	}
	return missing, refused, nil
}

// seq yields keys, and no error.
func seq(keys []datamesh.RecordKey) iter.Seq2[datamesh.RecordKey, error] {
	return func(yield func(datamesh.RecordKey, error) bool) {
		for _, key := range keys {
			if !yield(key, nil) {
				return
			}
		}
	}
}

// handOverRecords gives the records that are here, and are not this member's to
// keep, to those whose they are, and forgets those that all of these have.
func (k *Keeper) handOverRecords(ctx context.Context) error {
	near := places{view: k.net.View(), more: slack}
	var some []datamesh.RecordKey
	flush := func() error {
		had := k.giveAway(ctx, near.view, some)
		some = nil
		return k.index.ForgetRecords(ctx, had)
	}
	for key, err := range records(ctx, k.index, datamesh.RecordKey{}) {
		if err != nil {
			return err
		}
		if slices.Contains(near.registrars(key.Place), k.self) {
			continue
		}
		if some = append(some, key); len(some) == transfer.MaxRecordKeys {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(some) == 0 {
		return nil
	}
	return flush()
}

// giveAway gives records to those whose they are to keep, and returns those that
// all of these have.
func (k *Keeper) giveAway(ctx context.Context, view *ring.View, some []datamesh.RecordKey) (had []datamesh.RecordKey) {
	lists := map[datamesh.PeerID]*transfer.RecordList{}
	missed := map[datamesh.RecordKey]bool{}
	p := places{view: view}
	for _, key := range some {
		all := p.registrars(key.Place)
		missed[key] = len(all) == 0
		for _, peer := range all {
			if lists[peer] == nil {
				lists[peer] = new(transfer.RecordList)
			}
			lists[peer].Keys = append(lists[peer].Keys, key)
		}
	}
	var mu sync.Mutex // guards missed
	group := k.workers(atOnce)
	for _, peer := range slices.SortedFunc(maps.Keys(lists), comparePeers) {
		group.Go(func() error {
			ctx, cancel := k.within(ctx, tellTime)
			defer cancel()
			_, refused, err := k.giveRecords(ctx, peer, *lists[peer])
			if err != nil {
				refused = lists[peer].Keys
			}
			mu.Lock()
			defer mu.Unlock()
			for _, key := range refused {
				missed[key] = true
			}
			return nil
		})
	}
	group.Wait()
	return slices.DeleteFunc(some, func(key datamesh.RecordKey) bool { return missed[key] })
}
