package placement

import (
	"cmp"
	"math/bits"
	"slices"

	"datamesh"
)

// Survives returns the largest f such that any f peers may vanish and k
// distinct indices remain; -1 when not even all peers together have k.
// holders says for each index which peers have it.
//
// When shards have more than one holder the exact answer needs a search; it
// is made for up to 16 peers that share, and beyond that the result may be
// too low, never too high.
func Survives(holders [][]datamesh.PeerID, k int) int {
	held := map[datamesh.PeerID][]int{}
	have, shared := 0, false
	for index, peers := range holders {
		if len(peers) > 0 {
			have++
		}
		shared = shared || len(peers) > 1
		for _, p := range peers {
			held[p] = append(held[p], index)
		}
	}
	if have < k {
		return -1
	}
	if !shared {
		return survivesAlone(counts(held), have-k)
	}
	if len(held) <= 16 {
		return survivesShared(holders, held, k)
	}
	// Count each index for one of its holders only, the one with the fewest.
	load := map[datamesh.PeerID]int{}
	for _, peers := range holders {
		if len(peers) > 0 {
			load[slices.MinFunc(peers, func(a, b datamesh.PeerID) int { return cmp.Compare(load[a], load[b]) })]++
		}
	}
	var each []int
	for _, n := range load {
		each = append(each, n)
	}
	return survivesAlone(each, have-k)
}

func counts(held map[datamesh.PeerID][]int) []int {
	var each []int
	for _, indices := range held {
		each = append(each, len(indices))
	}
	return each
}

// survivesAlone counts how many of the largest holders fit into the spare.
func survivesAlone(each []int, spare int) (f int) {
	slices.SortFunc(each, func(a, b int) int { return b - a })
	for _, n := range each {
		if spare -= n; spare < 0 {
			break
		}
		f++
	}
	return f
}

// survivesShared tries every set of peers, the smallest first.
func survivesShared(holders [][]datamesh.PeerID, held map[datamesh.PeerID][]int, k int) int {
	bit := map[datamesh.PeerID]uint32{}
	for p := range held {
		bit[p] = 1 << len(bit)
	}
	masks := make([]uint32, 0, len(holders))
	for _, peers := range holders {
		var mask uint32
		for _, p := range peers {
			mask |= bit[p]
		}
		if mask != 0 {
			masks = append(masks, mask)
		}
	}
	least := len(held) // the fewest peers whose loss leaves less than k
	for gone := range uint32(1) << len(held) {
		n := bits.OnesCount32(gone)
		if n >= least {
			continue
		}
		left := 0
		for _, mask := range masks {
			if mask&^gone != 0 {
				left++
			}
		}
		if left < k {
			least = n
		}
	}
	return least - 1
}

// BestSurvives returns what k+m shards, spread as evenly as possible over the
// given number of peers, survive.
func BestSurvives(peers, k, m int) int {
	if peers < 1 {
		return -1
	}
	each := make([]int, peers)
	for i := range k + m {
		each[i%peers]++
	}
	return survivesAlone(each, m)
}

// Bar returns what a put must survive to be called stored: half of m, or as
// much as the mesh can offer.
func Bar(peers, k, m int) int { return min((m+1)/2, BestSurvives(peers, k, m)) }
