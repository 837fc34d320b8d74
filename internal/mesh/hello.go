package mesh

import (
	"context"
	"encoding/binary"
	"io"
	"time"

	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// helloProtocol is the one protocol that a stranger is served. It is free of
// the MeshID, since it tells it.
const helloProtocol = "/datamesh/hello/1"

const (
	helloTime = 10 * time.Second
	maxHello  = 16 << 10 // bytes
)

// hello is what a node says of itself to whoever opens a stream.
type hello struct {
	Version uint64    `cbor:"1,keyasint"`
	Genesis []byte    `cbor:"2,keyasint"`
	Role    ring.Role `cbor:"3,keyasint"`
	Record  []byte    `cbor:"4,keyasint,omitempty"` // of a storage node
}

func (n *Net) serveHello() {
	n.host.SetStreamHandler(helloProtocol, func(s network.Stream) {
		defer s.Close()
		if s.SetDeadline(time.Now().Add(helloTime)) != nil {
			return
		}
		answer := hello{Version: format.Version, Genesis: n.genesis.Encode(), Role: n.role}
		if m, ok := n.View().Lookup(n.ID()); ok {
			answer.Record = m.Record.Encode()
		}
		if err := writeFrame(s, format.Marshal(answer)); err != nil {
			s.Reset()
		}
	})
}

// met is what a peer has said in its hello.
type met struct {
	genesis *format.Genesis
	record  *ring.Record // nil of a client
}

// greet asks a peer which mesh it is of. It tries until ctx ends. Kinds:
// Invalid, Authentication, Unavailable.
func (n *Net) greet(ctx context.Context, p Peer) (*met, error) {
	addr, err := ma.NewMultiaddr(p.Addr)
	if err != nil {
		return nil, errs.WithHint(errs.New(errs.Invalid, "%q is not a multiaddr", p.Addr), "an address is like /ip4/192.0.2.1/tcp/40871")
	}
	if p.ID == n.ID() {
		return nil, errs.New(errs.Invalid, "peer %s is this node itself", p.ID)
	}
	const pause = 500 * time.Millisecond
	for {
		m, err := n.hello(ctx, peer.ID(p.ID.Multihash()), addr.String())
		if err == nil || errs.KindOf(err) == errs.Authentication || errs.KindOf(err) == errs.Serialization {
			return m, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, errs.WithHint(errs.New(errs.Unavailable, "peer %s at %s does not answer: %w", p.ID, p.Addr, err),
				"check that it runs, and its address with \"datamesh id\" there")
		}
	}
}

func (n *Net) hello(ctx context.Context, p peer.ID, addrs ...string) (*met, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	if err := n.connect(ctx, p, addrs); err != nil {
		return nil, err
	}
	s, err := n.host.NewStream(ctx, p, helloProtocol)
	if err != nil {
		return nil, errs.New(errs.Network, "hello: %w", err)
	}
	defer s.Reset()
	defer context.AfterFunc(ctx, func() { s.Reset() })()
	b, err := readFrame(s, maxHello)
	if err != nil {
		return nil, errs.New(errs.Network, "hello: %w", err)
	}
	var h hello
	if err := format.Unmarshal("hello", b, maxHello, &h); err != nil {
		return nil, err
	}
	g, err := format.DecodeGenesis(h.Genesis)
	if err != nil {
		return nil, err
	}
	if len(h.Record) == 0 {
		return &met{genesis: g}, nil
	}
	r, err := ring.DecodeRecord(h.Record, g.MeshID())
	if err != nil {
		return nil, err
	}
	return &met{g, r}, nil
}

func writeFrame(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

func readFrame(r io.Reader, limit int) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > uint32(limit) {
		return nil, errs.New(errs.Serialization, "message of %d bytes, limit %d", n, limit)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}
