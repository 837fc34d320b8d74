package mesh

import (
	"net"
	"net/netip"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// A gater keeps a host on the public internet from dialling private addresses
// of networks that it is not in, which hosting companies take for an attack.
type gater struct {
	public bool
	local  []netip.Prefix
}

func newGater() *gater {
	g := &gater{}
	addrs, _ := net.InterfaceAddrs() // without them nothing is kept from anything
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		g.local = append(g.local, p.Masked())
		ip := p.Addr()
		g.public = g.public || ip.IsGlobalUnicast() && !ip.IsPrivate()
	}
	return g
}

func (g *gater) InterceptAddrDial(_ peer.ID, addr ma.Multiaddr) bool {
	if !g.public {
		return true
	}
	ip, err := manet.ToIP(addr)
	if err != nil {
		return true
	}
	a, _ := netip.AddrFromSlice(ip)
	a = a.Unmap()
	if !a.IsPrivate() {
		return true
	}
	for _, p := range g.local {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (g *gater) InterceptPeerDial(peer.ID) bool              { return true }
func (g *gater) InterceptAccept(network.ConnMultiaddrs) bool { return true }
func (g *gater) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool {
	return true
}
func (g *gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
