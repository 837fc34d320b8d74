package store

import (
	"datamesh"
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
		{"as many as last time", crowd, crowd - 1, crowd, 0, every*(crowd-1) + pause},
		{"more than last time, but slowly", crowd, crowd + 1, crowd, 0, every*(crowd-1) + pause},
		{"fewer than last time", 100, 3, 4, recent - 1, patience},
		{"nobody after a crowd", crowd, 0, 1, 0, patience},
		{"long after a crowd", crowd, 2, 1, recent, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &Disk{changes: make(chan *change, maxBatch)}
				for i := range c.others {
					coming := time.AfterFunc(time.Duration(i+1)*every, func() { d.changes <- &change{} })
					defer coming.Stop()
				}
				began := time.Now()
				if got := d.gather(&change{}, c.last, began.Add(-c.ago)); len(got) != c.want || time.Since(began) != c.after {
					t.Errorf("got %d changes after %v, want %d after %v", len(got), time.Since(began), c.want, c.after)
				}
			})
		})
	}
}

// The shards of a segment that one put sends to the same store are no crowd.
func TestShardsOfOneSegmentAreNoCrowd(t *testing.T) {
	one, other := &change{segment: datamesh.SegmentID{1}}, &change{segment: datamesh.SegmentID{2}}
	none := &change{}
	for _, c := range []struct {
		changes []*change
		want    int
	}{
		{[]*change{one}, 1},
		{[]*change{one, one, one, one, one, one}, 1},
		{[]*change{one, one, other, other, none}, 3},
		{[]*change{none, none, none, none}, 4},
	} {
		if got := callers(c.changes); got != c.want {
			t.Errorf("got %d, want %d", got, c.want)
		}
	}
}

func TestClosedStoreWaitsForNobody(t *testing.T) {
	d := &Disk{changes: make(chan *change, maxBatch)}
	d.changes <- &change{}
	close(d.changes)
	if got := d.gather(&change{}, maxBatch, time.Now()); len(got) != 2 {
		t.Errorf("got %d changes, want 2", len(got))
	}
}
