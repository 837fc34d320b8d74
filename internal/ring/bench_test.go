package ring

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// BenchmarkTrafficAtRest reports what one node of a mesh that nothing happens
// in sends in an hour, without the transport's own bytes: requests and
// answers, in bytes, and the number of calls.
func BenchmarkTrafficAtRest(b *testing.B) {
	for _, n := range []int{6, 50, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b, 1)
			mesh(w, n)
			w.run(5 * time.Minute)
			for _, x := range w.nodes {
				x.bytes, x.calls = 0, 0
			}
			hours := 0
			for b.Loop() {
				w.run(time.Hour)
				hours++
			}
			var bytes, calls int
			for _, x := range w.nodes {
				bytes, calls = bytes+x.bytes, calls+x.calls
			}
			b.ReportMetric(float64(bytes)/float64(n*hours), "B/node-hour")
			b.ReportMetric(float64(calls)/float64(n*hours), "calls/node-hour")
			for _, x := range w.nodes {
				if x.m.View().Live() != n {
					b.Fatal("somebody died")
				}
			}
		})
	}
}

// BenchmarkStep is a ping served by a machine with 10,000 members, and what
// the table of one takes in memory.
func BenchmarkStep(b *testing.B) {
	var before, after runtime.MemStats
	w := newWorld(b, 1)
	x := w.add(false)
	r := rand.New(rand.NewPCG(1, 1))
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 10_000 {
		rec := testRecord(i, w.now)
		for j := range rec.Peer {
			rec.Peer[j] = byte(r.Uint32())
		}
		x.m.setClaim(x.m.add(&rec), alive)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	from := x.m.order[0].peer()
	msg := &Message{Version: Version, Kind: KindPing}
	for b.Loop() {
		w.now = w.now.Add(time.Millisecond)
		x.m.Step(w.now, Request{from, msg, 1})
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e4, "B/member")
}

// BenchmarkView is a view of 10,000 members made anew.
func BenchmarkView(b *testing.B) {
	w := newWorld(b, 1)
	x := w.add(false)
	for i := range 10_000 {
		rec := testRecord(i, w.now)
		rec.Peer[0], rec.Peer[1] = byte(i>>8), byte(i)
		x.m.setClaim(x.m.add(&rec), alive)
	}
	for b.Loop() {
		x.m.touch()
		x.m.View()
	}
}
