package transfer

import (
	"context"
	"fmt"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/store"
)

// small carries out the requests whose answer is a header alone.
func (s *Server) small(ctx context.Context, from datamesh.PeerID, req *request) (resp response, err error) {
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
			err = s.registry.Report(ctx, from, reports)
		}
	case opCompare:
		var sums Sums
		if sums, err = decodeSums(req); err == nil {
			resp.Differ, err = s.registry.Compare(ctx, from, sums)
		}
	case opHolds:
		resp, err = s.holds(ctx, from, req)
	case opWords:
		resp, err = s.words(ctx, from, req)
	case opSpare:
		var key datamesh.ShardKey
		if key, err = theKey(req); err == nil {
			s.registry.Spare(from, key)
		}
	case opPledge:
		var key datamesh.ShardKey
		if key, err = theKey(req); err == nil {
			err = s.registry.Pledge(ctx, from, key)
		}
	case opProofs:
		resp, err = s.proofs(ctx, req)
	case opReceipts:
		resp, err = s.receipts(ctx, req)
	case opOwned:
		resp, err = s.owned(ctx, from, req)
	case opPutRecord:
		var r *datamesh.Record
		if r, err = format.DecodeRecord(req.Record); err == nil {
			err = s.registry.PutRecord(ctx, from, r)
		}
	case opRecords:
		resp, err = s.records(ctx, req)
	case opCompareRecords:
		resp, err = s.compareRecords(ctx, from, req)
	default:
		err = errs.New(errs.Invalid, "request %d is not known", req.Op)
	}
	return resp, err
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
		for _, b := range r.Receipts {
			x, err := format.DecodeReceipt(b)
			if err != nil {
				return nil, fmt.Errorf("report: %w", err)
			}
			out[i].Receipts = append(out[i].Receipts, x)
		}
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
