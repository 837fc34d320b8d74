package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
	"datamesh/internal/storetest"
)

func wantVerify(t *testing.T, d *Disk, key datamesh.ShardKey, when string, want error) {
	t.Helper()
	if _, err := d.Verify(t.Context(), key, nil); !errors.Is(err, want) {
		t.Errorf("verify, %s: got %v, want %v", when, err, want)
	}
}

func wantMend(t *testing.T, d *Disk, key datamesh.ShardKey, when string, want Fate) {
	t.Helper()
	if got, err := d.Mend(t.Context(), key); err != nil || got != want {
		t.Errorf("mend, %s: got %v, %v, want %v", when, got, err, want)
	}
}

// shardAt returns where in its file a shard of n bytes begins.
func shardAt(b []byte, n int) int { return len(b) - n }

// TestEveryByteOfAFileIsVerified flips bytes all over a file. What was lost but
// the shard itself is made again; a shard that was lost is given up.
func TestEveryByteOfAFileIsVerified(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*large)
	key, n := s.Key(0), len(s.Bytes[0])
	s.Put(t, d, 0)
	whole, err := os.ReadFile(d.path(key))
	if err != nil {
		t.Fatal(err)
	}
	if read, err := d.Verify(t.Context(), key, nil); err != nil || len(read) != len(whole) {
		t.Errorf("verify: read %d bytes, %v, want %d", len(read), err, len(whole))
	}
	record := int(binary.BigEndian.Uint32(whole[9:]))
	if prefixSize+record+hash.OutboardSize(n)+n != len(whole) {
		t.Fatal("the file is not as it is described")
	}
	for _, at := range []int{0, 8, 12, 13, 40, prefixSize + record/2, prefixSize + record - 1, prefixSize + record,
		shardAt(whole, n) - 1, shardAt(whole, n), len(whole) - 1} {
		edit(t, d.path(key), func(b []byte) []byte { b[at] ^= 1; return b })
		wantVerify(t, d, key, "flipped", errs.Integrity)
		fate := Mended
		if at >= shardAt(whole, n) {
			fate = Dropped
		}
		wantMend(t, d, key, "flipped", fate)
		if fate == Dropped {
			wantVerify(t, d, key, "dropped", errs.FileNotFound)
			s.Put(t, d, 0)
		}
		wantVerify(t, d, key, "mended", nil)
		wantHas(t, d, s, "mended", true, false)
		if got, err := os.ReadFile(d.path(key)); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("flipped at %d: the file is not as it was, %v", at, err)
		}
		checkAccount(t, d)
	}
	wantMend(t, d, key, "whole", Kept)
}

func TestLostAndCutFilesAreGivenUp(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*large)
	for what, damage := range map[string]func(path string){
		"gone": func(path string) { os.Remove(path) },
		"cut":  func(path string) { os.Truncate(path, 1000) },
		"grown": func(path string) {
			edit(t, path, func(b []byte) []byte { return append(b, 0) })
		},
	} {
		s.Put(t, d, 0)
		s.Put(t, d, 1)
		damage(d.path(s.Key(0)))
		wantVerify(t, d, s.Key(0), what, errs.Integrity)
		wantMend(t, d, s.Key(0), what, Dropped)
		wantVerify(t, d, s.Key(0), what+", dropped", errs.FileNotFound)
		s.Check(t, d, 1)
		checkAccount(t, d)
	}
}

func TestRottenRowIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*small)
	s.Put(t, d, 0)
	s.Put(t, d, 1)
	if read, err := d.Verify(t.Context(), s.Key(0), nil); err != nil || !bytes.Equal(read, s.Bytes[0]) {
		t.Errorf("verify: read %d bytes, %v, want the %d of the shard", len(read), err, len(s.Bytes[0]))
	}
	closeDisk(t, d)
	edit(t, filepath.Join(dir, "node.db"), func(b []byte) []byte {
		return bytes.ReplaceAll(b, s.Bytes[0][:100], make([]byte, 100)) // there may be old copies
	})
	d = openDisk(t, dir, Options{})
	wantVerify(t, d, s.Key(0), "flipped", errs.Integrity)
	wantMend(t, d, s.Key(0), "flipped", Dropped)
	wantVerify(t, d, s.Key(0), "dropped", errs.FileNotFound)
	s.Check(t, d, 1)
	checkAccount(t, d)
}

// TestMendTakesNothingFromAPut has a damaged shard mended and put at once, many
// times over: what a put has acknowledged stays.
func TestMendTakesNothingFromAPut(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 1, 0, large)
	s.Put(t, d, 0)
	for range 30 {
		edit(t, d.path(s.Key(0)), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				if _, err := d.Mend(t.Context(), s.Key(0)); err != nil && !errors.Is(err, errs.FileNotFound) {
					t.Errorf("mend: %v", err)
				}
			})
			wait.Go(func() { s.Put(t, d, 0) })
		}
		wait.Wait()
		if s.Check(t, d, 0); t.Failed() {
			return
		}
	}
	checkAccount(t, d)
}

// Whoever replaces a damaged shard has it to themselves.
func TestMendWaitsForWhoReplaces(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 1, 0, large)
	s.Put(t, d, 0)
	edit(t, d.path(s.Key(0)), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	d.healing.Lock()
	fate := make(chan Fate)
	go func() {
		f, err := d.Mend(t.Context(), s.Key(0))
		if err != nil {
			t.Errorf("mend: %v", err)
		}
		fate <- f
	}()
	if err := d.remove(s.Key(0)); err != nil {
		t.Error(err)
	}
	s.Put(t, d, 0)
	d.healing.Unlock()
	if got := <-fate; got != Kept {
		t.Errorf("mend of what was replaced: got %v, want %v", got, Kept)
	}
	s.Check(t, d, 0)
}

// A damaged descriptor in the index makes every shard of its segment damaged,
// until one is put again: also where the holder map keeps it.
func TestDamagedDescriptorIsReplaced(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*small)
	s.Put(t, d, 0)
	report(t, d, s, Holding{0, peer(1)})
	closeDisk(t, d)
	execSQL(t, filepath.Join(dir, "node.db"), `UPDATE segments SET descriptor = CAST(substr(descriptor, 1, length(descriptor) - 1) || x'00' AS BLOB)`)
	d = openDisk(t, dir, Options{})
	wantVerify(t, d, s.Key(0), "damaged descriptor", errs.Integrity)
	wantMend(t, d, s.Key(0), "damaged descriptor", Dropped)
	s.Put(t, d, 0)
	s.Check(t, d, 0)
	if _, holdings, err := d.Locate(t.Context(), s.Key(0).Segment); err != nil || len(holdings) != 1 {
		t.Errorf("locate: %v, %v", holdings, err)
	}
}
