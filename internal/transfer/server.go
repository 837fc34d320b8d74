package transfer

import (
	"context"
	"fmt"
	"io"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/mesh"
	"datamesh/internal/store"

	"golang.org/x/sync/semaphore"
)

// A Registry is what a registrar keeps: who holds which shards.
type Registry interface {
	// Report takes down who holds what, durably. Kinds: Deleted, Full.
	Report(ctx context.Context, reports []store.Report) error
	// Locate returns what was reported of a segment. Kind: FileNotFound.
	Locate(ctx context.Context, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error)
}

const (
	idleTime     = 2 * time.Minute  // after which a server closes an unused stream
	stallTime    = 10 * time.Second // without a byte, in the middle of a message
	progressStep = 256 << 10        // bytes of a shard between two words of progress
	serverBytes  = 48 << 20         // of shards in memory at once
)

// A Server serves a store, and a registry, to peers.
type Server struct {
	shards   datamesh.ShardStore
	registry Registry
	memory   *semaphore.Weighted
	buffers  buffers
}

// NewServer returns a server of shards and registry.
func NewServer(shards datamesh.ShardStore, registry Registry) *Server {
	return &Server{shards: shards, registry: registry, memory: semaphore.NewWeighted(serverBytes)}
}

// Handle serves one stream until the peer closes it, is silent for too long,
// or breaks the protocol.
func (s *Server) Handle(ctx context.Context, from datamesh.PeerID, stream mesh.Stream) {
	for {
		var req request
		if stream.SetDeadline(time.Now().Add(idleTime)) != nil ||
			readMessage(stream, "request", &req) != nil || req.Version != version {
			stream.Reset()
			return
		}
		if stream.SetDeadline(time.Now().Add(stallTime)) != nil || s.answer(ctx, stream, &req) != nil {
			stream.Reset()
			return
		}
	}
}

// answer carries out a request and writes its response. An error means that
// the stream is of no more use.
func (s *Server) answer(ctx context.Context, stream mesh.Stream, req *request) error {
	if req.Op == opPut {
		return s.put(ctx, stream, req)
	}
	if req.Length != 0 {
		return errs.New(errs.Serialization, "request %d with a shard", req.Op)
	}
	if req.Op == opGet || req.Op == opRange {
		return s.get(ctx, stream, req)
	}
	resp, err := s.small(ctx, req)
	if err != nil {
		resp = failure(err)
	}
	resp.Version = version
	return writeMessage(stream, resp, nil)
}

// put takes a shard. Its descriptor is verified before its bytes are read.
func (s *Server) put(ctx context.Context, stream mesh.Stream, req *request) error {
	if len(req.Keys) != 1 || req.Length < 1 || req.Length > maxShard {
		return errs.New(errs.Serialization, "put of %d bytes", req.Length)
	}
	d, err := format.DecodeDescriptor(req.Descriptor)
	if err == nil && (d.Segment != req.Keys[0].Segment || d.ShardLen() != req.Length) {
		err = errs.New(errs.Integrity, "put %s: the descriptor is of something else", req.Keys[0].Segment)
	}
	if err != nil {
		return refuse(stream, err)
	}
	if err := s.memory.Acquire(ctx, int64(req.Length)); err != nil {
		return err
	}
	defer s.memory.Release(int64(req.Length))
	buf := s.buffers.take(req.Length)
	defer s.buffers.give(buf)
	for at := 0; at < req.Length; {
		n := min(progressStep, req.Length-at)
		if err := stream.SetDeadline(time.Now().Add(stallTime)); err != nil {
			return err
		}
		if _, err := io.ReadFull(stream, buf[at:at+n]); err != nil {
			return err
		}
		if at += n; req.Length > progressStep {
			if err := writeMessage(stream, response{Version: version, More: true, Received: at}, nil); err != nil {
				return err
			}
		}
	}
	resp := response{Version: version}
	if err := s.shards.Put(ctx, d, req.Keys[0].Index, buf); err != nil {
		resp = failure(err)
	}
	if err := stream.SetDeadline(time.Now().Add(stallTime)); err != nil {
		return err
	}
	return writeMessage(stream, resp, nil)
}

// refuse answers a put before its shard was read; the stream ends with it.
func refuse(stream mesh.Stream, err error) error {
	if werr := writeMessage(stream, failure(err), nil); werr != nil {
		return werr
	}
	io.Copy(io.Discard, io.LimitReader(stream, maxShard)) // lets the client read the answer first
	return err
}

func (s *Server) get(ctx context.Context, stream mesh.Stream, req *request) error {
	if len(req.Keys) != 1 {
		return errs.New(errs.Serialization, "get of %d shards", len(req.Keys))
	}
	if err := s.memory.Acquire(ctx, datamesh.MaxSealed/4); err != nil { // what a shard mostly is
		return err
	}
	defer s.memory.Release(datamesh.MaxSealed / 4)
	buf := s.buffers.take(0)
	defer func() { s.buffers.give(buf) }()
	key := datamesh.ShardKey{Segment: req.Keys[0].Segment, Index: req.Keys[0].Index}
	var d *datamesh.Descriptor
	var err error
	if req.Op == opGet {
		d, buf, err = s.shards.Get(ctx, key, buf)
	} else {
		d, buf, err = s.shards.GetRange(ctx, key, req.Offset, req.Count)
	}
	if err != nil {
		return writeMessage(stream, failure(err), nil)
	}
	if err := stream.SetDeadline(time.Now().Add(idleTime)); err != nil {
		return err
	}
	return writeMessage(stream, response{Version: version, Descriptor: format.EncodeDescriptor(d), Length: len(buf)}, buf)
}

// small carries out the requests whose answer is a header alone.
func (s *Server) small(ctx context.Context, req *request) (resp response, err error) {
	switch req.Op {
	case opHas:
		if len(req.Keys) > maxKeys {
			return resp, errs.New(errs.Invalid, "has: %d keys, limit %d", len(req.Keys), maxKeys)
		}
		resp.Has, err = s.shards.Has(ctx, shardKeys(req.Keys))
	case opList:
		after := datamesh.First
		if len(req.Keys) > 0 {
			after = shardKeys(req.Keys[:1])[0]
		}
		var keys []datamesh.ShardKey
		keys, err = s.shards.List(ctx, after, min(max(req.Count, 0), maxKeys))
		resp.Keys = wireKeys(keys)
	case opDrop:
		var del *datamesh.Deletion
		if del, err = format.DecodeDeletion(req.Deletion); err == nil {
			err = s.shards.Drop(ctx, del)
		}
	case opReport:
		var reports []store.Report
		if reports, err = decodeReports(req.Reports); err == nil {
			err = s.registry.Report(ctx, reports)
		}
	case opLocate:
		resp, err = s.locate(ctx, req)
	default:
		err = errs.New(errs.Invalid, "request %d is not known", req.Op)
	}
	return resp, err
}

func (s *Server) locate(ctx context.Context, req *request) (resp response, err error) {
	if len(req.Keys) != 1 {
		return resp, errs.New(errs.Invalid, "locate: %d segments", len(req.Keys))
	}
	d, holders, err := s.registry.Locate(ctx, req.Keys[0].Segment)
	if err != nil {
		return resp, err
	}
	resp.Descriptor = format.EncodeDescriptor(d)
	for _, h := range holders {
		resp.Holders = append(resp.Holders, holding{Index: h.Index, Peer: h.Peer})
	}
	return resp, nil
}

func decodeReports(in []report) ([]store.Report, error) {
	out := make([]store.Report, len(in))
	for i, r := range in {
		d, err := format.DecodeDescriptor(r.Descriptor)
		if err != nil {
			return nil, fmt.Errorf("report: %w", err)
		}
		holders, err := decodeHolders(d, r.Holders)
		if err != nil {
			return nil, err
		}
		out[i] = store.Report{Descriptor: d, Holdings: holders}
	}
	return out, nil
}

func decodeHolders(d *datamesh.Descriptor, in []holding) ([]store.Holding, error) {
	out := make([]store.Holding, len(in))
	for i, h := range in {
		if h.Index < 0 || h.Index >= len(d.Shards) {
			return nil, errs.New(errs.Serialization, "holder of shard %d of %d", h.Index, len(d.Shards))
		}
		out[i] = store.Holding{Index: h.Index, Peer: h.Peer}
	}
	return out, nil
}

func shardKeys(in []key) []datamesh.ShardKey {
	out := make([]datamesh.ShardKey, len(in))
	for i, k := range in {
		out[i] = datamesh.ShardKey{Segment: k.Segment, Index: k.Index}
	}
	return out
}

func wireKeys(in []datamesh.ShardKey) []key {
	out := make([]key, len(in))
	for i, k := range in {
		out[i] = key{Segment: k.Segment, Index: k.Index}
	}
	return out
}

// sliceBound returns the most bytes that an honest slice has.
func sliceBound(d *datamesh.Descriptor, off, n int) int { return hash.SliceSize(d.ShardLen(), off, n) }
