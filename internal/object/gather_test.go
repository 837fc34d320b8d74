package object

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestJournalWaitsForCompanyWhenManyPut(t *testing.T) {
	for _, c := range []struct {
		puts, others int // others come after 5 ms
		want         time.Duration
	}{
		{1, 0, 0},
		{15, 0, 0}, // one in eight is there
		{16, 1, 5 * time.Millisecond},
		{64, 3, journalPatience}, // too few
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &journalFile{active: c.puts, waiting: 1}
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
