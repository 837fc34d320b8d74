package ring

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
)

// contacts is about how many others a member probes, compares its table with
// and sends news to; in a mesh of no more than that, all. Connections to so few
// can be kept: to dial for a message costs more than many messages do, and so
// does a connection to everybody.
const contacts = 64

// Others are probed as well, so that none is held for alive for ever whose contacts
// are gone, or never were: in one turn of so many, and after each probe that got no
// answer in as many more. A part that is cut off thus finds all others dead, though
// few of them are contacts of its members.
const (
	abroadEvery = 60
	abroadMore  = 2
)

// isContact reports whether another member is one of this machine's contacts.
// Two are contacts of each other, by a sum over their ids: each has about as
// many, as if drawn at random, and the way from one to all others is short in
// such a graph (Erdős, Rényi 1960). An observer asks anybody.
func (m *Machine) isContact(x *member) bool {
	n := uint64(len(m.live))
	return m.self == nil || n <= contacts || x.pair < math.MaxUint64/n*contacts
}

// pairOf returns the sum by which a member and self are contacts.
func (m *Machine) pairOf(rec *Record) uint64 {
	if m.self == nil {
		return 0
	}
	a, b := m.self.rec.Peer, rec.Peer
	if comparePeers(a, b) > 0 {
		a, b = b, a
	}
	sum := sha256.Sum256(slices.Concat(a[:], b[:])) // hash.Keyed takes ten times as long
	return binary.BigEndian.Uint64(sum[:8])
}
