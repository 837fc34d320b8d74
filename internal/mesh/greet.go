package mesh

import (
	"context"
	"crypto/ed25519"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
)

// A Greeting is what a stranger learns of a peer.
type Greeting struct {
	Peer    datamesh.PeerID
	Mesh    datamesh.MeshID
	Latency time.Duration // one round trip
}

// greetTime bounds [Greet].
const greetTime = 5 * time.Second

// Greet asks a peer which mesh it is of and measures a round trip to it, as a
// stranger with a key of no meaning. It tries once. Kinds: Invalid (no
// address), Authentication (the peer is another), Unavailable, Serialization.
func Greet(ctx context.Context, agent string, p Peer) (Greeting, error) {
	ctx, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	if _, err := ma.NewMultiaddr(p.Addr); err != nil {
		return Greeting{}, errs.New(errs.Invalid, "%q is not a multiaddr", p.Addr)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return Greeting{}, errs.New(errs.KeyManagement, "stranger's key: %w", err)
	}
	h, err := newHost(Config{Key: key, Role: ring.Client, Agent: agent})
	if err != nil {
		return Greeting{}, err
	}
	defer h.Close()
	m, err := (&Net{host: h}).greetOnce(ctx, p)
	if err != nil {
		return Greeting{}, err
	}
	trip := <-ping.Ping(ctx, h, peer.ID(m.peer.Multihash())) // closed without a value only when ctx ends
	if trip.Error != nil || trip.RTT == 0 {
		return Greeting{}, errs.New(errs.Unavailable, "peer %s at %s does not answer a ping", m.peer, p.Addr)
	}
	return Greeting{Peer: m.peer, Mesh: m.genesis.MeshID(), Latency: trip.RTT}, nil
}
