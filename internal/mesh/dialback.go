package mesh

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/errs"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// maxDialBacks bounds how many addresses are tried for one asker.
const maxDialBacks = 4

// A Reached tells whether a peer answered at one of its addresses.
type Reached struct {
	Addr    string
	Answers bool
}

// DialBack tries to reach the member at the other end of a stream, with new
// connections, and returns the IP that it sees it at. Tried are only those TCP
// addresses of the member's signed record that have this very IP, so that
// nobody can have this node dial somebody else, and what is told is only
// whether the member's own id was proven there. Kinds: Authentication (it is
// no member), Unavailable (where it comes from is not dialled).
func (n *Net) DialBack(ctx context.Context, from datamesh.PeerID, s Stream) (netip.Addr, []Reached, error) {
	m, ok := n.View().Lookup(from)
	if !ok {
		return netip.Addr{}, nil, errs.New(errs.Authentication, "peer %s is no member that stores", from)
	}
	ip := remoteIP(s)
	if !mayDial(n.Addrs(), ip) {
		return ip, nil, errs.New(errs.Unavailable, "addresses such as %s are not dialled from here", ip)
	}
	var tried []Reached
	tcp, _ := split(m.Record.Addrs)
	gate := newGater()
	for _, a := range tcp {
		bare := len(a) == 2 // nothing but IP and port: no relay, no tunnel
		if bare && addrIP(a) == ip && gate.InterceptAddrDial(peer.ID(from.Multihash()), a) && len(tried) < maxDialBacks {
			tried = append(tried, Reached{Addr: a.String()})
		}
	}
	reach(ctx, tried, func(ctx context.Context, addr string) bool {
		id, err := Identify(ctx, addr)
		return err == nil && id == from
	})
	return ip, tried, nil
}

// reach asks at all addresses at once. If one does not answer it takes the time
// that a silent one would: how soon an address fails would tell what else
// listens there, and have others dialled often.
func reach(ctx context.Context, tried []Reached, answers func(ctx context.Context, addr string) bool) {
	ctx, cancel := context.WithTimeout(ctx, identifyTime)
	defer cancel()
	var wg sync.WaitGroup
	for i := range tried {
		wg.Go(func() { tried[i].Answers = answers(ctx, tried[i].Addr) })
	}
	wg.Wait()
	if slices.ContainsFunc(tried, func(r Reached) bool { return !r.Answers }) {
		<-ctx.Done()
	}
}

// mayDial reports whether a node with these addresses dials an IP because a
// stranger wants it to. Loopback is for a node that has nothing else: behind a tunnel others would
// seem to come from there.
func mayDial(own []string, ip netip.Addr) bool {
	if !ip.IsLoopback() {
		return ip.IsGlobalUnicast()
	}
	return !slices.ContainsFunc(own, func(a string) bool { return !IP(a).IsLoopback() })
}

// remoteIP returns the IP that a stream's connection comes from. The zero
// value is unknown.
func remoteIP(s Stream) netip.Addr {
	if s, ok := s.(network.Stream); ok {
		return addrIP(s.Conn().RemoteMultiaddr())
	}
	return netip.Addr{}
}

func addrIP(a ma.Multiaddr) netip.Addr {
	ip, err := manet.ToIP(a)
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// IP returns that of a multiaddr, or the zero value.
func IP(addr string) netip.Addr {
	a, err := ma.NewMultiaddr(addr)
	if err != nil {
		return netip.Addr{}
	}
	return addrIP(a)
}
