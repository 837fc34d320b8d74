package durability

import (
	"cmp"
	"slices"
)

// byNumber returns the chain whose state is how many shards are missing. Where
// domains are lost it is a bound: it counts all of a domain as lost with it,
// though some may have been missing before. So at any time it has at least as
// many missing as there are, if both see the same losses.
func byNumber(m Model) *chain {
	c := newChain(m, m.M+1)
	for missing := range m.M + 1 {
		c.leads(missing, missing+1, float64(m.K+m.M-missing)*m.Loss)
		if m.DomainLoss > 0 {
			for _, size := range m.Domains {
				c.leads(missing, missing+size, m.DomainLoss)
			}
		}
	}
	return c
}

// maxStates bounds a chain by domains to what is computed within a second.
const maxStates = 1 << 12

// A damage is how many shards are missing in each domain. Domains are in the
// order of their sizes, and those of one size in the order of what is missing,
// since it does not matter which of them is which.
type damage struct {
	missing []uint8
	number  int // of its state
}

// byDomain returns the chain whose state is how many shards are missing in
// each domain, or nil if it would have too many states.
func byDomain(m Model) *chain {
	sizes := slices.Sorted(slices.Values(m.Domains))
	ways := make([][]*damage, m.M+1) // by how many shards are missing
	known := map[string]*damage{}
	at := func(total int, missing []uint8) *damage {
		d := known[string(missing)]
		if d == nil {
			d = &damage{missing: missing}
			known[string(missing)] = d
			ways[total] = append(ways[total], d)
		}
		return d
	}
	type way struct {
		from, to *damage // to nil if the segment is lost
		rate     float64
	}
	var all []way
	states := 0
	at(0, make([]uint8, len(sizes)))
	for total := range ways {
		for _, from := range ways[total] {
			from.number = states
			if states++; states > maxStates {
				return nil
			}
			loses := func(domain, n int, rate float64) {
				var to *damage
				if total+n <= m.M {
					to = at(total+n, with(sizes, from.missing, domain, n))
				}
				all = append(all, way{from, to, rate})
			}
			alike(sizes, from.missing, func(domain, count int) {
				there := sizes[domain] - int(from.missing[domain])
				loses(domain, 1, float64(count*there)*m.Loss)
				loses(domain, there, float64(count)*m.DomainLoss)
			})
		}
	}
	c := newChain(m, states)
	for _, w := range all {
		to := states
		if w.to != nil {
			to = w.to.number
		}
		c.leads(w.from.number, to, w.rate)
	}
	return c
}

// alike calls f for each kind of domain that still has shards: the first of
// those that are equal, and how many they are.
func alike(sizes []int, missing []uint8, f func(domain, count int)) {
	for first := 0; first < len(sizes); {
		next := first + 1
		for next < len(sizes) && sizes[next] == sizes[first] && missing[next] == missing[first] {
			next++
		}
		if int(missing[first]) < sizes[first] {
			f(first, next-first)
		}
		first = next
	}
}

// with returns the damage in which n more shards of a domain are missing.
func with(sizes []int, missing []uint8, domain, n int) []uint8 {
	after := slices.Clone(missing)
	after[domain] += uint8(n) // at most m are missing
	first, _ := slices.BinarySearch(sizes, sizes[domain])
	next, _ := slices.BinarySearch(sizes, sizes[domain]+1)
	slices.SortFunc(after[first:next], func(a, b uint8) int { return cmp.Compare(b, a) })
	return after
}
