package storetest

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/hash"
)

// A Sample is a segment of random shards with a descriptor that its owner has
// signed. Its shards are not the code of anything: a store cannot tell.
type Sample struct {
	*datamesh.Descriptor
	Bytes [][]byte // the k+m shards
	Owner ed25519.PrivateKey
}

// Segment makes the sample of a seed: the same one each time.
func Segment(t testing.TB, seed uint64, k, m, sealed int) *Sample {
	t.Helper()
	var chacha [32]byte
	binary.LittleEndian.PutUint64(chacha[:], seed)
	random := rand.NewChaCha8(chacha)
	key := make([]byte, ed25519.SeedSize)
	random.Read(key)
	shards := make([][]byte, k+m)
	for i := range shards {
		shards[i] = make([]byte, datamesh.ShardLen(sealed, k))
		random.Read(shards[i])
	}
	return sign(t, ed25519.NewKeyFromSeed(key), k, m, sealed, shards)
}

// sign makes a sample of shards.
func sign(t testing.TB, owner ed25519.PrivateKey, k, m, sealed int, shards [][]byte) *Sample {
	t.Helper()
	ids := make([]datamesh.ShardID, len(shards))
	for i, shard := range shards {
		ids[i] = hash.Shard(shard)
	}
	d, err := format.NewDescriptor(owner, k, m, sealed, ids)
	if err != nil {
		t.Fatal(err)
	}
	return &Sample{Descriptor: d, Bytes: shards, Owner: owner}
}

// Key returns the key of one of the sample's shards.
func (s *Sample) Key(index int) datamesh.ShardKey {
	return datamesh.ShardKey{Segment: s.Descriptor.Segment, Index: index}
}

// Keys returns the keys of all shards, in order.
func (s *Sample) Keys() (keys []datamesh.ShardKey) {
	for i := range s.Bytes {
		keys = append(keys, s.Key(i))
	}
	return keys
}

// Deletion returns the owner's word that the segment shall be gone.
func (s *Sample) Deletion(generation uint64) *datamesh.Deletion {
	return format.NewDeletion(s.Owner, s.Descriptor, generation)
}

// Put puts one of the sample's shards.
func (s *Sample) Put(t testing.TB, store datamesh.ShardStore, index int) {
	t.Helper()
	if err := store.Put(t.Context(), s.Descriptor, index, s.Bytes[index]); err != nil {
		t.Fatalf("put shard %d: %v", index, err)
	}
}

// Check fails the test unless the store gives one of the sample's shards back.
func (s *Sample) Check(t testing.TB, store datamesh.ShardStore, index int) {
	t.Helper()
	d, shard, err := store.Get(t.Context(), s.Key(index), nil)
	switch {
	case err != nil:
		t.Errorf("get shard %d: %v", index, err)
	case d.Segment != s.Descriptor.Segment:
		t.Errorf("get shard %d: descriptor of %s, want %s", index, d.Segment, s.Descriptor.Segment)
	case !bytes.Equal(shard, s.Bytes[index]):
		t.Errorf("get shard %d: other bytes than were put", index)
	}
}
