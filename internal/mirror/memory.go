package mirror

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/step"
	"datamesh/internal/tree"
)

const (
	application = 0x444d7379 // "DMsy"
	version     = 2          // since 2 the pair has an inode
)

// schema makes an empty memory. A row has a path of both sides as they were when
// they were the same; times are nanoseconds since 1970 in UTC, or 0.
const schema = `
CREATE TABLE pair (
	dir   TEXT NOT NULL, -- here
	name  TEXT NOT NULL, -- in the mesh
	inode TEXT NOT NULL  -- of the directory when it was synced last; "": not known
) STRICT;
CREATE TABLE last (
	path          TEXT    PRIMARY KEY, -- below the top
	type          TEXT    NOT NULL,
	size          INTEGER NOT NULL,
	mode          INTEGER NOT NULL,
	modified      INTEGER NOT NULL,
	target        TEXT    NOT NULL,
	mesh_id       BLOB    NOT NULL,
	mesh_type     TEXT    NOT NULL,
	mesh_size     INTEGER NOT NULL,
	mesh_mode     INTEGER NOT NULL,
	mesh_modified INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA application_id = 0x444d7379;
PRAGMA user_version = 2;
`

// A Memory is what is known of how a directory and one of the catalog were when
// they were last the same. One process at a time has it. It is safe for
// concurrent use.
type Memory struct {
	db      *sql.DB
	path    string
	lock    *flock.Flock
	version int // of the file
}

// Open opens the memory of the directory dir, an absolute path, and of name in
// the mesh, which lies in the directory in, and makes an empty one if there is
// none. Kinds: Locked (another process has it), Configuration (written by a newer
// version), Database, Full, IO.
func Open(ctx context.Context, in, dir, name string) (*Memory, error) {
	if err := durable.MkdirAll(in, 0o700); err != nil {
		return nil, err
	}
	path := fileOf(in, dir, name)
	m := &Memory{path: path, lock: flock.New(path+".lock", flock.SetPermissions(0o600))}
	if locked, err := m.lock.TryLock(); err != nil {
		return nil, errs.New(durable.KindOf(err), "lock %s: %w", path, err)
	} else if !locked {
		return nil, errs.WithHint(errs.New(errs.Locked, "another process syncs %s with %s/", dir, name), "wait until it has ended")
	}
	err := m.open(ctx, dir, name)
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// fileOf returns the file of a pair.
func fileOf(in, dir, name string) string {
	sum := sha256.Sum256([]byte(dir + "\x00" + name))
	return filepath.Join(in, hex.EncodeToString(sum[:16])+".db")
}

// Look returns what a memory has, as [Memory.All] and [Memory.Inode], without making
// one. Kinds: as Open, but for Locked.
func Look(ctx context.Context, in, dir, name string) (all map[string]Last, inode string, err error) {
	path := fileOf(in, dir, name)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, "", nil
	}
	m := &Memory{path: path}
	if err := m.connect("mode=ro&_pragma=busy_timeout(10000)"); err != nil {
		return nil, "", err
	}
	defer m.Close()
	if err := m.check(ctx); err != nil {
		return nil, "", err
	}
	if inode, err = m.Inode(ctx); err == nil {
		all, err = m.All(ctx)
	}
	return all, inode, err
}

func (m *Memory) connect(query string) error {
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(m.path), RawQuery: query}
	var err error
	if m.db, err = sql.Open("sqlite", dsn.String()); err != nil {
		return errs.New(errs.Database, "open %s: %w", m.path, err)
	}
	m.db.SetMaxOpenConns(1)
	return nil
}

func (m *Memory) open(ctx context.Context, dir, name string) error {
	f, err := os.OpenFile(m.path, os.O_RDWR|os.O_CREATE, 0o600) // for its user alone
	if err != nil {
		return errs.New(durable.KindOf(err), "open %s: %w", m.path, err)
	}
	info, err := f.Stat()
	f.Close()
	if err != nil {
		return errs.New(errs.IO, "open %s: %w", m.path, err)
	}
	if err := m.connect(url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)"}, "_txlock": {"immediate"}}.Encode()); err != nil {
		return err
	}
	if info.Size() > 0 {
		err = m.check(ctx)
		if err == nil {
			return m.update(ctx)
		}
		if !errors.Is(err, errNew) {
			return err
		}
	}
	return m.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, schema)
		if err == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO pair (dir, name, inode) VALUES (?, ?, '')`, dir, name)
		}
		m.version = version
		return err
	})
}

// update makes a memory of an earlier version one of this.
func (m *Memory) update(ctx context.Context) error {
	if m.version == version {
		return nil
	}
	err := m.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `ALTER TABLE pair ADD COLUMN inode TEXT NOT NULL DEFAULT ''; PRAGMA user_version = 2`)
		return err
	})
	if err == nil {
		m.version = version
	}
	return err
}

// errNew says that a process ended before it had made a memory.
var errNew = errs.New(errs.Database, "it is empty")

// check tells whether the file is a memory of a version that is known.
func (m *Memory) check(ctx context.Context) error {
	var app, v, tables int
	err := m.db.QueryRowContext(ctx, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id, pragma_user_version`).Scan(&app, &v, &tables)
	switch {
	case err != nil:
		return m.classify(err)
	case app == 0 && tables == 0:
		return errNew
	case app != application:
		return errs.WithHint(errs.New(errs.Configuration, "%s is no memory of a sync", m.path), "move that file away: then both sides are compared as if for the first time")
	case v > version:
		return errs.WithHint(errs.New(errs.Configuration, "%s has version %d, this program knows %d", m.path, v, version), "update datamesh: the home was used by a newer version")
	case v < 1:
		return m.damaged("it has no version")
	}
	m.version = v
	return nil
}

// Close gives the memory to others.
func (m *Memory) Close() error {
	var err error
	if m.db != nil {
		err = m.classify(m.db.Close())
	}
	if m.lock != nil {
		err = errors.Join(err, m.lock.Close())
	}
	return err
}

// All returns all that is remembered, by path.
func (m *Memory) All(ctx context.Context) (map[string]Last, error) {
	rows, err := m.db.QueryContext(ctx, `SELECT path, type, size, mode, modified, target, mesh_id, mesh_type, mesh_size, mesh_mode, mesh_modified FROM last`)
	if err != nil {
		return nil, m.classify(err)
	}
	defer rows.Close()
	all := map[string]Last{}
	for rows.Next() {
		var (
			path                string
			l                   Last
			id                  []byte
			modified, modified2 int64
		)
		err := rows.Scan(&path, &l.Local.Type, &l.Local.Size, &l.Local.Mode, &modified, &l.Local.Target,
			&id, &l.Mesh.Type, &l.Mesh.Size, &l.Mesh.Mode, &modified2)
		if err != nil {
			return nil, m.classify(err)
		}
		if len(id) != len(l.Mesh.ID) || tree.CheckPath(path) != nil {
			return nil, m.damaged("a row makes no sense")
		}
		copy(l.Mesh.ID[:], id)
		l.Local.ModTime, l.Mesh.ModTime = timeOf(modified), timeOf(modified2)
		all[path] = l
	}
	return all, m.classify(rows.Err())
}

// Inode returns what tells the directory from others, as it was when it was synced
// last, or "" if that is not known.
func (m *Memory) Inode(ctx context.Context) (inode string, err error) {
	if m.version < version {
		return "", nil
	}
	err = m.db.QueryRowContext(ctx, `SELECT inode FROM pair`).Scan(&inode)
	if errors.Is(err, sql.ErrNoRows) {
		return "", m.damaged("it has no pair")
	}
	return inode, m.classify(err)
}

// SetInode remembers what tells the directory from others, durably.
func (m *Memory) SetInode(ctx context.Context, inode string) error {
	return m.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE pair SET inode = ?`, inode)
		return err
	})
}

// Set remembers how both sides of a path are, durably.
func (m *Memory) Set(ctx context.Context, path string, l Last) error {
	err := m.write(ctx, func(tx *sql.Tx) error { return set(ctx, tx, path, l) })
	step.At("mirror: memory: a path is remembered")
	return err
}

// Update remembers many paths and forgets others, all or none, durably.
func (m *Memory) Update(ctx context.Context, all map[string]Last, drop []string) error {
	if len(all) == 0 && len(drop) == 0 {
		return nil
	}
	err := m.write(ctx, func(tx *sql.Tx) error {
		for path, l := range all {
			if err := set(ctx, tx, path, l); err != nil {
				return err
			}
		}
		for _, path := range drop {
			if _, err := tx.ExecContext(ctx, `DELETE FROM last WHERE path = ?`, path); err != nil {
				return err
			}
		}
		return nil
	})
	step.At("mirror: memory: paths are remembered and forgotten")
	return err
}

func set(ctx context.Context, tx *sql.Tx, path string, l Last) error {
	_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO last VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		path, l.Local.Type, l.Local.Size, l.Local.Mode, nanos(l.Local.ModTime), l.Local.Target,
		l.Mesh.ID[:], l.Mesh.Type, l.Mesh.Size, l.Mesh.Mode, nanos(l.Mesh.ModTime))
	return err
}

func (m *Memory) write(ctx context.Context, change func(*sql.Tx) error) error {
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return m.classify(err)
	}
	defer tx.Rollback()
	if err = change(tx); err == nil {
		err = tx.Commit()
	}
	return m.classify(err)
}

func (m *Memory) damaged(what string) error {
	return errs.WithHint(errs.New(errs.Database, "%s is damaged: %s", m.path, what), "move that file away: then both sides are compared as if for the first time")
}

// classify gives an error of the database its kind.
func (m *Memory) classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return errs.New(errs.Database, "%s: %w", m.path, err)
	}
	switch e.Code() & 0xff { // the rest of a code is detail
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return m.damaged(err.Error())
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return errs.New(errs.Locked, "%s: %w", m.path, err)
	case sqlite3.SQLITE_FULL:
		return errs.New(errs.Full, "%s: %w", m.path, err)
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY:
		return errs.New(errs.IO, "%s: %w", m.path, err)
	}
	return errs.New(errs.Database, "%s: %w", m.path, err)
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
