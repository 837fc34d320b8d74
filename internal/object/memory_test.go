package object

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"datamesh"
)

// A gate is where the gets of all members wait, and are counted.
type gate struct {
	open chan struct{}

	mu    sync.Mutex    // guards bytes
	bytes map[*byte]int // that are to go to each buffer
}

// gated is a store behind a gate.
type gated struct {
	datamesh.ShardStore
	*gate
}

func (g gated) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	g.mu.Lock()
	g.bytes[&buf[:1][0]] = cap(buf)
	g.mu.Unlock()
	select {
	case <-g.open:
	case <-ctx.Done():
	}
	return g.ShardStore.Get(ctx, key, buf)
}

func TestFiftyGetsStayWithinTheirMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		content := noise(1, 2<<20)
		result := u.put(content, options)
		g := &gate{open: make(chan struct{}), bytes: map[*byte]int{}}
		for _, m := range w.members {
			m.inner = gated{m.store, g}
		}
		var wait sync.WaitGroup
		for range 50 {
			wait.Go(func() { u.get(result.ID, content) })
		}
		synctest.Wait()
		g.mu.Lock()
		sum := 0
		for _, n := range g.bytes {
			sum += n
		}
		g.mu.Unlock()
		if sum == 0 || sum > maxMemory {
			t.Errorf("%d bytes of shards are on their way, want at most %d", sum, maxMemory)
		}
		close(g.open)
		wait.Wait()
		if !u.getMemory.TryAcquire(maxMemory) {
			t.Error("memory was not given back")
		}
	})
}
