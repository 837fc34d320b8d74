package node

import (
	"context"
	"runtime"
	"time"

	"datamesh/internal/config"
	"datamesh/internal/ring"
)

// Peers returns the storage members of the mesh other than this node.
func (n *Node) Peers(ctx context.Context) (*Peers, error) {
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	own, err := nodeID(n.home)
	if err != nil {
		return nil, err
	}
	peers := &Peers{Peers: []Peer{}}
	for m := range l.view().All() {
		if m.Record.Peer != own {
			peers.Peers = append(peers.Peers, peerOf(m))
		}
	}
	return peers, nil
}

// Remembered returns the storage members that the home knows of, as they were
// when they were written down, without a network. Kinds: IO, Configuration.
func Remembered(home config.Home) (*Peers, error) {
	m, err := loadMemory(home)
	if err != nil {
		return nil, err
	}
	peers := &Peers{Peers: []Peer{}}
	for _, x := range m.members {
		if x.Record.Role == Storage {
			peers.Peers = append(peers.Peers, peerOf(ring.Member{Record: x.Record, State: x.State, Since: x.Since}))
		}
	}
	return peers, nil
}

func peerOf(m ring.Member) Peer {
	r := m.Record
	addrs := r.Addrs
	if addrs == nil {
		addrs = []string{}
	}
	return Peer{PeerID: r.Peer, Addrs: addrs, LatencyMS: float64(m.RTT) / float64(time.Millisecond),
		State: m.State.String(), Role: r.Role.String(), Used: r.Used, Capacity: r.Capacity,
		Labels: Labels{Site: r.Labels.Site, Host: r.Labels.Host, Owner: r.Labels.Owner}}
}

// Stats returns the figures of this node.
func (n *Node) Stats(ctx context.Context) (*Stats, error) {
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	c, err := n.catalog.Stats(ctx)
	if err != nil {
		return nil, err
	}
	s := &Stats{PeerID: l.self, Uptime: time.Since(n.started).Seconds(),
		Catalog: CatalogStats{Objects: c.Objects, Bytes: c.Bytes}, Goroutines: runtime.NumGoroutine()}
	if l.net != nil {
		s.Mesh = l.net.Genesis().MeshID()
		s.Members.Connected = l.net.Connected()
	}
	s.Members.count(l.view())
	if l.disk != nil {
		u := l.disk.Usage()
		s.Store = &StoreStats{Capacity: u.Capacity, Used: u.Used, Trash: u.Trash, Reserve: u.Reserve, Free: u.Free, Shards: int64(u.Shards)}
	}
	return s, nil
}

// count counts the members by their states.
func (s *MemberStats) count(v *ring.View) {
	s.Alive, s.Suspect, s.Dead = 0, 0, 0
	for m := range v.All() {
		switch m.State {
		case ring.Alive:
			s.Alive++
		case ring.Suspect:
			s.Suspect++
		case ring.Dead:
			s.Dead++
		}
	}
}
