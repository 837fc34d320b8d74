package node

import (
	"cmp"
	"context"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/object"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
)

const (
	surveyObjects = 256      // that are asked about at once
	surveyBytes   = 64 << 30 // of their content: so much has 4,096 segments
)

// Health asks the members who is there and what all objects of the catalog
// survive now. A quick answer asks of no object.
func (n *Node) Health(ctx context.Context, quick bool) (*Health, error) {
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	h := &Health{Objects: []ObjectHealth{}}
	var silent []datamesh.PeerID
	if l.net != nil {
		silent = l.net.Silent(ctx)
	}
	if !quick {
		r := l.reckoning()
		if h.Objects, err = n.survey(ctx, l, r); err != nil {
			return nil, err
		}
		h.reckon(r)
	}
	s, err := n.Stats(ctx) // after the objects, so that it is no older than they are
	if err != nil {
		return nil, err
	}
	h.Members, h.Catalog = s.Members, s.Catalog
	view := l.view()
	h.Members.count(view)
	for _, id := range silent {
		if m, ok := view.Lookup(id); ok && m.State != ring.Dead {
			h.Silent++
		}
	}
	h.judge(quick, l.net == nil)
	return h, nil
}

// reckon sums up what is known of all objects.
func (h *Health) reckon(r *reckoning) {
	for i := range h.Objects {
		o := &h.Objects[i]
		if o.Survives >= 0 {
			o.Safety.Demonstrated = r.demonstrated(o.Segments)
		}
		if i == 0 {
			least := o.Safety
			h.Least = &least
		} else {
			h.Least.least(o.Safety)
		}
	}
	if len(h.Objects) > 0 || r.basis.Seen != nil {
		h.Basis = &r.basis
	}
}

// survey returns the health of all objects, the worst first, then in the order
// of the catalog.
func (n *Node) survey(ctx context.Context, l *link, r *reckoning) ([]ObjectHealth, error) {
	var entries []catalog.Entry // the catalog is not kept open for as long as peers may take
	for e, err := range n.catalog.List(ctx) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	all := []ObjectHealth{}
	for len(entries) > 0 {
		batch := entries[:batchOf(entries)]
		entries = entries[len(batch):]
		ids := make([]datamesh.ObjectID, len(batch))
		for i, e := range batch {
			ids[i] = e.ID
		}
		answers := l.objects.Infos(ctx, ids...)
		proofs := l.proofs(ctx, segmentsOf(answers))
		for i, a := range answers {
			o := healthOf(batch[i], a, l.view().Live())
			if a.Err == nil {
				o.Safety, o.Segments = r.safety(a.Info.Segments, proofs), len(a.Info.Segments)
			}
			r.watched(batch[i].Created, time.Now(), o.Survives < 0)
			all = append(all, o)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b ObjectHealth) int { return cmp.Compare(a.rank(), b.rank()) })
	return all, nil
}

func segmentsOf(answers []object.Answer) (all []object.SegmentState) {
	for _, a := range answers {
		if a.Err == nil {
			all = append(all, a.Info.Segments...)
		}
	}
	return all
}

// batchOf returns how many of the entries are asked about at once.
func batchOf(entries []catalog.Entry) (n int) {
	var bytes int64
	for _, e := range entries {
		if bytes += e.Size; n > 0 && (n == surveyObjects || bytes > surveyBytes) {
			break
		}
		n++
	}
	return n
}

// healthOf judges an object as repair does: by the members that are not dead.
func healthOf(e catalog.Entry, a object.Answer, members int) ObjectHealth {
	o := ObjectHealth{ID: e.ID, Name: e.Name, Survives: -1, Possible: -1, Safety: unread}
	if a.Err != nil {
		o.Problem = a.Err.Error()
		return o
	}
	o.Survives, o.Possible = a.Info.Survives, datamesh.MaxShards
	for _, s := range a.Info.Segments {
		o.Possible = min(o.Possible, placement.BestSurvives(members, s.K, s.M))
		o.Lost += s.Lost()
		if !placement.Whole(s.Holders(), members, s.K, s.M) {
			o.Unwhole++
		}
	}
	return o
}

func (o ObjectHealth) rank() int {
	switch {
	case o.Survives < 0:
		return 0
	case o.Weak():
		return 1
	}
	return 2
}
