package catalog

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// strayTables are what was added to the schema for the search for segments that no
// catalog of their owner knows. They are about what this home has seen, and are in
// no log. A part stays what it is: the id of an object is the hash of all that it
// consists of.
const strayTables = `
CREATE TABLE IF NOT EXISTS part ( -- segments of objects
	segment BLOB NOT NULL,
	object  BLOB NOT NULL,
	PRIMARY KEY (segment, object)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS whole ( -- objects all of whose segments are known
	object BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stray (
	segment BLOB    PRIMARY KEY,
	seen    INTEGER NOT NULL -- when it was first seen, in seconds since 1970
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS discarded ( -- what was put into the trash
	segment BLOB    PRIMARY KEY,
	word    BLOB    NOT NULL,
	at      INTEGER NOT NULL, -- in seconds since 1970
	acked   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS looked (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	at  INTEGER NOT NULL -- when all was looked at last, in seconds since 1970
) STRICT;
`

// addStrays makes what earlier versions have not.
func (c *Catalog) addStrays(ctx context.Context) error {
	if has, err := c.has(ctx, "looked"); err != nil || has {
		return err
	}
	return c.write(ctx, func(tx *writing) error {
		_, err := tx.exec(strayTables)
		return err
	})
}

// A Known says what the catalog knows of an object.
type Known int

// What is known of an object.
const (
	Unknown  Known = iota
	Listed         // it is there: all its segments must be known
	Leaving        // it is to be deleted, and may not be yet
	Left           // it is deleted, and the mesh was told; another device may have brought it back, unheard
	Replaced       // a run or a manifest that another has replaced, or a share that was taken back
)

// KnownObjects returns all objects that the catalog knows, with those that were
// deleted, the ids that they had before, second manifests of them for others, the runs of this device, and all runs
// of others that were ever learnt.
func (c *Catalog) KnownObjects(ctx context.Context) (known map[datamesh.ObjectID]Known, err error) {
	known = map[datamesh.ObjectID]Known{}
	return known, c.each(ctx, func(rows *sql.Rows) error { // of one statement, so that all is of one moment
		var id []byte
		var what Known
		err := rows.Scan(&id, &what)
		if old, there := known[idOf(id)]; !there || what < old {
			known[idOf(id)] = what
		}
		return err
	}, `SELECT id, iif(done IS NULL, 1, iif(done = 1 OR final = 1, 3, 2)) FROM object LEFT JOIN deletion USING (id)
		UNION ALL SELECT id, iif(done, 4, iif(withdrawn IS NULL, 1, 2)) FROM share
		UNION ALL SELECT object, iif(merged IS NULL, 1, 4) FROM run
		UNION ALL SELECT what, 4 FROM met
		UNION ALL SELECT id, 4 FROM former`)
}

// each calls scan with each row of a query.
func (c *Catalog) each(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := c.db.QueryContext(ctx, query, args...)
	if err != nil {
		return c.classify(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return c.classify(ctx, err)
		}
	}
	return c.classify(ctx, rows.Err())
}

// IsWhole reports whether all segments of an object are known.
func (c *Catalog) IsWhole(ctx context.Context, id datamesh.ObjectID) (is bool, err error) {
	err = c.row(ctx, `SELECT EXISTS (SELECT 1 FROM whole WHERE object = ?)`, id[:]).Scan(&is)
	return is, c.classify(ctx, err)
}

// SetParts notes of which segments an object consists.
func (c *Catalog) SetParts(ctx context.Context, id datamesh.ObjectID, parts []datamesh.SegmentID) error {
	return c.write(ctx, func(tx *writing) error {
		for _, segment := range parts {
			if _, err := tx.exec(`INSERT INTO part (segment, object) VALUES (?, ?) ON CONFLICT DO NOTHING`, segment[:], id[:]); err != nil {
				return err
			}
		}
		_, err := tx.exec(`INSERT INTO whole (object) VALUES (?) ON CONFLICT DO NOTHING`, id[:])
		return err
	})
}

// KeepParts forgets the segments of the objects that are not to be kept.
func (c *Catalog) KeepParts(ctx context.Context, keep func(datamesh.ObjectID) bool) error {
	return c.write(ctx, func(tx *writing) error {
		all, err := tx.ids(`SELECT object FROM whole`)
		for _, id := range all {
			if keep(id) {
				continue
			}
			if err == nil {
				_, err = tx.exec(`DELETE FROM whole WHERE object = ?`, id[:])
			}
			if err == nil {
				_, err = tx.exec(`DELETE FROM part WHERE object = ?`, id[:])
			}
		}
		return err
	})
}

// PartOf returns the objects that a segment is known to be of.
func (c *Catalog) PartOf(ctx context.Context, segment datamesh.SegmentID) (objects []datamesh.ObjectID, err error) {
	err = c.each(ctx, func(rows *sql.Rows) error {
		var id []byte
		err := rows.Scan(&id)
		objects = append(objects, idOf(id))
		return err
	}, `SELECT object FROM part WHERE segment = ?`, segment[:])
	return objects, err
}

// Looked returns when all was looked at last; the zero time: never.
func (c *Catalog) Looked(ctx context.Context) (time.Time, error) {
	var at int64
	err := c.row(ctx, `SELECT at FROM looked`).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	return time.Unix(at, 0).UTC(), c.classify(ctx, err)
}

// SeeStrays notes that these segments, and no others, are in the mesh and unknown
// now, and returns when each was first seen so. Of one that was not seen it is
// forgotten when it was seen before, if it is known by now, or if all was looked
// at, so that it has gone: then its time begins anew. A clock that stands before
// the latest time that was noted is taken to stand there: what was noted by one that
// was right is not made older by one that was not.
func (c *Catalog) SeeStrays(ctx context.Context, now time.Time, list []datamesh.SegmentID, all bool, isKnown func([]datamesh.SegmentID) ([]bool, error)) (seen map[datamesh.SegmentID]time.Time, err error) {
	var rest []datamesh.SegmentID
	if !all {
		if rest, err = c.unseen(ctx, list, isKnown); err != nil {
			return nil, err
		}
	}
	keep := map[datamesh.SegmentID]bool{}
	for _, segment := range slices.Concat(list, rest) {
		keep[segment] = true
	}
	err = c.write(ctx, func(tx *writing) error {
		seen = map[datamesh.SegmentID]time.Time{}
		at := now.Unix()
		if err := tx.row([]any{&at}, `SELECT max(?, coalesce((SELECT max(seen) FROM stray), 0), coalesce((SELECT max(at) FROM looked), 0))`, at); err != nil {
			return err
		}
		for _, segment := range list {
			if _, err := tx.exec(`INSERT INTO stray (segment, seen) VALUES (?, ?) ON CONFLICT DO NOTHING`, segment[:], at); err != nil {
				return err
			}
		}
		var gone []datamesh.SegmentID
		err := tx.each(func(rows *sql.Rows) error {
			segment, first, err := scanStray(rows)
			if keep[segment] {
				seen[segment] = first
			} else {
				gone = append(gone, segment)
			}
			return err
		}, `SELECT segment, seen FROM stray`)
		for _, segment := range gone {
			if err == nil {
				_, err = tx.exec(`DELETE FROM stray WHERE segment = ?`, segment[:])
			}
		}
		if err == nil {
			_, err = tx.exec(`INSERT OR REPLACE INTO looked (one, at) VALUES (1, ?)`, at)
		}
		return err
	})
	return seen, err
}

// unseen returns the strays of before that were not seen now, and are not known.
func (c *Catalog) unseen(ctx context.Context, list []datamesh.SegmentID, isKnown func([]datamesh.SegmentID) ([]bool, error)) (rest []datamesh.SegmentID, err error) {
	now := map[datamesh.SegmentID]bool{}
	for _, segment := range list {
		now[segment] = true
	}
	var before []datamesh.SegmentID
	err = c.each(ctx, func(rows *sql.Rows) error {
		segment, _, err := scanStray(rows)
		if !now[segment] {
			before = append(before, segment)
		}
		return err
	}, `SELECT segment, seen FROM stray`)
	if err != nil {
		return nil, err
	}
	known, err := isKnown(before)
	for i, segment := range before {
		if err == nil && !known[i] {
			rest = append(rest, segment)
		}
	}
	return rest, err
}

func scanStray(rows *sql.Rows) (segment datamesh.SegmentID, seen time.Time, err error) {
	var id []byte
	var at int64
	err = rows.Scan(&id, &at)
	return datamesh.SegmentID(idOf(id)), time.Unix(at, 0).UTC(), err
}

// A Discarded is a word by which a segment was put into the trash.
type Discarded struct {
	Word  *datamesh.Deletion
	At    time.Time
	Acked bool // enough of those who keep it have it
}

// Discard notes, before the first is sent, words by which segments are put into the
// trash.
func (c *Catalog) Discard(ctx context.Context, now time.Time, words []*datamesh.Deletion) error {
	return c.write(ctx, func(tx *writing) error {
		for _, w := range words {
			if _, err := tx.exec(`INSERT OR REPLACE INTO discarded (segment, word, at, acked) VALUES (?, ?, ?, 0)`,
				w.Descriptor.Segment[:], format.EncodeDeletion(w), now.Unix()); err != nil {
				return err
			}
		}
		return nil
	})
}

// DiscardDone notes that the mesh has words. Their segments, should they come back,
// are new.
func (c *Catalog) DiscardDone(ctx context.Context, words []*datamesh.Deletion) error {
	return c.write(ctx, func(tx *writing) error {
		for _, w := range words {
			segment := w.Descriptor.Segment[:]
			if _, err := tx.exec(`UPDATE discarded SET acked = 1 WHERE segment = ? AND word = ?`, segment, format.EncodeDeletion(w)); err != nil {
				return err
			}
			if _, err := tx.exec(`DELETE FROM stray WHERE segment = ?`, segment); err != nil {
				return err
			}
		}
		return nil
	})
}

// Discards returns what was put into the trash since a time, in the order of the
// segments, and forgets what was before.
func (c *Catalog) Discards(ctx context.Context, since time.Time) (list []Discarded, err error) {
	err = c.write(ctx, func(tx *writing) error {
		list = nil
		if _, err := tx.exec(`DELETE FROM discarded WHERE at < ?`, since.Unix()); err != nil {
			return err
		}
		return tx.each(func(rows *sql.Rows) error {
			var word []byte
			var at int64
			var d Discarded
			err := rows.Scan(&word, &at, &d.Acked)
			if err != nil {
				return err
			}
			if d.Word, err = format.DecodeDeletion(word); err != nil {
				return errs.New(errs.Database, "the catalog has noted a word that cannot be read: %w", err)
			}
			d.At = time.Unix(at, 0).UTC()
			list = append(list, d)
			return nil
		}, `SELECT word, at, acked FROM discarded`)
	})
	slices.SortFunc(list, func(a, b Discarded) int {
		return bytes.Compare(a.Word.Descriptor.Segment[:], b.Word.Descriptor.Segment[:])
	})
	return list, err
}

// ForgetDiscards forgets what was brought back from the trash, or was deleted by
// another word since.
func (c *Catalog) ForgetDiscards(ctx context.Context, segments []datamesh.SegmentID) error {
	return c.write(ctx, func(tx *writing) error {
		for _, segment := range segments {
			for _, table := range []string{"discarded", "stray"} {
				if _, err := tx.exec(`DELETE FROM `+table+` WHERE segment = ?`, segment[:]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
