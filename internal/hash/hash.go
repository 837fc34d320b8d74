// Package hash is BLAKE3 as DataMesh uses it: names of shards, derived and
// keyed hashes each under its own context, and slices that prove any part of
// a shard against its name.
//
// It leaves to its callers what a hash means; every context string in the
// program stands in docs/format.md.
package hash

import (
	"datamesh"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/cpu"
)

// large is the length from which on hashing whole groups is faster, unless the
// processor hashes eight chunks at once but not all of a group.
const large = 4 * Group

var eight = cpu.X86.HasAVX2 && !cpu.X86.HasAVX512F

// Shard returns the ShardID of a shard's bytes: their plain BLAKE3-256 hash.
func Shard(b []byte) datamesh.ShardID {
	if len(b) < large || eight {
		return blake3.Sum256(b)
	}
	_, id := Outboard(b)
	return id
}

// Derive hashes the parts, one after the other, in BLAKE3's derive-key mode:
// hashes under different contexts have nothing to do with each other.
// The parts are not delimited, so all but one of them must have a fixed length.
func Derive(context string, parts ...[]byte) (sum [32]byte) {
	h := blake3.NewDeriveKey(context)
	for _, p := range parts {
		h.Write(p) // cannot fail
	}
	h.Sum(sum[:0])
	return sum
}

// Stream fills out with the hash of the parts under a context, as long as is
// wanted: its first 32 bytes are those of [Derive].
func Stream(out []byte, context string, parts ...[]byte) {
	h := blake3.NewDeriveKey(context)
	for _, p := range parts {
		h.Write(p)
	}
	h.Digest().Read(out) // never fails, never short
}

// Keyed hashes the parts, one after the other, in BLAKE3's keyed mode.
func Keyed(key [32]byte, parts ...[]byte) (sum [32]byte) {
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}
