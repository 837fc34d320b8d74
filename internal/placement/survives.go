package placement

import (
	"cmp"
	"slices"

	"datamesh"
)

// Survives returns the largest f such that any f peers may vanish and k
// distinct indices remain; -1 when not even all peers together have k.
// holders says for each index which peers have it.
//
// When shards have more than one holder the exact answer takes a search. Where
// that would be long, with scores of shards that have several holders each,
// the result may be too low, never too high.
func Survives(holders [][]datamesh.PeerID, k int) int {
	held := map[datamesh.PeerID]int{}
	var indices [][]datamesh.PeerID // that somebody has
	shared := false
	for _, peers := range holders {
		if len(peers) > 0 {
			indices = append(indices, peers)
		}
		shared = shared || len(peers) > 1
		for _, p := range peers {
			held[p]++
		}
	}
	switch spare := len(indices) - k; {
	case spare < 0:
		return -1
	case !shared:
		return survivesAlone(counts(held), spare)
	default:
		return survivesShared(indices, spare)
	}
}

func counts(held map[datamesh.PeerID]int) []int {
	each := make([]int, 0, len(held))
	for _, n := range held {
		each = append(each, n)
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

// survivesShared looks for the fewest peers that take one index more than the
// spare with them; one peer less may vanish.
func survivesShared(indices [][]datamesh.PeerID, spare int) int {
	slices.SortStableFunc(indices, func(a, b []datamesh.PeerID) int { return cmp.Compare(len(a), len(b)) })
	s := search{indices: indices, gone: map[datamesh.PeerID]int{}, least: len(indices)*maxShared(indices) + 1}
	if s.run(0, spare+1, 0); s.steps > maxSteps {
		return survivesOnce(indices, spare)
	}
	return s.least - 1
}

func maxShared(indices [][]datamesh.PeerID) int { return len(indices[len(indices)-1]) }

// maxSteps bounds a search to milliseconds.
const maxSteps = 1 << 16

// A search goes through the ways to lose so many indices, and leaves a way
// when it takes as many peers as the best one found.
type search struct {
	indices [][]datamesh.PeerID
	gone    map[datamesh.PeerID]int // for how many of the lost indices
	least   int                     // peers of the best way
	steps   int
}

// run loses need of the indices from i on, where n peers are gone already.
func (s *search) run(i, need, n int) {
	if s.steps++; n >= s.least || len(s.indices)-i < need || s.steps > maxSteps {
		return
	}
	if need == 0 {
		s.least = n
		return
	}
	more := n
	for _, p := range s.indices[i] {
		if s.gone[p]++; s.gone[p] == 1 {
			more++
		}
	}
	s.run(i+1, need-1, more)
	for _, p := range s.indices[i] {
		s.gone[p]--
	}
	s.run(i+1, need, n)
}

// survivesOnce counts each index for one of its holders only, the one with
// the fewest: a peer more can only help.
func survivesOnce(indices [][]datamesh.PeerID, spare int) int {
	load := map[datamesh.PeerID]int{}
	for _, peers := range indices {
		load[slices.MinFunc(peers, func(a, b datamesh.PeerID) int { return cmp.Compare(load[a], load[b]) })]++
	}
	return survivesAlone(counts(load), spare)
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

// Whole reports whether k+m shards, of which holders has for each index who has
// it, are as safe as so many members allow: each is somewhere, and they survive
// what they would if they were spread as evenly as possible.
func Whole(holders [][]datamesh.PeerID, members, k, m int) bool {
	none := func(who []datamesh.PeerID) bool { return len(who) == 0 }
	return !slices.ContainsFunc(holders, none) && Survives(holders, k) >= BestSurvives(members, k, m)
}

// Bar returns what a put must survive to be called stored: half of m, or as
// much as the mesh can offer.
func Bar(peers, k, m int) int { return min((m+1)/2, BestSurvives(peers, k, m)) }
