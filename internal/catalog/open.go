package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

const additions = deletions + logTables

const (
	application = 0x444d4361 // "DMCa"
	version     = 1
)

// schema makes an empty catalog. The row number is what an object keeps for
// ever, whatever id its manifest comes to have.
const schema = `
PRAGMA journal_mode = WAL;
PRAGMA application_id = 0x444d4361;
PRAGMA user_version = 1;
CREATE TABLE object (
	row     INTEGER PRIMARY KEY AUTOINCREMENT,
	id      BLOB    NOT NULL UNIQUE,
	name    TEXT    NOT NULL,
	size    INTEGER NOT NULL,
	tags    TEXT    NOT NULL,
	created INTEGER NOT NULL, -- nanoseconds since 1970 in UTC
	stored  INTEGER NOT NULL
) STRICT;
CREATE INDEX object_by_name ON object (name, created);
CREATE INDEX object_by_time ON object (created);
` + fileColumns + nameTables + searchTables

// fileColumns are what was added to the schema of what a file was. A catalog of
// an earlier version gets them when it is opened; an earlier program goes on
// without them.
const fileColumns = `
ALTER TABLE object ADD COLUMN type     TEXT    NOT NULL DEFAULT '';
ALTER TABLE object ADD COLUMN mode     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE object ADD COLUMN modified INTEGER NOT NULL DEFAULT 0; -- nanoseconds since 1970 in UTC, or 0
`

// nameTables are what was added to the schema for objects of several names, and
// for those that are pinned. The name of an object's row is the first of them.
const nameTables = `
ALTER TABLE object ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
CREATE TABLE alias (
	id   BLOB NOT NULL,
	name TEXT NOT NULL,
	PRIMARY KEY (id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX alias_by_name ON alias (name);
CREATE TABLE disputed ( -- that are listed, though a deletion is known
	id BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE TRIGGER alias_of_none AFTER DELETE ON object BEGIN
	DELETE FROM alias WHERE id = old.id;
	DELETE FROM disputed WHERE id = old.id;
END;
`

// Open opens the catalog in the file path and makes an empty one, for this
// user alone, if there is none. A file that it does not understand is left as
// it is. Kinds: Configuration (written by a newer version, or no catalog at
// all), Database (damaged), Full, IO, Locked.
func Open(ctx context.Context, path string) (*Catalog, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(ctx, path); err != nil {
			return nil, err
		}
	}
	return openWith(ctx, path, additions, url.Values{
		"_pragma": {"busy_timeout(10000)", "synchronous(FULL)", fmt.Sprintf("cache_size(-%d)", cache)},
		"_txlock": {"immediate"},
	})
}

// OpenToRead opens the catalog in the file path for List, ByID, ByName and
// Stats. It makes no file, not even one beside the catalog: without a log that
// others have open it reads the file alone, and so may miss rows that a process
// was killed before merging, or fail, with the kind Database, while another
// process begins to write. Kinds: FileNotFound, and those of Open.
func OpenToRead(ctx context.Context, path string) (*Catalog, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.FileNotFound, "there is no catalog %s", path)
	}
	values := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(100)"}}
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + suffix); err != nil {
			values.Set("immutable", "1") // else SQLite would make it
		}
	}
	return openWith(ctx, path, "", values)
}

// openWith opens the database, if it is a catalog, and makes additions to it.
func openWith(ctx context.Context, path, additions string, values url.Values) (*Catalog, error) {
	c, err := connect(path, values)
	if err != nil {
		return nil, err
	}
	if err = c.check(ctx); err == nil {
		err = c.prepare(ctx, additions)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// prepare makes additions, and sees what is there.
func (c *Catalog) prepare(ctx context.Context, additions string) error {
	has, err := c.has(ctx, "deletion")
	if err == nil && additions != "" {
		err = c.addColumns(ctx, "modified", fileColumns)
		if err == nil {
			err = c.addColumns(ctx, "pinned", nameTables+searchTables)
		}
		if err == nil {
			err = c.addLog(ctx)
		}
		if err == nil {
			err = c.addStrays(ctx)
		}
		if err == nil {
			err = c.addShares(ctx)
		}
		if err == nil {
			err = c.addOwner(ctx)
		}
		has = true
	}
	if err == nil {
		err = c.see(ctx)
	}
	c.live = "TRUE"
	if has {
		c.live = "id NOT IN (SELECT id FROM deletion)"
	}
	return err
}

// see finds out how this catalog is read.
func (c *Catalog) see(ctx context.Context) error {
	hasFile, err := c.hasColumn(ctx, "modified")
	if err != nil {
		return err
	}
	hasNames, err := c.hasColumn(ctx, "pinned")
	switch {
	case hasNames:
		c.aliases = true
		c.columns, c.further, c.named = columns, further, `(name = ?1 OR id IN (SELECT id FROM alias WHERE name = ?1))`
	case hasFile:
		c.columns, c.further, c.named = earlierColumns, noFurther, `name = ?1`
	default:
		c.columns, c.further, c.named = earliestColumns, noFurther, `name = ?1`
	}
	return err
}

// hasColumn reports whether objects have a column that they have not in earlier
// versions.
func (c *Catalog) hasColumn(ctx context.Context, name string) (has bool, err error) {
	err = c.row(ctx, hasColumn, name).Scan(&has)
	return has, c.classify(ctx, err)
}

const hasColumn = `SELECT EXISTS (SELECT 1 FROM pragma_table_info('object') WHERE name = ?)`

// addColumns makes what comes with a column of objects that earlier versions have
// not.
func (c *Catalog) addColumns(ctx context.Context, column, statements string) error {
	if has, err := c.hasColumn(ctx, column); err != nil || has {
		return err
	}
	return c.write(ctx, func(tx *writing) error {
		var has bool // since another process may have made them
		err := tx.row([]any{&has}, hasColumn, column)
		if err == nil && !has {
			_, err = tx.exec(statements)
		}
		return err
	})
}

// has reports whether the catalog has a table that earlier versions have not.
func (c *Catalog) has(ctx context.Context, table string) (has bool, err error) {
	if _, has = c.tables.Load(table); has {
		return true, nil
	}
	err = c.row(ctx, `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?)`, table).Scan(&has)
	if has {
		c.tables.Store(table, nil)
	}
	return has, c.classify(ctx, err)
}

// create makes an empty catalog elsewhere and puts it in place whole, so that
// of several processes that do so one wins and none sees half of it.
func create(ctx context.Context, path string) error {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".datamesh-*.tmp")
	if err != nil {
		return errs.New(durable.KindOf(err), "create %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	temp := filepath.Join(dir, "empty.db")
	c, err := connect(temp, url.Values{"_pragma": {"synchronous(FULL)"}})
	if err != nil {
		return err
	}
	c.path = path // which is what errors are about
	if _, err = c.db.ExecContext(ctx, schema); err == nil {
		err = errors.Join(c.addLog(ctx), c.addOwner(ctx))
	}
	if err == nil {
		err = c.addShares(ctx)
	}
	if err := c.classify(ctx, errors.Join(err, c.close())); err != nil {
		return err
	}
	err = durable.WriteFile(path, 0o600, false, func(w io.Writer) error {
		empty, err := os.ReadFile(temp)
		if err != nil {
			return errs.New(errs.IO, "create %s: %w", path, err)
		}
		_, err = w.Write(empty)
		return err
	})
	if errors.Is(err, errs.Exists) {
		return nil
	}
	return err
}

// cache is how many KiB of pages each connection of [Open] keeps at most: beside it
// stands the system's cache.
const cache = 1000

// readers is how many small queries run at the same time. More would each make a
// connection, and compile its query anew.
const readers = 4

// connect prepares connections to the database; none is made yet.
func connect(path string, values url.Values) (*Catalog, error) {
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: values.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, errs.New(errs.Database, "open %s: %w", path, err)
	}
	db.SetMaxIdleConns(readers + 1) // what was compiled goes with a connection
	return &Catalog{db: db, path: path, reading: make(chan struct{}, readers)}, nil
}

// check tells whether the file is a catalog of a version that is known.
func (c *Catalog) check(ctx context.Context) error {
	var app, v int
	err := c.db.QueryRowContext(ctx, `SELECT application_id, user_version FROM pragma_application_id, pragma_user_version`).Scan(&app, &v)
	switch {
	case err != nil:
		return c.classify(ctx, err)
	case app != application:
		return errs.WithHint(errs.New(errs.Configuration, "%s is not a catalog of datamesh", c.path),
			"give another home with --home, or move that file away")
	case v > version:
		return errs.WithHint(errs.New(errs.Configuration, "%s has version %d, this program knows %d", c.path, v, version),
			"update datamesh: the home was used by a newer version")
	case v < version:
		return c.damaged("it has no version")
	}
	return nil
}

func (c *Catalog) damaged(what string) error {
	return errs.WithHint(errs.New(errs.Database, "the catalog %s is damaged: %s", c.path, what),
		"copy the file to a safe place, then move it away while no node of this home runs: a new catalog is made, and what you stored can still be read by its ids")
}

// classify gives an error of the database its kind.
func (c *Catalog) classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return errs.New(errs.Database, "catalog %s: %w", c.path, err)
	}
	switch e.Code() & 0xff { // the rest of a code is detail
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return c.damaged(err.Error())
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return errs.New(errs.Locked, "catalog %s: %w", c.path, err)
	case sqlite3.SQLITE_FULL:
		return errs.New(errs.Full, "catalog %s: %w", c.path, err)
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY:
		if fullDisk(filepath.Dir(c.path)) {
			return errs.New(errs.Full, "catalog %s: %w", c.path, err)
		}
		return errs.New(errs.IO, "catalog %s: %w", c.path, err)
	}
	return errs.New(errs.Database, "catalog %s: %w", c.path, err)
}

// fullDisk reports whether there is no room for what SQLite keeps beside a
// database: when it cannot make or grow those files it does not say why.
func fullDisk(dir string) bool {
	f, err := durable.Create(filepath.Join(dir, "room"), 0o600)
	if err == nil {
		_, err = f.Write(make([]byte, 64<<10))
		f.Abort()
	}
	return errors.Is(err, errs.Full)
}

func isBusy(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

func isUnique(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
}
