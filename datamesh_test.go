package datamesh_test

import (
	"slices"
	"testing"

	"datamesh"
)

func TestShardsHoldTheSegmentWithLittlePadding(t *testing.T) {
	for _, tt := range []struct{ sealed, k, want int }{
		{16, 1, 16}, {16, 4, 4}, {17, 4, 5}, {1, 256, 1}, {4097, 4, 1025},
		{datamesh.MaxSealed, 4, 4_195_328}, {datamesh.MaxSealed, 1, datamesh.MaxSealed},
	} {
		d := datamesh.Descriptor{K: tt.k, Length: tt.sealed}
		if got := d.ShardLen(); got != tt.want {
			t.Errorf("%d bytes in %d shards: got %d bytes, want %d", tt.sealed, tt.k, got, tt.want)
		}
	}
}

func TestValidCode(t *testing.T) {
	const most = int(^uint(0) >> 1)
	for _, tt := range []struct {
		k, m int
		want bool
	}{
		{1, 0, true}, {1, 255, true}, {256, 0, true}, {4, 2, true},
		{0, 0, false}, {0, 2, false}, {-1, 2, false}, {4, -1, false}, {1, 256, false}, {257, 0, false}, {200, 57, false},
		{most, 1, false}, {1, most, false}, {most, most, false}, // whose sums are no positive numbers
	} {
		if got := datamesh.ValidCode(tt.k, tt.m); got != tt.want {
			t.Errorf("%d+%d: got %v", tt.k, tt.m, got)
		}
	}
}

func TestShardKeysAreInOrderOfSegmentThenIndex(t *testing.T) {
	a, b := datamesh.SegmentID{1}, datamesh.SegmentID{1, 1}
	want := []datamesh.ShardKey{datamesh.First, {Index: 0}, {Segment: a}, {Segment: a, Index: 2}, {Segment: a, Index: 10}, {Segment: b}}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, datamesh.ShardKey.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
