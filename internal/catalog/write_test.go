package catalog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

func openEmpty(t *testing.T) *Catalog {
	t.Helper()
	c, err := Open(t.Context(), filepath.Join(t.TempDir(), "user.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// together has all calls wait for one that writes, in their order, and then go on.
func together(t *testing.T, c *Catalog, calls ...func()) {
	t.Helper()
	var all sync.WaitGroup
	writes, end := make(chan struct{}), make(chan struct{})
	all.Go(func() {
		if err := c.write(t.Context(), func(*writing) error { close(writes); <-end; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-writes
	for i, call := range calls {
		all.Go(call)
		for waits := 0; waits <= i; runtime.Gosched() {
			c.waiting.mu.Lock()
			waits = len(c.waiting.all)
			c.waiting.mu.Unlock()
		}
	}
	close(end)
	all.Wait()
}

func entryNamed(name string) Entry {
	e := Entry{Name: name, Created: time.Now()}
	copy(e.ID[:], name)
	return e
}

// adding returns a call that adds an object.
func adding(t *testing.T, c *Catalog, name string) func() {
	return func() {
		if err := c.Add(t.Context(), entryNamed(name)); err != nil {
			t.Errorf("add %s: %v", name, err)
		}
	}
}

// checkNamed checks how many objects have each of the names.
func checkNamed(t *testing.T, c *Catalog, want int, names ...string) {
	t.Helper()
	for _, name := range names {
		if n, err := c.Named(t.Context(), name); err != nil || n != want {
			t.Errorf("%d objects are named %q, want %d: %v", n, name, want, err)
		}
	}
}

// Changes that wait are made in one transaction: while the last of them is made
// nobody else sees any, and nobody was answered.
func TestChangesThatWaitShareACommit(t *testing.T) {
	c := openEmpty(t)
	var answered atomic.Int32
	var calls []func()
	var names []string
	for i := range 40 {
		name := fmt.Sprint("object ", i)
		add := adding(t, c, name)
		names, calls = append(names, name), append(calls, func() { add(); answered.Add(1) })
	}
	together(t, c, append(calls, func() {
		err := c.write(t.Context(), func(tx *writing) error {
			var here int
			err := tx.row([]any{&here}, `SELECT count(*) FROM object`)
			if s, err := c.Stats(t.Context()); err != nil || here != 40 || s.Objects != 0 || answered.Load() != 0 {
				t.Errorf("%d objects in the transaction, %d outside, %d answered, %v", here, s.Objects, answered.Load(), err)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})...)
	checkNamed(t, c, 1, names...)
}

func TestNoChangeSuffersForAnother(t *testing.T) {
	c := openEmpty(t)
	adding(t, c, "old")()
	wrong := errs.New(errs.Refused, "wrong")
	together(t, c,
		adding(t, c, "one"),
		func() {
			if err := c.Add(t.Context(), entryNamed("old")); !errors.Is(err, errs.Exists) {
				t.Errorf("what is there: got %v, want kind Exists", err)
			}
		},
		func() {
			err := c.write(t.Context(), func(tx *writing) error {
				e := entryNamed("half")
				if err := tx.insert(&e, ``); err != nil {
					return err
				}
				return wrong
			})
			if err != wrong {
				t.Errorf("got %v, want %v", err, wrong)
			}
		},
		func() {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.Contains(p, "no way") || !strings.Contains(p, "write_test.go") {
					t.Errorf("panicked with %q, which does not say with what and where", p)
				}
			}()
			c.write(t.Context(), func(tx *writing) error {
				e := entryNamed("half")
				if err := tx.insert(&e, ``); err != nil {
					t.Error(err)
				}
				panic("no way")
			})
			t.Error("it did not panic")
		},
		func() {
			_, err := c.Unname(t.Context(), datamesh.ObjectID{1}, "x")
			if !errors.Is(err, errs.FileNotFound) {
				t.Errorf("got %v, want kind FileNotFound", err)
			}
		},
		adding(t, c, "two"))
	adding(t, c, "three")()
	checkNamed(t, c, 1, "old", "one", "two", "three")
	checkNamed(t, c, 0, "half")
}

// TestContextThatEndsTakesNobodyAlong has two contexts end while a transaction goes
// on: that of the change that is being made, and that of the next one.
func TestContextThatEndsTakesNobodyAlong(t *testing.T) {
	c := openEmpty(t)
	next, stopNext := context.WithCancel(t.Context())
	within, stopWithin := context.WithCancel(t.Context())
	defer stopWithin()
	together(t, c,
		adding(t, c, "one"),
		func() {
			err := c.write(within, func(tx *writing) error {
				e := entryNamed("half")
				if err := tx.insert(&e, ``); err != nil {
					return err
				}
				stopWithin()
				stopNext()
				return tx.say(e.ID)
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the one that is being made: got %v", err)
			}
		},
		func() {
			// Its context does not tell it, so that it waits for its turn all the same.
			err := c.write(unheard{next}, func(*writing) error { t.Error("it was begun"); return nil })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the next one: got %v", err)
			}
		},
		adding(t, c, "two"))
	checkNamed(t, c, 1, "one", "two")
	checkNamed(t, c, 0, "half")
}

// An unheard context ends, and wakes nobody.
type unheard struct{ context.Context }

func (unheard) Done() <-chan struct{} { return nil }

// When SQLite takes back a whole transaction, since one change has filled the disk,
// those before and after it are made all the same.
func TestChangeThatFillsTheDiskFailsAlone(t *testing.T) {
	c := openEmpty(t)
	var calls atomic.Int32
	together(t, c,
		adding(t, c, "before"),
		func() {
			err := c.write(t.Context(), func(tx *writing) error {
				calls.Add(1)
				var pages int
				if err := tx.row([]any{&pages}, `PRAGMA page_count`); err != nil {
					return err
				}
				if _, err := tx.exec(fmt.Sprint(`PRAGMA max_page_count = `, pages+20)); err != nil {
					return err
				}
				_, err := tx.exec(`INSERT INTO met (device, what) VALUES (x'00', zeroblob(?))`, 1<<20)
				return err
			})
			if !errors.Is(err, errs.Full) {
				t.Errorf("got %v, want kind Full", err)
			}
		},
		adding(t, c, "after"))
	checkNamed(t, c, 1, "before", "after")
	if n := calls.Load(); n != 1 {
		t.Errorf("what has failed was called %d times", n)
	}
}

// When there is no room for any of the changes each is told.
func TestFullDiskIsToldToEach(t *testing.T) {
	c := openEmpty(t)
	limit := func(pages string) {
		err := c.write(t.Context(), func(tx *writing) error { _, err := tx.exec(`PRAGMA max_page_count = ` + pages); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	limit("1") // as many as there are
	full := func(name string) func() {
		return func() {
			e := entryNamed(name)
			e.Name = strings.Repeat("x", 3000)
			if err := c.Add(t.Context(), e); !errors.Is(err, errs.Full) {
				t.Errorf("%s: got %v, want kind Full", name, err)
			}
		}
	}
	together(t, c, full("one"), full("two"), full("three"))
	limit("1000000")
	together(t, c, adding(t, c, "one"), adding(t, c, "two"))
	checkNamed(t, c, 1, "one", "two")
}

// TestChangeThatEndsItsGoroutineLeavesNobodyWaiting has one do so, as a test does that
// fails.
func TestChangeThatEndsItsGoroutineLeavesNobodyWaiting(t *testing.T) {
	c := openEmpty(t)
	unmade := func(do func(*writing) error) func() {
		return func() {
			if err := c.write(t.Context(), do); err != errUnmade {
				t.Errorf("got %v, want %v", err, errUnmade)
			}
		}
	}
	insert := func(tx *writing) error {
		e := entryNamed("half")
		return tx.insert(&e, ``)
	}
	together(t, c, unmade(insert), unmade(func(*writing) error { runtime.Goexit(); return nil }), unmade(insert))
	adding(t, c, "next")()
	checkNamed(t, c, 0, "half")
	checkNamed(t, c, 1, "next")
}

// Who gives up while another process writes need not wait for that, nor need Close.
func TestGivingUpEndsTheWaitForAnotherProcess(t *testing.T) {
	c := openEmpty(t)
	other, err := Open(t.Context(), c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.begin(func() bool { return true }); err != nil {
		t.Fatal(err)
	}
	defer other.writer.run(`ROLLBACK`)
	began := time.Now()
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		if err := c.write(ctx, func(*writing) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	c.writing.Wait() // as Close does
	if waited := time.Since(began); waited >= lockPatience {
		t.Errorf("it took %v", waited)
	}
}

// When another process has written for too long, only those are told who have waited
// for that long.
func TestWhoComesLateIsNotTakenAlong(t *testing.T) {
	now := time.Now()
	early, late := &change{since: now}, &change{since: now.Add(1)}
	w := waiting{all: []*change{early, late}}
	if got := w.take(now); len(got) != 1 || got[0] != early || w.count() != 1 {
		t.Errorf("%d are taken, %d left", len(got), w.count())
	}
}

// TestManyWriteAtOnce has many write, each now and then in vain.
func TestManyWriteAtOnce(t *testing.T) {
	c := openEmpty(t)
	var all sync.WaitGroup
	var want atomic.Int64
	for i := range 16 {
		all.Go(func() {
			for j := range 20 {
				e := entryNamed(fmt.Sprint(i, " ", j))
				ctx, cancel := context.WithCancel(t.Context())
				switch j % 4 {
				case 1:
					e.ID = datamesh.ObjectID{1} // which one alone can be
				case 2:
					go cancel() // it may be in time, or late
				case 3:
					cancel()
				}
				err := c.Add(ctx, e)
				cancel()
				switch {
				case err == nil:
					want.Add(1)
				case !errors.Is(err, errs.Exists) && !errors.Is(err, context.Canceled):
					t.Error(err)
				}
				if there, failed := c.Named(t.Context(), e.Name); failed != nil || (there == 1) != (err == nil) {
					t.Errorf("%d objects are there, %v, after %v", there, failed, err)
				}
			}
		})
	}
	all.Wait()
	if s, err := c.Stats(t.Context()); err != nil || s.Objects != want.Load() {
		t.Errorf("%d objects, want %d: %v", s.Objects, want.Load(), err)
	}
}

// Of many that write at once one has a connection: the others would but ask SQLite
// again and again whose turn it is.
func TestOneWritesAtATime(t *testing.T) {
	c, err := Open(t.Context(), filepath.Join(t.TempDir(), "user.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			if err := c.Add(t.Context(), Entry{ID: datamesh.ObjectID{byte(i)}, Name: "x", Created: time.Now()}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if s := c.db.Stats(); s.OpenConnections > 2 || s.MaxIdleClosed > 0 { // the other one reads
		t.Errorf("%d connections, and %d that were closed since so many were idle", s.OpenConnections, s.MaxIdleClosed)
	}
	if n, err := c.Named(t.Context(), "x"); err != nil || n != 64 {
		t.Errorf("%d objects, %v", n, err)
	}
}

// Who waits for another to write ends when its context does, and does not wait at
// all if it has nothing to write.
func TestWaitingToWriteEnds(t *testing.T) {
	c, err := Open(t.Context(), filepath.Join(t.TempDir(), "user.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	writes, end := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		err := c.write(t.Context(), func(*writing) error {
			close(writes)
			<-end
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	defer group.Wait()
	defer close(end)
	<-writes
	ctx, cancel := context.WithCancel(t.Context())
	group.Go(func() {
		for {
			c.waiting.mu.Lock()
			waits := len(c.waiting.all)
			c.waiting.mu.Unlock()
			if waits > 0 {
				cancel()
				return
			}
			runtime.Gosched()
		}
	})
	for range 2 { // as it waits, and before it does
		if err := c.Add(ctx, Entry{Created: time.Now()}); !errors.Is(err, context.Canceled) {
			t.Errorf("add: got %v", err)
		}
	}
	hang, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	out, err := c.Unsent(hang, func(DeviceID, uint64, uint64, *format.LogBlock) ([]byte, error) {
		t.Error("there is nothing to seal")
		return nil, nil
	})
	if err != nil || out != nil {
		t.Errorf("unsent: got %+v, %v", out, err)
	}
}
