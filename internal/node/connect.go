package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/measure"
	"datamesh/internal/mesh"
	"datamesh/internal/object"
	"datamesh/internal/repair"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// joinTime is how long a client looks for its mesh.
const joinTime = 10 * time.Second

// missedTime is how long a client that has not found its mesh does not look for
// it again: what one command does needs to wait for it once.
const missedTime = 5 * time.Second

// A miss is that a client did not find its mesh.
type miss struct {
	err error
	at  time.Time
}

// connect returns the node's link to its mesh, which the first caller makes.
func (n *Node) connect(ctx context.Context) (*link, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.link != nil {
		return n.link, nil
	}
	if n.ctx.Err() != nil {
		return nil, errs.New(errs.Unavailable, "the node is shutting down")
	}
	if n.missed.err != nil && time.Since(n.missed.at) < missedTime {
		return nil, n.missed.err
	}
	m, err := loadMemory(n.home)
	if err != nil {
		return nil, err
	}
	_, lost := os.Lstat(n.home.NodeKey())
	self, err := nodeID(n.home)
	if err != nil {
		return nil, err
	}
	var l *link
	switch {
	case n.opt.Role == Storage:
		l, err = n.joinAsStorage(ctx, m)
	case len(n.doors(m)) == 0 && !m.knowsOther(self):
		l, err = n.alone(m)
	default:
		l, err = n.joinAsClient(ctx, m)
	}
	if err != nil {
		if n.opt.Role == Client && errs.KindOf(err) == errs.Unavailable && ctx.Err() == nil {
			n.missed = miss{err, time.Now()}
		}
		return nil, err
	}
	if l.disk != nil && errors.Is(lost, fs.ErrNotExist) {
		if shards := l.disk.Usage().Shards; shards > 0 {
			n.log.Warn("the key of this node was gone and it has a new peer id; the shards in its store are looked for under the old one until the key is back",
				"key", n.home.NodeKey(), "peer", self, "shards", shards)
		}
	}
	n.link = l
	l.objects = object.New(&members{l}, n.keys, n.journal, n.opt.Config.Put.Grace)
	l.objects.Events, l.objects.Parity = n.objectEvents(), n.opt.Config.Put.Code.M
	l.objects.Cache = n.openCache(l)
	n.cached.Store(l.objects.Cache)
	n.wg.Go(func() { l.objects.Cache.Run(n.ctx) })
	n.wg.Go(func() { n.sweep(l) })
	if n.opt.Role == Storage {
		n.wg.Go(func() { n.keepNames(l) })
		n.wg.Go(func() { n.keepLooking(l) })
	}
	return l, nil
}

// joinAsStorage starts a node that keeps shards for its mesh.
func (n *Node) joinAsStorage(ctx context.Context, m *memory) (*link, error) {
	key, err := keyring.NodeKey(n.home.NodeKey())
	if err != nil {
		return nil, err
	}
	if m.genesis == nil && n.opt.NewMesh {
		if len(n.doors(m)) > 0 {
			return nil, errs.WithHint(errs.New(errs.Invalid, "this home is to join a mesh, by mesh.bootstrap, and so begins none"),
				`join it with "datamesh service", or begin one after "datamesh config unset mesh.bootstrap"`)
		}
		if m.genesis, err = format.NewGenesis(""); err != nil {
			return nil, err
		}
	}
	disk, err := n.openDisk()
	if err != nil {
		return nil, err
	}
	port := n.opt.Port
	if port <= 0 {
		port = m.port
	}
	l := n.opt.Config.Member
	var net atomic.Pointer[mesh.Net] // which may be asked before it is returned
	local := repair.Signed(n.local(disk), key, func() (datamesh.MeshID, bool) {
		if n := net.Load(); n != nil {
			return n.Genesis().MeshID(), true
		}
		return datamesh.MeshID{}, false
	})
	registry := &repair.Registry{Index: disk, Self: datamesh.PeerID(key.Public().(ed25519.PublicKey)), View: func() *ring.View {
		if n := net.Load(); n != nil {
			return n.View()
		}
		return nil
	}}
	server := transfer.NewServer(registry.Self, registry.Guard(local), disk, registry)
	measures := &measure.Server{DialBack: func(ctx context.Context, from datamesh.PeerID, s mesh.Stream) (netip.Addr, []mesh.Reached, error) {
		if n := net.Load(); n != nil {
			return n.DialBack(ctx, from, s)
		}
		return netip.Addr{}, nil, errs.New(errs.Unavailable, "this peer is still starting")
	}}
	cfg := mesh.Config{Key: key, Role: Storage, Listen: n.opt.Config.Mesh.Listen, Port: port, Announce: n.opt.Config.Mesh.Announce,
		Serve:  map[string]func(context.Context, datamesh.PeerID, mesh.Stream){transfer.Protocol: server.Handle, measure.Protocol: measures.Handle},
		Mdns:   n.opt.Config.Mesh.MDNS,
		Labels: ring.Labels{Site: l.Site, Host: l.Host, Owner: l.Owner},
		Usage:  disk.Offer}
	made, err := n.join(ctx, cfg, m, n.opt.JoinTimeout)
	if n.opt.Port == 0 && cfg.Port != 0 && errors.Is(err, mesh.ErrPortTaken) {
		cfg.Port = 0
		made, err = n.join(ctx, cfg, m, n.opt.JoinTimeout)
	}
	if err != nil {
		disk.Close()
		return nil, err
	}
	net.Store(made.net)
	made.disk, made.local, made.registry = disk, local, registry
	known := m.genesis != nil && m.port != 0
	m.port = made.net.Port()
	m.genesis = made.net.Genesis()
	if err := n.keep(m, made.view(), known); err != nil {
		made.close()
		return nil, err
	}
	made.experience = newExperience(made.self, time.Now(), n.recall(ctx, made), m.members)
	made.keeper = n.newKeeper(made)
	made.scrub = n.newScrub(disk, made.keeper.Lost)
	away, err := n.wasAway(disk)
	if err != nil {
		made.close()
		return nil, err
	}
	if away {
		n.log.Info("this node was away for long: it asks what was deleted before it tells what it holds")
		made.keeper.Absent()
	}
	changed := make(chan struct{}, 1)
	n.wg.Go(func() { n.follow(made, m, changed) })
	n.wg.Go(func() { n.gather(made) })
	n.wg.Go(func() { made.keeper.Run(n.ctx, changed) })
	n.wg.Go(func() { made.keeper.RunAudits(n.ctx, n.opt.Config.Audit.Interval) })
	n.wg.Go(func() { n.purge(disk, made.keeper) })
	n.wg.Go(func() { made.scrub.Run(n.ctx) }) // its error is that the node is closed
	return made, nil
}

// doors returns whom to join the mesh through: the peers that were named for
// this run, or the configured ones while the home knows of no mesh.
func (n *Node) doors(m *memory) []config.Peer {
	if len(n.opt.Bootstrap) > 0 || m.genesis != nil {
		return n.opt.Bootstrap
	}
	return n.opt.Config.Doors()
}

// joinAsClient meets the mesh under a key that is thrown away.
func (n *Node) joinAsClient(ctx context.Context, m *memory) (*link, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, errs.New(errs.KeyManagement, "client key: %w", err)
	}
	timeout := n.opt.JoinTimeout
	if timeout == 0 {
		timeout = joinTime
	}
	l, err := n.join(ctx, mesh.Config{Key: key, Role: Client}, m, timeout)
	if err != nil {
		return nil, err
	}
	if err := n.learn(l); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// learn writes down what a client has learnt of its mesh. Since the client read
// the memory a service of the home may have started: its port, and its mesh if
// it has begun another, stay.
func (n *Node) learn(l *link) error {
	m, err := loadMemory(n.home)
	if err != nil {
		return err
	}
	met := l.net.Genesis()
	if m.genesis != nil && m.genesis.MeshID() != met.MeshID() {
		return errs.WithHint(errs.New(errs.Authentication, "this home has come to belong to %s, and is not of %s", m.genesis.MeshID(), met.MeshID()),
			"use another home for it, with --home")
	}
	known := m.genesis != nil
	m.genesis = met
	return n.keep(m, l.view(), known)
}

// join starts the network and waits until the member table is that of the
// mesh, for at most timeout unless that is 0.
func (n *Node) join(ctx context.Context, cfg mesh.Config, m *memory, timeout time.Duration) (*link, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	cfg.Agent, cfg.Probe = Agent, n.opt.Config.Ring.Probe
	cfg.Genesis, cfg.Known, cfg.Events = m.genesis, m.members, n.meshEvents()
	for _, p := range n.doors(m) {
		cfg.Join = append(cfg.Join, mesh.Peer{ID: p.ID, Addr: p.Addr})
	}
	net, err := mesh.New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	joins := len(cfg.Join) > 0 || cfg.Genesis == nil // through one that is named, or found
	if joins || timeout > 0 && m.knowsOther(net.ID()) {
		if err := net.Met(ctx); err != nil {
			net.Close()
			return nil, errs.WithHint(errs.New(errs.Unavailable, "none of the members of the mesh that this home knows answers"),
				`check that they run and can be reached, or join through another with "datamesh networks use PEER_ID@ADDR"`)
		}
	}
	l := &link{self: net.ID(), net: net, view: net.View, remembered: m.members,
		client: transfer.NewClient(func(ctx context.Context, peer datamesh.PeerID) (mesh.Stream, error) {
			return net.Open(ctx, peer, transfer.Protocol)
		})}
	l.remote = n.remote(l)
	return l, nil
}

// alone opens the home's own store, for a user who has no mesh.
func (n *Node) alone(m *memory) (*link, error) {
	key, err := keyring.NodeKey(n.home.NodeKey())
	if err != nil {
		return nil, err
	}
	disk, err := n.openDisk()
	if err != nil {
		return nil, err
	}
	var id datamesh.MeshID
	if m.genesis != nil {
		id = m.genesis.MeshID()
	}
	u := disk.Usage()
	self, err := ring.Sign(key, ring.Record{Mesh: id, Seq: uint64(time.Now().UnixMilli()), Role: Storage,
		Capacity: u.Capacity - u.Reserve, Used: u.Used + u.Trash})
	if err == nil {
		var machine *ring.Machine
		if machine, err = ring.New(ring.Config{Mesh: id}, self, key); err == nil {
			view := machine.View()
			l := &link{self: self.Peer, disk: disk, local: n.local(disk), scrub: n.newScrub(disk, func() {}), view: func() *ring.View { return view }, client: transfer.NewClient(noStream)}
			l.remote = n.remote(l)
			return l, nil
		}
	}
	disk.Close()
	return nil, err
}

// noStream is how a node that is alone reaches others.
func noStream(context.Context, datamesh.PeerID) (mesh.Stream, error) {
	return nil, errs.New(errs.Unavailable, "this home knows of no mesh to reach it through")
}

func (n *Node) openDisk() (*store.Disk, error) {
	c := n.opt.Config.Store
	return store.Open(n.home.Store(), store.Options{Capacity: int64(c.Capacity), Reserve: int64(c.Reserve), Events: n.storeEvents()})
}

func nodeID(home config.Home) (datamesh.PeerID, error) {
	key, err := keyring.NodeKey(home.NodeKey())
	if err != nil {
		return datamesh.PeerID{}, err
	}
	return datamesh.PeerID(key.Public().(ed25519.PublicKey)), nil
}
