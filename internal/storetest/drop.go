package storetest

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
)

func drop(t *testing.T, store datamesh.ShardStore) {
	for i, size := range []int{1000, 300_000} {
		s, other := Segment(t, uint64(2*i), 2, 1, size), Segment(t, uint64(2*i+1), 2, 1, size)
		s.Put(t, store, 0)
		s.Put(t, store, 2)
		other.Put(t, store, 0)
		for _, generation := range []uint64{3, 7, 7, 5, 6, 0} {
			if err := store.Drop(t.Context(), s.Deletion(generation)); err != nil {
				t.Fatalf("drop: %v", err)
			}
		}
		for index := range s.Bytes {
			_, _, err := store.Get(t.Context(), s.Key(index), nil)
			if !errors.Is(err, errs.FileNotFound) && !errors.Is(err, errs.Deleted) {
				t.Errorf("get of a dropped shard: %v", err)
			}
			wantKind(t, "put of a dropped shard", store.Put(t.Context(), s.Descriptor, index, s.Bytes[index]), errs.Deleted)
		}
		got, err := store.Has(t.Context(), append(s.Keys(), other.Key(0)))
		if err != nil || !slices.Equal(got, []bool{false, false, false, true}) {
			t.Errorf("has: %v, %v", got, err)
		}
		other.Check(t, store, 0)
	}
}

func dropOfNothing(t *testing.T, store datamesh.ShardStore) {
	s := Segment(t, 1, 2, 1, 1000)
	if err := store.Drop(t.Context(), s.Deletion(1<<63)); err != nil {
		t.Fatalf("drop: %v", err)
	}
	wantKind(t, "put after drop", store.Put(t.Context(), s.Descriptor, 0, s.Bytes[0]), errs.Deleted)
}

func dropNeedsTheOwner(t *testing.T, store datamesh.ShardStore) {
	s, stranger := Segment(t, 1, 2, 1, 1000), Segment(t, 2, 2, 1, 1000)
	s.Put(t, store, 0)
	refuse := func(what string, del *datamesh.Deletion) {
		t.Helper()
		wantKind(t, "drop with "+what, store.Drop(t.Context(), del), errs.Authentication)
	}
	forged := s.Deletion(1)
	forged.Generation = 2
	refuse("another generation than was signed", forged)
	signed := stranger.Deletion(1)
	signed.Descriptor = s.Descriptor
	refuse("a stranger's signature", signed)
	s.Check(t, store, 0)
}

func dropBesidePut(t *testing.T, store datamesh.ShardStore) {
	for seed := range uint64(20) {
		s := Segment(t, seed, 4, 2, 1000+int(seed%2)*600_000)
		var wait sync.WaitGroup
		for index := range s.Bytes {
			wait.Go(func() {
				if err := store.Put(t.Context(), s.Descriptor, index, s.Bytes[index]); err != nil {
					wantKind(t, "put beside drop", err, errs.Deleted)
				}
			})
		}
		wait.Go(func() {
			if err := store.Drop(t.Context(), s.Deletion(1)); err != nil {
				t.Errorf("drop: %v", err)
			}
		})
		wait.Wait()
	}
	keys, err := store.List(t.Context(), datamesh.First, 10)
	if err != nil || len(keys) != 0 {
		t.Errorf("list: %d keys, %v, want none", len(keys), err)
	}
}

// What is deleted can be brought back, by a word of a higher generation, until
// the word is final.
func dropAndBack(t *testing.T, store datamesh.ShardStore) {
	for i, size := range []int{1000, 300_000} {
		s := Segment(t, uint64(i), 2, 1, size)
		say := func(generation uint64, there bool) {
			t.Helper()
			if err := store.Drop(t.Context(), s.Deletion(generation)); err != nil {
				t.Fatalf("drop, generation %d: %v", generation, err)
			}
			got, err := store.Has(t.Context(), s.Keys())
			if want := []bool{there, there, false}; err != nil || !slices.Equal(got, want) {
				t.Errorf("after generation %d: has %v, %v, want %v", generation, got, err, want)
			}
			if err := store.Put(t.Context(), s.Descriptor, 0, s.Bytes[0]); (err == nil) != there {
				t.Errorf("after generation %d: put: %v", generation, err)
			}
		}
		s.Put(t, store, 0)
		s.Put(t, store, 1)
		say(2, true)
		say(1, true)
		say(3, false)
		say(2, false)
		say(8, true)
		s.Check(t, store, 0)
		s.Check(t, store, 1)
		say(7, true)
		say(9, false)
		say(datamesh.Final, false)
		say(datamesh.Final-2, false)
		say(datamesh.Final+4, false)
		keys, err := store.List(t.Context(), datamesh.First, 10)
		if err != nil || len(keys) != 0 {
			t.Errorf("list: %d keys, %v, want none", len(keys), err)
		}
	}
}
