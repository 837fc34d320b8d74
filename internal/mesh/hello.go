package mesh

import (
	"context"
	"encoding/binary"
	"io"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/peer"
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

func (n *Net) answerHello(_ context.Context, _ datamesh.PeerID, s Stream) {
	answer := hello{Version: format.Version, Genesis: n.genesis.Encode(), Role: n.role}
	if m, ok := n.View().Lookup(n.ID()); ok {
		answer.Record = m.Record.Encode()
	}
	if s.SetDeadline(time.Now().Add(helloTime)) != nil || WriteFrame(s, format.Marshal(answer)) != nil {
		s.Reset()
		return
	}
	s.Close()
}

// met is what a peer has said in its hello.
type met struct {
	peer    datamesh.PeerID
	genesis *format.Genesis
	record  *ring.Record  // nil of a client
	took    time.Duration // without connecting
}

func (n *Net) hello(ctx context.Context, id datamesh.PeerID, addrs ...string) (*met, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	p := peer.ID(id.Multihash())
	if err := n.connect(ctx, p, addrs); err != nil {
		return nil, err
	}
	start := time.Now()
	s, err := n.host.NewStream(ctx, p, helloProtocol)
	if err != nil {
		return nil, errs.New(errs.Network, "hello: %w", err)
	}
	defer Abort(s)
	defer context.AfterFunc(ctx, func() { Abort(s) })()
	b, err := ReadFrame(s, maxHello)
	if err != nil {
		return nil, errs.New(errs.Network, "hello: %w", err)
	}
	took := time.Since(start)
	m, err := decodeHello(b, id)
	if err == nil {
		m.took = took
	}
	return m, err
}

// decodeHello reads the hello of a peer. Kinds: Serialization, Authentication.
func decodeHello(b []byte, id datamesh.PeerID) (*met, error) {
	var h hello
	if err := format.Unmarshal("hello", b, maxHello, &h); err != nil {
		return nil, err
	}
	if h.Version != format.Version {
		return nil, errs.New(errs.Serialization, "hello of version %d, this program knows %d", h.Version, format.Version)
	}
	g, err := format.DecodeGenesis(h.Genesis)
	if err != nil {
		return nil, err
	}
	if len(h.Record) == 0 {
		return &met{peer: id, genesis: g}, nil
	}
	r, err := ring.DecodeRecord(h.Record, g.MeshID())
	if err != nil {
		return nil, err
	}
	if r.Peer != id {
		return nil, errs.New(errs.Authentication, "peer %s shows the record of peer %s", id, r.Peer)
	}
	return &met{peer: id, genesis: g, record: r}, nil
}

// WriteFrame writes a length of four bytes and that many bytes.
func WriteFrame(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// ReadFrame reads what [WriteFrame] has written, of at most limit bytes.
// Kind: Serialization (it is longer), else that of r.
func ReadFrame(r io.Reader, limit int) ([]byte, error) {
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
