package durable_test

import (
	"os"
	"runtime"
	"syscall"
	"testing"
)

// asNobody calls do as a user whom permissions bind, with a directory of theirs.
func asNobody(t *testing.T, do func(dir string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		do(t.TempDir())
		return
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "durable") // the one of the test is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setfsuid(0)
	do(dir)
}
