package mesh

import (
	"context"

	"datamesh/internal/errs"
)

// Alive reports with nil that the goroutine that owns the node's state gets
// round to its work. Kind: Unavailable.
func (n *Net) Alive(ctx context.Context) error {
	done := make(chan struct{})
	if err := n.tell(ctx, func(*state) { close(done) }); err != nil {
		return errs.New(errs.Unavailable, "the node takes no orders: %w", err)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errs.New(errs.Unavailable, "the node is stuck: %w", ctx.Err())
	case <-n.ctx.Done():
		return errClosed
	}
}
