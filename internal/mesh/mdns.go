package mesh

import (
	"context"
	"io"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// mdnsService is what nodes announce themselves as, of whatever mesh.
const mdnsService = "_datamesh._udp"

// againTime is how long a node without a mesh waits before it greets a peer
// again that did not answer: mDNS tells of it once.
const againTime = 2 * time.Second

// A finder takes in the peers that multicast DNS has found. It does not wait:
// of very many that are found at once some are forgotten.
type finder chan<- peer.AddrInfo

// HandlePeerFound is what libp2p calls.
func (f finder) HandlePeerFound(info peer.AddrInfo) {
	select {
	case f <- info:
	default:
	}
}

// announce has the node found by multicast DNS, and find others. Kind: Network.
func (n *Net) announce() (io.Closer, error) {
	s := mdns.NewMdnsService(n.host, mdnsService, finder(n.found))
	if err := s.Start(); err != nil {
		return nil, errs.WithHint(errs.New(errs.Network, "announce the node by mDNS: %w", err),
			"this network may have no multicast: set DATAMESH_MESH_MDNS=false")
	}
	return s, nil
}

// meetFound waits until a peer that was found says of which mesh it is. Kind:
// Unavailable.
func (n *Net) meetFound(ctx context.Context) (*met, error) {
	for {
		select {
		case info := <-n.found:
			if m, err := n.helloTo(ctx, info); err == nil && m.record != nil {
				return m, nil
			}
			time.AfterFunc(againTime, func() { finder(n.found).HandlePeerFound(info) })
		case <-ctx.Done():
			return nil, errs.WithHint(errs.New(errs.Unavailable, "no member of a mesh was found by mDNS: %w", ctx.Err()),
				`start one on this network with DATAMESH_MESH_MDNS=true, or name one with --bootstrap-peer and --bootstrap-addr`)
		}
	}
}

// greetFound greets those who are found, and tells the ring of the members of
// this mesh.
func (n *Net) greetFound() {
	for {
		select {
		case info := <-n.found:
			id, err := datamesh.PeerFromMultihash(string(info.ID))
			if m, ok := n.View().Lookup(id); err != nil || ok && m.State == ring.Alive {
				continue
			}
			if m, err := n.helloTo(n.ctx, info); err == nil {
				n.learn(m)
			}
		case <-n.ctx.Done():
			return
		}
	}
}

// helloTo greets a peer that was found, at the addresses that are in networks
// of this host. Anybody on the local network can announce anything, and has
// no business with this node's connections to others.
func (n *Net) helloTo(ctx context.Context, info peer.AddrInfo) (*met, error) {
	id, err := datamesh.PeerFromMultihash(string(info.ID))
	if err != nil {
		return nil, err
	}
	var addrs []string
	gate, own := newGater(), n.Addrs()
	for _, a := range info.Addrs {
		if ip := addrIP(a); len(addrs) < ring.MaxAddrs && gate.near(ip) && mayDial(own, ip) {
			addrs = append(addrs, a.String())
		}
	}
	if len(addrs) == 0 {
		return nil, errs.New(errs.Invalid, "peer %s announces no address in a network of this host", id)
	}
	ctx, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	return n.hello(ctx, id, addrs...)
}
