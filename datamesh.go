// Package datamesh holds the nouns of DataMesh: the names of things, the
// descriptor of a segment, and ShardStore, the one interface that a disk, a
// cache and a peer at the other end of the world all satisfy.
//
// An object is cut into segments; a segment is sealed and erasure-coded into
// k+m shards; a shard is known by its segment and its index. Nothing in this
// package does I/O, and it imports no other package of the program.
package datamesh

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
)

// Limits of what one segment may be. They bound every allocation that is made
// on the word of a peer.
const (
	MaxContent   = 16 << 20                                      // bytes of content in a segment
	FrameContent = 64 << 10                                      // bytes of content in a sealed frame
	FrameTag     = 16                                            // bytes that sealing adds to a frame
	MaxSealed    = MaxContent + MaxContent/FrameContent*FrameTag // bytes of a sealed segment
	MaxShards    = 256                                           // k+m
)

// A Descriptor is the public record of one segment. Whoever holds a shard
// holds the descriptor beside it, so that a shard can be checked, and its
// lost neighbours rebuilt, by anyone and without keys.
//
// Segment is the hash of all other fields but the signature; package format
// computes and checks it. A Descriptor is not changed once it is made.
type Descriptor struct {
	Segment   SegmentID
	K, M      int       // k data shards, m parity shards
	Length    int       // bytes of the sealed segment
	Shards    []ShardID // k+m hashes, in the order of their indices
	Owner     OwnerKey
	Signature [ed25519.SignatureSize]byte // the owner's, of the SegmentID
}

// ValidCode reports whether there is a k+m code: at least one data shard, and
// at most MaxShards shards in all.
func ValidCode(k, m int) bool { return 1 <= k && k <= MaxShards && 0 <= m && m <= MaxShards-k }

// ShardLen returns the length in bytes of each shard of the segment.
func (d *Descriptor) ShardLen() int { return ShardLen(d.Length, d.K) }

// ShardLen returns the length in bytes of each shard of a sealed segment of
// the given length that is cut into k data shards.
func ShardLen(sealed, k int) int { return (sealed + k - 1) / k }

// A Deletion is an owner's word that a segment shall be gone, or shall be there
// after all. It carries the descriptor, so that anyone can see that who signs it
// owns the segment.
//
// A segment begins with generation 0. Those that are odd delete it, and those
// that are even and follow bring it back: so no two words of one generation say
// different things, whichever of an owner's devices has signed them. From
// [Final] on all delete it, and nothing brings it back.
type Deletion struct {
	Descriptor *Descriptor
	Generation uint64                      // the highest one counts
	Signature  [ed25519.SignatureSize]byte // the owner's
}

// Final is the first generation that nothing is brought back from.
const Final = 1 << 63

// Gone reports whether the segment shall be gone, and not be there after all.
func (d *Deletion) Gone() bool { return d.Generation%2 == 1 || d.Final() }

// Final reports whether the segment shall be gone at once and for ever.
func (d *Deletion) Final() bool { return d.Generation >= Final }

// NextGeneration returns the generation of a word that deletes a segment, or
// brings it back, after one of generation g. There is none after those that are
// final.
func NextGeneration(g uint64, gone bool) (next uint64, ok bool) {
	next = g + 1
	if (next%2 == 1) != gone {
		next++
	}
	return next, next < Final
}

// A ShardKey names a shard: its segment and its index among the k+m.
// Two shards of one segment may have the same bytes, and so the same ShardID.
type ShardKey struct {
	Segment SegmentID
	Index   int
}

// Compare orders keys by segment, then by index.
func (k ShardKey) Compare(o ShardKey) int {
	if c := bytes.Compare(k.Segment[:], o.Segment[:]); c != 0 {
		return c
	}
	return cmp.Compare(k.Index, o.Index)
}

// A ShardStore keeps shards. It is safe for concurrent use. Errors have a
// kind of package errs; those named below are the ones a caller acts on.
type ShardStore interface {
	// Put keeps a shard and its segment's descriptor. When it returns nil the
	// shard is as durable as the store can make it. Putting a shard that is
	// there is no error. The store does not keep hold of the slice.
	// Kinds: Integrity (the bytes or the descriptor are not what they say),
	// Full, Deleted, Unavailable.
	Put(ctx context.Context, d *Descriptor, index int, shard []byte) error

	// Get returns the shard, checked against the descriptor beside it. It
	// uses buf for the bytes where that is large enough. Where it has room,
	// but too little, a store that is believed nothing may refuse the shard as
	// Integrity, and still return its descriptor. The caller checks
	// that the descriptor is the one it wants: its SegmentID tells.
	// Kinds: FileNotFound, Integrity, Unavailable.
	Get(ctx context.Context, key ShardKey, buf []byte) (*Descriptor, []byte, error)

	// GetRange returns n bytes of the shard from off on as a BLAKE3 slice,
	// which proves itself against the ShardID: package hash opens it.
	// Kinds: as Get, and Invalid for a range outside the shard.
	GetRange(ctx context.Context, key ShardKey, off, n int) (*Descriptor, []byte, error)

	// Has reports for each key whether the store has the shard. That it has
	// it is a claim; only its bytes are proof.
	Has(ctx context.Context, keys []ShardKey) ([]bool, error)

	// List returns at most limit keys greater than after, in their order;
	// fewer means that these are the last. A zero key with index -1 begins.
	List(ctx context.Context, after ShardKey, limit int) ([]ShardKey, error)

	// Drop gives up every shard of a segment on its owner's word, and keeps
	// that word: from then on Put answers Deleted. What it gives up can be
	// brought back for a time, by a word that says so, if the first was not
	// final. A word of a generation that is not higher than that of the last
	// changes nothing, and dropping what is not there is no error. Kinds:
	// Authentication (not the owner's word).
	Drop(ctx context.Context, del *Deletion) error
}

// First is the key before all others, for [ShardStore.List].
var First = ShardKey{Index: -1}
