package transfer

import (
	"context"
	"math"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/store"
)

const (
	proofsAtOnce = 256 // segments that one request is of, at most
	proofLen     = 88  // bytes of one, at most
)

// Proofs asks a registrar what holders of segments have last proven to it, and
// when by this node's clock. It is the registrar's word. Kinds: Network,
// Unavailable, Serialization.
func (c *Client) Proofs(ctx context.Context, peer datamesh.PeerID, segments []datamesh.SegmentID) (list []store.Proof, err error) {
	for len(segments) > 0 {
		asked := segments[:min(len(segments), proofsAtOnce)]
		req := request{Op: opProofs}
		open := map[datamesh.SegmentID]bool{}
		for _, segment := range asked {
			req.Keys = append(req.Keys, key{Segment: segment})
			open[segment] = true
		}
		resp, _, err := c.call(ctx, peer, req, exchange{silence: getSilence})
		if err != nil {
			return nil, err
		}
		if len(resp.Has) < 1 || len(resp.Has) > len(asked) {
			return nil, errs.New(errs.Serialization, "proofs: of %d segments, %d were asked for", len(resp.Has), len(asked))
		}
		now := time.Now()
		for _, p := range resp.Proofs {
			if !open[p.Segment] || p.Index < 0 || p.Index >= datamesh.MaxShards || p.Age < 0 || p.Age > math.MaxInt32 {
				return nil, errs.New(errs.Serialization, "proofs: of shard %s/%d, %d seconds ago", p.Segment, p.Index, p.Age)
			}
			key := datamesh.ShardKey{Segment: p.Segment, Index: p.Index}
			list = append(list, store.Proof{Key: key, Peer: p.Peer, At: now.Add(-time.Duration(p.Age) * time.Second)})
		}
		segments = segments[len(resp.Has):]
	}
	return list, nil
}

// proofs answers what Proofs asks, for as many of the segments as one answer
// has room for.
func (s *Server) proofs(ctx context.Context, req *request) (resp response, err error) {
	if len(req.Keys) < 1 || len(req.Keys) > proofsAtOnce {
		return resp, errs.New(errs.Invalid, "proofs: %d segments, 1 to %d are possible", len(req.Keys), proofsAtOnce)
	}
	now := time.Now()
	for _, k := range req.Keys {
		list, err := s.registry.Proofs(ctx, []datamesh.SegmentID{k.Segment})
		if err != nil {
			return response{}, err
		}
		if (len(resp.Proofs)+len(list))*proofLen > maxHeader-4<<10 && len(resp.Has) > 0 {
			break
		}
		for _, p := range list {
			age := max(int64(now.Sub(p.At)/time.Second), 0)
			resp.Proofs = append(resp.Proofs, proof{Segment: k.Segment, Index: p.Key.Index, Peer: p.Peer, Age: age})
		}
		resp.Has = append(resp.Has, len(list) > 0)
	}
	return resp, nil
}
