//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"datamesh"
	"datamesh/internal/linetest"

	"gonum.org/v1/plot/plotter"
)

// The works whose bytes are worth a goal, and what they are compared with.
const (
	wideGet = "get 64 MiB, over 100 Mbit/s with 100 ms there and back"
	widePut = "put 64 MiB, over 20 Mbit/s with 100 ms there and back"
	theLine = "the line alone"

	cold  = "ms of a command that has no connection yet, with its start"
	waits = "round trips: by how many ms more, for each there and back"

	wideSize = 64 << 20
)

// roundTrips are those of the lines that small objects go over.
var roundTrips = []time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond}

// wideSizes are those of the objects.
var wideSizes = []int64{4 << 10, 1 << 20}

func far(verb string, n int64, roundTrip time.Duration) string {
	return fmt.Sprintf("%s, %d ms there and back", sized(verb, n), roundTrip.Milliseconds())
}

// measureWide puts and gets objects over lines as they are between homes: the
// client has one to all nodes, of a relay before each.
func measureWide(ctx context.Context, l *lab) error {
	return l.apart(l.dir, func(w *lab) error { return w.measureWide(ctx) })
}

func (l *lab) measureWide(ctx context.Context) error {
	up, down := linetest.NewLine(0, 0), linetest.NewLine(0, 0)
	set := func(upRate, downRate int64, roundTrip time.Duration) {
		up.Set(upRate, roundTrip/2)
		down.Set(downRate, roundTrip/2)
	}
	for i := range labNodes {
		r, err := linetest.NewRelay(linetest.Path{up}, linetest.Path{down})
		if err != nil {
			return err
		}
		defer r.Close()
		port, err := freePort()
		if err != nil {
			return err
		}
		r.To(port)
		p := &process{home: filepath.Join(l.dir, fmt.Sprintf("node-%d", i+1)), port: strconv.Itoa(port),
			env: []string{"DATAMESH_MESH_ANNOUNCE=" + r.Addr()}}
		l.nodes = append(l.nodes, p)
		if err := l.launch(ctx, p); err != nil {
			return err
		}
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	if err := l.do(ctx, nil, append(l.door(), "peers")...); err != nil {
		return err
	}
	for _, rtt := range roundTrips {
		set(0, 0, rtt)
		for _, n := range wideSizes {
			b, err := l.benchmark(ctx, "--size", strconv.FormatInt(n, 10), "--count", "5")
			if err != nil {
				return err
			}
			for _, s := range b.Sizes {
				l.report.add(far("put", n, rtt), datameshIt, p50, *s.Put.Latency.P50)
				l.report.add(far("get", n, rtt), datameshIt, p50, *s.Get.Latency.P50)
			}
			if err := l.measureCold(ctx, n, rtt); err != nil {
				return err
			}
		}
	}
	l.countWaits()
	const rtt = 100 * time.Millisecond
	set(20*linetest.Mbit, 100*linetest.Mbit, rtt)
	b, err := l.benchmark(ctx, "--size", strconv.Itoa(wideSize), "--count", "3")
	if err != nil {
		return err
	}
	for _, s := range b.Sizes {
		l.report.add(widePut, datameshIt, speed, s.Put.Speed/1e6)
		l.report.add(widePut, theLine, speed, 20*linetest.Mbit/1e6*wideSize/float64(storedLen()))
		l.report.add(wideGet, datameshIt, speed, s.Get.Speed/1e6)
		l.report.add(wideGet, theLine, speed, 100*linetest.Mbit/1e6)
	}
	set(0, 0, 0) // for those who say goodbye
	return nil
}

// measureCold puts an object of n bytes and gets it, each with a command of its own.
func (l *lab) measureCold(ctx context.Context, n int64, rtt time.Duration) error {
	file, out := filepath.Join(l.dir, "small"), filepath.Join(l.dir, "out")
	for range l.o.runs {
		content := make([]byte, n)
		rand.Read(content)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return err
		}
		var printed bytes.Buffer
		put, err := l.measure(ctx, &printed, "put", file)
		if err != nil {
			return err
		}
		var s stored
		if err := decode(&printed, &s); err != nil {
			return err
		}
		get, err := l.measure(ctx, nil, "get", s.ID, out, "--force")
		if err != nil {
			return err
		}
		if err := sameFile(file, out); err != nil {
			return err
		}
		l.report.add(far("put", n, rtt), datameshIt, cold, put.wall.Seconds()*1000)
		l.report.add(far("get", n, rtt), datameshIt, cold, get.wall.Seconds()*1000)
	}
	return nil
}

// countWaits notes how many round trips operations wait for: how much longer they take
// by the longest line than by the shortest.
func (l *lab) countWaits() {
	near, distant := roundTrips[0], roundTrips[len(roundTrips)-1]
	for _, n := range wideSizes {
		for _, verb := range []string{"put", "get"} {
			a, b := l.report.figure(far(verb, n, near), datameshIt, p50), l.report.figure(far(verb, n, distant), datameshIt, p50)
			l.report.add(sized(verb, n), datameshIt, waits, (b.Median-a.Median)*float64(time.Millisecond)/float64(distant-near))
		}
	}
}

// storedLen is about how many bytes of shards the large object has: two for each
// four of its own.
func storedLen() int { return datamesh.ShardLen(wideSize, 4) * 6 }

// plotWide draws how long small objects take with how far the nodes are away.
func (r *Report) plotWide(dir string) error {
	p := r.newPlot("ms there and back", "ms")
	var names []string
	var lines []plotter.XYs
	for _, verb := range []string{"put", "get"} {
		var line plotter.XYs
		for _, rtt := range roundTrips {
			if f := r.figure(far(verb, 1<<20, rtt), datameshIt, p50); f != nil {
				line = append(line, plotter.XY{X: float64(rtt.Milliseconds()), Y: f.Median})
			}
		}
		names, lines = append(names, verb+" of 1 MiB"), append(lines, line)
	}
	return draw(p, filepath.Join(dir, "wide.svg"), names, lines...)
}
