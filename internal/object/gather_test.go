package object

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestJournalWaitsForCompanyWhenManyPut(t *testing.T) {
	for _, c := range []struct {
		puts, left, others int // of puts some have failed; others come after 5 ms
		want               time.Duration
	}{
		{1, 0, 0, 0},
		{15, 0, 0, 0}, // one in eight is there
		{16, 0, 1, 5 * time.Millisecond},
		{64, 0, 3, journalPatience}, // too few
		{64, 60, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			var j Journal
			for range c.puts - 1 {
				j.begin()
			}
			f := j.begin().f
			for range c.left {
				(&entry{j: &j, f: f}).leave()
			}
			f.wait(1)
			coming := time.AfterFunc(5*time.Millisecond, func() { f.wait(c.others) })
			defer coming.Stop()
			began := time.Now()
			f.gather()
			if got := time.Since(began); got < c.want || got > c.want+time.Millisecond {
				t.Errorf("of %d puts one waits %v for %d others, want %v", c.puts, got, c.others, c.want)
			}
		})
	}
}
