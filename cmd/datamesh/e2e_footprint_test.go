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
	onlyInFull(t, "what a load leaves behind")
	const slack = 5
	m := newMesh(t, 6)
	users := []*user{m.user(t), &m.members[0].user, &m.members[1].user}
	load := func() {
		for range 3 {
			putAndGet(t, users)
		}
	}
	load() // opens what is kept for ever, such as connections to the database
	warm := m.quietest(t)
	load()
	last := make([]footprint, len(m.members))
	defer func() { t.Logf("warm %+v, after the load %+v", warm, last) }()
	for i, x := range m.members {
		eventually(t, x.home+" is as it was before the load", func() bool {
			last[i] = x.footprint(t)
			return last[i].goroutines <= warm[i].goroutines+slack && last[i].descriptors <= warm[i].descriptors+slack
		})
	}
}

// putAndGet has every user put at once, and then get at once, four times each.
func putAndGet(t *testing.T, users []*user) {
	t.Helper()
	puts := make([]upload, len(users))
	for i, u := range users {
		puts[i] = beginPut(t, u, noisy(byte(i), 3<<20))
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
