package store

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"datamesh/internal/storetest"
)

// smallDisk mounts a file system of 24 MiB, which only root may.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("NOT TESTED: a full disk: mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk takes all room that the disk still has.
func fillDisk(t *testing.T, dir string) {
	t.Helper()
	f, err := os.CreateTemp(dir, "others")
	if err != nil {
		return // there is not even room for a name
	}
	defer f.Close()
	for n := 1 << 20; n > 0; n /= 2 {
		for b := make([]byte, n); err == nil; {
			_, err = f.Write(b)
		}
		err = nil
	}
}

// TestDropOnAFullDisk has others fill the disk to the last byte, again and
// again, while everything is dropped, one half of it after a restart.
func TestDropOnAFullDisk(t *testing.T) {
	for _, size := range []int{100, small, 60_000, large} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			disk := smallDisk(t)
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
					fillDisk(t, disk)
					d = openDisk(t, dir, opt)
				}
				fillDisk(t, disk)
				if err := d.Drop(t.Context(), s.Deletion(1)); err != nil {
					t.Fatalf("drop %d of %d: %v", i, len(kept), err)
				}
			}
			checkAccount(t, d)
			closeDisk(t, d)
		})
	}
}
