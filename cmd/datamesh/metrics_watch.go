package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"datamesh/internal/api"
	"datamesh/internal/metrics"
)

// A look is what metrics --watch prints each time.
type look struct {
	Time    time.Time `json:"time"`
	Seconds float64   `json:"seconds"` // since the last look
	Changes []change  `json:"changes"`
}

// A change is a value that is not what it was at the last look.
type change struct {
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels"`
	Value     float64           `json:"value"`
	Change    float64           `json:"change"`
	PerSecond float64           `json:"per_second"`

	series string
}

// watchMetrics prints what changes until ctx ends, which is no error.
func (c *cli) watchMetrics(ctx context.Context, ops api.Operations, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var (
		last map[string]float64
		at   time.Time
	)
	for {
		m, err := ops.Metrics(ctx)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("metrics: %w", err)
		}
		if last == nil {
			last = map[string]float64{}
			changes(last, m.Metrics, 1)
		} else {
			seconds := now.Sub(at).Seconds()
			l := look{Time: now.UTC().Round(time.Millisecond), Seconds: seconds, Changes: changes(last, m.Metrics, seconds)}
			if err := c.printLook(l); err != nil {
				return err
			}
		}
		at = now
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// changes returns what differs from the last look, and takes note of it.
// Buckets, and what is said of the process, are not looked at.
func changes(last map[string]float64, samples []metrics.Sample, seconds float64) []change {
	all := []change{}
	for _, s := range samples {
		if !strings.HasPrefix(s.Name, "datamesh_") || strings.HasSuffix(s.Name, "_bucket") {
			continue
		}
		series := s.Series()
		if diff := s.Value - last[series]; diff != 0 {
			all = append(all, change{s.Name, s.Labels, s.Value, diff, diff / seconds, series})
		}
		last[series] = s.Value
	}
	return all
}

func (c *cli) printLook(l look) error {
	if c.json {
		return writeJSON(c.out, l)
	}
	table := newTable(c.out)
	row(table, l.Time.Local().Format(time.TimeOnly), count(len(l.Changes), "change"))
	for _, x := range l.Changes {
		row(table, "  "+x.series, fmt.Sprintf("%.6g", x.Value), fmt.Sprintf("%+.6g", x.Change), fmt.Sprintf("%+.3g/s", x.PerSecond))
	}
	return outputError(table.Flush())
}
