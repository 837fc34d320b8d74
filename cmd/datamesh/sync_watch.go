package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"datamesh/internal/api"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/tree"
)

// watchTimes say when a sync that goes on looks again.
type watchTimes struct {
	quiet time.Duration // after the last change here
	most  time.Duration // after the first change since it has looked, however many follow
	every time.Duration // without any: a system may not tell of all, and the mesh tells of none
}

var watchUsual = watchTimes{quiet: time.Second, most: 10 * time.Second, every: 2 * time.Minute}

// watchSync syncs whenever something changes, until ctx ends, which is no error.
// What keeps the first round from being begun ends it; later rounds are tried
// again.
func (c *cli) watchSync(ctx context.Context, ops api.Operations, o syncOptions, times watchTimes) error {
	w, err := c.newDirWatch(o)
	if err != nil {
		return err
	}
	defer w.close()
	said := ""
	for first := true; ; first = false {
		w.add(ctx)
		s := &syncer{tally: c.newTally("sync"), ops: ops, o: o}
		err := s.run(ctx, func() func() { return c.tell(ctx, s.tally) })
		began := err == nil
		if printed := s.printRound(); printed != nil {
			return printed
		}
		if began {
			err = s.end(o.dir)
		} else {
			err = fmt.Errorf("sync %s: %w", o.dir, err)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			said = ""
		case !began && first, errors.Is(err, errs.NoNode):
			return err
		case err.Error() != said:
			said = err.Error()
			c.warn("%s; it is tried again", said)
		}
		if first {
			w.add(ctx) // what it has made
		}
		if !w.wait(ctx, times) {
			return nil
		}
	}
}

// printRound prints what came of a round, if anything did.
func (s *syncer) printRound() error {
	s.mu.Lock()
	b := s.batch
	s.mu.Unlock()
	if b.Stored+b.Written+b.deleted+b.removed+b.Failed == 0 {
		return nil
	}
	r := s.result()
	if s.c.json {
		r.Files = slices.DeleteFunc(r.Files, func(f syncedFile) bool { return f.State == fileUnchanged })
		return writeJSON(s.c.out, r)
	}
	var did []string
	for _, part := range []struct {
		n     int
		state string
	}{{r.Stored, fileStored}, {r.Written, fileWritten}, {r.Deleted, fileDeleted}, {r.Removed, fileRemoved}, {r.Failed, fileFailed}} {
		if part.n > 0 {
			did = append(did, fmt.Sprintf("%d %s", part.n, part.state))
		}
	}
	_, err := io.WriteString(s.c.out, time.Now().Format(time.TimeOnly)+" "+strings.Join(did, ", ")+"\n")
	return outputError(err)
}

// A dirWatch is told by the system of what changes in a directory and those below
// it.
type dirWatch struct {
	c       *cli
	o       syncOptions
	w       *fsnotify.Watcher
	changed chan struct{} // has one when something has changed since it was asked
	running sync.WaitGroup
	warned  bool
}

// newDirWatch begins to watch nothing. Kind: IO.
func (c *cli) newDirWatch(o syncOptions) (*dirWatch, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, errs.WithHint(errs.New(errs.IO, "watch %s: %w", o.dir, err), "leave out --watch, and type it now and then")
	}
	d := &dirWatch{c: c, o: o, w: w, changed: make(chan struct{}, 1)}
	d.running.Go(d.listen)
	return d, nil
}

func (d *dirWatch) close() {
	d.w.Close()
	d.running.Wait()
}

// listen takes what the system tells at once, so that it never waits.
func (d *dirWatch) listen() {
	for {
		select {
		case e, ok := <-d.w.Events:
			if !ok {
				return
			}
			if durable.IsTemp(filepath.Base(e.Name)) {
				continue
			}
		case _, ok := <-d.w.Errors: // as when it could not tell of all
			if !ok {
				return
			}
		}
		select {
		case d.changed <- struct{}{}:
		default:
		}
	}
}

// add watches all directories that are there and not left out. Whatever changes
// in one that is made later changes the one that it is in first.
func (d *dirWatch) add(ctx context.Context) {
	t, err := tree.Open(d.o.dir, d.o.filter)
	if err != nil {
		return // which the next round says
	}
	defer t.Close()
	for e, err := range t.Walk(ctx) {
		if err != nil || e.Type != tree.Directory {
			continue
		}
		if err := d.w.Add(filepath.Join(d.o.dir, filepath.FromSlash(e.Path))); err != nil && !errors.Is(err, errs.FileNotFound) && !d.warned {
			d.warned = true
			d.c.warn("not all of %s can be watched, and is looked at every %s: %v", d.o.dir, watchUsual.every, err)
		}
	}
}

// wait waits until a round is due, and reports whether ctx has not ended.
func (d *dirWatch) wait(ctx context.Context, times watchTimes) bool {
	due := time.After(times.every)
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-due:
			return true
		case <-quiet:
			return true
		case <-d.changed:
			if quiet == nil {
				due = time.After(times.most)
			}
			quiet = time.After(times.quiet)
		}
	}
}
