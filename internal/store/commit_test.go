package store

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

// oneBatch makes the calls, each as soon as the one before waits to be
// committed, and lets them all be committed in one batch.
func oneBatch(t *testing.T, d *Disk, calls ...func()) {
	t.Helper()
	var wait sync.WaitGroup
	held, release := make(chan struct{}), make(chan struct{})
	wait.Go(func() {
		err := d.commit(func(*batch) error { close(held); <-release; return nil })
		if err != nil {
			t.Error(err)
		}
	})
	<-held
	for i, call := range calls {
		wait.Go(call)
		for len(d.changes) <= i {
			runtime.Gosched()
		}
	}
	close(release)
	wait.Wait()
}

func TestPutsInFlightShareACommit(t *testing.T) {
	var commits []int
	d := openDisk(t, t.TempDir(), Options{Events: Events{Committed: func(n int) { commits = append(commits, n) }}})
	s := storetest.Segment(t, 1, 32, 32, 32*small)
	var puts []func()
	for i := range s.Bytes {
		puts = append(puts, func() { s.Put(t, d, i) })
	}
	oneBatch(t, d, puts...)
	if len(commits) != 2 || commits[1] != 64 {
		t.Errorf("commits of %v changes, want the one that was held and 64", commits)
	}
	checkAccount(t, d)
}

// The log does not keep the room on the disk that one great batch took.
func TestLogShrinksAfterAGreatBatch(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s, after := storetest.Segment(t, 1, 64, 64, 64*maxRow), storetest.Segment(t, 2, 2, 1, 2*small)
	var puts []func()
	for i := range s.Bytes {
		puts = append(puts, func() { s.Put(t, d, i) })
	}
	oneBatch(t, d, puts...)
	for i := range after.Bytes {
		after.Put(t, d, i)
	}
	info, err := os.Stat(filepath.Join(d.dir, "node.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxLog {
		t.Errorf("the log has %d bytes, want at most %d", info.Size(), maxLog)
	}
}

func TestOneBatchOfChangesToOneShard(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	for seed, size := range []int{small, large} {
		s := storetest.Segment(t, uint64(seed), 2, 1, 2*size)
		put := func() { s.Put(t, d, 0) }
		remove := func() {
			if err := d.Remove(t.Context(), s.Key(0)); err != nil {
				t.Errorf("remove: %v", err)
			}
		}
		oneBatch(t, d, put, put)
		s.Check(t, d, 0)
		checkAccount(t, d)
		oneBatch(t, d, remove, remove)
		checkAccount(t, d)
		oneBatch(t, d, put, remove, put)
		s.Check(t, d, 0)
		checkAccount(t, d)
		remove()
		oneBatch(t, d, put, remove)
		checkAccount(t, d)
		oneBatch(t, d, put, func() {
			if err := d.Drop(t.Context(), s.Deletion(datamesh.Final)); err != nil {
				t.Errorf("drop: %v", err)
			}
		}, func() {
			if err := d.Put(t.Context(), s.Descriptor, 1, s.Bytes[1]); !errors.Is(err, errs.Deleted) {
				t.Errorf("put after drop: got %v, want kind Deleted", err)
			}
		})
		checkAccount(t, d)
		if left := shardFiles(t, d.dir); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
	}
}

// TestNoChangeSuffersForAnother has the disk run full for one of many.
func TestNoChangeSuffersForAnother(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s, old := storetest.Segment(t, 1, 2, 2, 2*large), storetest.Segment(t, 2, 2, 2, 2*small)
	old.Put(t, d, 0)
	oneBatch(t, d,
		func() { s.Put(t, d, 0) },
		func() { s.Put(t, d, 1) },
		func() {
			if err := d.commit(func(b *batch) error { b.fail(syscall.ENOSPC); return nil }); !errors.Is(err, errs.Full) {
				t.Errorf("got %v, want kind Full", err)
			}
		},
		func() {
			if err := d.Drop(t.Context(), old.Deletion(1)); err != nil {
				t.Errorf("drop: %v", err)
			}
		},
		func() { s.Put(t, d, 2) })
	for i := range 3 {
		s.Check(t, d, i)
	}
	if keys, err := d.List(t.Context(), datamesh.First, 10); err != nil || len(keys) != 3 {
		t.Errorf("list: %d keys, %v, want 3", len(keys), err)
	}
	checkAccount(t, d)
}
