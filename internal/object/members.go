package object

import (
	"datamesh"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
)

// candidates returns the members that may be asked to hold a shard: those
// that are not known to be dead.
func candidates(view *ring.View) []placement.Candidate {
	all := make([]placement.Candidate, 0, view.Live())
	for m := range view.All() {
		if m.State == ring.Dead {
			continue
		}
		l := m.Record.Labels
		all = append(all, placement.Candidate{Peer: m.Record.Peer, ID: m.Placement,
			Site: l.Site, Host: l.Host, Owner: l.Owner, Used: m.Record.Used, Capacity: m.Record.Capacity})
	}
	return all
}

// known returns how many members the mesh has, whether they can be reached
// now or not: a node that is cut off does not store for itself alone.
func known(view *ring.View) int { return view.Len() }

// registrars returns the peers that keep track of a segment.
func registrars(view *ring.View, d *datamesh.Descriptor) []datamesh.PeerID {
	return ring.Registrars(view, d.Segment, ring.RegistrarCount(d.K, d.M, view.Live()))
}
