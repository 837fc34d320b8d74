//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"datamesh/internal/node"
)

func TestLoadLeavesNoGoroutinesAndNoDescriptors(t *testing.T) {
	t.Parallel()
	const slack = 5
	m := newMesh(t, 6)
	users := []*user{m.user(t), &m.members[0].user, &m.members[1].user}
	load := func() {
		puts := make([]upload, 0, len(users))
		for i, u := range users {
			puts = append(puts, beginPut(t, u, noisy(byte(i), 3<<20)))
		}
		for i := range puts {
			puts[i].end(t)
		}
		var gets []download
		for i := range 4 * len(puts) {
			gets = append(gets, beginGet(t, &puts[i%len(puts)]))
		}
		for _, g := range gets {
			g.end(t)
		}
	}
	load()
	warm := m.quietest(t)
	for range 5 {
		load()
	}
	for i, x := range m.members {
		var now footprint
		eventually(t, fmt.Sprintf("%s comes back to within %d of %+v", x.home, slack, warm[i]), func() bool {
			now = x.footprint(t)
			return now.goroutines <= warm[i].goroutines+slack && now.descriptors <= warm[i].descriptors+slack
		})
		t.Logf("%s: warm %+v, after the load %+v", x.home, warm[i], now)
	}
}

// A footprint is what a service has open.
type footprint struct{ goroutines, descriptors int }

func (x *member) footprint(t *testing.T) footprint {
	t.Helper()
	open, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(x.task.cmd.Process.Pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return footprint{result[node.Stats](t, x.run(t, "stats")).Goroutines, len(open)}
}

// quietest looks at all members until none has gone below its lowest for a
// while, and returns that. Streams without a request are kept for 20 s.
func (m *mesh) quietest(t *testing.T) []footprint {
	t.Helper()
	lowest := make([]footprint, len(m.members))
	for i, x := range m.members {
		lowest[i] = x.footprint(t)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for quiet := 0; quiet < 25; quiet++ {
		<-tick.C
		for i, x := range m.members {
			now := x.footprint(t)
			low := footprint{min(now.goroutines, lowest[i].goroutines), min(now.descriptors, lowest[i].descriptors)}
			if low != lowest[i] {
				lowest[i], quiet = low, 0
			}
		}
	}
	return lowest
}
