package transfer

import (
	"context"
	"errors"
	"io"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/mesh"
	"datamesh/internal/store"
)

// put takes a shard. Its descriptor is verified before its bytes are read.
func (s *Server) put(ctx context.Context, from datamesh.PeerID, g *guest, stream mesh.Stream, req *request) error {
	if len(req.Keys) != 1 || req.Length < 1 || req.Length > maxShard {
		return errs.New(errs.Serialization, "put of %d bytes", req.Length)
	}
	d, err := format.DecodeDescriptor(req.Descriptor)
	switch {
	case err != nil:
		return refuse(stream, req, errs.New(errs.Integrity, "put %s: %w", req.Keys[0].Segment, err))
	case d.Segment != req.Keys[0].Segment || d.ShardLen() != req.Length:
		return refuse(stream, req, errs.New(errs.Integrity, "put %s: the descriptor is of something else", req.Keys[0].Segment))
	}
	release, err := s.reserve(ctx, g, stream, int64(req.Length))
	if err != nil {
		return err
	}
	defer release()
	buf := s.buffers.take(req.Length)
	defer s.buffers.give(buf)
	if err := readShard(stream, buf); err != nil {
		return err
	}
	var resp response
	if req.Count == 1 {
		ctx = datamesh.WithReceipt(ctx, from, func(r *datamesh.Receipt) { resp.Receipts = [][]byte{format.EncodeReceipt(r)} })
	}
	if err := s.shards.Put(ctx, d, req.Keys[0].Index, buf); err != nil {
		return respond(stream, failure(err), nil)
	}
	return respond(stream, resp, nil)
}

// readShard fills buf, with words of progress on the way.
func readShard(stream mesh.Stream, buf []byte) error {
	for at := 0; at < len(buf); {
		n := min(progressStep, len(buf)-at)
		if err := stream.SetDeadline(time.Now().Add(stallTime)); err != nil {
			return err
		}
		if _, err := io.ReadFull(stream, buf[at:at+n]); err != nil {
			return err
		}
		if at += n; len(buf) > progressStep {
			if err := respond(stream, response{More: true, Received: at}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuse answers a put before its shard was read, and passes over that: it
// must not be taken for requests.
func refuse(stream mesh.Stream, req *request, err error) error {
	if err := respond(stream, failure(err), nil); err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, stream, int64(req.Length))
	return err
}

func (s *Server) get(ctx context.Context, g *guest, stream mesh.Stream, req *request) error {
	if len(req.Keys) != 1 {
		return errs.New(errs.Serialization, "get of %d shards", len(req.Keys))
	}
	key := shardKeys(req.Keys)[0]
	n := int64(maxShard)
	if s.sizes != nil {
		var err error
		if n, err = s.sizes.Size(ctx, key); err != nil {
			return respond(stream, failure(err), nil)
		}
	}
	if size := n; req.Op == opRange && 0 <= req.Offset && 0 < req.Count && int64(req.Offset) <= size-int64(req.Count) {
		n = min(n, int64(2*hash.SliceSize(int(size), req.Offset, req.Count)+2*hash.OutboardSize(int(size)))) // a buffer that grows, and the tree
	}
	release, err := s.reserve(ctx, g, stream, n)
	if err != nil {
		return err
	}
	defer release()
	if req.Op == opRange {
		d, slice, err := s.shards.GetRange(ctx, key, req.Offset, req.Count)
		return respondShard(stream, d, slice, err)
	}
	buf := s.buffers.take(0)
	if req.Count == 0 {
		ctx = datamesh.WithUnchecked(ctx)
	}
	d, shard, err := s.shards.Get(ctx, key, buf)
	if cap(shard) > cap(buf) {
		buf = shard
	}
	defer s.buffers.give(buf)
	return respondShard(stream, d, shard, err)
}

func respondShard(stream mesh.Stream, d *datamesh.Descriptor, b []byte, err error) error {
	if err != nil {
		return respond(stream, failure(err), nil)
	}
	return respond(stream, response{Descriptor: format.EncodeDescriptor(d), Length: len(b)}, b)
}

// locate answers who holds the shards of a segment, with a small one that is here
// if the peer takes one.
func (s *Server) locate(ctx context.Context, g *guest, stream mesh.Stream, req *request) error {
	if len(req.Keys) != 1 {
		return respond(stream, failure(errs.New(errs.Invalid, "locate: %d segments", len(req.Keys))), nil)
	}
	d, holders, err := s.registry.Locate(ctx, req.Keys[0].Segment)
	if err != nil {
		return respond(stream, failure(err), nil)
	}
	resp := response{Descriptor: format.EncodeDescriptor(d)}
	for _, h := range holders {
		resp.Holders = append(resp.Holders, holding{Index: h.Index, Peer: h.Peer})
	}
	n := int64(d.ShardLen())
	if n > int64(min(req.Count, maxAlong)) || !g.memory.TryAcquire(n) {
		return respond(stream, resp, nil)
	}
	defer g.memory.Release(n)
	if !s.memory.TryAcquire(n) {
		return respond(stream, resp, nil)
	}
	defer s.memory.Release(n)
	key, shard := s.any(ctx, d, holders)
	if len(shard) > 0 {
		resp.Keys, resp.Length = wireKeys([]datamesh.ShardKey{key}), len(shard)
	}
	return respond(stream, resp, shard)
}

// any returns the first shard of a segment that was reported to be here or, if that is
// not here, the first that is, if it is good, or nil. It passes over copies but the first:
// several servers are asked at once, and one copy is enough.
func (s *Server) any(ctx context.Context, d *datamesh.Descriptor, holders []store.Holding) (datamesh.ShardKey, []byte) {
	key := datamesh.ShardKey{Segment: d.Segment, Index: len(d.Shards)}
	for _, h := range holders {
		if h.Peer == s.self {
			key.Index = min(key.Index, h.Index)
		}
	}
	if key.Index < len(d.Shards) {
		if shard, err := s.good(ctx, d, key); !errors.Is(err, errs.FileNotFound) {
			return key, shard
		}
	}
	keys, err := s.shards.List(ctx, datamesh.ShardKey{Segment: d.Segment, Index: -1}, 1)
	if err != nil || len(keys) == 0 || keys[0].Segment != d.Segment {
		return datamesh.ShardKey{}, nil
	}
	shard, _ := s.good(ctx, d, keys[0])
	return keys[0], shard
}

// good returns a shard that may come along, or an error: whoever asks for it is told
// what is wrong.
func (s *Server) good(ctx context.Context, d *datamesh.Descriptor, key datamesh.ShardKey) ([]byte, error) {
	if d.K == 1 && key.Index > 0 {
		return nil, nil
	}
	_, shard, err := s.shards.Get(ctx, key, nil)
	if err != nil {
		return nil, err
	}
	return shard, nil
}
