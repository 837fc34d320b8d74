package object

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"

	"datamesh"
	"datamesh/internal/durable"
	"datamesh/internal/errs"

	"github.com/gofrs/flock"
)

// A visitor is shown what a put that has ended too early has left behind. give
// records there, durably, that segments are that put's no more, all of them or
// none. Only then may they become another's: no segment is ever in two
// journals, or a sweep of one would delete what the other's put has stored.
// Segments that a crash finds in neither are deleted by nobody.
type visitor func(what map[datamesh.SegmentID]*leftover, give func([]datamesh.SegmentID) error) error

// each shows visit every put that has ended too early, in this process or in
// one that is dead. Puts whose object stored knows have left nothing, and a
// file that takes no more records has nothing to give.
func (j *Journal) each(ctx context.Context, stored Stored, visit visitor) error {
	j.mu.Lock()
	left := j.left
	j.left = nil
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.left = append(j.left, left...)
	}()
	for _, e := range left {
		if e.f.broken() {
			continue
		}
		if err := stored.show(e.what, visit, e.give); err != nil {
			return err
		}
	}
	return j.others(ctx, func(name string) error {
		puts, err := readJournal(name)
		for put, what := range puts {
			err = errors.Join(err, stored.show(what, visit, func(ids []datamesh.SegmentID) error {
				return appendRecords(name, givenRecords(put, ids))
			}))
		}
		return err
	})
}

func (s Stored) show(what map[datamesh.SegmentID]*leftover, visit visitor, give func([]datamesh.SegmentID) error) error {
	if ok, err := s.any(what); ok || err != nil {
		return err
	}
	return visit(what, give)
}

func givenRecords(put uint64, ids []datamesh.SegmentID) (list []record) {
	for _, id := range ids {
		list = append(list, record{Put: put, Segment: id, Given: true})
	}
	return list
}

// give records, durably, that segments belong to another put.
func (e *entry) give(ids []datamesh.SegmentID) error {
	if err := e.f.record(givenRecords(e.put, ids)...); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range ids {
		delete(e.what, id)
	}
	return nil
}

// others visits the journals of dead processes, each while it is locked, as
// far as this version knows what is in them.
func (j *Journal) others(ctx context.Context, visit func(name string) error) error {
	names, err := filepath.Glob(filepath.Join(j.dir, "*"+journalSuffix))
	if err != nil {
		return errs.New(errs.IO, "journals: %w", err)
	}
	for _, name := range names {
		release, ok := j.visit(ctx, name)
		if !ok {
			continue // its process lives
		}
		err := visit(name)
		release()
		if err != nil && errs.KindOf(err) != errs.Configuration { // a newer version's is left alone
			return err
		}
	}
	return ctx.Err()
}

// visit locks the journal of a dead process, after any other visit of this
// process has ended. ok is false if its process lives, or another visits it, or
// ctx has ended.
func (j *Journal) visit(ctx context.Context, name string) (release func(), ok bool) {
	ended := make(chan struct{})
	for {
		j.mu.Lock()
		other := j.visits[name]
		if other == nil {
			if j.visits == nil {
				j.visits = map[string]chan struct{}{}
			}
			j.visits[name] = ended
			j.mu.Unlock()
			break
		}
		j.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, false
		}
	}
	lock := flock.New(name + lockSuffix)
	ok, err := lock.TryLock()
	release = func() {
		lock.Close()
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.visits, name)
		close(ended)
	}
	if err != nil || !ok {
		release()
		return nil, false
	}
	return release, true
}

// appendRecords adds records to the journal of a dead process, durably, or
// none of them. A torn end, after which nothing would be read, is cut off first.
func appendRecords(name string, list []record) error {
	if len(list) == 0 {
		return nil
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return errs.New(errs.IO, "journal: %w", err)
	}
	defer f.Close()
	end := int64(0)
	for r, err := range records(bufio.NewReader(f)) {
		if err != nil {
			return err
		}
		end += int64(len(r.encode()))
	}
	if err := f.Truncate(end); err != nil {
		return errs.New(errs.IO, "journal: %w", err)
	}
	if _, err = f.WriteAt(encodeRecords(list), end); err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Truncate(end) // if that fails too, what was given is nobody's
		return errs.New(durable.KindOf(err), "journal: %w", err)
	}
	return nil
}
