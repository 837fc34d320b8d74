package repair

import (
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/store"
)

// changes has when members came or went who did so lately. It is not changed
// once it is made.
type changes map[datamesh.PeerID]time.Time

// differ returns the members that are in one of two sets and not in the other.
func differ(a, b map[datamesh.PeerID]uint64) (moved []datamesh.PeerID) {
	for peer := range a {
		if _, ok := b[peer]; !ok {
			moved = append(moved, peer)
		}
	}
	for peer := range b {
		if _, ok := a[peer]; !ok {
			moved = append(moved, peer)
		}
	}
	return moved
}

// anotherLife reports whether a member has begun anew between two incarnations of
// its record. A life begins with the time in milliseconds; while it lasts the next
// number follows, a few times a second at most, when the fill or an address is
// another, or a rumour is refuted: of that nobody who holds shards takes note.
func anotherLife(was, is uint64) bool { return is >= was+1000 }

// and returns the changes of the time before now that lasts so long, with those
// of now.
func (c changes) and(moved []datamesh.PeerID, now time.Time, lately time.Duration) changes {
	all := changes{}
	for peer, at := range c {
		if now.Sub(at) <= lately {
			all[peer] = at
		}
	}
	for _, peer := range moved {
		all[peer] = now
	}
	return all
}

// last returns when one of these has last come or gone; the zero time if none
// did lately.
func (c changes) last(peers []datamesh.PeerID) (at time.Time) {
	for _, peer := range peers {
		if t := c[peer]; t.After(at) {
			at = t
		}
	}
	return at
}

// steady reports whether the registrars of a segment, and those said to hold
// it, have been there, or been away, for the grace: until then who has come may
// go again. If not, the segment is looked at when that may be so. Others come
// and go in a large mesh all the time, and do not matter to it.
func (m *Machine) steady(s store.Tracked) bool {
	peers := registrars(m.view, s.Descriptor)
	for _, h := range s.Holdings {
		peers = append(peers, h.Peer)
	}
	wait := m.changes.last(peers).Add(m.cfg.Grace + settle).Sub(m.now)
	if wait > 0 {
		m.sooner(&m.review, wait)
	}
	return wait <= 0
}

// steady is what a Machine's is, for whoever has just surveyed a segment.
func (k *Keeper) steady(s Surveyed) bool {
	known := k.changes.Load()
	if known == nil {
		return false
	}
	peers := slices.Concat(registrars(k.net.View(), s.Descriptor), slices.Concat(s.Holders...))
	return k.now().Sub(known.last(peers)) >= k.cfg.Grace
}
