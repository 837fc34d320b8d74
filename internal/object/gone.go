package object

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"
	"datamesh/internal/transfer"
)

// Gone returns those of the objects that their owner's last words delete. Of the
// registrars of each as many must answer as are a majority when all members are
// alive: whatever was said and acknowledged is known to one of those. Kind:
// Unavailable.
func (o *Objects) Gone(ctx context.Context, ids []datamesh.ObjectID) ([]datamesh.ObjectID, error) {
	view := o.net.View()
	need := ring.RegistrarCount(datamesh.MaxShards, 0, known(view))/2 + 1 // whatever their codes are
	lists := map[datamesh.PeerID][]transfer.Word{}
	answers := newTally()
	for _, id := range ids {
		segment := datamesh.SegmentID(id)
		answers.want(segment, need)
		for _, peer := range ring.Registrars(view, segment, ring.RegistrarCount(datamesh.MaxShards, 0, view.Live())) {
			lists[peer] = append(lists[peer], transfer.Word{Segment: segment})
		}
	}
	var mu sync.Mutex // guards the rest
	answered := map[datamesh.PeerID]bool{}
	last := map[datamesh.SegmentID]*datamesh.Deletion{}
	answers.collect(maps.Keys(lists), func(peer datamesh.PeerID) error {
		list := lists[peer]
		slices.SortFunc(list, func(a, b transfer.Word) int { return bytes.Compare(a.Segment[:], b.Segment[:]) })
		list = slices.Compact(list)
		for some := range slices.Chunk(list, transfer.MaxWords) {
			_, words, err := o.net.Words(ctx, peer, transfer.Words{List: some})
			if err != nil {
				return err
			}
			mu.Lock()
			for _, del := range words {
				if before := last[del.Descriptor.Segment]; before == nil || before.Generation < del.Generation {
					last[del.Descriptor.Segment] = del
				}
			}
			mu.Unlock()
			for _, w := range some {
				answers.count(w.Segment)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		answered[peer] = true
		return nil
	})
	if err := answers.err(ctx); err != nil {
		return nil, err
	}
	gone := []datamesh.ObjectID{}
	for _, id := range ids {
		if peers := ring.Registrars(view, id, ring.RegistrarCount(datamesh.MaxShards, 0, view.Live())); !enough(peers, answered) {
			return nil, errs.New(errs.Unavailable, "too few of the peers that keep track of %s answered: %s", id, reasons(answers.failed))
		}
		if del := last[datamesh.SegmentID(id)]; del != nil && del.Gone() {
			gone = append(gone, id)
		}
	}
	return gone, nil
}
