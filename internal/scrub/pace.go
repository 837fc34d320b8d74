package scrub

import (
	"context"
	"time"
)

// A pace keeps reads to a rate.
type pace struct {
	rate int64     // bytes in a second; 0: no limit
	free time.Time // when all that was read has had its time
}

// after returns how long to wait after a read of n bytes that began then. What
// comes to little is saved up, as timers are not that fine.
func (p *pace) after(began time.Time, n int) time.Duration {
	if p.rate <= 0 {
		return 0
	}
	if p.free.Before(began) {
		p.free = began
	}
	p.free = p.free.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	if wait := time.Until(p.free); wait >= leastWait {
		return wait
	}
	return 0
}

// sleep waits, or returns ctx's error when that ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
