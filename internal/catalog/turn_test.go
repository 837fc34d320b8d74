package catalog

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/format"
)

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
	if s := c.db.Stats(); s.OpenConnections > 1 || s.MaxIdleClosed > 0 {
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
	cancel()
	if err := c.Add(ctx, Entry{Created: time.Now()}); !errors.Is(err, context.Canceled) {
		t.Errorf("add: got %v", err)
	}
	hang, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	seq, record, err := c.Unsent(hang, func(DeviceID, uint64, uint64, *format.LogBlock) ([]byte, error) {
		t.Error("there is nothing to seal")
		return nil, nil
	})
	if err != nil || seq != 0 || record != nil {
		t.Errorf("unsent: got %d, %q, %v", seq, record, err)
	}
}
