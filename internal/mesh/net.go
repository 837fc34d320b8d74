// Package mesh is the network: a libp2p host, a Kademlia table to find and
// cross-check members by, the greeting of strangers, and the one goroutine
// that owns the member table of package ring.
//
// [Net] is a small handle on all that, safe for concurrent use. What it knows
// it publishes as an immutable view; what it is told goes over a bounded
// channel; bulk flows on the caller's own stream.
package mesh

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/ring"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

// A Config says who a node is and whom it knows.
type Config struct {
	Key      ed25519.PrivateKey
	Role     ring.Role
	Labels   ring.Labels
	Listen   []netip.Addr // of a storage node
	Port     int          // 0: any that is free
	Announce []string     // multiaddrs to tell others instead of those that it listens on; none: those
	Probe    time.Duration
	Agent    string                        // name and version of the program
	Usage    func() (capacity, used int64) // of a storage node's store
	Genesis  *format.Genesis               // nil: that of the peers in Join
	Known    []ring.Learned                // members, from an earlier run
	Join     []Peer                        // to meet the mesh through, the first of them that answers
	Mdns     bool                          // find and be found on the local network; a client is not

	// Serve has what answers the mesh's protocols, by name. It is ready before
	// others hear of the node, and runs until the peer is served or the node ends.
	Serve map[string]func(ctx context.Context, from datamesh.PeerID, s Stream)

	Events Events
}

// Events tells what a node does on its own account. Any of its functions may
// be nil. They are called by many goroutines at once, and must not block.
type Events struct {
	// RingCalled tells that a question to another member's table has ended,
	// for which so many bytes went out and came in.
	RingCalled func(out, in int, err error)

	// RingServed tells that a question of another was answered.
	RingServed func(in, out int)
}

// A Peer is where to find a peer.
type Peer struct {
	ID   datamesh.PeerID // zero: whoever listens there, see [Identify]
	Addr string          // multiaddr
}

// A Net is a node in its mesh.
type Net struct {
	host    host.Host
	dht     *dht.IpfsDHT // nil in a client
	genesis *format.Genesis
	prefix  string // of all protocols of the mesh
	usage   func() (capacity, used int64)
	role    ring.Role
	events  Events
	start   time.Time

	view    atomic.Pointer[ring.View]
	met     chan struct{} // closed when the table was compared with a member's
	changed chan struct{}
	do      chan func(*state)  // the way to the owner of the state
	found   chan peer.AddrInfo // whom mDNS has found; nobody reads it without
	mdns    io.Closer          // nil without
	ctx     context.Context    // ends when the node does
	cancel  context.CancelFunc
	wg      sync.WaitGroup // the owner, its calls, the discovery
	kept    keptStreams    // to the ring of others

	mu      sync.Mutex              // guards what follows
	closed  bool                    // no more streams are served
	streams sync.WaitGroup          // those that are
	busy    map[peer.ID]int         // streams to and from a peer, the ring's and hello apart
	resting map[datamesh.PeerID]int // streams of a peer to this ring, without a request
}

// New starts a node, and returns when it has met its mesh or has nobody to
// meet: alone in a mesh of its own, or with members that do not answer yet.
// Kinds: Configuration (the port is taken, an address makes no sense),
// Unavailable (no peer in Join answers), Authentication (one is of another
// mesh, or not who it should be), Invalid (they are this node itself).
func New(ctx context.Context, cfg Config) (*Net, error) {
	quiet()
	h, err := newHost(cfg)
	if err != nil {
		return nil, err
	}
	n := &Net{host: h, genesis: cfg.Genesis, usage: cfg.Usage, role: cfg.Role, events: cfg.Events, start: time.Now(),
		met: make(chan struct{}), changed: make(chan struct{}, 1), do: make(chan func(*state), 64),
		found: make(chan peer.AddrInfo, 64), busy: make(map[peer.ID]int), resting: make(map[datamesh.PeerID]int)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.open(ctx, cfg); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// mdns reports whether the node announces itself. A client has no address to
// be found at.
func (c *Config) mdns() bool { return c.Mdns && c.Role == ring.Storage }

func (n *Net) open(ctx context.Context, cfg Config) (err error) {
	var remembered []ring.Event
	for _, k := range cfg.Known {
		remembered = append(remembered, k)
	}
	if len(cfg.Join) > 0 {
		met, err := n.meet(ctx, cfg)
		if err != nil {
			return err
		}
		if met.record != nil {
			remembered = append(remembered, ring.Learned{Record: met.record})
		}
	}
	if n.genesis == nil && cfg.mdns() {
		if n.mdns, err = n.announce(); err != nil {
			return err
		}
		met, err := n.meetFound(ctx)
		if err != nil {
			return err
		}
		n.genesis = met.genesis
		remembered = append(remembered, ring.Learned{Record: met.record})
	}
	if n.genesis == nil {
		return errs.WithHint(errs.New(errs.Configuration, "this home does not know of any mesh"),
			`start one with "datamesh bootstrap", or join one with "datamesh networks use PEER_ID@ADDR"`)
	}
	n.prefix = "/datamesh/" + n.genesis.MeshID().String() + "/"
	st, err := n.newState(cfg)
	if err != nil {
		return err
	}
	n.view.Store(st.machine.View())
	if cfg.Role == ring.Storage {
		if n.dht, err = newDHT(n.host, n.prefix); err != nil {
			return errs.New(errs.Network, "kademlia: %w", err)
		}
	}
	for name, serve := range cfg.Serve {
		n.handle(n.prefix+name, n.protecting(serve))
	}
	n.handle(helloProtocol, n.answerHello)
	n.handle(n.prefix+ringProtocol, n.valuing(n.serveRing))
	n.host.Network().Notify(&network.NotifyBundle{DisconnectedF: n.disconnected})
	n.step(st, remembered...) // before New returns, so that no view is ever without them
	n.wg.Go(func() { n.run(st) })
	if n.dht != nil {
		n.wg.Go(n.explore)
	}
	if !cfg.mdns() {
		return nil
	}
	if n.mdns == nil {
		n.mdns, err = n.announce()
	}
	n.wg.Go(n.greetFound)
	return err
}

// ID returns the peer id of this node.
func (n *Net) ID() datamesh.PeerID { return mustPeer(n.host.ID()) }

// Genesis returns that of the mesh.
func (n *Net) Genesis() *format.Genesis { return n.genesis }

// View returns the member table as it is now.
func (n *Net) View() *ring.View { return n.view.Load() }

// Changes receives a value some time after the member table has changed.
func (n *Net) Changes() <-chan struct{} { return n.changed }

// Met waits until the member table was compared with a member's, and so is
// more than what was remembered. Kind: Unavailable.
func (n *Net) Met(ctx context.Context) error {
	select {
	case <-n.met:
		return nil
	case <-ctx.Done():
		return errs.New(errs.Unavailable, "no member answers: %w", ctx.Err())
	case <-n.ctx.Done():
		return errClosed
	}
}

// Port returns the port that this node listens on, or 0.
func (n *Net) Port() int {
	for _, a := range n.host.Network().ListenAddresses() {
		if text, err := a.ValueForProtocol(ma.P_TCP); err == nil {
			port, _ := strconv.Atoi(text)
			return port
		}
	}
	return 0
}

// Connected returns the number of peers that there is a connection to.
func (n *Net) Connected() int { return len(n.host.Network().Peers()) }

// Started returns when the node was started.
func (n *Net) Started() time.Time { return n.start }

// Open opens a stream to a member, for one of the mesh's protocols. Until it
// is closed or reset the connection is not given up for others. Kinds:
// Unavailable (it cannot be reached in ctx's time), Network.
func (n *Net) Open(ctx context.Context, id datamesh.PeerID, proto string) (Stream, error) {
	if n.ctx.Err() != nil {
		return nil, errClosed
	}
	var addrs []string
	if m, ok := n.View().Lookup(id); ok {
		addrs = m.Record.Addrs
	}
	s, err := n.openAt(ctx, id, addrs, proto)
	if err != nil {
		return nil, err
	}
	return &protected{s, sync.OnceFunc(n.protect(id))}, nil
}

func (n *Net) openAt(ctx context.Context, id datamesh.PeerID, addrs []string, proto string) (network.Stream, error) {
	p := peer.ID(id.Multihash())
	if err := n.connect(ctx, p, addrs); err != nil {
		return nil, err
	}
	s, err := n.host.NewStream(network.WithNoDial(ctx, "connected above"), p, protocol.ID(n.prefix+proto))
	if err != nil {
		return nil, errs.New(errs.Network, "open a stream: %w", err)
	}
	return s, nil
}

// handle has serve answer a protocol until the node ends.
func (n *Net) handle(proto string, serve func(context.Context, datamesh.PeerID, Stream)) {
	n.host.SetStreamHandler(protocol.ID(proto), func(s network.Stream) {
		from, err := datamesh.PeerFromMultihash(string(s.Conn().RemotePeer()))
		if err != nil || !n.begin() {
			s.Reset()
			return
		}
		defer n.streams.Done()
		serve(n.ctx, from, s)
	})
}

// begin counts one more stream that is served, unless the node ends.
func (n *Net) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.streams.Add(1)
	}
	return !n.closed
}

var errClosed = errs.New(errs.Unavailable, "the node is shutting down")

// Close ends the node in order: no new work, then the owner of the table,
// then Kademlia, then the host with all streams, then what served them.
func (n *Net) Close() error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.cancel()
	var err error
	if n.mdns != nil {
		err = n.mdns.Close()
	}
	n.wg.Wait()
	n.kept.close()
	if n.dht != nil {
		err = errors.Join(err, n.dht.Close())
	}
	err = errors.Join(err, n.host.Close())
	n.streams.Wait()
	return err
}

func mustPeer(p peer.ID) datamesh.PeerID {
	id, err := datamesh.PeerFromMultihash(string(p))
	if err != nil {
		panic(err) // this node's own key is Ed25519
	}
	return id
}
