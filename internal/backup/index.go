package backup

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/node"
)

const (
	indexApplication = 0x444d4278 // "DMBx"
	indexVersion     = 1
	indexTables      = 5
)

// indexSchema makes an empty index. It is a cache: whatever is in it comes from
// the snapshots, but since when nobody has needed a pack, and which packs this
// home has made for a snapshot that is not there yet.
const indexSchema = `
PRAGMA application_id = 0x444d4278;
PRAGMA user_version = 1;
CREATE TABLE IF NOT EXISTS pack (
	n       INTEGER PRIMARY KEY,
	id      BLOB    NOT NULL UNIQUE,
	size    INTEGER NOT NULL,
	created INTEGER NOT NULL, -- nanoseconds since 1970
	own     INTEGER NOT NULL, -- this home has made it
	needed  INTEGER NOT NULL, -- a snapshot was seen that needs it
	listed  INTEGER NOT NULL, -- the catalog has it, and not as deleted
	gone    INTEGER NOT NULL, -- the owner's last word deletes it, or it cannot be had
	idle    INTEGER           -- since when it is known that nobody needs it, nanoseconds since 1970
) STRICT;
CREATE TABLE IF NOT EXISTS chunk (
	id     BLOB    PRIMARY KEY,
	pack   INTEGER NOT NULL,
	offset INTEGER NOT NULL,
	length INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshot (
	n     INTEGER PRIMARY KEY,
	id    BLOB    NOT NULL UNIQUE,
	state INTEGER NOT NULL, -- as below
	began INTEGER NOT NULL,
	files INTEGER NOT NULL,
	dirs  INTEGER NOT NULL,
	links INTEGER NOT NULL,
	bytes INTEGER NOT NULL,
	new   INTEGER NOT NULL,
	source TEXT   NOT NULL,
	host  TEXT    NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS needs (
	snapshot INTEGER NOT NULL,
	pack     INTEGER NOT NULL,
	bytes    INTEGER NOT NULL, -- of it
	PRIMARY KEY (snapshot, pack)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS needs_by_pack ON needs (pack);
CREATE TABLE IF NOT EXISTS doomed ( -- packs that this home has had deleted, and not yet seen that nobody needs them
	id BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
`

// The states of a snapshot.
const (
	isListed  = iota + 1
	isTrashed // it can be brought back
)

// An index is the table of chunks, and what is known of the snapshots that they
// are in.
type index struct{ *database }

// openIndex opens an index, and makes an empty one if there is none, or one that
// makes no sense.
func openIndex(ctx context.Context, path string) (*index, error) {
	d, err := openDatabase(ctx, path, "journal_mode(WAL)", "synchronous(NORMAL)", "cache_size(-8192)")
	if err != nil {
		return nil, err
	}
	err = d.begin(ctx)
	if errors.Is(err, errs.Database) { // damaged, or of another version
		d.close()
		removeDatabase(path)
		if d, err = openDatabase(ctx, path, "journal_mode(WAL)", "synchronous(NORMAL)", "cache_size(-8192)"); err != nil {
			return nil, err
		}
		err = d.begin(ctx)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return &index{d}, nil
}

func (d *database) begin(ctx context.Context) error {
	var app, version, tables int
	if _, err := d.row(ctx, []any{&app, &version, &tables}, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema WHERE type = 'table')
		FROM pragma_application_id, pragma_user_version`); err != nil {
		return err
	}
	switch {
	case app == 0 && version == 0 && tables == 0:
		return d.write(ctx, func(w *writing) error { // all of it, or who dies would leave what looks whole
			_, err := w.tx.ExecContext(ctx, indexSchema)
			return err
		})
	case app != indexApplication || version != indexVersion:
		return errs.New(errs.Database, "%s: another version", d.path)
	case tables != indexTables:
		return errs.New(errs.Database, "%s: its maker died", d.path)
	}
	return nil
}

// chunk is where a chunk is.
type chunk struct {
	pack   int64 // its number in the index
	offset int64
	length int
}

// usable is what holds of packs whose chunks may be used: the catalog has them,
// nobody's word deletes them, and a listed snapshot needs them, or this home has
// just made them.
const usable = `listed = 1 AND gone = 0 AND (own = 1 OR EXISTS (SELECT 1 FROM needs JOIN snapshot ON snapshot.n = needs.snapshot WHERE needs.pack = pack.n AND snapshot.state = 1))`

// prepare makes the table of the packs that may be used, for the rest of the
// operation.
func (x *index) prepare(ctx context.Context) error {
	for _, statement := range []string{
		`CREATE TEMP TABLE IF NOT EXISTS usable (n INTEGER PRIMARY KEY)`,
		`DELETE FROM usable`,
		`INSERT INTO usable SELECT n FROM pack WHERE ` + usable,
	} {
		if _, err := x.exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// find returns where a chunk is that may be used.
func (x *index) find(ctx context.Context, id [32]byte) (c chunk, ok bool, err error) {
	ok, err = x.row(ctx, []any{&c.pack, &c.offset, &c.length},
		`SELECT pack, offset, length FROM chunk WHERE id = ? AND pack IN (SELECT n FROM usable)`, id[:])
	return c, ok, err
}

// usablePack returns the number of a pack that may be used.
func (x *index) usablePack(ctx context.Context, id datamesh.ObjectID) (n int64, ok bool, err error) {
	ok, err = x.row(ctx, []any{&n}, `SELECT n FROM pack WHERE id = ? AND n IN (SELECT n FROM usable)`, id[:])
	return n, ok, err
}

// A packed chunk is one of a pack that is new.
type packed struct {
	id     [32]byte
	offset int64
	length int
}

// addPack notes a pack that this home has just made.
func (x *index) addPack(ctx context.Context, id datamesh.ObjectID, size int64, now time.Time, chunks []packed) (n int64, err error) {
	err = x.write(ctx, func(w *writing) error {
		if _, err := w.row([]any{&n}, `INSERT INTO pack (id, size, created, own, needed, listed, gone) VALUES (?, ?, ?, 1, 0, 1, 0) RETURNING n`,
			id[:], size, now.UnixNano()); err != nil {
			return err
		}
		if _, err := w.exec(`INSERT INTO usable (n) VALUES (?)`, n); err != nil {
			return err
		}
		for i := range chunks {
			if err := w.addChunk(chunks[i].id, chunk{n, chunks[i].offset, chunks[i].length}); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// addChunk notes where a chunk is, unless it is elsewhere, in a pack that the
// catalog has.
func (w *writing) addChunk(id [32]byte, c chunk) error {
	_, err := w.exec(`INSERT INTO chunk (id, pack, offset, length) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE
		SET pack = ?2, offset = ?3, length = ?4 WHERE pack <> ?2 AND pack NOT IN (SELECT n FROM pack WHERE listed = 1 AND gone = 0)`, id[:], c.pack, c.offset, c.length)
	return err
}

// follow makes the index have of packs and snapshots what the catalog has, and
// returns the snapshots that are yet to be read.
func (x *index) follow(ctx context.Context, all *node.BackupObjects, now time.Time) (unread []node.BackupObject, err error) {
	err = x.write(ctx, func(w *writing) error {
		if _, err := w.exec(`UPDATE pack SET listed = 0`); err != nil {
			return err
		}
		for _, p := range all.Packs {
			if p.Deleted {
				continue
			}
			if _, err := w.exec(`INSERT INTO pack (id, size, created, own, needed, listed, gone) VALUES (?, ?, ?, 0, 0, 1, 0)
				ON CONFLICT (id) DO UPDATE SET listed = 1, size = excluded.size, created = excluded.created`, p.ID[:], p.Size, p.Created.UnixNano()); err != nil {
				return err
			}
		}
		if _, err := w.exec(`UPDATE snapshot SET state = 0`); err != nil {
			return err
		}
		for _, s := range all.Snapshots {
			state := isListed
			if s.Deleted {
				if s.Until.IsZero() || now.After(s.Until) {
					continue
				}
				state = isTrashed
			}
			n, err := w.exec(`UPDATE snapshot SET state = ? WHERE id = ?`, state, s.ID[:])
			if err != nil {
				return err
			}
			if n == 0 {
				unread = append(unread, s)
			}
		}
		for _, statement := range []string{
			`DELETE FROM snapshot WHERE state = 0`,
			`DELETE FROM needs WHERE snapshot NOT IN (SELECT n FROM snapshot)`,
		} {
			if _, err := w.exec(statement); err != nil {
				return err
			}
		}
		n, err := w.exec(`DELETE FROM pack WHERE listed = 0 AND n NOT IN (SELECT pack FROM needs)`)
		if err == nil && n > 0 {
			_, err = w.exec(`DELETE FROM chunk WHERE pack NOT IN (SELECT n FROM pack)`)
		}
		return err
	})
	return unread, err
}

// take notes what a snapshot needs. It is all noted, or nothing.
func (x *index) take(ctx context.Context, id datamesh.ObjectID, state int, key [32]byte, s *format.SnapshotReader) error {
	return x.write(ctx, func(w *writing) error {
		var n int64
		if _, err := w.row([]any{&n}, `INSERT INTO snapshot (id, state, began, files, dirs, links, bytes, new, source, host) VALUES (?, ?, 0, 0, 0, 0, 0, 0, '', '')
			ON CONFLICT (id) DO UPDATE SET state = excluded.state RETURNING n`, id[:], state); err != nil {
			return err
		}
		for _, statement := range []string{`CREATE TEMP TABLE IF NOT EXISTS seen (pack INTEGER, offset INTEGER, PRIMARY KEY (pack, offset)) WITHOUT ROWID`, `DELETE FROM seen`} {
			if _, err := w.exec(statement); err != nil {
				return err
			}
		}
		var packs, bytes []int64 // by the place in the snapshot
		for {
			b, err := s.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			for _, id := range b.Packs {
				pack, err := w.pack(id)
				if err != nil {
					return err
				}
				packs, bytes = append(packs, pack), append(bytes, 0)
			}
			for i := range b.Entries {
				for _, c := range b.Entries[i].Chunks {
					fresh, err := w.exec(`INSERT INTO seen (pack, offset) VALUES (?, ?) ON CONFLICT DO NOTHING`, packs[c.Pack], c.Offset)
					if err != nil {
						return err
					}
					if fresh == 0 {
						continue
					}
					bytes[c.Pack] += int64(c.Length)
					if s.Head.Key == key {
						if err := w.addChunk(c.ID, chunk{packs[c.Pack], c.Offset, c.Length}); err != nil {
							return err
						}
					}
				}
			}
		}
		for i, pack := range packs {
			if _, err := w.exec(`INSERT INTO needs (snapshot, pack, bytes) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes`, n, pack, bytes[i]); err != nil {
				return err
			}
		}
		_, err := w.exec(`UPDATE snapshot SET began = ?, files = ?, dirs = ?, links = ?, bytes = ?, new = ?, source = ?, host = ? WHERE n = ?`,
			s.Head.Began, s.End.Files, s.End.Dirs, s.End.Links, s.End.Bytes, s.End.New, s.Head.Source, s.Head.Host, n)
		if err == nil {
			_, err = w.exec(`DELETE FROM seen`)
		}
		return err
	})
}

// pack returns the number of a pack that a snapshot needs.
func (w *writing) pack(id datamesh.ObjectID) (n int64, err error) {
	_, err = w.row([]any{&n}, `INSERT INTO pack (id, size, created, own, needed, listed, gone) VALUES (?, 0, 0, 0, 1, 0, 0)
		ON CONFLICT (id) DO UPDATE SET needed = 1, own = 0 RETURNING n`, id[:])
	return n, err
}

// ids returns the ids that a query yields.
func (x *index) ids(ctx context.Context, query string, args ...any) (ids []datamesh.ObjectID, err error) {
	err = x.each(ctx, func(rows *sql.Rows) error {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return err
		}
		if len(b) != len(datamesh.ObjectID{}) {
			return errs.New(errs.Database, "%s: an id makes no sense", x.path)
		}
		ids = append(ids, datamesh.ObjectID(b))
		return nil
	}, query, args...)
	return ids, err
}
