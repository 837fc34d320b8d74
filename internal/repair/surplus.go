package repair

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/hash"
	"datamesh/internal/placement"
	"datamesh/internal/ring"

	"golang.org/x/sync/errgroup"
)

// A Spare shard is one that a peer need not hold.
type Spare struct {
	Index int
	At    datamesh.PeerID
}

// Surplus returns the shards that can be given up without the segment surviving
// any less: of each shard all copies but one, which is where fewest others of
// the segment are and, of those, comes first in the order of placement. It is
// the same whoever finds it from the same table of members.
func Surplus(members []placement.Candidate, d *datamesh.Descriptor, holders [][]datamesh.PeerID) (spare []Spare) {
	if !slices.ContainsFunc(holders, func(who []datamesh.PeerID) bool { return len(who) > 1 }) || !whole(holders) {
		return nil
	}
	rank := map[datamesh.PeerID]int{}
	for i, c := range placement.Holders(members, d.Segment, d.K+d.M, d.M, d.ShardLen()) {
		rank[c.Peer] = i
	}
	load := map[datamesh.PeerID]int{}
	kept := make([][]datamesh.PeerID, len(holders))
	var all []Spare
	for i, who := range holders {
		kept[i] = slices.Clone(who)
		for _, peer := range who {
			load[peer]++
			all = append(all, Spare{i, peer})
		}
	}
	survives := placement.Survives(kept, d.K)
	for len(all) > 0 {
		slices.SortFunc(all, func(a, b Spare) int {
			return cmp.Or(-cmp.Compare(load[a.At], load[b.At]), -cmp.Compare(rank[a.At], rank[b.At]), cmp.Compare(a.Index, b.Index))
		})
		x := all[0]
		all = all[1:]
		if len(kept[x.Index]) < 2 {
			continue
		}
		before := kept[x.Index]
		kept[x.Index] = slices.DeleteFunc(slices.Clone(before), func(p datamesh.PeerID) bool { return p == x.At })
		if placement.Survives(kept, d.K) < survives {
			kept[x.Index] = before
			continue
		}
		load[x.At]--
		spare = append(spare, x)
	}
	return spare
}

// Spare has the keeper find out whether a shard that is here is one too many.
// It does not wait.
func (k *Keeper) Spare(key datamesh.ShardKey) {
	select {
	case k.spare <- key:
	default: // it is told of again
	}
}

// Pledge promises to keep a shard, after it was read. Kinds: FileNotFound,
// Integrity, Unavailable.
func (k *Keeper) Pledge(ctx context.Context, key datamesh.ShardKey) error {
	if !k.pledge.make(key) {
		return errGoing(key)
	}
	_, _, err := k.net.Shards(k.self).Get(ctx, key, nil)
	return err
}

// giveUp gives up shards that are one too many, one after the other.
func (k *Keeper) giveUp(ctx context.Context) {
	for {
		select {
		case key := <-k.spare:
			gone, err := k.giveUpOne(ctx, key)
			if err != nil && ctx.Err() == nil {
				k.events.failed("a shard that is one too many stays", err)
			}
			if gone {
				k.events.dropped(key)
				k.Lost()
			}
		case <-ctx.Done():
			return
		}
	}
}

// giveUpOne gives up a shard if all others of its segment have proven to be
// where they should, and another peer that has this one has pledged to keep it.
// Meanwhile this one is not served, so that nobody proves with it that he has
// it himself.
func (k *Keeper) giveUpOne(ctx context.Context, key datamesh.ShardKey) (gone bool, err error) {
	if !k.steady() || !k.pledge.begin(key) {
		return false, nil // who is there may be about to change; it is told of again
	}
	defer k.pledge.end(key)
	s := k.survey(ctx, key.Segment)
	if s.Err != nil || s.Gone {
		return false, s.Err
	}
	holders := k.prove(ctx, s.Descriptor, s.Holders)
	if placement.Survives(holders, s.Descriptor.K) < placement.Survives(s.Holders, s.Descriptor.K) ||
		!slices.Contains(Surplus(ring.Candidates(k.net.View()), s.Descriptor, holders), Spare{key.Index, k.self}) {
		return false, nil
	}
	var failed error
	for _, peer := range holders[key.Index] {
		if peer == k.self {
			continue
		}
		asked := time.Now()
		if err := k.net.Pledge(ctx, peer, key); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if time.Since(asked) < pledgeTime/2 {
			return true, k.index.Remove(ctx, key)
		}
	}
	return false, failed
}

// prove returns those of the holders, this one aside, that show a random part
// of their shard, as no one can who does not have it at hand.
func (k *Keeper) prove(ctx context.Context, d *datamesh.Descriptor, holders [][]datamesh.PeerID) [][]datamesh.PeerID {
	var mu sync.Mutex // guards proven
	proven := make([][]datamesh.PeerID, len(holders))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for index, who := range holders {
		for _, peer := range who {
			group.Go(func() error {
				if peer == k.self {
					mu.Lock()
					defer mu.Unlock()
					proven[index] = append(proven[index], peer)
					return nil
				}
				n := min(hash.Group, d.ShardLen())
				off := rand.IntN(d.ShardLen() - n + 1)
				got, slice, err := k.net.Shards(peer).GetRange(ctx, datamesh.ShardKey{Segment: d.Segment, Index: index}, off, n)
				if err != nil || got.Segment != d.Segment {
					return nil
				}
				if _, ok := hash.Open(slice, off, n, d.Shards[index]); ok {
					mu.Lock()
					defer mu.Unlock()
					proven[index] = append(proven[index], peer)
				}
				return nil
			})
		}
	}
	group.Wait()
	for _, who := range proven {
		slices.SortFunc(who, comparePeers)
	}
	return proven
}

// hint tells holders which of their shards seem to be too many.
func (k *Keeper) hint(ctx context.Context, spare []Surplused) {
	for _, s := range spare {
		for _, x := range s.Spare {
			key := datamesh.ShardKey{Segment: s.Segment, Index: x.Index}
			if x.At == k.self {
				k.Spare(key)
			} else if err := k.net.Spare(ctx, x.At, key); err != nil && ctx.Err() != nil {
				return
			}
		}
	}
}

// A Surplused segment has shards that are too many.
type Surplused struct {
	Segment datamesh.SegmentID
	Spare   []Spare
}
