package mesh

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"datamesh/internal/errs"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// window is what a stream may have on its way at first: enough for a shard on
// a long line, where libp2p's 256 KiB would take several round trips to grow.
const window = 4 << 20

// rttTime is between two measurements of a connection's round trip, by which
// its streams' windows grow. libp2p's 30 s would be most of what a connection
// of an idle mesh carries. Keepalives stay: they are sent only in silence.
const rttTime = 10 * time.Minute

// Connections to more peers than mostConns are given up until there are leastConns,
// those first that the ring does not use. Each costs 12 bytes a second, both ways, while nobody
// uses it, and a new one 8 kB: see docs/performance.md, Scale.
const leastConns, mostConns = 80, 128

func newMuxer() *yamux.Transport {
	mux := *yamux.DefaultTransport
	mux.InitialStreamWindowSize, mux.MeasureRTTInterval = window, rttTime
	return &mux
}

// portTries is how often a port is chosen, until nobody else takes it first.
const portTries = 8

// newHost makes the libp2p host, which listens if it is of a storage node. A port
// of its own choice was free a moment before: if that is over, it chooses another.
func newHost(cfg Config) (host.Host, error) {
	if cfg.Role != ring.Storage {
		return makeHost(cfg)
	}
	if cfg.Port == 0 {
		for range portTries {
			if h, err := listen(cfg, true); !errors.Is(err, ErrPortTaken) {
				return h, err
			}
		}
	}
	return listen(cfg, false)
}

// listen makes a host that listens at all addresses, or, if that is not asked for,
// by TCP at one of them at least.
func listen(cfg Config, all bool) (host.Host, error) {
	addrs, port, err := listenAddrs(cfg.Listen, cfg.Port)
	if err != nil {
		return nil, err
	}
	h, err := makeHost(cfg)
	if err != nil {
		return nil, err
	}
	err = h.Network().Listen(addrs...) // nil if one of them was free
	got := h.Network().ListenAddresses()
	if len(got) == len(addrs) || !all && slices.ContainsFunc(got, isTCP) {
		return h, nil
	}
	taken := portTaken(port, err)
	if err := h.Close(); err != nil {
		return nil, errs.New(errs.Network, "close libp2p: %w", err)
	}
	return nil, taken
}

// makeHost makes a host that does not listen yet: TCP with TLS 1.3 first, which
// costs a third of QUIC's processor time, and QUIC second.
func makeHost(cfg Config) (host.Host, error) {
	announced, err := parseAddrs(cfg.Announce)
	if err != nil {
		return nil, err
	}
	key, err := crypto.UnmarshalEd25519PrivateKey(cfg.Key)
	if err != nil {
		return nil, errs.New(errs.KeyManagement, "node key: %w", err)
	}
	limits, err := newLimits()
	if err != nil {
		return nil, errs.New(errs.Network, "resource limits: %w", err)
	}
	conns, err := connmgr.NewConnManager(leastConns, mostConns, connmgr.WithGracePeriod(time.Minute))
	if err != nil {
		return nil, errs.New(errs.Network, "connection limits: %w", err)
	}
	opts := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Transport(quic.NewTransport),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Muxer(yamux.ID, newMuxer()),
		libp2p.ResourceManager(limits),
		libp2p.ConnectionManager(conns),
		libp2p.ConnectionGater(newGater()),
		libp2p.SwarmOpts(swarm.WithDialRanker(tcpFirst)),
		libp2p.NonPublicAddrPublishing(true),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.UserAgent(cfg.Agent),
		libp2p.ProtocolVersion("/datamesh/1"),
		libp2p.NoListenAddrs,
	}
	if len(announced) > 0 {
		opts = append(opts, libp2p.AddrsFactory(func([]ma.Multiaddr) []ma.Multiaddr { return announced }))
	}
	h, err := libp2p.New(opts...)
	if err != nil {
		return nil, errs.New(errs.Network, "start libp2p: %w", err)
	}
	return h, nil
}

// ErrPortTaken says that another socket of this machine has the port.
var ErrPortTaken = errors.New("it is in use")

// portTaken returns that error, with what libp2p says, if anything.
func portTaken(port int, cause error) error {
	err := errs.New(errs.Configuration, "port %d: %w", port, ErrPortTaken)
	if cause != nil {
		err = errs.New(errs.Configuration, "port %d: %w: %w", port, ErrPortTaken, cause)
	}
	return errs.WithHint(err, "stop what uses it, or choose another with --port")
}

// listenAddrs returns the multiaddrs for TCP and QUIC on one port, of which it
// makes sure that TCP can have it, or chooses it.
func listenAddrs(ips []netip.Addr, port int) ([]ma.Multiaddr, int, error) {
	var addrs []ma.Multiaddr
	ips = distinct(ips)
	for _, ip := range ips {
		family := "4"
		if ip.Is6() {
			family = "6"
		}
		l, err := net.Listen("tcp"+family, netip.AddrPortFrom(ip, uint16(port)).String())
		if isInUse(err) {
			return nil, 0, portTaken(port, nil)
		}
		if err != nil && len(ips) > 1 && ip.Is6() {
			continue // a machine without IPv6
		}
		if err != nil {
			return nil, 0, errs.New(errs.Configuration, "listen on %s: %w", ip, err)
		}
		port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return nil, 0, errs.New(errs.Network, "listen on %s: %w", ip, err)
		}
		for _, transport := range []string{"tcp/%d", "udp/%d/quic-v1"} {
			a, err := ma.NewMultiaddr(fmt.Sprintf("/ip%s/%s/"+transport, family, ip, port))
			if err != nil {
				return nil, 0, errs.New(errs.Configuration, "listen on %s: %w", ip, err)
			}
			addrs = append(addrs, a)
		}
	}
	return addrs, port, nil
}

// distinct returns the addresses without those that others have already: libp2p
// cannot listen where it does.
func distinct(ips []netip.Addr) (all []netip.Addr) {
	for _, ip := range ips {
		every := netip.IPv4Unspecified()
		if ip.Is6() {
			every = netip.IPv6Unspecified()
		}
		if !slices.Contains(all, ip) && (ip == every || !slices.Contains(ips, every)) {
			all = append(all, ip)
		}
	}
	return all
}

// isInUse reports whether an error is that of an address that another socket has.
func isInUse(err error) bool {
	const windows = syscall.Errno(10048) // WSAEADDRINUSE, which syscall has no name for
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, windows)
}

func parseAddrs(texts []string) ([]ma.Multiaddr, error) {
	addrs := make([]ma.Multiaddr, len(texts))
	for i, text := range texts {
		var err error
		if addrs[i], err = ma.NewMultiaddr(text); err != nil {
			return nil, errs.New(errs.Configuration, "mesh.announce: %q is not a multiaddr: %w", text, err)
		}
	}
	return addrs, nil
}

// CheckPort tells whether a node could listen on a port. Kind: Configuration.
func CheckPort(ips []netip.Addr, port int) error {
	_, _, err := listenAddrs(ips, port)
	return err
}

// newLimits replaces libp2p's defaults, which end meshes of one's own: they
// allow 8 connections, and a new one every 5 s, from one address, and no
// more than 65 streams to a peer.
func newLimits() (network.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{Conns: 4096, ConnsInbound: 2048, ConnsOutbound: 4096,
			Streams: 32768, StreamsInbound: 16384, StreamsOutbound: 16384, FD: 8192, Memory: 1 << 30},
		Transient: rcmgr.ResourceLimits{Conns: 512, ConnsInbound: 256, ConnsOutbound: 512,
			Streams: 4096, StreamsInbound: 2048, StreamsOutbound: 2048, FD: 512, Memory: 256 << 20},
		PeerDefault: rcmgr.ResourceLimits{Conns: 8, ConnsInbound: 8, ConnsOutbound: 8,
			Streams: 512, StreamsInbound: 256, StreamsOutbound: 256, FD: 8, Memory: 256 << 20},
		ProtocolDefault: rcmgr.ResourceLimits{Streams: 16384, StreamsInbound: 8192, StreamsOutbound: 8192, Memory: 512 << 20},
		// What a peer sends before it is read counts nowhere: up to a window a stream.
		ProtocolPeerDefault: rcmgr.ResourceLimits{Streams: 128, StreamsInbound: 64, StreamsOutbound: 64, Memory: 128 << 20},
	}
	perSubnet := rate.Limit{RPS: 50, Burst: 400}
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.Build(scaling.AutoScale())),
		rcmgr.WithMetricsDisabled(), // which nobody reads, and which write down each stream and each kilobyte
		rcmgr.WithLimitPerSubnet([]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: 1024}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: 1024}}),
		rcmgr.WithConnRateLimiters(&rate.Limiter{SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: perSubnet}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: perSubnet}}, GracePeriod: time.Minute}}))
}

// Addrs returns where others can reach this node: loopback only when there is
// nothing else.
func (n *Net) Addrs() []string { return reachable(n.host.Addrs()) }

// Listening returns where this node listens, whatever it announces, of loopback
// likewise. Kind: Network.
func (n *Net) Listening() ([]string, error) {
	addrs, err := n.host.Network().InterfaceListenAddresses()
	if err != nil {
		return nil, errs.New(errs.Network, "addresses of this machine: %w", err)
	}
	return reachable(addrs), nil
}

func reachable(addrs []ma.Multiaddr) []string {
	var other, loopback []string
	for _, a := range addrs {
		if manet.IsIPLoopback(a) {
			loopback = append(loopback, a.String())
		} else {
			other = append(other, a.String())
		}
	}
	if len(other) == 0 {
		other = loopback
	}
	return other[:min(len(other), ring.MaxAddrs)]
}
