package store

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"datamesh/internal/errs"
)

// maxBatch bounds how many changes one transaction makes.
const maxBatch = 256

// A change is one thing to be done to the index and the files.
type change struct {
	// stage does it, as part of a batch, and is called again when the batch
	// could not be committed. Its error is that of this change alone; what
	// befalls the batch as a whole the batch knows itself.
	stage func(*batch) error
	err   error
	done  chan struct{} // closed when err is final
}

// commit has a change made and waits until it is durable. It does not watch a
// context: what a change refers to is the caller's, and the wait is that of
// one or two syncs.
func (d *Disk) commit(stage func(*batch) error) error {
	c := &change{stage: stage, done: make(chan struct{})}
	d.changes <- c
	<-c.done
	return c.err
}

// commitAll is the one writer: it commits all changes that are waiting as one
// batch, so that those in flight together share a sync.
func (d *Disk) commitAll() {
	defer close(d.committed)
	for first := range d.changes {
		changes := d.gather(first)
		if err := d.apply(changes); err != nil && len(changes) > 1 {
			for _, c := range changes { // let no change suffer for another
				d.apply([]*change{c})
			}
		}
		for _, c := range changes {
			close(c.done)
		}
	}
}

// gather returns first and what else waits already.
func (d *Disk) gather(first *change) []*change {
	changes := []*change{first}
	for len(changes) < maxBatch {
		select {
		case c, ok := <-d.changes:
			if !ok {
				return changes
			}
			changes = append(changes, c)
		default:
			return changes
		}
	}
	return changes
}

// apply makes the changes in one transaction, and sets the error of each.
func (d *Disk) apply(changes []*change) error {
	b := &batch{index: d.index, placed: make(map[string]string), gone: make(map[string]*change)}
	b.exec(`BEGIN IMMEDIATE`)
	for _, c := range changes {
		b.now = c
		c.err = c.stage(b)
	}
	b.syncDirs()
	b.exec(`COMMIT`)
	if b.err != nil {
		b.undo()
		for _, c := range changes {
			c.err = b.err
		}
		return b.err
	}
	b.removeGone()
	if d.events.Committed != nil {
		d.events.Committed(len(changes))
	}
	return nil
}

// A batch is a transaction on the index, and what it does to the files.
type batch struct {
	index  *index
	now    *change            // the one that is being staged
	placed map[string]string  // temporary name of each file put in place
	gone   map[string]*change // files to remove once the rows are gone
	err    error              // the first that befell the batch as a whole
}

// exec executes a statement, unless the batch has failed already.
func (b *batch) exec(text string, args ...any) sql.Result {
	if b.err != nil {
		return nil
	}
	stmt, err := b.index.writes.prepare(text)
	if err != nil {
		b.fail(err)
		return nil
	}
	result, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		b.fail(err)
	}
	return result
}

// exists reports whether a query has a row.
func (b *batch) exists(text string, args ...any) (found bool) {
	b.query(func(rows *sql.Rows) error { found = true; return nil }, text, args...)
	return found
}

// query calls scan for each row of a query.
func (b *batch) query(scan func(*sql.Rows) error, text string, args ...any) {
	if b.err != nil {
		return
	}
	stmt, err := b.index.writes.prepare(text)
	if err != nil {
		b.fail(err)
		return
	}
	if err := each(stmt, scan, args...); err != nil {
		b.fail(err)
	}
}

func (b *batch) fail(err error) {
	if b.err == nil {
		b.err = errs.New(kindOf(err), "store: commit: %w", err)
	}
}

// place puts a finished temporary file where it belongs.
func (b *batch) place(temp, path string) {
	if b.err != nil {
		return
	}
	if err := os.Rename(temp, path); err != nil {
		b.fail(err)
		return
	}
	b.placed[path] = temp
	delete(b.gone, path)
}

// remove has a file removed after the commit.
func (b *batch) remove(path string) { b.gone[path] = b.now }

// syncDirs makes the new names durable, before a row says that they are there.
func (b *batch) syncDirs() {
	synced := make(map[string]bool)
	for path := range b.placed {
		dir := filepath.Dir(path)
		if b.err != nil || synced[dir] {
			continue
		}
		if err := syncDir(dir); err != nil {
			b.fail(err)
		}
		synced[dir] = true
	}
}

// removeGone removes files. A failure is that of the change that wanted it.
func (b *batch) removeGone() {
	for path, c := range b.gone {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.err = errs.New(errs.IO, "store: %w", err)
		}
	}
}

// undo takes back a batch that failed.
func (b *batch) undo() {
	for path, temp := range b.placed {
		os.Rename(path, temp) // else it is indexed at the next start
	}
	b.index.conn.ExecContext(context.Background(), `ROLLBACK`) // fails if SQLite has done it already
}
