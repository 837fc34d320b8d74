package object

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/placement"

	"golang.org/x/sync/errgroup"
)

// Info is what the peers say of an object at one moment.
type Info struct {
	Manifest *format.Manifest
	Survives int // the least of its segments'; -1: it cannot be read now
	Segments []SegmentState
}

// A SegmentState says who holds what of a segment, the manifest's being first
// in an [Info].
type SegmentState struct {
	ID     datamesh.SegmentID
	K      int
	Shards []ShardState // by index, then by peer
}

// A ShardState is a shard that a peer is said to hold.
type ShardState struct {
	Index int
	Peer  datamesh.PeerID
	Live  bool // the peer says so itself, now
}

// Info asks the peers where an object's shards are. Kinds: as [Objects.Get].
func (o *Objects) Info(ctx context.Context, id datamesh.ObjectID) (*Info, error) {
	g := &get{o: o}
	defer g.findings()
	m, err := g.manifest(ctx, id)
	if err != nil {
		return nil, err
	}
	refs, peers, err := g.segments(ctx, m)
	if err != nil {
		return nil, err
	}
	fetches := []*fetch{g.newFetch(datamesh.SegmentID(id))}
	for i := range m.List {
		f := g.newFetch(m.List[i].ID)
		f.expect(&m.List[i], m.Peers)
		fetches = append(fetches, f)
	}
	for i := range refs {
		f := g.newFetch(refs[i].ID)
		f.expect(&refs[i], peers)
		fetches = append(fetches, f)
	}
	if err := findPlaces(ctx, fetches); err != nil {
		return nil, err
	}
	live := askHolders(ctx, o.net, fetches)
	info := &Info{Manifest: m, Survives: datamesh.MaxShards}
	for _, f := range fetches {
		s, survives := f.state(live)
		info.Segments = append(info.Segments, s)
		info.Survives = min(info.Survives, survives)
	}
	return info, ctx.Err()
}

// findPlaces asks the registrars of all segments.
func findPlaces(ctx context.Context, fetches []*fetch) error {
	var group errgroup.Group
	group.SetLimit(16)
	for _, f := range fetches {
		f.thorough = true
		group.Go(func() error {
			for f.stage <= fromThree {
				if err := f.advance(ctx); err != nil {
					return err
				}
			}
			return f.locate(ctx)
		})
	}
	return group.Wait()
}

// held is a shard that a peer has said it holds.
type held struct {
	peer datamesh.PeerID
	key  datamesh.ShardKey
}

// askHolders asks every peer which of the shards said to be there it has.
func askHolders(ctx context.Context, net Net, fetches []*fetch) map[held]bool {
	byPeer := map[datamesh.PeerID][]datamesh.ShardKey{}
	for _, f := range fetches {
		for _, p := range f.places {
			byPeer[p.peer] = append(byPeer[p.peer], datamesh.ShardKey{Segment: f.id, Index: p.index})
		}
	}
	var mu sync.Mutex // guards live
	live := map[held]bool{}
	var group errgroup.Group
	group.SetLimit(16)
	for peer, keys := range byPeer {
		group.Go(func() error {
			has, _ := net.Shards(peer).Has(ctx, keys) // who does not answer has nothing live
			mu.Lock()
			defer mu.Unlock()
			for i, ok := range has {
				live[held{peer, keys[i]}] = ok
			}
			return nil
		})
	}
	group.Wait()
	return live
}

func (f *fetch) state(live map[held]bool) (SegmentState, int) {
	s := SegmentState{ID: f.id, K: f.shape.k}
	holders := make([][]datamesh.PeerID, f.shape.k+f.shape.m)
	for _, p := range f.places {
		ok := live[held{p.peer, datamesh.ShardKey{Segment: f.id, Index: p.index}}]
		s.Shards = append(s.Shards, ShardState{p.index, p.peer, ok})
		if ok {
			holders[p.index] = append(holders[p.index], p.peer)
		}
	}
	slices.SortFunc(s.Shards, func(a, b ShardState) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), slices.Compare(a.Peer[:], b.Peer[:]))
	})
	return s, placement.Survives(holders, f.shape.k)
}
