//go:build linux

package main

import (
	"context"
	"time"
)

const (
	atRest    = "a node at rest"
	restCores = "% of a core"
	restHas   = "MiB"
)

// measureIdle looks what nodes that have just come together take while nobody asks
// for anything.
func measureIdle(ctx context.Context, l *lab) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	before := make([]time.Duration, len(l.nodes))
	began := time.Now()
	for i, p := range l.nodes {
		t, err := cpuTime(p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		before[i] = t
	}
	if err := wait(ctx, l.o.rest); err != nil {
		return err
	}
	for i, p := range l.nodes {
		t, err := cpuTime(p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		n, err := memoryNow(p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		l.report.add(atRest, datameshIt, restCores, 100*(t-before[i]).Seconds()/time.Since(began).Seconds())
		l.report.add(atRest, datameshIt, restHas, float64(n)/(1<<20))
	}
	return nil
}
