package object

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"datamesh"
	"datamesh/internal/errs"

	"github.com/gofrs/flock"
)

// each calls take with what each put that has ended too early has left
// behind, and records, durably, that the segments that take returns are
// theirs no more. Only then may the taker's object be stored: until then both
// would have a segment deleted. Puts whose object stored knows have left
// nothing, and nothing is taken from a file that can take no such record.
func (j *Journal) each(ctx context.Context, stored Stored, take func(map[datamesh.SegmentID]*leftover) ([]datamesh.SegmentID, error)) error {
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
		if ok, err := stored.any(e.what); ok || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		given, err := take(e.what)
		for _, id := range given {
			if recErr := e.f.record(record{Put: e.put, Segment: id, Given: true}); recErr != nil {
				err = errors.Join(err, recErr)
				continue
			}
			delete(e.what, id)
		}
		if err != nil {
			return err
		}
	}
	return j.others(ctx, func(name string) error {
		puts, err := readJournal(name)
		if err != nil {
			return err
		}
		var given []record
		for put, what := range puts {
			ok, storedErr := stored.any(what)
			if err = errors.Join(err, storedErr); ok || storedErr != nil {
				continue
			}
			ids, takeErr := take(what)
			err = errors.Join(err, takeErr)
			for _, id := range ids {
				given = append(given, record{Put: put, Segment: id, Given: true})
			}
		}
		return errors.Join(err, appendRecords(name, given))
	})
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

// appendRecords adds records to the journal of a dead process, durably. A torn
// end, after which nothing would be read, is cut off first.
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
	for r, err := range records(f) {
		if err != nil {
			return err
		}
		end += int64(len(r.encode()))
	}
	if err := f.Truncate(end); err != nil {
		return errs.New(errs.IO, "journal: %w", err)
	}
	for _, r := range list {
		b := r.encode()
		if _, err := f.WriteAt(b, end); err != nil {
			return errs.New(errs.IO, "journal: %w", err)
		}
		end += int64(len(b))
	}
	if err := f.Sync(); err != nil {
		return errs.New(errs.IO, "journal: %w", err)
	}
	return nil
}
