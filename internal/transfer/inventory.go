package transfer

import (
	"context"
	"encoding/binary"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
)

// Sums say in few bytes which shards a peer holds, and which owners' words and
// records it keeps: one sum for each of 2^n ranges of segment ids, and places. Two that differ differ
// in those, and whoever does not know the key beforehand cannot make others
// than the same have the same sum.
type Sums struct {
	key  [32]byte
	bits int
	sums []uint64
}

// perRange is about how many shards, words and records share a sum, as long as that suffices.
const perRange = 64

// NewSums returns sums of nothing yet, for about n shards, words and records. The key is drawn
// anew for each comparison.
func NewSums(key [32]byte, n int) Sums {
	bits := 0
	for bits < maxBits && n>>bits > perRange {
		bits++
	}
	return Sums{key, bits, make([]uint64, 1<<bits)}
}

// Like returns sums of no shards, of the same kind.
func (s Sums) Like() Sums { return Sums{s.key, s.bits, make([]uint64, len(s.sums))} }

// Add adds a shard, which must not be among them. Adding it again takes it out.
func (s Sums) Add(k datamesh.ShardKey) {
	sum := hash.Keyed(s.key, k.Segment[:], binary.BigEndian.AppendUint32(nil, uint32(k.Index)))
	s.sums[int(binary.BigEndian.Uint32(k.Segment[:4])>>(32-s.bits))] ^= binary.BigEndian.Uint64(sum[:8])
}

// AddWord adds an owner's word that this peer and the other keep.
func (s Sums) AddWord(w Word) {
	sum := hash.Keyed(s.key, w.Segment[:], binary.BigEndian.AppendUint64(nil, w.Generation))
	s.sums[int(binary.BigEndian.Uint32(w.Segment[:4])>>(32-s.bits))] ^= binary.BigEndian.Uint64(sum[:8])
}

// AddRecord adds an owner's record that this peer and the other keep.
func (s Sums) AddRecord(k datamesh.RecordKey) {
	sum := hash.Keyed(s.key, k.Place[:], k.Device[:], binary.BigEndian.AppendUint64(nil, k.Seq), k.Digest[:])
	s.sums[int(binary.BigEndian.Uint32(k.Place[:4])>>(32-s.bits))] ^= binary.BigEndian.Uint64(sum[:8])
}

// Len returns how many ranges there are, each of which takes 8 bytes.
func (s Sums) Len() int { return len(s.sums) }

// Differ returns the ranges in which the two, which are of the same kind, differ.
func (s Sums) Differ(o Sums) (ranges []int) {
	for i := range s.sums {
		if s.sums[i] != o.sums[i] {
			ranges = append(ranges, i)
		}
	}
	return ranges
}

// Bounds returns the keys between which range i lies: those greater than after,
// and not greater than upto.
func (s Sums) Bounds(i int) (after, upto datamesh.ShardKey) {
	after, upto = datamesh.First, datamesh.ShardKey{Index: datamesh.MaxShards}
	first := uint64(i) << (32 - s.bits)
	binary.BigEndian.PutUint32(after.Segment[:4], uint32(first))
	for i := range upto.Segment {
		upto.Segment[i] = 0xff
	}
	binary.BigEndian.PutUint32(upto.Segment[:4], uint32(first+1<<(32-s.bits)-1))
	return after, upto
}

// request returns what asks a registrar to compare the sums with its own.
func (s Sums) request() request {
	req := request{Op: opCompare, Nonce: s.key[:], Bits: s.bits}
	for _, sum := range s.sums {
		req.Sums = binary.BigEndian.AppendUint64(req.Sums, sum)
	}
	return req
}

func decodeSums(req *request) (Sums, error) {
	if req.Bits < 0 || req.Bits > maxBits || len(req.Sums) != 8<<req.Bits || len(req.Nonce) != 32 {
		return Sums{}, errs.New(errs.Serialization, "compare: %d bits with %d bytes of sums and %d of a nonce", req.Bits, len(req.Sums), len(req.Nonce))
	}
	s := Sums{[32]byte(req.Nonce), req.Bits, make([]uint64, 1<<req.Bits)}
	for i := range s.sums {
		s.sums[i] = binary.BigEndian.Uint64(req.Sums[8*i:])
	}
	return s, nil
}

// MaxRange is how many shards a [Range] has at most.
const MaxRange = maxKeys

// A Range says which shards a peer holds of those greater than After and not
// greater than Upto: these, in their order.
type Range struct {
	After, Upto datamesh.ShardKey
	Keys        []datamesh.ShardKey
}

// Compare tells a registrar what this node holds, and returns the ranges in
// which it knows otherwise. Kinds: Network, Unavailable, Serialization.
func (c *Client) Compare(ctx context.Context, peer datamesh.PeerID, s Sums) ([]int, error) {
	resp, _, err := c.call(ctx, peer, s.request(), exchange{silence: inventorySilence})
	if err != nil {
		return nil, err
	}
	last := -1
	for _, i := range resp.Differ {
		if i <= last || i >= len(s.sums) {
			return nil, errs.New(errs.Serialization, "compare: range %d of %d", i, len(s.sums))
		}
		last = i
	}
	return resp.Differ, nil
}

// Holds tells a registrar all that this node holds in a range. It returns the
// segments of which the registrar wants to be told the descriptor by a Report,
// and the deletions of those that this node should not hold any more: each of a
// segment that it was told of, once. Kinds: Network, Unavailable, Full, Invalid,
// Serialization, Authentication (a deletion that the owner did not sign).
func (c *Client) Holds(ctx context.Context, peer datamesh.PeerID, r Range) (unknown []datamesh.SegmentID, deleted []*datamesh.Deletion, err error) {
	req := request{Op: opHolds, Keys: wireKeys(r.Keys), Range: wireKeys([]datamesh.ShardKey{r.After, r.Upto})}
	resp, _, err := c.call(ctx, peer, req, exchange{silence: inventorySilence})
	if err != nil {
		return nil, nil, err
	}
	open := map[datamesh.SegmentID]bool{} // that no answer has come to
	for _, k := range r.Keys {
		open[k.Segment] = true
	}
	answered := func(segment datamesh.SegmentID) error {
		if !open[segment] {
			return errs.New(errs.Serialization, "holds: an answer to %s, which was not asked", segment)
		}
		delete(open, segment)
		return nil
	}
	for _, segment := range resp.Unknown {
		if err := answered(segment); err != nil {
			return nil, nil, err
		}
	}
	for _, b := range resp.Deleted {
		del, err := format.DecodeDeletion(b)
		if err == nil {
			err = answered(del.Descriptor.Segment)
		}
		if err != nil {
			return nil, nil, err
		}
		deleted = append(deleted, del)
	}
	return resp.Unknown, deleted, nil
}

// holds answers what Holds asks. Deletions that one answer has no room for are
// left to the next comparison: those ranges still differ then.
func (s *Server) holds(ctx context.Context, from datamesh.PeerID, req *request) (resp response, err error) {
	if len(req.Keys) > MaxRange || len(req.Range) != 2 {
		return resp, errs.New(errs.Invalid, "holds: %d keys, limit %d, in a range of %d ends", len(req.Keys), MaxRange, len(req.Range))
	}
	ends := shardKeys(req.Range)
	unknown, deleted, err := s.registry.Holds(ctx, from, Range{ends[0], ends[1], shardKeys(req.Keys)})
	if err != nil {
		return resp, err
	}
	resp.Unknown = unknown
	resp.Deleted = encodeWords(deleted, 40*len(unknown))
	return resp, nil
}
