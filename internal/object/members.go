package object

import (
	"datamesh"
	"datamesh/internal/ring"
)

// known returns how many members the mesh has, whether they can be reached
// now or not: a node that is cut off does not store for itself alone.
func known(view *ring.View) int { return view.Len() }

// registrars returns the peers that keep track of a segment.
func registrars(view *ring.View, d *datamesh.Descriptor) []datamesh.PeerID {
	return ring.Registrars(view, d.Segment, ring.RegistrarCount(d.K, d.M, view.Live()))
}
