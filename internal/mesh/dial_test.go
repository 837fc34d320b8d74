package mesh

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"datamesh/internal/errs"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func TestQUICIsTriedWhenTCPIsSilent(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	a, b := start(t, first(t)), start(t, first(t))
	addrs := []string{"/ip4/127.0.0.1/tcp/" + portOf(silent)}
	for _, addr := range b.Addrs() {
		if strings.HasSuffix(addr, "/quic-v1") {
			addrs = append(addrs, addr)
		}
	}
	id := peer.ID(b.ID().Multihash())
	eventually(t, "a connection", func() bool { // in time, on a busy machine
		ctx, cancel := context.WithTimeout(t.Context(), ringTime)
		defer cancel()
		return a.connect(ctx, id, addrs) == nil
	})
	if conns := a.host.Network().ConnsToPeer(id); len(conns) == 0 || isTCP(conns[0].RemoteMultiaddr()) {
		t.Errorf("connections %v, want one over QUIC", conns)
	}
}

func portOf(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestDialErrorsAreOneShortLine(t *testing.T) {
	a := start(t, first(t))
	gone := nobody(t)
	for what, addrs := range map[string][]string{
		"refused":      {gone.Addr},
		"no address":   nil,
		"no multiaddr": {"nonsense"},
	} {
		err := a.connect(t.Context(), peer.ID(gone.ID.Multihash()), addrs)
		if errs.KindOf(err) != errs.Unavailable || strings.Contains(err.Error(), "\n") || len(err.Error()) > 200 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestPublicHostDialsNoForeignPrivateAddress(t *testing.T) {
	g := &gater{public4: true, public6: true, local: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("203.0.113.0/24")}}
	home := &gater{local: g.local}
	for addr, want := range map[string]bool{
		"/ip4/10.1.2.3/tcp/1":            true,
		"/ip4/10.2.2.3/tcp/1":            false,
		"/ip4/192.168.1.1/udp/1/quic-v1": false,
		"/ip4/198.51.100.7/tcp/1":        true,
		"/ip4/127.0.0.1/tcp/1":           true,
		"/ip6/fd00::1/tcp/1":             false,
		"/ip6/2001:db8::1/tcp/1":         true,
		"/dns4/example.com/tcp/1":        true,
	} {
		m := ma.StringCast(addr)
		if got := g.InterceptAddrDial("", m); got != want {
			t.Errorf("a public host dials %s: %v, want %v", addr, got, want)
		}
		if !home.InterceptAddrDial("", m) {
			t.Errorf("a host at home does not dial %s", addr)
		}
	}
}

// Most homes have public IPv6 addresses beside their private networks, and
// some an address of an overlay, which is not public.
func TestOnlyAPublicAddressOfTheFamilyMakesAHostPublic(t *testing.T) {
	for name, tt := range map[string]struct {
		host []string
		addr string
		want bool
	}{
		"a home with IPv6":       {[]string{"192.168.1.5/24", "2001:db8::5/64"}, "/ip4/192.168.2.7/tcp/1", true},
		"a home with an overlay": {[]string{"192.168.1.5/24", "100.101.102.103/32"}, "/ip4/10.0.0.7/tcp/1", true},
		"a server":               {[]string{"203.0.113.5/24"}, "/ip4/10.0.0.7/tcp/1", false},
		"a server with IPv6":     {[]string{"2001:db8::5/64"}, "/ip6/fd00::1/tcp/1", false},
	} {
		var host []net.Addr
		for _, s := range tt.host {
			ip, prefix, err := net.ParseCIDR(s)
			if err != nil {
				t.Fatal(err)
			}
			host = append(host, &net.IPNet{IP: ip, Mask: prefix.Mask})
		}
		if got := gaterOf(host).InterceptAddrDial("", ma.StringCast(tt.addr)); got != tt.want {
			t.Errorf("%s dials %s: %t, want %t", name, tt.addr, got, tt.want)
		}
	}
}
