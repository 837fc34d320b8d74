package node

import (
	"context"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/measure"
	"datamesh/internal/mesh"
	"datamesh/internal/ring"
)

// defaultSize is what bandwidth moves each way when nobody says how much.
const defaultSize = 16 << 20

// Bandwidth moves bytes to one member, or to all that live in turn, and back,
// and tells how fast they went. A member that cannot be measured is told of in
// the result. Kinds: Invalid, FileNotFound (no such member), as [Node.Discover].
func (n *Node) Bandwidth(ctx context.Context, o BandwidthOptions) (*Bandwidth, error) {
	if o.Size == 0 {
		o.Size = defaultSize
	}
	if o.Size < 1 || o.Size > measure.MaxBytes {
		return nil, errs.WithHint(errs.New(errs.Invalid, "a measurement of %d bytes is not possible", o.Size), "--size takes at most 64M")
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	peers, err := n.measurable(l, o.Peer)
	if err != nil {
		return nil, err
	}
	result := &Bandwidth{Peers: []Throughput{}}
	for _, id := range peers {
		t, err := l.throughput(ctx, id, o.Size)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			result.Failed = append(result.Failed, Unmeasured{id, err.Error()})
			continue
		}
		result.Peers = append(result.Peers, t)
	}
	return result, nil
}

// measurable returns the member of that id, or all others that live.
func (n *Node) measurable(l *link, peer string) ([]datamesh.PeerID, error) {
	own, err := nodeID(n.home)
	if err != nil {
		return nil, err
	}
	if peer != "" {
		return n.oneMember(l, own, peer)
	}
	var all []datamesh.PeerID
	for m := range l.view().All() {
		if id := m.Record.Peer; id != own && id != l.self && m.State != ring.Dead {
			all = append(all, id)
		}
	}
	return all, nil
}

func (n *Node) oneMember(l *link, own datamesh.PeerID, peer string) ([]datamesh.PeerID, error) {
	id, err := datamesh.ParsePeerID(peer)
	if err != nil {
		return nil, errs.WithHint(errs.New(errs.Invalid, "%w", err), `see the members with "datamesh peers"`)
	}
	if _, ok := l.view().Lookup(id); !ok {
		return nil, errs.WithHint(errs.New(errs.FileNotFound, "peer %s is no member of the mesh", id), `see the members with "datamesh peers"`)
	}
	if id == l.self || id == own && n.opt.Role == Storage {
		return nil, errs.WithHint(errs.New(errs.Invalid, "peer %s is this node itself", id), `see the others with "datamesh peers"`)
	}
	return []datamesh.PeerID{id}, nil
}

// connectTime is how long a measurement waits for a connection.
const connectTime = 10 * time.Second

// line opens a stream to measure over.
func (l *link) line(ctx context.Context, id datamesh.PeerID) (mesh.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	return l.net.Open(ctx, id, measure.Protocol)
}

// throughput measures one member.
func (l *link) throughput(ctx context.Context, id datamesh.PeerID, size int64) (Throughput, error) {
	t := Throughput{PeerID: id, Sent: size, Received: size}
	s, err := l.line(ctx, id)
	if err != nil {
		return t, err
	}
	defer mesh.Abort(s)
	for range 4 { // the first opens the stream over there
		r, err := measure.Clock(ctx, s)
		if err != nil {
			return t, err
		}
		if ms := milliseconds(r.RTT); t.LatencyMS == 0 || ms < t.LatencyMS {
			t.LatencyMS = ms
		}
	}
	sent, err := measure.Send(ctx, s, size)
	if err != nil {
		return t, err
	}
	received, err := measure.Receive(ctx, s, size)
	if err != nil {
		return t, err
	}
	t.SentPerSecond, t.ReceivedPerSecond = perSecond(size, sent), perSecond(size, received)
	return t, nil
}

func perSecond(n int64, took time.Duration) int64 {
	return int64(float64(n) / max(took, time.Microsecond).Seconds())
}
