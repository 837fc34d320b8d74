package repair

import (
	"slices"

	"datamesh"
	"datamesh/internal/placement"
)

// A Copy is a shard that a peer should get.
type Copy struct {
	Index int
	To    datamesh.PeerID
}

// Plan returns the shards that have to be given to whom so that a segment
// survives as many losses as the members allow, and does so with one copy of each
// shard: others are not for good. holders has, by index, the peers that are there
// and hold the shard. What nobody holds comes first; then come second copies of
// shards of which a peer holds more than others need to. It is empty when all is
// well, and nil too when fewer than k shards are left.
func Plan(members []placement.Candidate, d *datamesh.Descriptor, holders [][]datamesh.PeerID) []Copy {
	p := &plan{members: members, d: d, held: holders, holders: make([][]datamesh.PeerID, len(holders)), load: map[datamesh.PeerID]int{}}
	left := 0
	for i, who := range holders {
		p.holders[i] = slices.Clone(who)
		if len(who) > 0 {
			left++
		}
		for _, peer := range who {
			p.load[peer]++
		}
	}
	if left < d.K {
		return nil
	}
	room := 0
	for _, c := range members {
		if c.Capacity-c.Used >= int64(d.ShardLen()) || p.load[c.Peer] > 0 {
			room++
		}
	}
	best := placement.BestSurvives(room, d.K, d.M)
	for i, who := range p.holders {
		if len(who) == 0 {
			p.give(i, len(holders))
		}
	}
	if doubled(p.holders) && whole(p.holders) {
		p.leave(keep(byRank(members, d, p.holders)))
	}
	for range holders {
		if placement.Survives(p.holders, d.K) >= best || !p.even() {
			break
		}
	}
	return p.copies
}

// doubled reports whether there are several copies of a shard.
func doubled(holders [][]datamesh.PeerID) bool {
	return slices.ContainsFunc(holders, func(who []datamesh.PeerID) bool { return len(who) > 1 })
}

// A plan is one that is being made, with the holders as they will be.
type plan struct {
	members []placement.Candidate
	d       *datamesh.Descriptor
	held    [][]datamesh.PeerID // who holds the shards now
	holders [][]datamesh.PeerID
	load    map[datamesh.PeerID]int // shards that a peer holds
	copies  []Copy
}

// give gives a shard to the member that has the fewest of the segment, and
// fewer than that many, as far from the others as can be.
func (p *plan) give(index, fewer int) bool {
	best, found := datamesh.PeerID{}, false
	for _, c := range placement.Beside(p.members, p.d.Segment, p.d.M, p.d.ShardLen(), slices.Concat(p.holders...)) {
		peer := c.Peer
		if p.load[peer] < fewer && (!found || p.load[peer] < p.load[best]) && !slices.Contains(p.held[index], peer) {
			best, found = peer, true
		}
	}
	if !found {
		return false
	}
	p.copies = append(p.copies, Copy{index, best})
	p.holders[index] = append(p.holders[index], best)
	p.load[best]++
	return true
}

// leave counts one copy of each shard alone.
func (p *plan) leave(kept []datamesh.PeerID) {
	clear(p.load)
	for i, peer := range kept {
		p.holders[i] = []datamesh.PeerID{peer}
		p.load[peer]++
	}
}

// even gives a shard of the peer that has the most to one that has at least
// two less, and counts the first copy no more: it is of no more use.
func (p *plan) even() bool {
	most, index := 0, -1
	for i, who := range p.holders {
		if len(who) == 1 && p.load[who[0]] > most {
			most, index = p.load[who[0]], i
		}
	}
	if index < 0 || !p.give(index, most-1) {
		return false
	}
	p.load[p.holders[index][0]]--
	p.holders[index] = p.holders[index][1:]
	return true
}
