// Package placement chooses peers: who should hold a segment's shards, how
// many losses a set of holders survives, and how many peers must agree to a
// record. All of it is pure: the same table of members gives the same choice
// on every node.
//
// Placement is not location: holders are chosen where there is room and on
// distinct failure domains, and where they are is kept by the registrars.
package placement

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"datamesh"
)

// A Candidate is a live storage member as placement sees it.
type Candidate struct {
	Peer              datamesh.PeerID
	ID                [32]byte // its place in the key space
	Site, Host, Owner string   // failure domains; "" is a domain of the peer's own
	Used, Capacity    int64    // bytes
}

func (c *Candidate) fill() float64 {
	if c.Capacity <= 0 {
		return 1
	}
	return float64(c.Used) / float64(c.Capacity)
}

// overfull is how far above the mean relative fill a member may be before it
// is passed over: plain XOR order gives it up to three times the mean.
const overfull = 1.15

// Holders returns the candidates in the order in which they should be asked
// to hold shards of the segment: the first n are the canonical holders of n
// shards of the given length, those behind them the next best. Members
// without room come last, since what they say of it may be old.
//
// The order is that of XOR distance, in which a member is put back when it is
// fuller than others, and when others of its site, host or owner are among the
// first n: no more than perDomain of them, if it can be helped.
func Holders(candidates []Candidate, segment datamesh.SegmentID, n, perDomain, shardLen int) []Candidate {
	order := byDistance(candidates, segment)
	var fill float64
	for i := range order {
		fill += order[i].fill() / float64(len(order))
	}
	limit := max(fill*overfull, fill+0.01) // in a nearly empty mesh all are alike
	var good, full, none []Candidate
	for _, c := range order {
		switch {
		case c.Capacity-c.Used < int64(shardLen):
			none = append(none, c)
		case c.fill() > limit:
			full = append(full, c)
		default:
			good = append(good, c)
		}
	}
	return append(spread(append(good, full...), n, perDomain), none...)
}

// Beside returns the candidates in the order in which they should be asked to
// hold one more shard of a segment that others hold: those first that share the
// fewest sites, hosts and owners with the holders, then as [Holders] has them.
func Beside(candidates []Candidate, segment datamesh.SegmentID, perDomain, shardLen int, holders []datamesh.PeerID) []Candidate {
	order := Holders(candidates, segment, 0, perDomain, shardLen)
	domains, held := domainsOf(order)
	place := make([]int, len(order))
	for i := range order {
		place[i] = i
		for _, peer := range holders {
			if peer == order[i].Peer {
				for _, d := range domains[i] {
					held[d]++
				}
			}
		}
	}
	none := func(i int) bool { return order[i].Capacity-order[i].Used < int64(shardLen) }
	slices.SortStableFunc(place, func(a, b int) int {
		switch x, y := crowdOf(domains[a], held, perDomain), crowdOf(domains[b], held, perDomain); {
		case none(a) != none(b):
			if none(b) {
				return -1
			}
			return 1
		case x.less(y):
			return -1
		case y.less(x):
			return 1
		}
		return 0
	})
	sorted := make([]Candidate, len(order))
	for i, at := range place {
		sorted[i] = order[at]
	}
	return sorted
}

// spread moves n candidates to the front. It takes each time the first of
// those that stand least in each other's way. Where hosts lie in sites that is
// as good as can be; where owners lie across both, a search might do better.
func spread(order []Candidate, n, perDomain int) []Candidate {
	domains, held := domainsOf(order)
	chosen := make([]Candidate, 0, len(order))
	taken := make([]bool, len(order))
	for range min(n, len(order)) {
		best, least := -1, crowd{}
		for i := range order {
			if taken[i] {
				continue
			}
			if c := crowdOf(domains[i], held, perDomain); best < 0 || c.less(least) {
				best, least = i, c
			}
			if least == (crowd{}) {
				break
			}
		}
		chosen = append(chosen, order[best])
		taken[best] = true
		for _, d := range domains[best] {
			held[d]++
		}
	}
	for i := range order {
		if !taken[i] {
			chosen = append(chosen, order[i])
		}
	}
	return chosen
}

// A domain is what may fail as one: a site, a host or all that an owner has.
type domain struct{ kind, name string }

// domainsOf numbers the domains of each candidate, from 1 on; 0 stands for a
// domain of its own. It returns the numbers, and room to count by them.
func domainsOf(order []Candidate) (numbers [][3]int, held []int) {
	known := map[domain]int{}
	numbers = make([][3]int, len(order))
	for i := range order {
		c := &order[i]
		for j, d := range [3]domain{{"site", c.Site}, {"host", c.Host}, {"owner", c.Owner}} {
			if d.name == "" {
				continue
			}
			if known[d] == 0 {
				known[d] = len(known) + 1
			}
			numbers[i][j] = known[d]
		}
	}
	return numbers, make([]int, len(known)+1)
}

// A crowd is how many of the chosen share a candidate's domains.
type crowd struct {
	over              int // domains that have perDomain of them, or more
	site, host, owner int
}

func crowdOf(domains [3]int, held []int, perDomain int) (c crowd) {
	for j, count := range [3]*int{&c.site, &c.host, &c.owner} {
		if d := domains[j]; d != 0 {
			*count = held[d]
			if held[d] >= max(1, perDomain) {
				c.over++
			}
		}
	}
	return c
}

func (c crowd) less(o crowd) bool {
	return cmp.Or(cmp.Compare(c.over, o.over), cmp.Compare(c.site, o.site),
		cmp.Compare(c.host, o.host), cmp.Compare(c.owner, o.owner)) < 0
}

// byDistance returns the candidates in the order of XOR distance from key.
func byDistance(candidates []Candidate, key [32]byte) []Candidate {
	// The first 64 bits settle nearly every comparison.
	type far struct {
		head uint64
		*Candidate
	}
	order := make([]far, len(candidates))
	for i := range candidates {
		c := &candidates[i]
		order[i] = far{binary.BigEndian.Uint64(c.ID[:]) ^ binary.BigEndian.Uint64(key[:]), c}
	}
	slices.SortFunc(order, func(a, b far) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		return cmp.Or(bytes.Compare(xor(a.ID, key), xor(b.ID, key)), bytes.Compare(a.Peer[:], b.Peer[:]))
	})
	out := make([]Candidate, len(order))
	for i, o := range order {
		out[i] = *o.Candidate
	}
	return out
}

func xor(a, b [32]byte) []byte {
	for i := range a {
		a[i] ^= b[i]
	}
	return a[:]
}
