package backup

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"datamesh/internal/durable"
	"datamesh/internal/errs"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A database is one of SQLite's, with what has been prepared by its text. It has
// one connection: whoever scans rows, or writes, keeps others waiting.
type database struct {
	db   *sql.DB
	path string

	mu       sync.Mutex // guards prepared
	prepared map[string]*sql.Stmt
}

// openDatabase opens a database, which it makes if need be, for one connection.
// Kinds: IO, Full, Database.
func openDatabase(ctx context.Context, path string, pragmas ...string) (*database, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // for its user alone
	if err != nil {
		return nil, errs.New(durable.KindOf(err), "open %s: %w", path, err)
	}
	f.Close()
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(path),
		RawQuery: url.Values{"_pragma": append([]string{"busy_timeout(10000)"}, pragmas...), "_txlock": {"immediate"}}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, errs.New(errs.Database, "open %s: %w", path, err)
	}
	d := &database{db: db, path: path, prepared: map[string]*sql.Stmt{}}
	db.SetMaxOpenConns(1) // temporary tables are those of a connection
	return d, nil
}

func (d *database) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.prepared {
		s.Close()
	}
	return d.classify(d.db.Close())
}

func (d *database) prepare(ctx context.Context, text string) (*sql.Stmt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.prepared[text]; s != nil {
		return s, nil
	}
	s, err := d.db.PrepareContext(context.WithoutCancel(ctx), text)
	if err == nil {
		d.prepared[text] = s
	}
	return s, err
}

func (d *database) exec(ctx context.Context, statement string, args ...any) (changed int64, err error) {
	result, err := d.db.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, d.classify(err)
	}
	changed, err = result.RowsAffected()
	return changed, d.classify(err)
}

// row reads one row. ok is false if there is none.
func (d *database) row(ctx context.Context, into []any, query string, args ...any) (ok bool, err error) {
	s, err := d.prepare(ctx, query)
	if err == nil {
		err = s.QueryRowContext(ctx, args...).Scan(into...)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, d.classify(err)
}

// each calls scan with each row of a query. It must not use the database.
func (d *database) each(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	s, err := d.prepare(ctx, query)
	if err != nil {
		return d.classify(err)
	}
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return d.classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return d.classify(err)
		}
	}
	return d.classify(rows.Err())
}

// write makes changes that are all there, or none is.
func (d *database) write(ctx context.Context, change func(*writing) error) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return d.classify(err)
	}
	defer tx.Rollback()
	w := &writing{ctx: ctx, tx: tx, prepared: map[string]*sql.Stmt{}}
	if err = change(w); err == nil {
		err = tx.Commit()
	}
	return d.classify(err)
}

// A writing is a transaction.
type writing struct {
	ctx      context.Context
	tx       *sql.Tx
	prepared map[string]*sql.Stmt
}

func (w *writing) prepare(text string) (*sql.Stmt, error) {
	if s := w.prepared[text]; s != nil {
		return s, nil
	}
	s, err := w.tx.PrepareContext(w.ctx, text)
	if err == nil {
		w.prepared[text] = s
	}
	return s, err
}

func (w *writing) exec(statement string, args ...any) (changed int64, err error) {
	s, err := w.prepare(statement)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(w.ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// row reads one row. ok is false if there is none.
func (w *writing) row(into []any, query string, args ...any) (ok bool, err error) {
	s, err := w.prepare(query)
	if err != nil {
		return false, err
	}
	err = s.QueryRowContext(w.ctx, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// classify gives an error of the database its kind.
func (d *database) classify(err error) error {
	if err == nil || errs.KindOf(err) != errs.Other || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	kind := errs.Database
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL:
			kind = errs.Full
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			kind = errs.Locked
		case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY:
			kind = errs.IO
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return errs.WithHint(errs.New(kind, "%s is damaged: %w", d.path, err), "move that file away: it is made anew from what the mesh has")
		}
	}
	return errs.New(kind, "%s: %w", d.path, err)
}

// removeDatabase removes a database and what SQLite keeps beside it.
func removeDatabase(path string) {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		os.Remove(path + suffix)
	}
}
