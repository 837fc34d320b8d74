package storetest

import (
	"os"
	"syscall"
	"testing"
)

// SmallDisk mounts a file system of 24 MiB, which only root may.
func SmallDisk(t testing.TB) string {
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

// FillDisk takes all room that the disk still has.
func FillDisk(dir string) {
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
