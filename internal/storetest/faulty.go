package storetest

import (
	"bytes"
	"context"

	"datamesh"
	"datamesh/internal/errs"
)

// A Fault is a way in which a store goes wrong.
type Fault int

const (
	None    Fault = iota
	Fail          // the call fails with Unavailable
	Corrupt       // one bit of the bytes that pass is wrong, either way
	Short         // the last of the bytes that pass is missing
	Stall         // the call does not return until its context ends
)

// A Method is one of ShardStore's.
type Method int

const (
	Put Method = iota
	Get
	GetRange
	Has
	List
	Drop
)

// Faulty is a ShardStore that goes wrong as Plan says: a disk that rots, a
// peer that lies. Corrupt and Short mean nothing to calls that carry no
// shard.
type Faulty struct {
	datamesh.ShardStore

	// Plan is asked at each call. The key is that of the call, or the first
	// one of Has; Drop's has only the segment. Plan is called concurrently.
	Plan func(Method, datamesh.ShardKey) Fault
}

func (f *Faulty) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	fault, err := f.begin(ctx, Put, datamesh.ShardKey{Segment: d.Segment, Index: index})
	if err != nil {
		return err
	}
	return f.ShardStore.Put(ctx, d, index, damage(fault, bytes.Clone(shard)))
}

func (f *Faulty) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	fault, err := f.begin(ctx, Get, key)
	if err != nil {
		return nil, nil, err
	}
	d, shard, err := f.ShardStore.Get(ctx, key, buf)
	return d, damage(fault, shard), err
}

func (f *Faulty) GetRange(ctx context.Context, key datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	fault, err := f.begin(ctx, GetRange, key)
	if err != nil {
		return nil, nil, err
	}
	d, slice, err := f.ShardStore.GetRange(ctx, key, off, n)
	return d, damage(fault, slice), err
}

func (f *Faulty) Has(ctx context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	var first datamesh.ShardKey
	if len(keys) > 0 {
		first = keys[0]
	}
	if _, err := f.begin(ctx, Has, first); err != nil {
		return nil, err
	}
	return f.ShardStore.Has(ctx, keys)
}

func (f *Faulty) List(ctx context.Context, after datamesh.ShardKey, limit int) ([]datamesh.ShardKey, error) {
	if _, err := f.begin(ctx, List, after); err != nil {
		return nil, err
	}
	return f.ShardStore.List(ctx, after, limit)
}

func (f *Faulty) Drop(ctx context.Context, del *datamesh.Deletion) error {
	if _, err := f.begin(ctx, Drop, datamesh.ShardKey{Segment: del.Descriptor.Segment}); err != nil {
		return err
	}
	return f.ShardStore.Drop(ctx, del)
}

// begin returns what shall go wrong with the bytes of a call, or the error
// with which the call ends.
func (f *Faulty) begin(ctx context.Context, m Method, key datamesh.ShardKey) (Fault, error) {
	switch fault := f.Plan(m, key); fault {
	case Fail:
		return fault, errs.New(errs.Unavailable, "the store fails as it was told to")
	case Stall:
		<-ctx.Done()
		return fault, errs.New(errs.Unavailable, "the store stalls as it was told to: %w", ctx.Err())
	default:
		return fault, nil
	}
}

// damage changes b in place.
func damage(fault Fault, b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	switch fault {
	case Corrupt:
		b[len(b)/2] ^= 1
	case Short:
		b = b[:len(b)-1]
	}
	return b
}
