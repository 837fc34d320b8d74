package mesh

import (
	"context"
	"testing"

	"datamesh/internal/errs"
)

func TestAliveTellsAStuckNode(t *testing.T) {
	t.Parallel()
	n := start(t, first(t))
	if err := n.Alive(t.Context()); err != nil {
		t.Errorf("a node that works: %v", err)
	}
	stuck, inside := make(chan struct{}), make(chan struct{})
	if err := n.tell(t.Context(), func(*state) { close(inside); <-stuck }); err != nil {
		t.Fatal(err)
	}
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error)
	go func() { asked <- n.Alive(ctx) }()
	for len(n.do) == 0 { // until the question waits behind what hangs
		select {
		case err := <-asked:
			t.Fatalf("a stuck node answers: %v", err)
		default:
		}
	}
	cancel()
	if err := <-asked; errs.KindOf(err) != errs.Unavailable {
		t.Errorf("a stuck node: %v, want Unavailable", err)
	}
	close(stuck)
	if err := n.Alive(t.Context()); err != nil {
		t.Errorf("when it goes on: %v", err)
	}
}
