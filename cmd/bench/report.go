//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

const reportVersion = 1

// A Report is what one run of bench has measured.
type Report struct {
	Version int       `json:"version"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"` // that all of it took
	Machine Machine   `json:"machine"`
	Store   Store     `json:"store"`
	Figures []*Figure `json:"figures"`
}

// A Figure is one thing that was measured, once or several times.
type Figure struct {
	Work   string    `json:"work"` // what was done
	By     string    `json:"by"`   // what has done it, or the floor of what
	Unit   string    `json:"unit"`
	Runs   []float64 `json:"runs"` // not empty
	Median float64   `json:"median"`
}

// The units of figures, and what they are of.
const (
	datameshIt  = "datamesh"
	floorTLS    = "floor over TLS"
	floorStream = "floor over a libp2p stream"

	largePut = "put a large file"
	largeGet = "get a large file"

	speed    = "MB/s"
	effort   = "core-s/GB"
	client   = "client core-s/GB"
	memory   = "MiB at most in the client"
	nodePeak = "MiB at most in a node"
	took     = "ms"
	first    = "ms to the first byte"
	rate     = "1/s"
	p50, p99 = "ms p50", "ms p99"
)

// add notes values of a figure.
func (r *Report) add(work, by, unit string, runs ...float64) {
	f := r.figure(work, by, unit)
	if f == nil {
		f = &Figure{Work: work, By: by, Unit: unit}
		r.Figures = append(r.Figures, f)
	}
	f.Runs = append(f.Runs, runs...)
	f.Median = median(f.Runs)
}

// figure returns what was measured, or nil.
func (r *Report) figure(work, by, unit string) *Figure {
	for _, f := range r.Figures {
		if f.Work == work && f.By == by && f.Unit == unit {
			return f
		}
	}
	return nil
}

func (r *Report) printHead(w io.Writer) {
	fmt.Fprintf(w, "%s, %d cores, %d MiB, Linux %s, %s, load %.1f\n", r.Machine.CPU, r.Machine.Cores, r.Machine.Memory>>20, r.Machine.Kernel, r.Machine.Go, r.Machine.Load)
	fmt.Fprintf(w, "%s: 4 KiB are synced in %.2f ms, 4 MiB one after the other at %.0f MB/s\n", r.Store.Filesystem, r.Store.SyncMS, r.Store.WriteMBps)
}

// print prints all figures, with the median of each and its range, and then how
// they stand to their goals.
func (r *Report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	work := ""
	for _, f := range r.byWork() {
		if f.Work != work {
			work = f.Work
			fmt.Fprintf(t, "\n%s\n", work)
		}
		fmt.Fprintf(t, "  %s\t%s\t%s", f.By, number(f.Median), f.Unit)
		if len(f.Runs) > 1 {
			fmt.Fprintf(t, "\t%s to %s in %d runs", number(slices.Min(f.Runs)), number(slices.Max(f.Runs)), len(f.Runs))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintln(t, "\ngoals")
	for _, g := range goals {
		if value, ok := g.value(r); ok {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", g.work, number(value), g, map[bool]string{true: "met", false: "NOT MET"}[g.met(value)])
		}
	}
	t.Flush()
}

// byWork returns the figures with those of one work together, in the order in which
// the works were begun.
func (r *Report) byWork() []*Figure {
	began := map[string]int{}
	for i, f := range r.Figures {
		if _, ok := began[f.Work]; !ok {
			began[f.Work] = i
		}
	}
	sorted := slices.Clone(r.Figures)
	slices.SortStableFunc(sorted, func(a, b *Figure) int { return began[a.Work] - began[b.Work] })
	return sorted
}

// number has three digits that count.
func number(v float64) string {
	s := fmt.Sprintf("%.3g", v)
	if strings.Contains(s, "e") {
		s = fmt.Sprintf("%.0f", v)
	}
	return s
}

// A goal is what a figure, or its ratio to another, should be at least or at most.
type goal struct {
	work, by, unit string
	over           *goal // what it is divided by; nil: nothing
	least, most    float64
}

// over has a goal be for the ratio to what something else does.
func over(work, by, unit string) *goal { return &goal{work: work, by: by, unit: unit} }

var goals = []goal{
	{work: largePut, by: datameshIt, unit: speed, over: over(largePut, floorTLS, speed), least: 0.5},
	{work: largePut, by: datameshIt, unit: effort, most: 10},
	{work: largePut, by: datameshIt, unit: speed, over: over(largePut, minio, speed), least: 1.7},
	{work: largeGet, by: datameshIt, unit: speed, over: over(largeGet, floorTLS, speed), least: 0.6},
	{work: largeGet, by: datameshIt, unit: effort, most: 6.5},
	{work: largeGet, by: datameshIt, unit: speed, over: over(largeGet, kubo, speed), least: 4},
	{work: largeGet, by: datameshIt, unit: speed, over: over(largeGet, minio, speed), least: 1.2},
	{work: lostGet, by: datameshIt, unit: speed, over: over(lossy(0), datameshIt, speed), least: 0.8},
	{work: lostGet, by: datameshIt, unit: first, most: 500},
	{work: smallPut, by: datameshIt, unit: rate, least: 300},
	{work: smallPut, by: datameshIt, unit: p99, over: over(smallPut, datameshIt, p50), most: 10},
	{work: smallGet, by: datameshIt, unit: rate, least: 1000},
	{work: smallGet, by: datameshIt, unit: p99, over: over(smallGet, datameshIt, p50), most: 10},
	{work: largePut, by: datameshIt, unit: memory, most: 256},
	{work: largeGet, by: datameshIt, unit: memory, most: 256},
	{work: "nodes", by: datameshIt, unit: nodePeak, most: 256},
	{work: "version", by: datameshIt, unit: took, most: 15},
	{work: onePut, by: datameshIt, unit: took, most: 50},
}

// value returns what was measured, if it was.
func (g goal) value(r *Report) (float64, bool) {
	f := r.figure(g.work, g.by, g.unit)
	if f == nil || g.over == nil {
		return valueOf(f)
	}
	of, ok := valueOf(r.figure(g.over.work, g.over.by, g.over.unit))
	if !ok || of == 0 {
		return 0, false
	}
	return f.Median / of, true
}

func valueOf(f *Figure) (float64, bool) {
	if f == nil {
		return 0, false
	}
	return f.Median, true
}

func (g goal) met(value float64) bool {
	if g.most > 0 {
		return value <= g.most
	}
	return value >= g.least
}

// String says what the goal is.
func (g goal) String() string {
	s := g.unit
	if g.over != nil {
		s += " of " + g.over.by
		if g.over.work != g.work {
			s += ", " + g.over.work
		} else if g.over.unit != g.unit {
			s = g.unit + " of " + g.over.unit
		}
	}
	if g.most > 0 {
		return fmt.Sprintf("%s, at most %s", s, number(g.most))
	}
	return fmt.Sprintf("%s, at least %s", s, number(g.least))
}
