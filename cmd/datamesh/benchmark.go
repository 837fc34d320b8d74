package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/benchmark"
	"datamesh/internal/config"
	"datamesh/internal/errs"
)

func (c *cli) benchmarkCommand() *cobra.Command {
	var (
		o               benchmark.Options
		sizes, part     string
		count, inFlight uint16
	)
	cmd := &cobra.Command{
		Use:   "benchmark",
		Short: "measure the mesh: put objects, get them back, compare and delete them",
		Long: `Puts objects of random bytes into the mesh as "put" does, gets them back, compares
every byte, and deletes them for good in the end: also when it is interrupted. What
one that was killed has left behind, the next one in this home deletes. All are
called ` + benchmark.Prefix + `… as long as they are there.

A direction is timed from the beginning of its first operation to the end of the
last, and an operation from its request to its end: of a put that is when all is
synced and the mesh knows the name. Percentiles are the nearest ranks of all
operations; of fewer than 20 there is none above the median. Nothing is warmed up
before, and what is got was put just before, so that the members have it in memory.

With --range it puts one object of each size and reads random parts of it, and then
the same again in another order: what was not in the cache of a running node the
first time is there the second, as far as it has room, and how much came from
where is counted.

What stays is that the objects are gone: for ever some 50 bytes of each in the log of
the catalog, and some 400 of each segment on the members that keep who holds it.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
	}
	flags := cmd.Flags()
	flags.StringVar(&sizes, "size", "4KiB,1MiB,64MiB", "`SIZES` of objects, separated by commas")
	flags.Uint16Var(&inFlight, "in-flight", 1, "`N` puts, and later gets, at once, at most 128")
	flags.Uint16Var(&count, "count", 0, "`N` objects of each size (default as many as have 256 MiB together, from 4 to 100), or ranges (default 1000)")
	flags.StringVar(&part, "range", "", "read parts of this `SIZE` of one object of each size, and not whole ones")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if flags.Changed("count") && (count < 1 || count > benchmark.MaxCount) {
			return errs.WithHint(errs.New(errs.Invalid, "--count: from 1 to %d, not %d", benchmark.MaxCount, count), "datamesh benchmark --count 100")
		}
		if inFlight < 1 || inFlight > benchmark.MaxInFlight {
			return errs.WithHint(errs.New(errs.Invalid, "--in-flight: from 1 to %d, not %d", benchmark.MaxInFlight, inFlight), "datamesh benchmark --in-flight 8")
		}
		for text := range strings.SplitSeq(sizes, ",") {
			n, err := config.ParseSize(strings.TrimSpace(text))
			if err != nil {
				return errs.WithHint(errs.New(errs.Invalid, "--size: %w", err), "datamesh benchmark --size 4KiB,1MiB")
			}
			o.Sizes = append(o.Sizes, int64(n))
		}
		if part != "" {
			n, err := config.ParseSize(part)
			if err != nil || n < 1 {
				return errs.WithHint(errs.New(errs.Invalid, "--range: %q is not a size from 1 byte on", part), "datamesh benchmark --size 1GiB --range 64KiB")
			}
			o.Range = int64(n)
		}
		o.Count, o.InFlight = int(count), int(inFlight)
		return c.withKeys(cmd.Context(), func(ops api.Operations) error { return c.benchmark(cmd.Context(), ops, o) })
	}
	return cmd
}

func (c *cli) benchmark(ctx context.Context, ops benchmark.Mesh, o benchmark.Options) error {
	home, err := config.FindHome(c.homeDir)
	if err != nil {
		return err
	}
	release, err := benchmark.Lock(home.Benchmark())
	if err != nil {
		return fmt.Errorf("benchmark: %w", err)
	}
	defer release()
	p := &phases{out: c.err}
	o.Events = benchmark.Events{Begin: p.begin, Done: p.did}
	b, err := benchmark.New(ctx, ops, o)
	if err != nil {
		return errs.WithHint(fmt.Errorf("benchmark: %w", err), "datamesh benchmark --size 4KiB,1MiB")
	}
	plan, err := b.Plan(ctx)
	if err != nil {
		return fmt.Errorf("benchmark: %w", err)
	}
	what := fmt.Sprintf("%s of %s together", count(plan.Objects, "object"), size(plan.Bytes))
	if plan.TooMuch() {
		return errs.WithHint(errs.New(errs.Full, "benchmark: %s would take %s, which is more than half of the %s that are free in the mesh", what, size(plan.StoredBytes), size(plan.Free)),
			"give it less to do: datamesh benchmark --size 4KiB,1MiB --count 20")
	}
	if !c.json {
		c.notice("it stores %s, which take %s of %s that are free in the mesh, until it ends", what, size(plan.StoredBytes), size(plan.Free))
		tellEnd := context.AfterFunc(ctx, func() {
			c.notice("what it has stored is being deleted; interrupted again, it leaves that to the next benchmark")
		})
		defer tellEnd()
	}
	stop := c.tell(ctx, p)
	r, err := b.Run(ctx)
	stop()
	if err != nil {
		return leftBehind(r, fmt.Errorf("benchmark: %w", err))
	}
	for _, w := range r.Warnings {
		c.warn("%s", w)
	}
	if err := c.print(r, func(w io.Writer) { benchmarkText(w, r) }); err != nil {
		return err
	}
	return leftBehind(r, benchmarkFailed(r))
}

// benchmarkFailed is the error that operations of a benchmark have failed. Kinds:
// Integrity, Partial, or that of the first if all have.
func benchmarkFailed(r *benchmark.Result) error {
	failed, wrong, first := r.Failures()
	switch all := failed + r.Operations(); {
	case failed == 0:
		return nil
	case wrong > 0:
		return errs.New(errs.Integrity, "benchmark: %d of %d operations gave other bytes than were put: %w", wrong, all, first)
	case failed == all:
		return fmt.Errorf("benchmark: all operations failed: %w", first)
	default:
		return errs.WithHint(errs.New(errs.Partial, "benchmark: %d of %d operations failed: %w", failed, all, first), "look for what is wrong: datamesh doctor")
	}
}

// leftBehind adds to what a benchmark ends with that some objects are there still.
// Kind: Partial, if err is nil.
func leftBehind(r *benchmark.Result, err error) error {
	if len(r.Left) == 0 {
		return err
	}
	some, more := r.Left, ""
	if len(some) > mostNamed {
		some, more = some[:mostNamed], fmt.Sprintf(" and %d others", len(r.Left)-mostNamed)
	}
	left := errs.New(errs.Partial, "benchmark: not deleted: %s%s", strings.Join(some, ", "), more)
	if err != nil {
		left = fmt.Errorf("%w; not deleted: %s%s", err, strings.Join(some, ", "), more)
	}
	return errs.WithHint(left, "the next datamesh benchmark deletes them; see them with: datamesh list %s", benchmark.Prefix)
}

const mostNamed = 5 // of what is left; the document has all

func benchmarkText(w io.Writer, r *benchmark.Result) {
	row(w, "SIZE", "WHAT", "OPERATIONS", "FAILED", "MB/S", "OPS/S", "P50", "P95", "P99", "MAX")
	for _, s := range r.Sizes {
		measuredRow(w, s.Size, "put", s.Put)
		if r := s.Range; r != nil {
			measuredRow(w, r.Length, "range", r.First)
			measuredRow(w, r.Length, "again", r.Again)
			row(w, "", "from cache", fmt.Sprintf("%d in memory, %d on disk, %d missed", r.Memory, r.Disk, r.Missed))
			continue
		}
		measuredRow(w, s.Size, "get", s.Get)
		l := s.Get.FirstByte
		row(w, size(s.Size), "first byte", "", "", "", "", ms(l.P50), ms(l.P95), ms(l.P99), ms(l.Max))
	}
}

func measuredRow(w io.Writer, n int64, what string, m benchmark.Measured) {
	l := m.Latency
	row(w, size(n), what, m.Operations, m.Failures, fmt.Sprintf("%.1f", m.BytesPerSecond/1e6), fmt.Sprintf("%.1f", m.OperationsPerSecond),
		ms(l.P50), ms(l.P95), ms(l.P99), ms(l.Max))
}

// ms returns milliseconds for a table.
func ms(x *float64) string {
	if x == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", *x)
}

// phases shows how far a benchmark is.
type phases struct {
	out io.Writer

	mu   sync.Mutex // guards the rest
	what string     // "" until there is something to tell
	of   int
	done int
	bar  *share // nil until there is something to show
}

func (p *phases) begin(what string, n int64, of int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > 0 {
		what += " " + size(n)
	}
	p.what, p.of, p.done = what, of, 0
	p.closeBar()
}

func (p *phases) did() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
}

func (p *phases) line(context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.out
	if p.bar != nil {
		out = p.bar
	}
	if p.of > 0 {
		fmt.Fprintf(out, "benchmark: %s: %d of %d\n", p.what, p.done, p.of)
	}
}

func (p *phases) draw(context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == 0 {
		return
	}
	if p.bar == nil {
		p.bar = newShare(p.out, p.what)
	}
	p.bar.set(int64(100 * p.done / p.of))
}

func (p *phases) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeBar()
}

func (p *phases) closeBar() {
	if p.bar != nil {
		p.bar.close()
		p.bar = nil
	}
}
