package mesh

import (
	"context"

	"datamesh"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// protectTag marks peers to whom streams are open, on either side: the
// connection manager does not look whether a connection is in use.
const protectTag = "stream"

// protect keeps the connection to a peer from being given up for others, for
// one more stream, until release is called.
func (n *Net) protect(id datamesh.PeerID) (release func()) {
	p := peer.ID(id.Multihash())
	n.count(p, 1)
	return func() { n.count(p, -1) }
}

func (n *Net) count(p peer.ID, more int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busy[p] += more
	if n.busy[p] > 0 {
		n.host.ConnManager().Protect(p, protectTag)
	} else {
		delete(n.busy, p)
		n.host.ConnManager().Unprotect(p, protectTag)
	}
}

// ringValue is what a connection is worth that the ring uses, to the connection
// manager: more than what Kademlia gives any.
const ringValue = 100

// valued has the connection to a peer be given up after those that the ring does
// not use. It would be wanted again soon.
func (n *Net) valued(id datamesh.PeerID) {
	n.host.ConnManager().TagPeer(peer.ID(id.Multihash()), "ring", ringValue)
}

// valuing values the peer that is served, if it is a member.
func (n *Net) valuing(serve func(context.Context, datamesh.PeerID, Stream)) func(context.Context, datamesh.PeerID, Stream) {
	return func(ctx context.Context, from datamesh.PeerID, s Stream) {
		if _, member := n.View().Lookup(from); member {
			n.valued(from)
		}
		serve(ctx, from, s)
	}
}

// protecting protects the peer while it is served.
func (n *Net) protecting(serve func(context.Context, datamesh.PeerID, Stream)) func(context.Context, datamesh.PeerID, Stream) {
	return func(ctx context.Context, from datamesh.PeerID, s Stream) {
		defer n.protect(from)()
		serve(ctx, from, s)
	}
}

// A protected stream releases its peer when it ends.
type protected struct {
	network.Stream
	release func()
}

func (s *protected) Close() error {
	s.release()
	return s.Stream.Close()
}

func (s *protected) Reset() error {
	s.release()
	return s.Stream.Reset()
}
