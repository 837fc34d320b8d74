package mesh

import (
	"net"
	"net/netip"
	"slices"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// A gater keeps a host on the public internet from dialling private addresses
// of networks that it is not in, which hosting companies take for an attack.
type gater struct {
	public4, public6 bool // whether the host has a public address of that family
	local            []netip.Prefix
}

// overlay is for the inside of providers and overlays (RFC 6598).
var overlay = netip.MustParsePrefix("100.64.0.0/10")

func newGater() *gater {
	addrs, _ := net.InterfaceAddrs() // without them nothing is kept from anything
	return gaterOf(addrs)
}

// gaterOf returns the gater of a host with these addresses.
func gaterOf(addrs []net.Addr) *gater {
	g := &gater{}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		g.local = append(g.local, p.Masked())
		ip := p.Addr()
		switch public := ip.IsGlobalUnicast() && !ip.IsPrivate() && !overlay.Contains(ip); {
		case ip.Is4():
			g.public4 = g.public4 || public
		default:
			g.public6 = g.public6 || public
		}
	}
	return g
}

func (g *gater) InterceptAddrDial(_ peer.ID, addr ma.Multiaddr) bool {
	ip, err := manet.ToIP(addr)
	if err != nil {
		return true
	}
	a, _ := netip.AddrFromSlice(ip)
	a = a.Unmap()
	if public := a.Is4() && g.public4 || a.Is6() && g.public6; !public || !a.IsPrivate() {
		return true
	}
	return g.near(a)
}

// near reports whether an IP is of a network that the host is in.
func (g *gater) near(ip netip.Addr) bool {
	return slices.ContainsFunc(g.local, func(p netip.Prefix) bool { return p.Contains(ip) })
}

func (g *gater) InterceptPeerDial(peer.ID) bool              { return true }
func (g *gater) InterceptAccept(network.ConnMultiaddrs) bool { return true }
func (g *gater) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool {
	return true
}
func (g *gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
