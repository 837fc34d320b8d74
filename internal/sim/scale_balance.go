package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"datamesh"
	"datamesh/internal/placement"
)

// Balance fills a mesh of members, whose capacities are to each other as those given, in
// turn, with shards of 4+2, until it is full to half. They are in so many sites; 0:
// sites are not known. It returns how full the fullest is, and how full they are on
// average, each relative to its capacity. A member is as full to others as it last
// said, which it says each 5 % of its capacity.
//
// Where there are many members it fills those in a part of the key space, 80 to
// 160. All others are candidates, too, who are as full as those on average.
func Balance(seed uint64, nodes, sites int, capacities []int64) (fullest, mean float64) {
	const k, m, unit, full = 4, 2, 40, 0.5 // unit: shards for which the smallest has room
	r := rand.New(rand.NewPCG(seed, 0))
	var all []placement.Candidate
	used := make([]int64, nodes)
	number := map[datamesh.PeerID]int{}
	for i := range nodes {
		c := placement.Candidate{Capacity: capacities[i%len(capacities)] * unit, Host: fmt.Sprint("host ", i)}
		fill(r, c.Peer[:])
		fill(r, c.ID[:])
		if sites > 0 {
			c.Site = fmt.Sprint("site ", r.IntN(sites))
		}
		number[c.Peer] = i
		all = append(all, c)
	}
	bits := 0 // that the ids of all segments begin with
	for nodes>>bits > 160 {
		bits++
	}
	var near, far []int
	for i := range all {
		if prefix(all[i].ID, bits) == 0 {
			near = append(near, i)
		} else {
			far = append(far, i)
		}
	}
	relative := func(i int) float64 { return float64(used[i]) / float64(all[i].Capacity) }
	for {
		mean = 0
		for _, i := range near {
			mean += relative(i) / float64(len(near))
		}
		if mean >= full {
			break
		}
		for _, i := range far {
			all[i].Used = int64(mean * float64(all[i].Capacity))
		}
		var id datamesh.SegmentID
		fill(r, id[:])
		for i := range bits {
			id[i/8] &^= 1 << (7 - i%8)
		}
		for _, c := range placement.Holders(all, id, k+m, m, 1)[:k+m] {
			i := number[c.Peer]
			if used[i]++; used[i]-all[i].Used >= max(1, all[i].Capacity/20) && slices.Contains(near, i) {
				all[i].Used = used[i]
			}
		}
	}
	for _, i := range near {
		fullest = max(fullest, relative(i))
	}
	return fullest, mean
}

func fill(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// prefix returns the first bits of an id, of which there are at most 32.
func prefix(id [32]byte, bits int) (p uint32) {
	for i := range bits {
		p = p<<1 | uint32(id[i/8]>>(7-i%8)&1)
	}
	return p
}
