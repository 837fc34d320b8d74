package storetest

import (
	"slices"
	"testing"

	"datamesh"

	"github.com/google/go-cmp/cmp"
)

func has(t *testing.T, store datamesh.ShardStore) {
	s := Segment(t, 1, 4, 2, 4000)
	for _, index := range []int{0, 2, 5} {
		s.Put(t, store, index)
	}
	check := func(keys []datamesh.ShardKey, want []bool) {
		t.Helper()
		got, err := store.Has(t.Context(), keys)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("has: %v, %v, want %v", got, err, want)
		}
	}
	check(nil, nil)
	check([]datamesh.ShardKey{s.Key(5), s.Key(1), s.Key(5), s.Key(0), s.Key(-1), s.Key(6), {}},
		[]bool{true, false, true, true, false, false, false})
	var keys []datamesh.ShardKey
	var want []bool
	for i := range 1500 { // more than a store may ask at once
		keys = append(keys, s.Key(i%6))
		want = append(want, i%6 == 0 || i%6 == 2 || i%6 == 5)
	}
	check(keys, want)
}

func list(t *testing.T, store datamesh.ShardStore) {
	keys, err := store.List(t.Context(), datamesh.First, 5)
	if err != nil || len(keys) != 0 {
		t.Errorf("list of an empty store: %d keys, %v", len(keys), err)
	}
	var want []datamesh.ShardKey
	for seed := range uint64(5) {
		s := Segment(t, seed, 8, 4, 8000) // indices of two digits
		for _, index := range []int{11, 0, 2, 10} {
			s.Put(t, store, index)
			want = append(want, s.Key(index))
		}
	}
	slices.SortFunc(want, datamesh.ShardKey.Compare)
	for _, limit := range []int{1, 3, 19, 20, 21} {
		var got []datamesh.ShardKey
		for after := datamesh.First; ; after = got[len(got)-1] {
			page, err := store.List(t.Context(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page...)
			if len(page) < limit {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("list by %d, -want +got:\n%s", limit, diff)
		}
	}
}
