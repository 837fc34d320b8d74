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
// of the first n.
func Holders(candidates []Candidate, segment datamesh.SegmentID, n, shardLen int) []Candidate {
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
	return append(spread(append(good, full...), n), none...)
}

// spread moves n candidates to the front: as many as possible that have a
// site, host and owner of their own, then those whose domains hold but one of
// the chosen, then two, and so on. So no domain holds more than it must,
// wherever hosts lie in sites; where owners lie across them it may hold more
// than a search would find.
func spread(order []Candidate, n int) []Candidate {
	n = min(n, len(order))
	chosen := make([]Candidate, 0, len(order))
	taken := make([]bool, len(order))
	held := map[domain]int{}
	for allowed := 1; len(chosen) < n; allowed++ {
		for i := 0; i < len(order) && len(chosen) < n; i++ {
			if c := &order[i]; !taken[i] && c.most(held) < allowed {
				for _, d := range c.domains() {
					held[d]++
				}
				chosen = append(chosen, *c)
				taken[i] = true
			}
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
type domain struct {
	kind byte
	name string // "" is no domain
}

func (c *Candidate) domains() [3]domain {
	return [3]domain{{'s', c.Site}, {'h', c.Host}, {'o', c.Owner}}
}

// most returns how many of the chosen the fullest of c's domains holds.
func (c *Candidate) most(held map[domain]int) (most int) {
	for _, d := range c.domains() {
		if d.name != "" {
			most = max(most, held[d])
		}
	}
	return most
}

func byDistance(candidates []Candidate, key [32]byte) []Candidate {
	order := slices.Clone(candidates)
	slices.SortFunc(order, func(a, b Candidate) int {
		if c := bytes.Compare(xor(a.ID, key), xor(b.ID, key)); c != 0 {
			return c
		}
		return bytes.Compare(a.Peer[:], b.Peer[:])
	})
	return order
}

func xor(a, b [32]byte) []byte {
	for i := range a {
		a[i] ^= b[i]
	}
	return a[:]
}
