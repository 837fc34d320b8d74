package node

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/object"
	"datamesh/internal/ring"
)

// maxRefused bounds what is told of refused receipts.
const maxRefused = 1000

// Receipts collects the receipts of an object's segments from all registrars
// that answer, and checks each. Kinds: as [object.Objects.Get].
func (n *Node) Receipts(ctx context.Context, ref string) (*Receipts, error) {
	id, err := n.resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	state, err := l.objects.Info(ctx, id)
	if err != nil {
		return nil, l.absent(err)
	}
	all := &Receipts{ID: id, Name: n.nameOf(ctx, ref, id, state.Manifest.Name), Segments: len(state.Segments), Receipts: []Receipt{}, Refused: []RefusedReceipt{}}
	if l.net == nil {
		return all, nil // nobody repairs, and so nobody signs
	}
	c := collection{link: l, mesh: l.net.Genesis().MeshID(), all: all, places: make(chan struct{}, registrarsAtOnce)}
	for i := range state.Segments {
		c.segment(ctx, &state.Segments[i])
	}
	return all, ctx.Err()
}

// A collection goes from segment to segment.
type collection struct {
	link   *link
	mesh   datamesh.MeshID
	places chan struct{}

	mu  sync.Mutex // guards all
	all *Receipts
}

// segment collects the receipts of one segment.
func (c *collection) segment(ctx context.Context, s *object.SegmentState) {
	view := c.link.view()
	found := map[datamesh.Receipt]int{} // by how many registrars
	var group sync.WaitGroup
	for _, peer := range ring.Registrars(view, s.ID, ring.RegistrarCount(s.K, s.M, view.Live())) {
		group.Go(func() {
			c.places <- struct{}{}
			defer func() { <-c.places }()
			list, refused, err := c.ask(ctx, peer, s.ID)
			c.mu.Lock()
			defer c.mu.Unlock()
			if err != nil && !errors.Is(err, errs.FileNotFound) {
				c.all.Silent++
			}
			for _, r := range list {
				found[*r]++
			}
			for _, err := range refused {
				if len(c.all.Refused) < maxRefused {
					c.all.Refused = append(c.all.Refused, RefusedReceipt{peer, s.ID, err.Error()})
				}
			}
		})
	}
	group.Wait()
	var list []Receipt
	for r, n := range found {
		_, member := view.Lookup(r.Holder)
		list = append(list, Receipt{r.Segment, r.Index, r.Shard, r.Holder, r.Placer, time.Unix(r.Time, 0).UTC(), member, n})
	}
	slices.SortFunc(list, func(a, b Receipt) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), b.Time.Compare(a.Time), comparePeers(a.Holder, b.Holder), comparePeers(a.Placer, b.Placer))
	})
	c.all.Receipts = append(c.all.Receipts, list...)
}

// ask returns the receipts that a registrar keeps, each once, and why others
// that it has shown are refused.
func (c *collection) ask(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (list []*datamesh.Receipt, refused []error, err error) {
	m := members{c.link}
	d, _, err := m.Locate(ctx, peer, segment)
	if err != nil {
		return nil, nil, err
	}
	shown, refused, err := m.Receipts(ctx, peer, segment)
	if err != nil {
		return nil, nil, err
	}
	seen := map[datamesh.Receipt]bool{}
	for _, r := range shown {
		if err := format.CheckReceipt(r, c.mesh, d); err != nil {
			refused = append(refused, err)
		} else if !seen[*r] {
			seen[*r] = true
			list = append(list, r)
		}
	}
	return list, refused, nil
}
