package store

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"datamesh/internal/errs"
	"datamesh/internal/step"

	sqlite3 "modernc.org/sqlite/lib"
)

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
	if sqliteCode(err) == sqlite3.SQLITE_CORRUPT {
		b.index.suspect()
	}
	if b.err == nil {
		b.err = errs.New(kindOf(err), "store: commit: %w", err)
	}
}

// place puts a finished temporary file where it belongs.
func (b *batch) place(temp, path string) {
	if b.err != nil {
		return
	}
	if err := moveInto(temp, path); err != nil {
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
		step.At("store: commit: a file is removed")
	}
}

// undo takes back a batch that failed.
func (b *batch) undo() {
	for path, temp := range b.placed {
		os.Rename(path, temp) // else it is indexed at the next start
	}
	b.index.conn.ExecContext(context.Background(), `ROLLBACK`) // fails if SQLite has done it already
}
