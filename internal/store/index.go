package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"

	"datamesh"
	"datamesh/internal/errs"

	sqlite3 "modernc.org/sqlite/lib"
)

const (
	readers   = 4           // connections that read
	readCache = 512         // KiB of pages that each of those keeps: beside it stands the system's cache
	maxLog    = 4 * claimed // bytes of the log that are kept when it begins anew
	pageSize  = 8 << 10     // of a new one: small shards waste less of it than of 4 KiB
)

// index is node.db. Reads go through a few connections of their own and never
// wait for the one that writes, which belongs to the committer alone.
type index struct {
	path  string
	read  *sql.DB
	write *sql.DB // of one connection
	conn  *sql.Conn
	fresh bool // it was empty
	older bool // it is of version 1

	reads, writes statements

	mu    sync.Mutex // guards peers
	peers map[int64]datamesh.PeerID
}

// openIndex opens the database at path, or makes it. Kinds: Integrity (it is
// damaged), Configuration (it is not ours, or a newer version's), Database.
func openIndex(path string) (*index, error) {
	x := &index{path: path}
	if err := x.open(path); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *index) open(path string) (err error) {
	x.write, err = openSQLite(path, fmt.Sprintf("page_size(%d)", pageSize), "synchronous(full)", "wal_autocheckpoint(128)",
		fmt.Sprintf("journal_size_limit(%d)", maxLog))
	if err != nil {
		return err
	}
	x.write.SetMaxOpenConns(1)
	if x.conn, err = x.write.Conn(context.Background()); err != nil {
		return openError(path, err)
	}
	x.writes.on = x.conn
	if err := x.identify(path); err != nil {
		return err
	}
	if err := x.prepare(path); err != nil {
		return err
	}
	if x.read, err = openSQLite(path, "query_only(1)", fmt.Sprintf("cache_size(-%d)", readCache)); err != nil {
		return err
	}
	x.read.SetMaxOpenConns(readers)
	x.read.SetMaxIdleConns(readers)
	x.reads.on = x.read
	return nil
}

// identify finds out whose database it is, and changes nothing.
func (x *index) identify(path string) error {
	var application, version, tables int
	row := x.conn.QueryRowContext(context.Background(), `
		SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`)
	if err := row.Scan(&application, &version, &tables); err != nil {
		return openError(path, err)
	}
	x.fresh = application == 0 && tables == 0
	x.older = !x.fresh && version < schemaVersion
	switch {
	case application != applicationID && !x.fresh:
		return errs.WithHint(errs.New(errs.Configuration, "%s is not the database of a store", path),
			"give another --home")
	case version > schemaVersion:
		return errs.WithHint(errs.New(errs.Configuration, "%s has version %d, this program knows %d", path, version, schemaVersion),
			"update datamesh: a newer version has written this database")
	}
	return nil
}

// prepare gives a fresh database its tables, and looks for damage in another,
// which may be without what was added later.
func (x *index) prepare(path string) error {
	if _, err := x.conn.ExecContext(context.Background(), `PRAGMA journal_mode = wal`); err != nil {
		return openError(path, err)
	}
	if !x.fresh {
		if _, err := x.conn.ExecContext(context.Background(), additions); err != nil {
			return openError(path, err)
		}
		if err := x.check(path); err != nil || !x.older {
			return err
		}
		return x.upgrade()
	}
	create := fmt.Sprintf("BEGIN; %s %s PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
		schema, additions, applicationID, schemaVersion)
	if _, err := x.conn.ExecContext(context.Background(), create); err != nil {
		return openError(path, err)
	}
	return nil
}

// check looks for damage in all tables but payloads: it would be slow to read
// those, and each is checked when it is used. If damage was met before, it
// looks everywhere. What indexes say it compares for peers alone, which are few:
// one under the number of another would have all that that holds.
func (x *index) check(path string) error {
	tables := []string{"segments", "shards", "tombstones", "peers", "sqlite_sequence", "holdings"}
	if x.older {
		tables = []string{"segments", "shards", "tombstones", "holders"}
	}
	for _, table := range []string{"positions", "undeletions", "trash", "proofs", "receipts", "records"} {
		var kept bool
		if err := x.conn.QueryRowContext(context.Background(), `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?)`, table).Scan(&kept); err != nil {
			return openError(path, err)
		}
		if kept {
			tables = append(tables, table)
		}
	}
	_, err := os.Lstat(suspectPath(path))
	suspect := err == nil
	if suspect {
		tables = append(tables, "payloads")
	}
	for _, table := range tables {
		pragma := "quick_check"
		if table == "peers" {
			pragma = "integrity_check"
		}
		var result string
		if err := x.conn.QueryRowContext(context.Background(), "PRAGMA "+pragma+"("+table+")").Scan(&result); err != nil {
			return openError(path, err)
		}
		if result != "ok" {
			return errs.New(errs.Integrity, "%s: %s", path, result)
		}
	}
	if suspect {
		os.Remove(suspectPath(path))
	}
	return nil
}

// suspectPath is a file that says that a database has shown damage, and is to
// be looked through at the next start.
func suspectPath(path string) string { return path + ".suspect" }

// suspect notes that the database has shown damage.
func (x *index) suspect() { os.WriteFile(suspectPath(x.path), nil, 0o600) }

// claimed is the room in bytes that database and log each claim in advance.
const claimed = 1 << 20

// claimRoom grows the database and its log by empty pages, so that a drop
// finds room even on a disk that others have filled. A row that an earlier run
// could not delete again is replaced. Kinds: Integrity (it is damaged),
// Database, IO.
func (x *index) claimRoom() error {
	_, err := x.conn.ExecContext(context.Background(), `
		INSERT OR REPLACE INTO payloads (id, data) VALUES (-1, zeroblob(?));
		DELETE FROM payloads WHERE id = -1;
		PRAGMA wal_checkpoint(PASSIVE)`, claimed)
	switch {
	case err == nil || noRoom(err):
		return nil
	case sqliteCode(err) == sqlite3.SQLITE_CORRUPT: // of the empty pages, which check does not look at
		return errs.New(errs.Integrity, "%s is damaged: %w", x.path, err)
	}
	return errs.New(kindOf(err), "store: claim room: %w", err)
}

// row reads the one row that a query has into the given variables. Its error
// may be sql.ErrNoRows.
func (x *index) row(text string, args []any, into ...any) error {
	stmt, err := x.reads.prepare(text)
	if err != nil {
		return err
	}
	return stmt.QueryRow(args...).Scan(into...)
}

// rows calls scan for each row of a query.
func (x *index) rows(scan func(*sql.Rows) error, text string, args ...any) error {
	stmt, err := x.reads.prepare(text)
	if err != nil {
		return err
	}
	return each(stmt, scan, args...)
}

func (x *index) close() error {
	var all []error
	all = append(all, x.reads.close(), x.writes.close())
	if x.read != nil {
		all = append(all, x.read.Close())
	}
	if x.conn != nil {
		all = append(all, x.conn.Close())
	}
	if x.write != nil {
		all = append(all, x.write.Close())
	}
	if err := errors.Join(all...); err != nil {
		return errs.New(errs.Database, "store: close: %w", err)
	}
	return nil
}

// openError says what is wrong with a database that does not open.
func openError(path string, err error) error {
	kind := kindOf(err)
	switch sqliteCode(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR:
		kind = errs.Integrity
	}
	return errs.New(kind, "open %s: %w", path, err)
}
