//go:build unix

package store

import (
	"errors"
	"os"
	"testing"

	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

// A file that cannot be read is not damaged, and stays.
func TestUnreadableFileIsNotGivenUp(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*large)
	s.Put(t, d, 0)
	folder := d.folder(s.Key(0).Segment[0])
	aside := folder + ".aside"
	if err := errors.Join(os.Rename(folder, aside), os.WriteFile(folder, nil, 0o600)); err != nil { // binds root, too
		t.Fatal(err)
	}
	wantVerify(t, d, s.Key(0), "unreadable", errs.IO)
	if fate, err := d.Mend(t.Context(), s.Key(0)); !errors.Is(err, errs.IO) || fate != Kept {
		t.Errorf("mend, unreadable: got %v, %v, want kind IO", fate, err)
	}
	if err := errors.Join(os.Remove(folder), os.Rename(aside, folder)); err != nil {
		t.Fatal(err)
	}
	s.Check(t, d, 0)
	wantVerify(t, d, s.Key(0), "readable again", nil)
}
