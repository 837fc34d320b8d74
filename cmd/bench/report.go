//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

const reportVersion = 2

// A Report is what one run of bench has measured.
type Report struct {
	Version int       `json:"version"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"` // that all of it took
	Machine Machine   `json:"machine"`

	Programs map[string]string `json:"programs"` // versions of all that are measured, or measure
	Flags    string            `json:"flags"`
	Store    Store             `json:"store"`          // where all is but what the work "disk" does
	Disk     *Store            `json:"disk,omitempty"` // of that work
	Works    []Done            `json:"works"`
	Figures  []*Figure         `json:"figures"`
	Gaps     []Gap             `json:"not_measured,omitempty"`
	Goals    []Goal            `json:"goals"` // all there are

	adding sync.Mutex // held by add
}

// A Figure is one thing that was measured, once or several times.
type Figure struct {
	Work   string    `json:"work"` // what was done
	By     string    `json:"by"`   // what has done it, or the floor of what
	Unit   string    `json:"unit"`
	Runs   []float64 `json:"runs"` // not empty
	Median float64   `json:"median"`
}

// A Done is a work that was done, and how much it was disturbed: what share of all
// processors' time others took meanwhile, on this machine, and on its host (steal).
type Done struct {
	Work    string  `json:"work"`
	Seconds float64 `json:"seconds"`
	Others  float64 `json:"others"`
	Steal   float64 `json:"steal"`
	Error   string  `json:"error,omitempty"`
}

// A Gap is something that could not be measured.
type Gap struct {
	What string `json:"what"` // a work, a unit, or by whom, as figures have it
	Why  string `json:"why"`
}

// notMeasured notes a gap, and says so.
func (r *Report) notMeasured(what, format string, args ...any) {
	g := Gap{what, fmt.Sprintf(format, args...)}
	if slices.Contains(r.Gaps, g) {
		return
	}
	r.Gaps = append(r.Gaps, g)
	fmt.Fprintln(os.Stderr, "NOT MEASURED: "+g.What+": "+g.Why)
}

// The units of figures, and what they are of.
const (
	datameshIt  = "datamesh"
	floorTLS    = "floor over TLS"
	floorStream = "floor over a libp2p stream"

	allNodes = "nodes, from the start of each to its end, in all works"

	largePut = "put a large file"
	largeGet = "get a large file"

	speed    = "MB/s"
	effort   = "core-s/GB"
	client   = "client core-s/GB"
	memory   = "MiB at most in the client"
	nodePeak = "MiB at most in a node"
	latency  = "ms"
	duration = "s"
	first    = "ms to the first byte"
	rate     = "1/s"
	p50, p99 = "ms p50", "ms p99"
)

// add notes values of a figure. It is safe for concurrent use.
func (r *Report) add(work, by, unit string, runs ...float64) {
	r.adding.Lock()
	defer r.adding.Unlock()
	f := r.figure(work, by, unit)
	if f == nil {
		f = &Figure{Work: work, By: by, Unit: unit}
		r.Figures = append(r.Figures, f)
	}
	f.Runs = append(f.Runs, runs...)
	f.Median = median(f.Runs)
}

// moved notes what it took to move n bytes: time, and processor time of all processes.
func (r *Report) moved(work, by string, n int64, wall, worked time.Duration) {
	gigabytes := float64(n) / 1e9
	r.add(work, by, speed, gigabytes*1000/wall.Seconds())
	r.add(work, by, effort, worked.Seconds()/gigabytes)
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
	fmt.Fprintln(w, r.Store)
	for _, name := range slices.Sorted(maps.Keys(r.Programs)) {
		fmt.Fprintf(w, "%s: %s\n", name, r.Programs[name])
	}
	fmt.Fprintln(w, r.Flags)
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
	fmt.Fprintln(t, "\nworks")
	for _, d := range r.Works {
		failed, _, _ := strings.Cut(d.Error, "\n")
		fmt.Fprintf(t, "  %s\t%.0f s\tothers took %.1f %% of the processors, the host %.1f %%\t%s\n", d.Work, d.Seconds, 100*d.Others, 100*d.Steal, failed)
	}
	fmt.Fprintln(t, "\ngoals")
	for _, g := range r.Goals {
		switch {
		case g.Missing != "":
			fmt.Fprintf(t, "  %s\t\t\t%s\tNOT MEASURED: %s\n", g.Work, g.What, g.Missing)
		case g.Least == 0 && g.Most == 0:
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", g.Work, number(g.Value), g.spread(), g.What)
		case g.Met:
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\tmet\n", g.Work, number(g.Value), g.spread(), g.What)
		default:
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\tNOT MET\n", g.Work, number(g.Value), g.spread(), g.What)
		}
	}
	t.Flush()
	if r.Disk != nil {
		fmt.Fprintf(w, "\nthe disk, %s\n", r.Disk)
	}
}

// A Goal is how a figure, or its ratio to another, stands to what it should be.
type Goal struct {
	Work  string  `json:"work"`
	What  string  `json:"what"` // what is compared, and the bound, if there is one
	Least float64 `json:"least,omitempty"`
	Most  float64 `json:"most,omitempty"`
	Value float64 `json:"value"`
	Met   bool    `json:"met"`

	Lowest  float64 `json:"lowest"` // of all runs
	Highest float64 `json:"highest"`

	Missing string `json:"not_measured,omitempty"` // why; there is no value then
}

// spread says how far runs differ, if there were several.
func (g Goal) spread() string {
	if g.Lowest == g.Highest {
		return ""
	}
	return number(g.Lowest) + " to " + number(g.Highest)
}

// judge sets how what was measured stands to the goals.
func (r *Report) judge() {
	r.Goals = nil
	for _, g := range slices.Concat(goals, scaleGoals()) {
		r.Goals = append(r.Goals, g.judge(r))
	}
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

// A goal is what the median of a figure, or its ratio to that of another, should
// be at least or at most. One without either is just told.
type goal struct {
	work, by, unit string
	over           *goal // what it is divided by; nil: nothing
	least, most    float64
	every          bool  // not the median, but the most that was measured
	needs          *goal // without which it is not judged; nil: nothing
}

// over has a goal be for the ratio to what something else does.
func over(work, by, unit string) *goal { return &goal{work: work, by: by, unit: unit} }

// veryMany is how many objects there must be before what is said of many holds.
var veryMany = goal{work: manyPuts, by: datameshIt, unit: objects, least: 100_000}

var goals = []goal{
	{work: largePut, by: datameshIt, unit: speed, over: over(largePut, floorTLS, speed), least: 0.5},
	{work: largePut, by: datameshIt, unit: effort, most: 10},
	{work: largePut, by: datameshIt, unit: speed, over: over(largePut, minio, speed), least: 1.7},
	{work: largeGet, by: datameshIt, unit: speed, over: over(largeGet, floorTLS, speed), least: 0.6},
	{work: largeGet, by: datameshIt, unit: effort, most: 6.5},
	{work: largeGet, by: datameshIt, unit: speed, over: over(largeGet, kubo, speed), least: 4},
	{work: largeGet, by: datameshIt, unit: speed, over: over(largeGet, minio, speed), least: 1.2},
	{work: diskPut, by: datameshIt, unit: written, over: over(diskPut, oneFile, written), least: 0.6},
	{work: diskGet, by: datameshIt, unit: speed, over: over(diskGet, copyFile, speed), least: 0.6},
	{work: lostGet, by: datameshIt, unit: speed, over: over(lossy(0), datameshIt, speed), least: 0.8},
	{work: lostGet, by: datameshIt, unit: first, most: 500},
	{work: stoppedGet, by: datameshIt, unit: speed, over: over(lossy(0), datameshIt, speed), least: 0.8},
	{work: stoppedGet, by: datameshIt, unit: first, most: 500},
	{work: stalledGet, by: datameshIt, unit: p99, over: over(healthyGet, datameshIt, p99), most: 2},
	{work: smallPut, by: datameshIt, unit: rate, least: 300},
	{work: smallPut, by: datameshIt, unit: p99, over: over(smallPut, datameshIt, p50), most: 10},
	{work: tracedDisk, by: theClient, unit: synced, most: 0.3, every: true},
	{work: tracedDisk, by: aNode, unit: synced, most: 0.3, every: true},
	{work: smallGet, by: datameshIt, unit: rate, least: 1000},
	{work: smallGet, by: datameshIt, unit: p99, over: over(smallGet, datameshIt, p50), most: 10},
	{work: manyPuts, by: datameshIt, unit: storedOver, most: 4, needs: &veryMany},
	{work: manyPuts, by: datameshIt, unit: atShare(100), over: over(manyPuts, datameshIt, atShare(10)), most: 1.25, needs: &veryMany},
	{work: manyPuts, by: datameshIt, unit: nodePeak, most: 256, every: true},
	{work: manyList, by: datameshIt, unit: duration, most: 1, needs: &veryMany},
	{work: rangeFirst, by: datameshIt, unit: sentKiB, most: 192},
	{work: rangeFirst, by: datameshIt, unit: calls, most: 3},
	{work: rangeCrowd, by: datameshIt, unit: rate, least: 1000},
	{work: sized("put", 1<<20), by: datameshIt, unit: waits, most: 4.5}, // 4: there are whole ones alone
	{work: sized("get", 1<<20), by: datameshIt, unit: waits, most: 3.5}, // 3
	{work: wideGet, by: datameshIt, unit: speed, over: over(wideGet, theLine, speed), least: 0.8},
	{work: widePut, by: datameshIt, unit: speed, over: over(widePut, theLine, speed), least: 0.8},
	{work: largePut, by: datameshIt, unit: memory, most: 256, every: true},
	{work: largeGet, by: datameshIt, unit: memory, most: 256, every: true},
	{work: allNodes, by: datameshIt, unit: nodePeak, most: 256, every: true},
	{work: atRest, by: datameshIt, unit: restHas, most: 80, every: true},
	{work: atRest, by: datameshIt, unit: restCores, most: 0.5, every: true},
	{work: backupNew, by: datameshIt, unit: speed, over: over(backupNew, restic, speed)},
	{work: backupSame, by: datameshIt, unit: speed, over: over(backupSame, restic, speed)},
	{work: restored, by: datameshIt, unit: speed, over: over(restored, restic, speed)},
	{work: "version", by: datameshIt, unit: latency, most: 15},
	{work: onePut, by: datameshIt, unit: latency, most: 50},
}

// judge returns how what was measured stands to a goal.
func (g goal) judge(r *Report) Goal {
	j := Goal{Work: g.work, What: g.String(), Least: g.least, Most: g.most}
	f, of := r.figure(g.work, g.by, g.unit), (*Figure)(nil)
	if g.over != nil {
		of = r.figure(g.over.work, g.over.by, g.over.unit)
	}
	if f == nil || g.over != nil && (of == nil || of.Median == 0) {
		j.Missing = r.why(g)
		return j
	}
	if g.needs != nil {
		if n := g.needs.judge(r); !n.Met {
			j.Missing = fmt.Sprintf("it needs %s; there were %s", n.What, number(n.Value))
			return j
		}
	}
	runs := slices.Clone(f.Runs)
	j.Value = f.Median
	if of != nil {
		j.Value /= of.Median
		for i := range runs {
			if len(runs) == len(of.Runs) { // in turn
				runs[i] /= of.Runs[i]
			} else {
				runs[i] /= of.Median
			}
		}
	}
	j.Lowest, j.Highest = slices.Min(runs), slices.Max(runs)
	if g.every {
		j.Value = j.Highest
	}
	j.Met = g.met(j.Value)
	return j
}

// why says why there is no figure for a goal.
func (r *Report) why(g goal) string {
	names := []string{g.work, g.by, g.unit}
	if g.over != nil {
		names = append(names, g.over.work, g.over.by)
	}
	for _, gap := range r.Gaps {
		if slices.Contains(names, gap.What) {
			return gap.Why
		}
	}
	return "no work has measured it"
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
	if g.by != datameshIt {
		s += " of " + g.by
	}
	switch {
	case g.over == nil:
	case g.over.by == g.by && g.over.work == g.work:
		s += " of " + g.over.unit
	case g.over.work == g.work:
		s += " of " + g.over.by
	default:
		s += " of " + g.over.by + ", " + g.over.work
	}
	if g.every {
		s += ", the most"
	}
	switch {
	case g.most > 0:
		return fmt.Sprintf("%s, at most %s", s, number(g.most))
	case g.least > 0:
		return fmt.Sprintf("%s, at least %s", s, number(g.least))
	}
	return s
}
