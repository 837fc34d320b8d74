package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"

	"github.com/google/go-cmp/cmp"
)

func getReturnsWhatWasPut(t *testing.T, store datamesh.ShardStore) {
	for i, size := range sizes {
		s := Segment(t, uint64(i), 2, 1, size)
		for index := range s.Bytes {
			s.Put(t, store, index)
		}
		for index := range s.Bytes {
			s.Check(t, store, index)
		}
		d, _, err := store.Get(t.Context(), s.Key(0), nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.Descriptor, d); diff != "" {
			t.Errorf("size %d: descriptor, -want +got:\n%s", size, diff)
		}
	}
}

func getUsesTheBuffer(t *testing.T, store datamesh.ShardStore) {
	for i, size := range []int{1000, 300_000} {
		s := Segment(t, uint64(i), 2, 1, size)
		s.Put(t, store, 0)
		large := make([]byte, 7, size)
		for _, buf := range [][]byte{nil, make([]byte, 3), large} {
			_, got, err := store.Get(t.Context(), s.Key(0), buf)
			if cap(buf) == 3 && errors.Is(err, errs.Integrity) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, s.Bytes[0]) {
				t.Errorf("size %d, buffer of %d: other bytes than were put", size, cap(buf))
			}
			if cap(buf) >= len(got) && &got[0] != &buf[0] {
				t.Errorf("size %d: the buffer was large enough and not used", size)
			}
		}
		clear(large[:cap(large)]) // what the caller does to its bytes is its own affair
		s.Check(t, store, 0)
	}
}

func getOfWhatIsNotThere(t *testing.T, store datamesh.ShardStore) {
	s := Segment(t, 1, 2, 1, 1000)
	s.Put(t, store, 0)
	other := Segment(t, 2, 2, 1, 1000)
	for _, key := range []datamesh.ShardKey{s.Key(1), s.Key(-1), s.Key(3), s.Key(1 << 20), other.Key(0)} {
		_, _, err := store.Get(t.Context(), key, nil)
		wantKind(t, fmt.Sprintf("get of index %d", key.Index), err, errs.FileNotFound)
		_, _, err = store.GetRange(t.Context(), key, 0, 1)
		wantKind(t, fmt.Sprintf("range of index %d", key.Index), err, errs.FileNotFound)
	}
}

func ranges(t *testing.T, store datamesh.ShardStore) {
	for i, size := range sizes {
		s := Segment(t, uint64(i), 2, 1, size)
		s.Put(t, store, 1)
		shard := s.Bytes[1]
		for _, r := range [][2]int{{0, 1}, {0, len(shard)}, {len(shard) - 1, 1}, {len(shard) / 3, len(shard) / 2},
			{hash.Group - 1, 2}, {hash.Group, hash.Group}, {len(shard) / hash.Group * hash.Group, 1}} {
			off, n := r[0], r[1]
			if n == 0 || off+n > len(shard) {
				continue
			}
			d, slice, err := store.GetRange(t.Context(), s.Key(1), off, n)
			if err != nil {
				t.Fatalf("%d bytes from %d of %d: %v", n, off, len(shard), err)
			}
			got, ok := hash.Open(slice, off, n, d.Shards[1])
			if !ok || !bytes.Equal(got, shard[off:off+n]) || d.Segment != s.Descriptor.Segment {
				t.Errorf("%d bytes from %d of %d: the slice does not prove them", n, off, len(shard))
			}
			if limit := hash.SliceSize(len(shard), off, n); len(slice) > limit {
				t.Errorf("%d bytes from %d of %d: slice of %d, limit %d", n, off, len(shard), len(slice), limit)
			}
		}
	}
}

func rangeOutside(t *testing.T, store datamesh.ShardStore) {
	for i, size := range []int{1000, 300_000} {
		s := Segment(t, uint64(i), 2, 1, size)
		s.Put(t, store, 0)
		n := len(s.Bytes[0])
		for _, r := range [][2]int{{-1, 1}, {0, 0}, {0, -1}, {0, n + 1}, {n, 1}, {n - 1, 2}, {1 << 40, 1}, {1, 1 << 62}} {
			_, _, err := store.GetRange(t.Context(), s.Key(0), r[0], r[1])
			wantKind(t, fmt.Sprintf("%d bytes from %d of %d", r[1], r[0], n), err, errs.Invalid)
		}
	}
}
