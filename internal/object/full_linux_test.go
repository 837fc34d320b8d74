package object

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"datamesh/internal/errs"
	"datamesh/internal/storetest"

	"golang.org/x/sys/unix"
)

func TestPutsGoOnWhenAFullDiskHasRoomAgain(t *testing.T) {
	disk := storetest.SmallDisk(t)
	w := newWorld(t, 6)
	u := newUser(t, w)
	u.dir = filepath.Join(disk, "puts")
	u.begin()
	defer u.journal.Close()
	u.put(noise(1, 1000), options)
	storetest.FillDisk(disk)
	_, err := u.Put(t.Context(), bytes.NewReader(noise(2, 1000)), options, commit)
	wantKind(t, "put on a full disk", err, errs.Full)
	others, err := filepath.Glob(filepath.Join(disk, "others*"))
	if err != nil || len(others) == 0 {
		t.Fatalf("others %v, %v", others, err)
	}
	for _, name := range others {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	u.put(noise(2, 1000), options)
}

// A segment that the journal of the dead cannot be made to give away is not
// taken: it would be in two journals, and a sweep of one would delete what the
// other's put has stored.
func TestNothingIsTakenFromAJournalThatCannotBeWritten(t *testing.T) {
	u, content := halfway(t, newWorld(t, 6))
	u.crash()
	name := u.files()[0]
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(sealedFile(t, b), name); err != nil {
		t.Fatal(err)
	}
	_, err = u.Put(t.Context(), bytes.NewReader(content), resumable, commit)
	wantKind(t, "put", err, errs.IO)

	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	u.crash()
	result := u.put(content, resumable)
	if result.Resumed != 350_000 {
		t.Errorf("%d bytes were resumed", result.Resumed)
	}
	u.sweep(result.ID)
	u.get(result.ID, content)
}

// sealedFile returns the path of a file that nobody can write to, not even root.
func sealedFile(t *testing.T, b []byte) string {
	fd, err := unix.MemfdCreate("sealed", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "sealed")
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd())
}
