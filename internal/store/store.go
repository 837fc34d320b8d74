// Package store has the ShardStores that are not the network, and the
// wrapper that makes another one trustworthy: [Disk] keeps shards in a folder,
// [Memory] in the process, and [Verify] believes nothing that passes through.
//
// What a store of this package acknowledges it has checked against the
// descriptor, and what it returns it has checked again. A Disk acknowledges
// nothing that would not survive a loss of power in the next moment.
//
// It leaves to its callers who may store how much, which shards a node should
// have at all, and what to do about a damaged one.
package store

import (
	"bytes"
	"context"
	"fmt"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
)

// ready reports with ctx's own error that the caller has given up.
func ready(ctx context.Context, op string, key datamesh.ShardKey) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", op, name(key), err)
	}
	return nil
}

// name is how a shard is called in errors.
func name(key datamesh.ShardKey) string { return fmt.Sprintf("%s/%d", key.Segment, key.Index) }

// checkShape checks all that can be said of a shard without looking at its
// bytes. Kind: Integrity.
func checkShape(d *datamesh.Descriptor, index, n int) error {
	switch {
	case d.K < 1 || index < 0 || index >= len(d.Shards):
		return errs.New(errs.Integrity, "%s: shard %d of %d", d.Segment, index, len(d.Shards))
	case n != d.ShardLen():
		return errs.New(errs.Integrity, "%s/%d: %d bytes, its descriptor says %d", d.Segment, index, n, d.ShardLen())
	}
	return nil
}

// checkID compares the hash of a shard's bytes with what its descriptor says.
// Kind: Integrity.
func checkID(d *datamesh.Descriptor, index int, id datamesh.ShardID) error {
	if id != d.Shards[index] {
		return errs.New(errs.Integrity, "%s/%d: the bytes are not what their descriptor says", d.Segment, index)
	}
	return nil
}

// checkShard checks a shard's shape and bytes. Kind: Integrity.
func checkShard(d *datamesh.Descriptor, index int, shard []byte) error {
	if err := checkShape(d, index, len(shard)); err != nil {
		return err
	}
	return checkID(d, index, hash.Shard(shard))
}

// checkRange refuses a range that does not lie in a shard of size bytes.
// Kind: Invalid.
func checkRange(key datamesh.ShardKey, size, off, n int) error {
	if off < 0 || n <= 0 || off > size-n {
		return errs.New(errs.Invalid, "get %s: %d bytes from %d: %w", name(key), n, off, hash.ErrRange)
	}
	return nil
}

// authentic returns the encoded descriptor if its owner has signed it. Known
// are the bytes of one that has been found so before, or nil. Kind: Integrity.
func authentic(d *datamesh.Descriptor, known []byte) ([]byte, error) {
	enc := format.EncodeDescriptor(d)
	if bytes.Equal(enc, known) {
		return enc, nil
	}
	got, err := format.DecodeDescriptor(enc)
	if err != nil {
		return nil, errs.New(errs.Integrity, "%s: %w", d.Segment, err)
	}
	if got.Segment != d.Segment {
		return nil, errs.New(errs.Integrity, "%s: its descriptor is that of %s", d.Segment, got.Segment)
	}
	return enc, nil
}

// owned checks that a deletion is the word of the segment's owner, and
// returns its bytes. Kind: Authentication.
func owned(del *datamesh.Deletion) ([]byte, error) {
	enc := format.EncodeDeletion(del)
	got, err := format.DecodeDeletion(enc)
	if err != nil {
		return nil, errs.New(errs.Authentication, "drop %s: %w", del.Descriptor.Segment, err)
	}
	if got.Descriptor.Segment != del.Descriptor.Segment {
		return nil, errs.New(errs.Authentication, "drop %s: its descriptor is that of %s", del.Descriptor.Segment, got.Descriptor.Segment)
	}
	return enc, nil
}

func errNotFound(op string, key datamesh.ShardKey) error {
	return errs.New(errs.FileNotFound, "%s %s: no such shard here", op, name(key))
}

func errDeleted(op string, segment datamesh.SegmentID) error {
	return errs.New(errs.Deleted, "%s %s: its owner has deleted it", op, segment)
}
