//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// How the works on small objects are done.
const (
	smallSize = 4 << 10 // bytes of an object
	inFlight  = 64      // puts, or gets, at once
)

// sizes are those of objects that are put and got one after the other.
var sizes = []int64{4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20}

func sized(verb string, n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%s objects of %d KiB, one after the other", verb, n>>10)
	}
	return fmt.Sprintf("%s objects of %d MiB, one after the other", verb, n>>20)
}

// benchmarked is what "datamesh benchmark --json" tells.
type benchmarked struct {
	Sizes []struct {
		Size int64  `json:"size"`
		Put  moving `json:"put"`
		Get  moving `json:"get"`
	} `json:"sizes"`
}

// moving is what it tells of puts, or of gets.
type moving struct {
	Operations int       `json:"operations"`
	Failures   int       `json:"failures"`
	Error      string    `json:"error"`
	Began      time.Time `json:"began"`
	Seconds    float64   `json:"seconds"`
	Rate       float64   `json:"operations_per_second"`
	Speed      float64   `json:"bytes_per_second"`
	Latency    struct {
		P50 *float64 `json:"p50_ms"`
		P99 *float64 `json:"p99_ms"` // nil: they are too few
	} `json:"latency"`
}

// benchmark runs the program's own benchmark, which compares all that comes back,
// and deletes it.
func (l *lab) benchmark(ctx context.Context, args ...string) (b benchmarked, err error) {
	if err := l.start(ctx); err != nil {
		return b, err
	}
	if err := l.do(ctx, &b, append([]string{"benchmark"}, args...)...); err != nil {
		return b, err
	}
	for _, s := range b.Sizes {
		for _, m := range []moving{s.Put, s.Get} {
			if m.Failures > 0 || m.Operations == 0 || m.Latency.P50 == nil {
				return b, fmt.Errorf("of objects of %d bytes %d failed: %s", s.Size, m.Failures, m.Error)
			}
		}
	}
	return b, nil
}

// measureSizes puts and gets objects of several sizes, none larger than the large file,
// one after the other.
func measureSizes(ctx context.Context, l *lab) error {
	var list []string
	for _, n := range sizes {
		if n <= l.o.size {
			list = append(list, strconv.FormatInt(n, 10))
		}
	}
	for range l.o.runs {
		b, err := l.benchmark(ctx, "--size", strings.Join(list, ","))
		if err != nil {
			return err
		}
		for _, s := range b.Sizes {
			l.moving(sized("put", s.Size), s.Put)
			l.moving(sized("get", s.Size), s.Get)
		}
	}
	return nil
}

// benchmarkSmall runs the program's own benchmark with many small objects at once.
func (l *lab) benchmarkSmall(ctx context.Context) (benchmarked, error) {
	return l.benchmark(ctx, "--size", strconv.Itoa(smallSize), "--count", strconv.Itoa(l.o.small), "--in-flight", strconv.Itoa(inFlight))
}

// measureSmall puts and gets many small objects at once.
func measureSmall(ctx context.Context, l *lab) error {
	for range l.o.runs {
		b, err := l.benchmarkSmall(ctx)
		if err != nil {
			return err
		}
		for _, s := range b.Sizes {
			l.moving(smallPut, s.Put)
			l.moving(smallGet, s.Get)
		}
	}
	return nil
}

// moving notes what the program's own benchmark has measured.
func (l *lab) moving(work string, m moving) {
	l.report.add(work, datameshIt, speed, m.Speed/1e6)
	l.report.add(work, datameshIt, rate, m.Rate)
	l.report.add(work, datameshIt, p50, *m.Latency.P50)
	if m.Latency.P99 != nil {
		l.report.add(work, datameshIt, p99, *m.Latency.P99)
	}
}
