package mesh

import (
	"context"
	"crypto/rand"
	"math/big"
	"time"

	"datamesh"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// newDHT joins the mesh's own Kademlia. It keeps no records: it is there to
// find peers, and to find out when two parts of a mesh do not know each other.
func newDHT(h host.Host, prefix string) (*dht.IpfsDHT, error) {
	return dht.New(h,
		dht.Mode(dht.ModeServer), // without it a network of private addresses has no tables
		dht.ProtocolPrefix(protocol.ID(prefix[:len(prefix)-1])),
		dht.DisableProviders(), dht.DisableValues(),
		dht.DisableAutoRefresh()) // lookAbout does it, as often as there is need
}

const (
	discoverTime   = time.Minute // a turn
	discoverBudget = 30 * time.Second
)

// explore looks about in Kademlia now and then, seldom while nothing changes.
func (n *Net) explore() {
	var pace pace
	for {
		jitter, err := rand.Int(rand.Reader, big.NewInt(int64(discoverTime/2)))
		if err != nil {
			jitter = new(big.Int)
		}
		select {
		case <-time.After(discoverTime*3/4 + time.Duration(jitter.Int64())):
		case <-n.ctx.Done():
			return
		}
		if pace.turn(n.View()) {
			n.lookAbout(n.ctx, discoverBudget)
		}
	}
}

// lookAbout makes the ring know whoever is in Kademlia and not in its table.
func (n *Net) lookAbout(ctx context.Context, budget time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	peers, err := n.dht.GetClosestPeers(ctx, rand.Text())
	if err != nil {
		return // an empty table: the ring is all there is
	}
	for _, p := range peers {
		id, err := datamesh.PeerFromMultihash(string(p))
		if err != nil || id == n.ID() {
			continue
		}
		if _, known := n.View().Lookup(id); known {
			continue
		}
		if m, err := n.hello(ctx, id); err == nil {
			n.learn(m)
		}
	}
}
