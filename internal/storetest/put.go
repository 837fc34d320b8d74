package storetest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"datamesh"
	"datamesh/internal/errs"

	"github.com/google/go-cmp/cmp"
)

func putKeepsNoHold(t *testing.T, store datamesh.ShardStore) {
	for i, size := range []int{1000, 300_000} {
		s := Segment(t, uint64(i), 2, 1, size)
		shard := bytes.Clone(s.Bytes[1])
		if err := store.Put(t.Context(), s.Descriptor, 1, shard); err != nil {
			t.Fatal(err)
		}
		clear(shard)
		s.Check(t, store, 1)
	}
}

func putTwice(t *testing.T, store datamesh.ShardStore) {
	for i, size := range []int{1000, 300_000} {
		s := Segment(t, uint64(i), 2, 1, size)
		s.Put(t, store, 2)
		s.Put(t, store, 2)
		s.Check(t, store, 2)
	}
	keys, err := store.List(t.Context(), datamesh.First, 10)
	if err != nil || len(keys) != 2 {
		t.Errorf("list: %d keys, %v, want 2", len(keys), err)
	}
}

func putRefusesWhatIsWrong(t *testing.T, store datamesh.ShardStore) {
	for i, size := range []int{1000, 300_000} {
		s := Segment(t, uint64(i), 2, 1, size)
		flipped := bytes.Clone(s.Bytes[0])
		flipped[len(flipped)-1] ^= 0x80
		refuse := func(what string, d *datamesh.Descriptor, index int, shard []byte) {
			t.Helper()
			wantKind(t, "put of "+what, store.Put(t.Context(), d, index, shard), errs.Integrity)
		}
		refuse("a flipped bit", s.Descriptor, 0, flipped)
		refuse("another index's bytes", s.Descriptor, 0, s.Bytes[1])
		refuse("an index below 0", s.Descriptor, -1, s.Bytes[0])
		refuse("an index above k+m", s.Descriptor, 3, s.Bytes[0])
		refuse("a byte too few", s.Descriptor, 0, s.Bytes[0][1:])
		refuse("a byte too many", s.Descriptor, 0, append(bytes.Clone(s.Bytes[0]), 0))
		refuse("nothing", s.Descriptor, 0, nil)
	}
	keys, err := store.List(t.Context(), datamesh.First, 10)
	if err != nil || len(keys) != 0 {
		t.Errorf("list: %d keys, %v, want none", len(keys), err)
	}
}

func putRefusesAForgedDescriptor(t *testing.T, store datamesh.ShardStore) {
	s, other := Segment(t, 1, 2, 1, 1000), Segment(t, 2, 2, 1, 1000)
	s.Put(t, store, 1) // the true one is known
	for what, change := range map[string]func(*datamesh.Descriptor){
		"another signature": func(d *datamesh.Descriptor) { d.Signature[5] ^= 1 },
		"another owner":     func(d *datamesh.Descriptor) { d.Owner = other.Descriptor.Owner },
		"other shards":      func(d *datamesh.Descriptor) { d.Shards = other.Shards },
		"another code":      func(d *datamesh.Descriptor) { d.K, d.M = d.M, d.K },
		"another segment":   func(d *datamesh.Descriptor) { d.Segment = other.Descriptor.Segment },
		"nothing in it":     func(d *datamesh.Descriptor) { *d = datamesh.Descriptor{Segment: d.Segment} },
	} {
		forged := *s.Descriptor
		change(&forged)
		for _, shard := range [][]byte{s.Bytes[0], other.Bytes[0]} {
			wantKind(t, "put with "+what, store.Put(t.Context(), &forged, 0, shard), errs.Integrity)
		}
	}
	s.Check(t, store, 1)
}

func equalShards(t *testing.T, store datamesh.ShardStore) {
	s := Segment(t, 1, 1, 2, 500)
	copies := twin(t, s)
	for i := range copies.Bytes {
		copies.Put(t, store, i)
	}
	got, err := store.Has(t.Context(), copies.Keys())
	if diff := cmp.Diff([]bool{true, true, true}, got); diff != "" || err != nil {
		t.Errorf("has: %v, -want +got:\n%s", err, diff)
	}
}

// twin returns a segment like s, of one data shard and equal copies of it.
func twin(t *testing.T, s *Sample) *Sample {
	t.Helper()
	var copies [][]byte
	for range s.Bytes {
		copies = append(copies, s.Bytes[0])
	}
	return sign(t, s.Owner, s.K, s.M, s.Length, copies)
}

func manyAtOnce(t *testing.T, store datamesh.ShardStore) {
	var wait sync.WaitGroup
	for seed := range uint64(8) {
		s := Segment(t, seed%4, 4, 2, 4000+int(seed%4/2)*600_000) // each one twice
		for index := range s.Bytes {
			wait.Go(func() {
				if err := store.Put(t.Context(), s.Descriptor, index, s.Bytes[index]); err != nil {
					t.Errorf("put: %v", err)
					return
				}
				s.Check(t, store, index)
			})
		}
	}
	wait.Wait()
	keys, err := store.List(t.Context(), datamesh.First, 100)
	if err != nil || len(keys) != 4*6 {
		t.Errorf("list: %d keys, %v, want %d", len(keys), err, 4*6)
	}
}

func doneContext(t *testing.T, store datamesh.ShardStore) {
	s := Segment(t, 1, 2, 1, 1000)
	s.Put(t, store, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := store.Put(ctx, s.Descriptor, 1, s.Bytes[1]); !errors.Is(err, context.Canceled) {
		t.Errorf("put: got %v, want %v", err, context.Canceled)
	}
	if _, _, err := store.Get(ctx, s.Key(0), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("get: got %v, want %v", err, context.Canceled)
	}
}
