package mesh

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"datamesh/internal/errs"
)

// What a whole try has found is told, not that the last one was cut off.
func TestACutOffTryHidesNoReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond) // in the second
		defer cancel()
		refused := errs.New(errs.Unavailable, "refused")
		tries := 0
		_, err := tryUntil(ctx, func() (*met, error) {
			if tries++; tries == 1 {
				return nil, refused
			}
			<-ctx.Done()
			return nil, errs.New(errs.Unavailable, "no answer: %w", ctx.Err())
		})
		if tries != 2 || err != refused {
			t.Errorf("after %d tries: %v", tries, err)
		}
		_, err = tryUntil(ctx, func() (*met, error) { return nil, errs.New(errs.Unavailable, "no answer: %w", ctx.Err()) })
		if errs.KindOf(err) != errs.Unavailable {
			t.Errorf("the only try was cut off: %v", err)
		}
	})
}
