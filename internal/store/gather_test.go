package store

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
		after        time.Duration
	}{
		{"alone", 1, 0, 1, 0},
		{"alone among few", crowd - 1, 2, 1, 0},
		{"as many as last time", crowd, crowd - 1, crowd, every*(crowd-1) + pause},
		{"more than last time, but slowly", crowd, crowd + 1, crowd, every*(crowd-1) + pause},
		{"fewer than last time", 100, 3, 4, patience},
		{"nobody after a crowd", crowd, 0, 1, patience},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &Disk{changes: make(chan *change, maxBatch)}
				for i := range c.others {
					coming := time.AfterFunc(time.Duration(i+1)*every, func() { d.changes <- &change{} })
					defer coming.Stop()
				}
				began := time.Now()
				if got := d.gather(&change{}, c.last); len(got) != c.want || time.Since(began) != c.after {
					t.Errorf("got %d changes after %v, want %d after %v", len(got), time.Since(began), c.want, c.after)
				}
			})
		})
	}
}

func TestClosedStoreWaitsForNobody(t *testing.T) {
	d := &Disk{changes: make(chan *change, maxBatch)}
	d.changes <- &change{}
	close(d.changes)
	if got := d.gather(&change{}, maxBatch); len(got) != 2 {
		t.Errorf("got %d changes, want 2", len(got))
	}
}
