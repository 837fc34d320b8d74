package catalog

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestChangesWaitForCompanyInACrowd(t *testing.T) {
	const every = 4 * time.Millisecond
	for _, c := range []struct {
		name         string
		last, others int // others come one after the other, every so often
		want         int
		ago, after   time.Duration // ago: the last ones
	}{
		{"alone", 1, 0, 1, 0, 0},
		{"alone among few", crowd - 1, 2, 1, 0, 0},
		{"as many as last time", crowd, crowd - 1, crowd, 0, every*(crowd-1) + time.Millisecond},
		{"fewer than last time", 100, 3, 4, recent - 1, patience},
		{"nobody after a crowd", crowd, 0, 1, 0, patience},
		{"long after a crowd", crowd, 2, 1, recent, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w waiting
				add := func() {
					w.mu.Lock()
					defer w.mu.Unlock()
					w.all = append(w.all, &change{})
				}
				add()
				for i := range c.others {
					coming := time.AfterFunc(time.Duration(i+1)*every, add)
					defer coming.Stop()
				}
				began := time.Now()
				w.gather(c.last, began.Add(-c.ago))
				// Who comes as it looks may be seen at once, or a moment later.
				if got := time.Since(began); w.count() != c.want || got < c.after || got > c.after+time.Millisecond {
					t.Errorf("%d wait after %v, want %d after %v", w.count(), got, c.want, c.after)
				}
			})
		})
	}
}
