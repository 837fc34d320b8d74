package ring

import (
	"encoding/binary"
	"math/bits"
	"time"

	"datamesh"
)

// sumsTo returns the sums of the 2^depth buckets.
func (m *Machine) sumsTo(depth int) []byte {
	var out []byte
	width := maxBuckets >> depth
	for i := 0; i < maxBuckets; i += width {
		var sum uint64
		for _, s := range m.sums[i : i+width] {
			sum ^= s
		}
		out = binary.BigEndian.AppendUint64(out, sum)
	}
	return out
}

// differing returns the buckets whose sums here are others than those given.
func (m *Machine) differing(theirs []byte) []byte {
	var out []byte
	ours := m.sumsTo(bits.Len(uint(len(theirs)/8)) - 1)
	for i := 0; i < len(ours); i += 8 {
		if string(ours[i:i+8]) != string(theirs[i:i+8]) {
			out = append(out, byte(i/8))
		}
	}
	return out
}

// rows returns what is held from one id to another. When that is too much,
// it is cut, and to is made the last id that was in it.
func (m *Machine) rows(from datamesh.PeerID, to *datamesh.PeerID) (facts []Fact, cut bool) {
	for i := m.find(from); i < len(m.order) && comparePeers(m.order[i].peer(), *to) <= 0; i++ {
		x := m.order[i]
		if len(facts) == maxRows {
			*to = m.order[i-1].peer()
			return facts, true
		}
		if x == m.self {
			facts = append(facts, m.fact(x))
		} else {
			facts = append(facts, m.row(x))
		}
	}
	return facts, false
}

// after returns the id that follows.
func after(id datamesh.PeerID) datamesh.PeerID {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i]++; id[i] != 0 {
			break
		}
	}
	return id
}

// page answers a pull. From is nil for an observer, from which nothing is
// wanted.
func (m *Machine) page(pull *Message, from *member) *Message {
	page := &Message{Kind: KindPage}
	theirs := incarnations(pull.Facts)
	room := pageRoom
	for i := m.find(*pull.From); i < len(m.order) && comparePeers(m.order[i].peer(), *pull.To) <= 0; i++ {
		x := m.order[i]
		f, ok := m.lacking(x, theirs)
		if !ok {
			continue
		}
		if room -= f.size(); room < 0 {
			next := x.peer()
			page.Next = &next
			break
		}
		page.Facts = append(page.Facts, f)
	}
	for i := 0; from != nil && i < len(pull.Facts); i++ {
		f := &pull.Facts[i]
		if f.Peer == nil || page.Next != nil && comparePeers(*f.Peer, *page.Next) >= 0 {
			continue
		}
		if m.wants(f) && len(page.Want) < maxRows {
			page.Want = append(page.Want, *f.Peer)
		}
	}
	return page
}

// incarnations returns the facts by peer, without their records.
func incarnations(facts []Fact) map[datamesh.PeerID]Fact {
	known := make(map[datamesh.PeerID]Fact, len(facts))
	for _, f := range facts {
		if f.Record == nil {
			known[*f.Peer] = f
		} else if r, _, err := parseRecord(f.Record); err == nil {
			known[r.Peer] = Fact{Claim: f.Claim, Seq: r.Seq}
		}
	}
	return known
}

// lacking returns what somebody with those facts is to be told of a member,
// if anything: all of it, or where the two only disagree on the member's
// life, the claim.
func (m *Machine) lacking(x *member, theirs map[datamesh.PeerID]Fact) (Fact, bool) {
	f, ok := theirs[x.peer()]
	switch {
	case !ok || f.Seq < x.rec.Seq:
		return m.whole(x), true
	case f.Seq > x.rec.Seq || x.claim == unproven:
		return Fact{}, false
	}
	return m.row(x), lasting(f.Claim) != lasting(x.claim)
}

// wants reports whether a fact tells of an incarnation that is new here.
func (m *Machine) wants(f *Fact) bool {
	if x := m.members[*f.Peer]; x != nil {
		return x.rec.Seq < f.Seq
	}
	return m.welcome(f.Claim, time.Duration(f.Age)*time.Second)
}
