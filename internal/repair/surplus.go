package repair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
	"datamesh/internal/step"
)

// A Spare shard is one that a peer need not hold.
type Spare struct {
	Index int
	At    datamesh.PeerID
}

// Surplus returns the shards that can be given up without the segment surviving
// less than it should: all copies but one of each shard. Those that stay are at
// as many peers as can be, and of equal choices at those that come first in the
// order of placement. It is the same whoever finds it from the same table of
// members. Of a segment that is not whole nothing is too much.
func Surplus(members []placement.Candidate, d *datamesh.Descriptor, holders [][]datamesh.PeerID) (spare []Spare) {
	if !doubled(holders) || !whole(holders) {
		return nil
	}
	kept := keep(byRank(members, d, holders))
	stay := make([][]datamesh.PeerID, len(kept))
	for i, peer := range kept {
		stay[i] = []datamesh.PeerID{peer}
	}
	if placement.Survives(stay, d.K) < min(placement.Survives(holders, d.K), placement.BestSurvives(len(members), d.K, d.M)) {
		return nil
	}
	for i, who := range holders {
		for _, peer := range who {
			if peer != kept[i] {
				spare = append(spare, Spare{i, peer})
			}
		}
	}
	return spare
}

// byRank returns the holders of each shard in the order of placement.
func byRank(members []placement.Candidate, d *datamesh.Descriptor, holders [][]datamesh.PeerID) [][]datamesh.PeerID {
	rank := map[datamesh.PeerID]int{}
	for i, c := range placement.Holders(members, d.Segment, d.K+d.M, d.M, d.ShardLen()) {
		rank[c.Peer] = i
	}
	sorted := make([][]datamesh.PeerID, len(holders))
	for i, who := range holders {
		sorted[i] = slices.SortedFunc(slices.Values(who), func(a, b datamesh.PeerID) int {
			return cmp.Or(cmp.Compare(rank[a], rank[b]), comparePeers(a, b))
		})
	}
	return sorted
}

// keep chooses one holder for each shard, as evenly as can be: as many shards
// as possible at peers of their own, as many of the others as possible at
// peers that have one, and so on (augmenting paths; Kuhn 1955).
func keep(holders [][]datamesh.PeerID) []datamesh.PeerID {
	kept := make([]datamesh.PeerID, len(holders))
	placed := make([]bool, len(holders))
	load := map[datamesh.PeerID][]int{} // the shards that a peer keeps
	var seen map[datamesh.PeerID]bool
	var place func(index, most int) bool
	place = func(index, most int) bool {
		for _, peer := range holders[index] {
			if seen[peer] {
				continue
			}
			seen[peer] = true
			if len(load[peer]) < most {
				load[peer] = append(load[peer], index)
				kept[index] = peer
				return true
			}
			for i, other := range load[peer] {
				if place(other, most) {
					load[peer][i] = index
					kept[index] = peer
					return true
				}
			}
		}
		return false
	}
	for most := 1; slices.Contains(placed, false); most++ {
		for index := range holders {
			if !placed[index] {
				seen = map[datamesh.PeerID]bool{}
				placed[index] = place(index, most)
			}
		}
	}
	return kept
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
	if has, err := k.net.Shards(k.self).Has(ctx, []datamesh.ShardKey{key}); err != nil || !has[0] {
		return errs.New(errs.FileNotFound, "shard %s/%d is not here", key.Segment, key.Index)
	}
	if err := k.promises.Acquire(ctx, 1); err != nil {
		return err
	}
	defer k.promises.Release(1)
	if !k.pledge.make(key) {
		return errGoing(key)
	}
	_, _, err := k.net.Shards(k.self).Get(ctx, key, nil)
	if err != nil {
		k.pledge.unmake(key)
	}
	return err
}

// giveUp gives up shards that are one too many, one after the other.
func (k *Keeper) giveUp(ctx context.Context) {
	for {
		select {
		case key := <-k.spare:
			k.giveUpNext(ctx, key)
		case <-ctx.Done():
			return
		}
	}
}

func (k *Keeper) giveUpNext(ctx context.Context, key datamesh.ShardKey) {
	gone, err := k.giveUpOne(ctx, key)
	if errors.Is(err, errUnproven) { // a liar shall not fill the log
		if n := k.unproven.Add(1); n&(n-1) != 0 {
			err = nil
		}
	}
	if err != nil && ctx.Err() == nil {
		k.events.failed("a shard that is one too many stays", err)
	}
	if gone {
		k.events.dropped(key)
		k.Lost()
	}
}

var errUnproven = errs.New(errs.Unavailable, "too few others prove that they have shards of its segment")

// giveUpOne gives up a shard if the others of its segment have proven to be at so
// many peers that it survives what it should, and one that has this shard has
// pledged to keep it. Of other copies that are too many it does not matter
// whether they are what they are said to be.
// While they prove that, this one is not served, so that nobody proves with it
// that he has it himself.
func (k *Keeper) giveUpOne(ctx context.Context, key datamesh.ShardKey) (gone bool, err error) {
	if has, err := k.net.Shards(k.self).Has(ctx, []datamesh.ShardKey{key}); err != nil || !has[0] {
		return false, err // whoever tells of it is behind
	}
	s := k.survey(ctx, key.Segment)
	if s.Err != nil && !s.Gone {
		return false, s.Err
	}
	if s.Gone || !k.steady(s) || !k.tooMany(s.Descriptor, s.Holders, key) || !k.pledge.begin(key) {
		return false, nil // it is told of again
	}
	defer k.pledge.end(key)
	holders := k.prove(ctx, s.Descriptor, s.Holders)
	if placement.Survives(holders, s.Descriptor.K) < k.should(s) || !k.tooMany(s.Descriptor, holders, key) {
		return false, fmt.Errorf("shard %s/%d: %w", key.Segment, key.Index, errUnproven)
	}
	var failed error
	for _, peer := range holders[key.Index] {
		if peer == k.self {
			continue
		}
		asked := k.now()
		if err := k.net.Pledge(ctx, peer, key); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if k.now().Sub(asked) < pledgeTime/2 {
			step.At("repair: surplus: another has pledged to keep its copy")
			err := k.index.Remove(ctx, key)
			step.At("repair: surplus: the copy is removed")
			return err == nil, err
		}
	}
	return false, failed
}

// should returns how many losses a segment should survive, and says that it does.
func (k *Keeper) should(s Surveyed) int {
	d := s.Descriptor
	return min(placement.Survives(s.Holders, d.K), placement.BestSurvives(k.net.View().Live(), d.K, d.M))
}

// tooMany reports whether a shard that is here is one that can be given up.
func (k *Keeper) tooMany(d *datamesh.Descriptor, holders [][]datamesh.PeerID, key datamesh.ShardKey) bool {
	return slices.Contains(Surplus(ring.Candidates(k.net.View()), d, holders), Spare{key.Index, k.self})
}

// prove returns those of the holders, this one aside, that show a random part
// of their shard, as no one can who does not have it at hand.
func (k *Keeper) prove(ctx context.Context, d *datamesh.Descriptor, holders [][]datamesh.PeerID) [][]datamesh.PeerID {
	proven := make([][]datamesh.PeerID, len(holders))
	for index, who := range holders {
		if slices.Contains(who, k.self) {
			proven[index] = append(proven[index], k.self)
		}
	}
	for _, a := range k.challenge(ctx, d, holders) {
		if a.Outcome == Proven {
			proven[a.Key.Index] = append(proven[a.Key.Index], a.Peer)
		}
	}
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
			} else {
				k.net.Spare(ctx, x.At, key) // if that is lost, it is told again
			}
		}
	}
}

// A Surplused segment has shards that are too many.
type Surplused struct {
	Segment datamesh.SegmentID
	Spare   []Spare
}
