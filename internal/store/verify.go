package store

import (
	"context"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// Verify returns a store that is inner, but lets nothing wrong pass either
// way: what does not fit its descriptor is not put, and what inner returns is
// checked before the caller sees it. It is for a store that is believed
// nothing, above all a peer; Disk and Memory check on their own, where they
// hash the bytes anyway.
//
// The descriptors themselves are taken to be authentic, as package format
// makes them. Kind of all that it refuses: Integrity.
func Verify(inner datamesh.ShardStore) datamesh.ShardStore { return verified{inner} }

type verified struct{ datamesh.ShardStore }

func (v verified) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	if err := checkShard(d, index, shard); err != nil {
		return err
	}
	return v.ShardStore.Put(ctx, d, index, shard)
}

func (v verified) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	d, shard, err := v.ShardStore.Get(ctx, key, buf)
	if err != nil {
		return nil, nil, err
	}
	if err := checkSegment(key, d); err != nil {
		return nil, nil, err
	}
	if err := checkShard(d, key.Index, shard); err != nil {
		return nil, nil, err
	}
	return d, shard, nil
}

func (v verified) GetRange(ctx context.Context, key datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	d, slice, err := v.ShardStore.GetRange(ctx, key, off, n)
	if err != nil {
		return nil, nil, err
	}
	if err := checkSegment(key, d); err != nil {
		return nil, nil, err
	}
	if err := checkShape(d, key.Index, d.ShardLen()); err != nil {
		return nil, nil, err
	}
	if err := checkSlice(d, key, slice, off, n); err != nil {
		return nil, nil, err
	}
	return d, slice, nil
}

// checkSegment refuses a descriptor other than that of the key's segment.
func checkSegment(key datamesh.ShardKey, d *datamesh.Descriptor) error {
	if d.Segment != key.Segment {
		return errs.New(errs.Integrity, "get %s: the answer is of segment %s", name(key), d.Segment)
	}
	return nil
}

// checkSlice opens a slice to see whether it proves its range.
func checkSlice(d *datamesh.Descriptor, key datamesh.ShardKey, slice []byte, off, n int) error {
	if _, ok := hash.Open(slice, off, n, d.Shards[key.Index]); !ok {
		return errs.New(errs.Integrity, "get %s: the slice does not prove %d bytes from %d", name(key), n, off)
	}
	return nil
}
