package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/errs"
)

// atOnce is how many files of a batch are under way at once: enough that what
// one waits for the others make use of. What that takes of memory is bounded
// where it is taken.
const atOnce = 8

// What became of a file of a batch.
const (
	fileStored    = "stored"
	fileWritten   = "written"
	fileUnchanged = "unchanged"
	fileFailed    = "failed"
	filePlanned   = "planned" // of a dry run
	fileDeleted   = "deleted" // in the mesh
	fileRemoved   = "removed" // by a sync, here
	fileShared    = "shared"
)

// A batch is what came of a command for many files.
type batch struct {
	Files       []batchFile `json:"files"`
	Stored      int         `json:"stored,omitempty"`
	Written     int         `json:"written,omitempty"`
	Planned     int         `json:"planned,omitempty"`
	Unchanged   int         `json:"unchanged"`
	Failed      int         `json:"failed"`
	Skipped     int         `json:"skipped"`
	Bytes       int64       `json:"bytes"`
	StoredBytes int64       `json:"stored_bytes,omitempty"`
	Resumed     int64       `json:"resumed,omitempty"`
	Warnings    []string    `json:"warnings,omitempty"`
	DryRun      bool        `json:"dry_run,omitempty"`

	deleted, removed, conflicts, shared int
}

// A batchFile is one file, directory or symbolic link of a batch.
type batchFile struct {
	Name  string            `json:"name"`
	ID    datamesh.ObjectID `json:"id,omitzero"`
	Type  string            `json:"type,omitempty"`
	Size  int64             `json:"size"`
	State string            `json:"state"`
	Error *api.Problem      `json:"error,omitempty"`

	action   string // of a sync
	conflict bool
}

// A tally counts what a batch comes to while it goes on. It is safe for
// concurrent use.
type tally struct {
	c     *cli
	verb  string // of the command
	began time.Time

	mu       sync.Mutex // guards the rest
	batch    batch
	first    error // of the files that failed
	taken    bool  // some of them since something else is there
	stopped  error // for which the batch ended early
	warnings map[string]int

	bars *mpb.Progress // nil until there is something to show
	bar  *mpb.Bar

	done, bytes        atomic.Int64 // files and bytes, for people to see
	allFiles, allBytes atomic.Int64 // what there is; 0: not known
}

func (c *cli) newTally(verb string) *tally {
	return &tally{c: c, verb: verb, began: time.Now(), batch: batch{Files: []batchFile{}}, warnings: map[string]int{}}
}

// add counts a file.
func (t *tally) add(f batchFile) {
	t.done.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	b := &t.batch
	switch f.State {
	case fileStored:
		b.Stored++
		b.Bytes += f.Size
	case fileWritten:
		b.Written++
		b.Bytes += f.Size
	case filePlanned:
		b.Planned++
		b.Bytes += f.Size
	case fileUnchanged:
		b.Unchanged++
	case fileDeleted:
		b.deleted++
	case fileShared:
		b.shared++
	case fileRemoved:
		b.removed++
	case fileFailed:
		b.Failed++
	}
	if f.conflict && f.State != fileFailed {
		b.conflicts++
		if f.State != filePlanned && !t.c.json && !t.c.quiet {
			fmt.Fprintf(t.say(), "notice: %s has changed on both sides; what the other has had is a version of it: datamesh versions %s\n", plain(f.Name), plain(quoteWord(f.Name)))
		}
	}
	if t.c.json { // people have been told what is wrong
		b.Files = append(b.Files, f)
	}
}

// fail counts a file that failed, and says so.
func (t *tally) fail(f batchFile, err error) {
	p := api.ProblemOf(err)
	f.State, f.Error = fileFailed, &p
	t.add(f)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first == nil {
		t.first = err
	}
	t.taken = t.taken || errors.Is(err, errs.Exists)
	if !t.c.json {
		fmt.Fprintf(t.say(), "failed: %s\n", plain(t.c.message(err)))
	}
}

// say returns where lines go: above the bar if there is one.
func (t *tally) say() io.Writer {
	if t.bars != nil {
		return t.bars
	}
	return t.c.err
}

// skip says that something was left out.
func (t *tally) skip(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.batch.Skipped++
	t.warnLocked(fmt.Sprintf(format, args...))
}

// warn notes a warning, which people see once.
func (t *tally) warn(all ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, text := range all {
		t.warnLocked(text)
	}
}

// maxWarnings bounds how many different warnings a batch remembers.
const maxWarnings = 1000

func (t *tally) warnLocked(text string) {
	if t.warnings[text]++; t.warnings[text] > 1 || len(t.batch.Warnings) >= maxWarnings {
		return
	}
	t.batch.Warnings = append(t.batch.Warnings, text)
	if !t.c.json {
		fmt.Fprintf(t.say(), "warning: %s\n", plain(text))
	}
}

// stop has the batch end early: what is wrong is not wrong with one file.
func (t *tally) stop(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped == nil {
		t.stopped = err
	}
}

// general reports whether an error is not that of one file, so that the others
// would only fail likewise.
func general(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errs.Retryable(err) || slices.ContainsFunc([]errs.Kind{errs.NoNode, errs.Full, errs.KeyManagement, errs.Database}, func(k errs.Kind) bool { return errors.Is(err, k) })
}

// end returns the error that the batch ends with: none, that some have failed,
// or, if nothing went well, why the first did.
func (t *tally) end(what string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := &t.batch
	well := b.Stored + b.Written + b.deleted + b.removed + b.shared + b.Unchanged + b.Planned
	switch {
	case errors.Is(t.stopped, errs.Import), errors.Is(t.stopped, errs.Integrity), errors.Is(t.stopped, errChanged): // it would only stop there again
		err := fmt.Errorf("%s %s: after %s: %w", t.verb, what, count(well, "file"), t.stopped)
		if b.Stored > 0 && !errors.Is(t.stopped, errs.Import) { // and has the size and time of what is good
			err = errs.WithHint(err, "what was stored of it may be damaged; with the good archive: datamesh import FILE --all")
		}
		return err
	case t.stopped != nil:
		return errs.WithHint(fmt.Errorf("%s %s: after %s: %w", t.verb, what, count(well, "file"), t.stopped), "type the same again: it goes on where it stopped")
	case b.Failed == 0:
		return nil
	case well == 0:
		return fmt.Errorf("%s %s: %w", t.verb, what, t.first)
	}
	hint := "mend that, and type the same again: what is done is not done twice"
	if t.taken && t.verb == "get" {
		hint = "what is there and differs is overwritten with --force; else " + hint
	}
	return errs.WithHint(errs.New(errs.Partial, "%s %s: %d of %d files failed", t.verb, what, b.Failed, well+b.Failed), "%s", hint)
}

// print prints what came of the batch.
func (t *tally) print() error {
	t.mu.Lock()
	b := t.batch
	t.mu.Unlock()
	slices.SortFunc(b.Files, func(x, y batchFile) int { return strings.Compare(x.Name, y.Name) })
	return t.c.print(b, func(w io.Writer) {
		if b.DryRun {
			fmt.Fprintf(w, "would %s %s in %s; %s\n", t.verb, size(b.Bytes), count(b.Planned, "file"), unchanged(b.Unchanged))
			return
		}
		if t.verb == "get" {
			row(w, "written", fmt.Sprintf("%s, %s", count(b.Written, "file"), size(b.Bytes)))
		} else {
			row(w, "stored", fmt.Sprintf("%s, %s as %s", count(b.Stored, "file"), size(b.Bytes), size(b.StoredBytes)))
		}
		row(w, "unchanged", count(b.Unchanged, "file"))
		if b.Failed > 0 {
			row(w, "failed", count(b.Failed, "file"))
		}
		if b.Skipped > 0 {
			row(w, "left out", count(b.Skipped, "file"))
		}
	})
}

func unchanged(n int) string {
	if n == 1 {
		return "1 file is unchanged"
	}
	return fmt.Sprintf("%d files are unchanged", n)
}

// counting counts what is read, for people to see.
type counting struct {
	r io.Reader
	n *atomic.Int64
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// files says how many files are done.
func (t *tally) files() string {
	if all := t.allFiles.Load(); all > 0 {
		return fmt.Sprintf("%d of %s", t.done.Load(), count(int(all), "file"))
	}
	return count(int(t.done.Load()), "file")
}

func (t *tally) line(context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.say(), "%s: %s, %s after %s\n", t.verb, t.files(), part(t.bytes.Load(), t.allBytes.Load()), time.Since(t.began).Round(time.Second))
}

func (t *tally) draw(context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bars == nil {
		t.bars = newProgress(t.c.err)
		t.bar = t.bars.New(0, barStyle(), mpb.BarFillerTrim(),
			mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return t.files() + " " }), decor.CountersKibiByte("% .1f / % .1f")),
			mpb.AppendDecorators(decor.Name(" "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	n := t.bytes.Load()
	all := max(n, t.allBytes.Load())
	t.bar.SetTotal(all+1, false) // it is whole when the batch is
	t.bar.SetCurrent(n)
}

func (t *tally) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bars != nil {
		t.bar.Abort(true)
		t.bars.Wait()
		t.bars = nil
	}
}
