//go:build unix

package store

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

// TestPipeInPlaceOfAShardIsDamage has nobody write to the pipe: whoever opens
// it to read waits for ever.
func TestPipeInPlaceOfAShardIsDamage(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*large)
	for i := range s.Bytes {
		s.Put(t, d, i)
	}
	pipe := func(key datamesh.ShardKey) {
		t.Helper()
		os.Remove(d.path(key))
		if err := syscall.Mkfifo(d.path(key), 0o600); err != nil {
			t.Skipf("NOT TESTED: mkfifo: %v", err)
		}
	}
	pipe(s.Key(0))
	wantHas(t, d, s, "a pipe", false, true)
	if _, _, err := d.Get(t.Context(), s.Key(0), nil); !errors.Is(err, errs.Integrity) {
		t.Errorf("get: got %v, want kind Integrity", err)
	}
	s.Put(t, d, 0)
	s.Check(t, d, 0)

	closeDisk(t, d)
	pipe(s.Key(0))
	pipe(s.Key(9)) // which has no row
	var lost []datamesh.ShardKey
	strange := 0
	d = openDisk(t, dir, Options{Events: Events{
		Lost:    func(key datamesh.ShardKey) { lost = append(lost, key) },
		Strange: func(string, error) { strange++ },
	}})
	if len(lost) != 1 || lost[0] != s.Key(0) || strange != 2 {
		t.Errorf("lost %v and %d strange files, want %v and 2", lost, strange, s.Key(0))
	}
	s.Check(t, d, 1)
}
