package store

import (
	"fmt"
	"path/filepath"
	"testing"

	"datamesh/internal/storetest"
)

// TestDropOnAFullDisk has others fill the disk to the last byte, again and
// again, while everything is dropped, one half of it after a restart.
func TestDropOnAFullDisk(t *testing.T) {
	for _, size := range []int{100, small, 60_000, large} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			disk := storetest.SmallDisk(t)
			dir, opt := filepath.Join(disk, "store"), Options{Reserve: 8 << 20}
			d := openDisk(t, dir, opt)
			var kept []*storetest.Sample
			for seed := range uint64(400) {
				s := storetest.Segment(t, seed, 1, 0, size)
				if d.Put(t.Context(), s.Descriptor, 0, s.Bytes[0]) != nil {
					break // it is full
				}
				kept = append(kept, s)
			}
			for i, s := range kept {
				if i == len(kept)/2 {
					closeDisk(t, d)
					storetest.FillDisk(disk)
					d = openDisk(t, dir, opt)
				}
				storetest.FillDisk(disk)
				if err := d.Drop(t.Context(), s.Deletion(1)); err != nil {
					t.Fatalf("drop %d of %d: %v", i, len(kept), err)
				}
			}
			checkAccount(t, d)
			closeDisk(t, d)
		})
	}
}
