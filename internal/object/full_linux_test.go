package object

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"datamesh/internal/errs"
	"datamesh/internal/storetest"
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
