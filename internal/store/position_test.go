package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

func wantPosition(t *testing.T, d *Disk, name, want string) {
	t.Helper()
	got, err := d.Position(t.Context(), name)
	if err != nil || string(got) != want {
		t.Errorf("position of %s: got %q, %v, want %q", name, got, err, want)
	}
}

func setPosition(t *testing.T, d *Disk, name, value string) {
	t.Helper()
	if err := d.SetPosition(t.Context(), name, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func TestPositionsAreKept(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	wantPosition(t, d, "a", "")
	setPosition(t, d, "a", "1")
	setPosition(t, d, "b", "2")
	setPosition(t, d, "a", "3")
	closeDisk(t, d)
	if _, err := d.Position(t.Context(), "a"); !errors.Is(err, errs.Unavailable) {
		t.Errorf("position in a closed store: %v", err)
	}
	if err := d.SetPosition(t.Context(), "a", nil); !errors.Is(err, errs.Unavailable) {
		t.Errorf("set in a closed store: %v", err)
	}
	d = openDisk(t, dir, Options{})
	wantPosition(t, d, "a", "3")
	wantPosition(t, d, "b", "2")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Position(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("position, cancelled: %v", err)
	}
	if err := d.SetPosition(ctx, "a", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("set, cancelled: %v", err)
	}
}

// A store of before there were positions has all else, and its index is not
// taken for damaged.
func TestStoreWithoutPositionsIsGivenThem(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Segment(t, 1, 2, 1, 2*small)
	d := openDisk(t, dir, Options{})
	s.Put(t, d, 0)
	closeDisk(t, d)
	execSQL(t, filepath.Join(dir, "node.db"), `DROP TABLE positions`)
	if err := Check(t.Context(), dir); err != nil {
		t.Errorf("check: %v", err)
	}
	d = openDisk(t, dir, Options{Events: Events{Rebuilt: func(aside string, _, _ int) { t.Errorf("rebuilt: %s", aside) }}})
	s.Check(t, d, 0)
	wantPosition(t, d, "a", "")
	setPosition(t, d, "a", "1")
	wantPosition(t, d, "a", "1")
}

func TestPositionsAreLostWithTheIndex(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	setPosition(t, d, "a", "1")
	closeDisk(t, d)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(filepath.Join(dir, "node.db"+suffix))
	}
	wantPosition(t, openDisk(t, dir, Options{}), "a", "")
}
