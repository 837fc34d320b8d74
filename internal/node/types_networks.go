package node

import "datamesh"

// A Greeting is what a stranger learns of a peer.
type Greeting struct {
	Peer      datamesh.PeerID
	Mesh      datamesh.MeshID
	LatencyMS float64 // one round trip
}
