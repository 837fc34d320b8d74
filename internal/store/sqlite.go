package store

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	"datamesh/internal/errs"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// openSQLite opens the database at path; each of its connections begins with
// the pragmas.
func openSQLite(path string, pragmas ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, errs.New(errs.IO, "store: %w", err)
	}
	abs = filepath.ToSlash(abs)
	if !strings.HasPrefix(abs, "/") {
		abs = "/" + abs // a drive letter
	}
	query := url.Values{"_pragma": append([]string{"busy_timeout(10000)"}, pragmas...)}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: abs, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, errs.New(errs.Database, "store: open %s: %w", path, err)
	}
	return db, nil
}

// kindOf gives an error of the system or of SQLite its kind.
func kindOf(err error) errs.Kind {
	switch {
	case noRoom(err):
		return errs.Full
	case sqliteCode(err) != sqlite3.SQLITE_OK:
		return errs.Database
	default:
		return errs.IO
	}
}

// noRoom reports whether err says that the disk is full. So does SQLite, too,
// when it cannot grow the file of shared memory.
func noRoom(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE {
		return true
	}
	return noSpace(err) || sqliteCode(err) == sqlite3.SQLITE_FULL
}

// sqliteCode returns the primary result code of an error of SQLite's, or
// SQLITE_OK for any other.
func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return sqlite3.SQLITE_OK
}

// statements keeps what has been prepared, by its text.
type statements struct {
	on interface {
		PrepareContext(context.Context, string) (*sql.Stmt, error)
	}
	mu  sync.Mutex // guards all
	all map[string]*sql.Stmt
}

func (s *statements) prepare(text string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt, ok := s.all[text]; ok {
		return stmt, nil
	}
	stmt, err := s.on.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	if s.all == nil {
		s.all = make(map[string]*sql.Stmt)
	}
	s.all[text] = stmt
	return stmt, nil
}

func (s *statements) close() error {
	var all []error
	for _, stmt := range s.all {
		all = append(all, stmt.Close())
	}
	return errors.Join(all...)
}

// each calls scan for each row of a query.
func each(stmt *sql.Stmt, scan func(*sql.Rows) error, args ...any) error {
	rows, err := stmt.Query(args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
