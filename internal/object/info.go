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
	g := o.newGet(ctx)
	defer g.findings()
	m, err := g.manifest(ctx, id)
	if err != nil {
		return nil, err
	}
	refs, peers, err := g.segments(ctx, m)
	if err != nil {
		return nil, err
	}
	fetches := []*fetch{g.newFetch(ctx, datamesh.SegmentID(id))}
	for _, x := range []struct {
		refs  []format.SegmentRef
		peers []datamesh.PeerID
	}{{m.List, m.Peers}, {refs, peers}} {
		for i := range x.refs {
			f := g.newFetch(ctx, x.refs[i].ID)
			f.expect(&x.refs[i], x.peers)
			fetches = append(fetches, f)
		}
	}
	if err := survey(fetches); err != nil {
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

// survey finds out who is said to hold the shards of all segments.
func survey(fetches []*fetch) error {
	var group errgroup.Group
	group.SetLimit(16)
	for _, f := range fetches {
		group.Go(func() error {
			defer f.close()
			return f.survey()
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
	return askPeers(ctx, net, byPeer)
}

// askPeers asks each peer which of its shards it has.
func askPeers(ctx context.Context, net Net, byPeer map[datamesh.PeerID][]datamesh.ShardKey) map[held]bool {
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
