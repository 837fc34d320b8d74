package ring

import (
	"encoding/binary"
	"math"

	"datamesh"
)

// RegistrarCount returns how many registrars a key of an object coded k+m has
// in a mesh of that many live members.
func RegistrarCount(k, m, live int) int { return min(live, max(k+m, 8)) }

// RecordRegistrarCount returns how many registrars keep the records of an owner
// in a mesh of that many live members.
func RecordRegistrarCount(live int) int { return min(live, 12) }

// Registrars returns the n live members whose places are nearest to the key
// in the XOR metric (Maymounkov, Mazières 2002), nearest first, whatever
// their room; all of them, if they are fewer.
func Registrars(v *View, key [32]byte, n int) []datamesh.PeerID {
	n = max(n, 0)
	near := make([]candidate, 0, n+1)
	edge := uint64(math.MaxUint64) // the greatest head that may still be among the n
	for i := range v.members {
		x := &v.members[i]
		head := binary.BigEndian.Uint64(x.Placement[:8]) ^ binary.BigEndian.Uint64(key[:8])
		if x.State == Dead || head > edge {
			continue
		}
		near = insert(near, candidate{head, x}, key)
		if len(near) > n {
			near = near[:n]
		}
		if n > 0 && len(near) == n {
			edge = near[n-1].head
		}
	}
	ids := make([]datamesh.PeerID, len(near))
	for i, c := range near {
		ids[i] = c.member.Record.Peer
	}
	return ids
}

// candidate is a member and the first 64 bits of its distance, which settle
// nearly every comparison.
type candidate struct {
	head   uint64
	member *Member
}

// insert puts c into near, which is in the order of distance.
func insert(near []candidate, c candidate, key [32]byte) []candidate {
	near = append(near, c)
	for i := len(near) - 1; i > 0 && nearer(c, near[i-1], key); i-- {
		near[i-1], near[i] = c, near[i-1]
	}
	return near
}

func nearer(a, b candidate, key [32]byte) bool {
	if a.head != b.head {
		return a.head < b.head
	}
	for i := 8; i < len(key); i++ {
		if p, q := a.member.Placement[i]^key[i], b.member.Placement[i]^key[i]; p != q {
			return p < q
		}
	}
	return false
}
