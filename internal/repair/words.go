package repair

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// words yields the owners' words that are kept here, on segments greater than
// after and not greater than upto, in their order. It ends after an error.
func words(ctx context.Context, index Index, after, upto datamesh.SegmentID) iter.Seq2[*datamesh.Deletion, error] {
	return func(yield func(*datamesh.Deletion, error) bool) {
		for {
			list, err := index.Words(ctx, after, page)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, del := range list {
				if after = del.Descriptor.Segment; bytes.Compare(after[:], upto[:]) > 0 || !yield(del, nil) {
					return
				}
			}
			if len(list) < page {
				return
			}
		}
	}
}

// last is the segment after which there is none.
var last = datamesh.SegmentID(bytes.Repeat([]byte{0xff}, len(datamesh.SegmentID{})))

// shared reports whether both of two members keep the owner's word on a segment.
func shared(view *ring.View, d *datamesh.Descriptor, a, b datamesh.PeerID) bool {
	all := registrars(view, d)
	return slices.Contains(all, a) && slices.Contains(all, b)
}

// Words compares a peer's words with those that are kept here.
func (r *Registry) Words(ctx context.Context, from datamesh.PeerID, theirs transfer.Words) (wanted []datamesh.SegmentID, newer []*datamesh.Deletion, err error) {
	listed := map[datamesh.SegmentID]bool{}
	for _, w := range theirs.List {
		listed[w.Segment] = true
		del, err := r.Index.Deletion(ctx, w.Segment)
		switch {
		case errors.Is(err, errs.FileNotFound):
			if w.Generation > 0 {
				wanted = append(wanted, w.Segment)
			}
		case err != nil:
			return nil, nil, err
		case del.Generation < w.Generation:
			wanted = append(wanted, w.Segment)
		case del.Generation > w.Generation:
			newer = append(newer, del)
		}
	}
	if !theirs.Between {
		return wanted, newer, nil
	}
	if err := r.isMember(from); err != nil {
		return nil, nil, err
	}
	view := r.View()
	if view == nil {
		return nil, nil, errs.New(errs.Unavailable, "this peer is still starting")
	}
	for del, err := range words(ctx, r.Index, previous(theirs.First), theirs.Last) {
		if err != nil {
			return nil, nil, err
		}
		if len(newer) >= maxNewer {
			break
		}
		if !listed[del.Descriptor.Segment] && shared(view, del.Descriptor, from, r.Self) {
			newer = append(newer, del)
		}
	}
	return wanted, newer, nil
}

// maxNewer is how many words of a range are answered, beside those that were
// listed: as many as one answer has room for.
const maxNewer = 1024

// previous returns the id before one, or the first.
func previous(id datamesh.SegmentID) datamesh.SegmentID {
	for i := len(id) - 1; i >= 0; i-- {
		id[i]--
		if id[i] != 0xff {
			return id
		}
	}
	return datamesh.SegmentID{}
}

// kept calls do with the owners' words that are this member's to keep.
func (k *Keeper) kept(ctx context.Context, view *ring.View, do func(*datamesh.Deletion)) error {
	for del, err := range words(ctx, k.index, datamesh.SegmentID{}, last) {
		if err != nil {
			return err
		}
		if tracks(view, del.Descriptor, k.self) {
			do(del)
		}
	}
	return nil
}

// tellWords compares the words on the segments of a range that are kept here and
// there.
func (k *Keeper) tellWords(ctx context.Context, peer datamesh.PeerID, after, upto datamesh.SegmentID) error {
	view := k.net.View()
	w := transfer.Words{Between: true, First: after, Last: upto}
	kept := map[datamesh.SegmentID]*datamesh.Deletion{}
	flush := func(until datamesh.SegmentID) error {
		w.Last = until
		err := k.exchange(ctx, peer, w, kept)
		w.First, w.List = next(until), nil
		clear(kept)
		return err
	}
	for del, err := range words(ctx, k.index, previous(after), upto) {
		if err != nil {
			return err
		}
		if !shared(view, del.Descriptor, k.self, peer) {
			continue
		}
		w.List = append(w.List, transfer.NewWord(del))
		kept[del.Descriptor.Segment] = del
		if len(w.List) == transfer.MaxWords {
			if err := flush(del.Descriptor.Segment); err != nil {
				return err
			}
		}
	}
	return flush(upto)
}

// next returns the id after one; after the last comes the first.
func next(id datamesh.SegmentID) datamesh.SegmentID {
	for i := len(id) - 1; i >= 0; i-- {
		id[i]++
		if id[i] != 0 {
			break
		}
	}
	return id
}

// exchange tells a peer of words, sends it those that it wants, and carries out
// those that it has and are newer. One that has no room for a word may have some
// for others.
func (k *Keeper) exchange(ctx context.Context, peer datamesh.PeerID, w transfer.Words, kept map[datamesh.SegmentID]*datamesh.Deletion) error {
	wanted, newer, err := k.net.Words(ctx, peer, w)
	if err != nil {
		return err
	}
	var full error
	for _, segment := range wanted {
		if err := k.net.Shards(peer).Drop(ctx, kept[segment]); errors.Is(err, errs.Full) {
			full = err
		} else if err != nil {
			return err
		}
	}
	for _, del := range newer {
		if err := k.drop(ctx, del); errors.Is(err, errs.Full) {
			full = err
		} else if err != nil {
			return err
		}
	}
	return full
}

// drop carries out an owner's word that others know of. What comes back is told
// to the registrars.
func (k *Keeper) drop(ctx context.Context, del *datamesh.Deletion) error {
	back, err := carryOut(ctx, k.index, k.index, del)
	if err != nil {
		if ctx.Err() == nil {
			k.events.failed("an owner's word could not be carried out", err)
		}
		return err
	}
	if back {
		k.Lost()
	}
	return nil
}

// carryOut has a store carry out an owner's word, and reports whether that has
// brought something back. A word that anybody says again, or that is on what is
// not here, is no reason to tell everybody what is held.
func carryOut(ctx context.Context, s dropper, index Index, del *datamesh.Deletion) (back bool, err error) {
	segment := del.Descriptor.Segment
	last, unknown := index.Deletion(ctx, segment)
	if err := s.Drop(ctx, del); err != nil || del.Gone() {
		return false, err
	}
	if unknown != nil || !last.Gone() || last.Generation >= del.Generation {
		return false, nil
	}
	held, err := index.Held(ctx, datamesh.ShardKey{Segment: segment, Index: -1}, 1)
	return err == nil && len(held) > 0 && held[0].Descriptor.Segment == segment, nil
}

type dropper interface {
	Drop(ctx context.Context, del *datamesh.Deletion) error
}

// handOver gives the words that are kept here, and are not this member's to
// keep, to those whose they are, and forgets those that all of these have.
func (k *Keeper) handOver(ctx context.Context) error {
	view := k.net.View()
	var some []*datamesh.Deletion
	flush := func() error {
		had := k.giveWords(ctx, view, some)
		some = nil
		return k.index.ForgetWords(ctx, had)
	}
	for del, err := range words(ctx, k.index, datamesh.SegmentID{}, last) {
		if err != nil {
			return err
		}
		if mayTrack(view, del.Descriptor, k.self) {
			continue
		}
		if some = append(some, del); len(some) == transfer.MaxWords {
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

// giveWords gives words to those whose they are to keep, and returns those that all
// of these have.
func (k *Keeper) giveWords(ctx context.Context, view *ring.View, some []*datamesh.Deletion) (had []*datamesh.Deletion) {
	lists := map[datamesh.PeerID]*transfer.Words{}
	kept := map[datamesh.SegmentID]*datamesh.Deletion{}
	for _, del := range some {
		kept[del.Descriptor.Segment] = del
		for _, peer := range registrars(view, del.Descriptor) {
			if lists[peer] == nil {
				lists[peer] = new(transfer.Words)
			}
			lists[peer].List = append(lists[peer].List, transfer.NewWord(del))
		}
	}
	missed := map[datamesh.SegmentID]bool{}
	for _, peer := range slices.SortedFunc(maps.Keys(lists), comparePeers) {
		if k.exchange(ctx, peer, *lists[peer], kept) != nil {
			for _, w := range lists[peer].List {
				missed[w.Segment] = true
			}
		}
	}
	return slices.DeleteFunc(some, func(del *datamesh.Deletion) bool { return missed[del.Descriptor.Segment] })
}

// askForWords asks the registrars of all that is held here for the owners' words,
// and carries those out. It reports whether a majority of each segment's has
// answered, and a majority of all members that are remembered is there: a part
// of the mesh does not speak for all of it.
func (k *Keeper) askForWords(ctx context.Context) (all bool, err error) {
	view := k.net.View()
	if view.Live() < majority(view.Len()) {
		return false, nil
	}
	lists := map[datamesh.PeerID]*transfer.Words{}
	missing := map[datamesh.SegmentID]int{} // answers
	askOne := func(peer datamesh.PeerID) {
		w := lists[peer]
		delete(lists, peer)
		if err := k.exchange(ctx, peer, *w, nil); err != nil {
			return
		}
		for _, x := range w.List {
			missing[x.Segment]--
		}
	}
	err = k.held(ctx, datamesh.First, func(h *store.Held) {
		segment := h.Descriptor.Segment
		if _, seen := missing[segment]; seen {
			return
		}
		peers := registrars(view, h.Descriptor)
		missing[segment] = majority(len(peers))
		for _, peer := range peers {
			if peer == k.self {
				missing[segment]--
				continue
			}
			if lists[peer] == nil {
				lists[peer] = new(transfer.Words)
			}
			lists[peer].List = append(lists[peer].List, transfer.Word{Segment: segment})
			if len(lists[peer].List) == transfer.MaxWords {
				askOne(peer)
			}
		}
	})
	if err != nil {
		return false, err
	}
	for _, peer := range slices.SortedFunc(maps.Keys(lists), comparePeers) {
		askOne(peer)
	}
	for _, n := range missing {
		if n > 0 {
			return false, nil
		}
	}
	return true, nil
}
