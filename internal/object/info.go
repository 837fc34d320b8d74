package object

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/placement"
)

// Info is what the peers say of an object at one moment.
type Info struct {
	Manifest *format.Manifest
	Survives int   // the least of its segments'; -1: it cannot be read now
	Text     int64 // bytes that were sealed: of the content, or, where it is compressed, of what it is compressed into
	Segments []SegmentState
}

// A SegmentState says who holds what of a segment, the manifest's being first
// in an [Info].
type SegmentState struct {
	ID     datamesh.SegmentID
	K, M   int
	Shards []ShardState // by index, then by peer
	Length int          // bytes of a shard
}

// A ShardState is a shard that a peer is said to hold.
type ShardState struct {
	Index int
	Peer  datamesh.PeerID
	Live  bool // the peer says so itself, now
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
	peers := slices.Collect(maps.Keys(byPeer))
	each(len(peers), func(i int) {
		keys := byPeer[peers[i]]
		has, _ := net.Shards(peers[i]).Has(ctx, keys) // who does not answer has nothing live
		mu.Lock()
		defer mu.Unlock()
		for j, ok := range has {
			live[held{peers[i], keys[j]}] = ok
		}
	})
	return live
}

// Lost returns how many of the segment's shards no peer has now.
func (s *SegmentState) Lost() (n int) {
	for _, who := range s.Holders() {
		if len(who) == 0 {
			n++
		}
	}
	return n
}

// Holders returns, for each index, the peers that say now that they have it.
func (s *SegmentState) Holders() [][]datamesh.PeerID {
	holders := make([][]datamesh.PeerID, s.K+s.M)
	for _, shard := range s.Shards {
		if shard.Live {
			holders[shard.Index] = append(holders[shard.Index], shard.Peer)
		}
	}
	return holders
}

func (f *fetch) state(live map[held]bool) (SegmentState, int) {
	s := SegmentState{ID: f.id, K: f.shape.k, M: f.shape.m, Length: f.shape.shardLen()}
	for _, p := range f.places {
		ok := live[held{p.peer, datamesh.ShardKey{Segment: f.id, Index: p.index}}]
		s.Shards = append(s.Shards, ShardState{p.index, p.peer, ok})
	}
	slices.SortFunc(s.Shards, func(a, b ShardState) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), slices.Compare(a.Peer[:], b.Peer[:]))
	})
	return s, placement.Survives(s.Holders(), f.shape.k)
}
