package transfer

import (
	"context"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
)

// remote is the store of a peer.
type remote struct {
	c    *Client
	peer datamesh.PeerID
}

func (r *remote) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	if d.K < 1 || len(shard) != d.ShardLen() {
		return errs.New(errs.Integrity, "shard %d with %d bytes is none of its descriptor", index, len(shard))
	}
	req := request{Op: opPut, Keys: []key{{Segment: d.Segment, Index: index}},
		Descriptor: format.EncodeDescriptor(d), Length: len(shard)}
	placer, take := datamesh.ReceiptWanted(ctx)
	if take != nil {
		req.Count = 1
	}
	resp, _, err := r.c.call(ctx, r.peer, req, exchange{payload: shard, silence: putSilence, class: classOf(len(shard))})
	if err == nil && take != nil && len(resp.Receipts) == 1 {
		x, wrong := format.DecodeReceipt(resp.Receipts[0])
		if wrong == nil && x.Holder == r.peer && x.Placer == placer && x.Index == index && format.CheckReceipt(x, x.Mesh, d) == nil {
			take(x) // what is none is worth as much as none
		}
	}
	return err
}

// Get takes no shard that is longer than a buf that has room: its length is
// the word of whoever made the descriptor. A peer whose bytes are wrong is asked
// once more, and to look at them itself: it may not know yet that they have rotted.
func (r *remote) Get(ctx context.Context, k datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	d, shard, err := r.get(ctx, k, buf, 0)
	if err == nil && hash.Shard(shard) != d.Shards[k.Index] {
		again := datamesh.WithReceived(ctx, func(int) {}) // all has come, and is none
		d, shard, err = r.get(again, k, shard, 1)
		if err == nil && hash.Shard(shard) != d.Shards[k.Index] {
			return nil, nil, errs.New(errs.Integrity, "the bytes are not those of the shard")
		}
	}
	return d, shard, err
}

// get returns a shard whose bytes may be anything. check is 1 if the peer is to
// look at them, or 0.
func (r *remote) get(ctx context.Context, k datamesh.ShardKey, buf []byte, check int) (*datamesh.Descriptor, []byte, error) {
	var d *datamesh.Descriptor
	req := request{Op: opGet, Keys: wireKeys([]datamesh.ShardKey{k}), Count: check}
	c := bulk // unless it is known to be a small one
	if cap(buf) > 0 {
		c = classOf(cap(buf))
	}
	_, shard, err := r.c.call(ctx, r.peer, req, exchange{silence: getSilence, class: c, into: func(resp *response) ([]byte, error) {
		var err error
		if d, err = descriptorOf(resp.Descriptor, k.Segment); err != nil {
			return nil, err
		}
		if k.Index < 0 || k.Index >= len(d.Shards) || resp.Length != d.ShardLen() {
			return nil, errs.New(errs.Integrity, "shard of %d bytes, its descriptor says %d", resp.Length, d.ShardLen())
		}
		if cap(buf) > 0 && cap(buf) < resp.Length {
			return nil, errs.New(errs.Integrity, "shard of %d bytes, %d were expected", resp.Length, cap(buf))
		}
		if cap(buf) < resp.Length {
			buf = make([]byte, resp.Length)
		}
		return buf[:resp.Length], nil
	}})
	return d, shard, err
}

func (r *remote) GetRange(ctx context.Context, k datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	var d *datamesh.Descriptor
	req := request{Op: opRange, Keys: wireKeys([]datamesh.ShardKey{k}), Offset: off, Count: n}
	_, slice, err := r.c.call(ctx, r.peer, req, exchange{silence: getSilence, class: classOf(n), into: func(resp *response) ([]byte, error) {
		var err error
		if d, err = descriptorOf(resp.Descriptor, k.Segment); err != nil {
			return nil, err
		}
		if off < 0 || n < 1 || off > d.ShardLen()-n {
			return nil, errs.New(errs.Invalid, "%d bytes from %d: %w", n, off, hash.ErrRange)
		}
		if most := hash.SliceSize(d.ShardLen(), off, n); k.Index < 0 || k.Index >= len(d.Shards) || resp.Length > most {
			return nil, errs.New(errs.Integrity, "slice of %d bytes, at most %d are honest", resp.Length, most)
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
		if len(resp.Keys) > count {
			return nil, errs.New(errs.Serialization, "list: %d keys, %d were asked for", len(resp.Keys), count)
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

// descriptorOf reads the descriptor of a segment, and checks its signature.
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
