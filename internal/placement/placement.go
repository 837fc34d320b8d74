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
// fuller than others, and when its site, host or owner already has its share
// of the first n: at most perDomain shards.
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
	return append(spread(append(good, full...), n, max(1, perDomain)), none...)
}

// spread moves to the front as many candidates as possible, up to n, that
// have a site, host and owner of their own; then, since a mesh may be small,
// those whose domains hold fewer than perDomain; then the rest in order.
func spread(order []Candidate, n, perDomain int) []Candidate {
	chosen := make([]Candidate, 0, len(order))
	seen := map[[2]string]int{}
	for _, allowed := range []int{1, perDomain} {
		for i := 0; i < len(order) && len(chosen) < n; {
			if domains := order[i].domains(); fits(seen, domains, allowed) {
				for _, d := range domains {
					seen[d]++
				}
				chosen = append(chosen, order[i])
				order = slices.Delete(slices.Clone(order), i, i+1)
			} else {
				i++
			}
		}
	}
	return append(chosen, order...)
}

func (c *Candidate) domains() [][2]string {
	var d [][2]string
	for _, domain := range [][2]string{{"site", c.Site}, {"host", c.Host}, {"owner", c.Owner}} {
		if domain[1] != "" {
			d = append(d, domain)
		}
	}
	return d
}

func fits(seen map[[2]string]int, domains [][2]string, allowed int) bool {
	for _, d := range domains {
		if seen[d] >= allowed {
			return false
		}
	}
	return true
}

func byDistance(candidates []Candidate, key [32]byte) []Candidate {
	order := slices.Clone(candidates)
	slices.SortFunc(order, func(a, b Candidate) int {
		if c := bytes.Compare(xor(a.ID, key), xor(b.ID, key)); c != 0 {
			return c
		}
		return cmp.Compare(a.Peer.String(), b.Peer.String())
	})
	return order
}

func xor(a, b [32]byte) []byte {
	for i := range a {
		a[i] ^= b[i]
	}
	return a[:]
}
