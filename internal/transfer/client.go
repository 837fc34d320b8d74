package transfer

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/mesh"
	"datamesh/internal/store"
)

// How long a peer may be silent before a client gives it up: bytes of a shard
// on their way, or words of progress, begin it anew.
const (
	putSilence = 5 * time.Second
	getSilence = 3 * time.Second
)

// A Client talks to the servers of other peers. It is safe for concurrent use.
type Client struct{ pool pool }

// NewClient returns a client whose streams open makes.
func NewClient(open func(context.Context, datamesh.PeerID) (mesh.Stream, error)) *Client {
	return &Client{pool{open: open, peers: map[datamesh.PeerID]*peerPool{}}}
}

// Close ends the streams that are kept open.
func (c *Client) Close() { c.pool.close() }

// Shards returns the store of a peer. What it returns is verified, whatever
// the peer sends.
func (c *Client) Shards(peer datamesh.PeerID) datamesh.ShardStore { return &remote{c, peer} }

// Report tells a registrar who holds what. Kinds: Deleted, Full, Network, Unavailable.
func (c *Client) Report(ctx context.Context, peer datamesh.PeerID, reports []store.Report) error {
	req := request{Op: opReport}
	size := 0
	for _, r := range reports {
		w := report{Descriptor: format.EncodeDescriptor(r.Descriptor)}
		for _, h := range r.Holdings {
			w.Holders = append(w.Holders, holding{Index: h.Index, Peer: h.Peer})
		}
		n := len(w.Descriptor) + 64*len(w.Holders) + 64
		if size+n > maxHeader/2 && len(req.Reports) > 0 {
			if _, _, err := c.call(ctx, peer, req, exchange{silence: putSilence}); err != nil {
				return err
			}
			req.Reports, size = nil, 0
		}
		req.Reports, size = append(req.Reports, w), size+n
	}
	_, _, err := c.call(ctx, peer, req, exchange{silence: putSilence})
	return err
}

// Locate asks a registrar who holds the shards of a segment. The descriptor
// is the segment's; the holders are a claim. Kinds: FileNotFound, Network,
// Unavailable.
func (c *Client) Locate(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	resp, _, err := c.call(ctx, peer, request{Op: opLocate, Keys: []key{{Segment: segment}}}, exchange{silence: getSilence})
	if err != nil {
		return nil, nil, err
	}
	d, err := descriptorOf(resp.Descriptor, segment)
	if err != nil {
		return nil, nil, err
	}
	holders, err := decodeHolders(d, resp.Holders)
	return d, holders, err
}

// remote is the store of a peer.
type remote struct {
	c    *Client
	peer datamesh.PeerID
}

func (r *remote) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	req := request{Op: opPut, Keys: []key{{Segment: d.Segment, Index: index}},
		Descriptor: format.EncodeDescriptor(d), Length: len(shard)}
	_, _, err := r.c.call(ctx, r.peer, req, exchange{payload: shard, silence: putSilence})
	return err
}

func (r *remote) Get(ctx context.Context, k datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	var d *datamesh.Descriptor
	req := request{Op: opGet, Keys: wireKeys([]datamesh.ShardKey{k})}
	_, shard, err := r.c.call(ctx, r.peer, req, exchange{silence: getSilence, into: func(resp *response) ([]byte, error) {
		var err error
		if d, err = descriptorOf(resp.Descriptor, k.Segment); err != nil {
			return nil, err
		}
		if k.Index < 0 || k.Index >= len(d.Shards) || resp.Length != d.ShardLen() {
			return nil, errs.New(errs.Integrity, "shard of %d bytes, its descriptor says %d", resp.Length, d.ShardLen())
		}
		if cap(buf) < resp.Length {
			buf = make([]byte, resp.Length)
		}
		return buf[:resp.Length], nil
	}})
	if err != nil {
		return nil, nil, err
	}
	if hash.Shard(shard) != d.Shards[k.Index] {
		return nil, nil, errs.New(errs.Integrity, "the bytes are not those of the shard")
	}
	return d, shard, nil
}

func (r *remote) GetRange(ctx context.Context, k datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	var d *datamesh.Descriptor
	req := request{Op: opRange, Keys: wireKeys([]datamesh.ShardKey{k}), Offset: off, Count: n}
	_, slice, err := r.c.call(ctx, r.peer, req, exchange{silence: getSilence, into: func(resp *response) ([]byte, error) {
		var err error
		if d, err = descriptorOf(resp.Descriptor, k.Segment); err != nil {
			return nil, err
		}
		if bound := sliceBound(d, off, n); k.Index < 0 || k.Index >= len(d.Shards) || resp.Length > bound {
			return nil, errs.New(errs.Integrity, "slice of %d bytes, at most %d are honest", resp.Length, bound)
		}
		return make([]byte, resp.Length), nil
	}})
	if err != nil {
		return nil, nil, err
	}
	if _, ok := hash.Open(slice, off, n, d.Shards[k.Index]); !ok {
		return nil, nil, errs.New(errs.Integrity, "the slice does not prove itself")
	}
	return d, slice, nil
}

func (r *remote) Has(ctx context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	has := make([]bool, 0, len(keys))
	for len(has) < len(keys) {
		batch := keys[len(has):min(len(has)+maxKeys, len(keys))]
		resp, _, err := r.c.call(ctx, r.peer, request{Op: opHas, Keys: wireKeys(batch)}, exchange{silence: getSilence})
		if err != nil {
			return nil, err
		}
		if len(resp.Has) != len(batch) {
			return nil, errs.New(errs.Serialization, "has: %d answers to %d keys", len(resp.Has), len(batch))
		}
		has = append(has, resp.Has...)
	}
	return has, nil
}

func (r *remote) List(ctx context.Context, after datamesh.ShardKey, limit int) ([]datamesh.ShardKey, error) {
	var keys []datamesh.ShardKey
	for len(keys) < limit {
		count := min(limit-len(keys), maxKeys)
		resp, _, err := r.c.call(ctx, r.peer, request{Op: opList, Keys: wireKeys([]datamesh.ShardKey{after}), Count: count}, exchange{silence: getSilence})
		if err != nil {
			return nil, err
		}
		for _, k := range shardKeys(resp.Keys) {
			if k.Compare(after) <= 0 {
				return nil, errs.New(errs.Serialization, "list: keys out of order")
			}
			keys, after = append(keys, k), k
		}
		if len(resp.Keys) < count {
			break
		}
	}
	return keys, nil
}

func (r *remote) Drop(ctx context.Context, del *datamesh.Deletion) error {
	_, _, err := r.c.call(ctx, r.peer, request{Op: opDrop, Deletion: format.EncodeDeletion(del)}, exchange{silence: putSilence})
	return err
}

func descriptorOf(b []byte, segment datamesh.SegmentID) (*datamesh.Descriptor, error) {
	d, err := format.DecodeDescriptor(b)
	if err != nil {
		return nil, err
	}
	if d.Segment != segment {
		return nil, errs.New(errs.Integrity, "descriptor of another segment")
	}
	return d, nil
}

// An exchange says how a request is made and its answer taken.
type exchange struct {
	payload []byte                          // sent behind the request
	silence time.Duration                   // how long the peer may say nothing
	into    func(*response) ([]byte, error) // where the answer's bytes go; nil: none are taken
}

// call makes a request on a stream of the pool. A kept stream may have died
// with the peer's last run; then a fresh one is tried.
func (c *Client) call(ctx context.Context, peer datamesh.PeerID, req request, x exchange) (*response, []byte, error) {
	req.Version = version
	for {
		s, kept, err := c.pool.take(ctx, peer, x.silence)
		if err != nil {
			return nil, nil, err
		}
		resp, body, reuse, err := x.do(ctx, s, req)
		c.pool.give(peer, s, reuse)
		if err != nil && ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if kept && errs.KindOf(err) == errs.Network {
			continue
		}
		return resp, body, err
	}
}

// do makes one request. reuse reports whether the stream is between two
// messages, so that another request can be made on it.
func (x *exchange) do(ctx context.Context, s mesh.Stream, req request) (resp *response, body []byte, reuse bool, err error) {
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	sent := make(chan error, 1)
	if x.payload == nil {
		sent <- writeMessage(s, req, nil)
	} else {
		go func() { sent <- writeMessage(s, req, x.payload) }()
	}
	resp, body, err = x.receive(s)
	if err == nil && resp.Text == "" {
		err = <-sent
		return resp, body, err == nil && stop(), err
	}
	if err == nil {
		err = resp.err() // perhaps before all was sent
	}
	stop()
	s.Reset() // ends the sending too
	<-sent
	return resp, body, false, err
}

func (x *exchange) receive(s mesh.Stream) (*response, []byte, error) {
	for {
		resp := new(response)
		if err := s.SetReadDeadline(time.Now().Add(x.silence)); err != nil {
			return nil, nil, x.broken(err)
		}
		if err := readMessage(s, "response", resp); err != nil {
			return nil, nil, x.broken(err)
		}
		if resp.Version != version {
			return nil, nil, errs.New(errs.Serialization, "response of version %d, this program knows %d", resp.Version, version)
		}
		if resp.More {
			continue
		}
		if resp.Length == 0 || resp.Text != "" {
			return resp, nil, nil
		}
		if x.into == nil || resp.Length < 0 || resp.Length > maxShard {
			return nil, nil, errs.New(errs.Serialization, "response with %d bytes of shard", resp.Length)
		}
		body, err := x.into(resp)
		if err != nil {
			return nil, nil, err
		}
		for at := 0; at < len(body); at += progressStep {
			if err := s.SetReadDeadline(time.Now().Add(x.silence)); err != nil {
				return nil, nil, x.broken(err)
			}
			if _, err := io.ReadFull(s, body[at:min(at+progressStep, len(body))]); err != nil {
				return nil, nil, x.broken(err)
			}
		}
		return resp, body, nil
	}
}

// broken gives an error of the stream its kind.
func (x *exchange) broken(err error) error {
	if errs.KindOf(err) != errs.Other {
		return err
	}
	if timeout := net.Error(nil); errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return errs.New(errs.Unavailable, "silent for %v", x.silence)
	}
	return errs.New(errs.Network, "the stream broke: %w", err)
}
