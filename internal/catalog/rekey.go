package catalog

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// rekeyTable was added to the schema when content could be stored anew under
// other keys. It is about what this home has begun, and is in no log.
const rekeyTable = `
CREATE TABLE IF NOT EXISTS rekeyed ( -- objects, until they are deleted
	old       BLOB    PRIMARY KEY,
	now       BLOB    NOT NULL, -- that has the content under other keys
	final     INTEGER NOT NULL, -- the old one is to be gone for good
	clock     INTEGER NOT NULL, -- of what had been said of it last when the other was entered
	device    BLOB    NOT NULL, -- likewise
	condemned INTEGER NOT NULL  -- its deletion is noted
) STRICT, WITHOUT ROWID;
`

// A Rekeyed object is one whose content this home has stored anew, under other
// keys, and that is to be deleted.
type Rekeyed struct {
	Old, Now  datamesh.ObjectID // as they are known by now
	Final     bool              // it is to be gone for good
	Condemned bool              // its deletion is noted

	row datamesh.ObjectID // as it was known then
}

// Rekey adds an object that has the content of another, with all that is said of
// that: names, tags, pin, time, type and mode. Of e only the id, the size, the
// stored bytes and the epoch count. The other stays until [Catalog.Supersede].
// Kinds: FileNotFound (that is not there, or was deleted), Exists.
func (c *Catalog) Rekey(ctx context.Context, old datamesh.ObjectID, e Entry, final bool) error {
	return c.write(ctx, func(tx *writing) error {
		was, err := tx.entry(old)
		if err != nil {
			return err
		}
		var begun bool
		if err := tx.row([]any{&begun}, `SELECT EXISTS (SELECT 1 FROM rekeyed WHERE old = ?)`, old[:]); err != nil {
			return err
		}
		if begun {
			return errs.New(errs.Exists, "the content of %v is stored anew already", old)
		}
		var clock int64
		device := []byte{}
		err = tx.row([]any{&clock, &device}, `SELECT clock, device FROM said WHERE object = ?`, old[:])
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		e.Name, e.Further, e.Tags, e.Pinned = was.Name, was.Further, was.Tags, was.Pinned
		e.Created, e.Type, e.Mode, e.ModTime = was.Created, was.Type, was.Mode, was.ModTime
		if err := tx.insert(&e, ``); err != nil {
			if isUnique(err) {
				err = errs.New(errs.Exists, "object %v is in the catalog", e.ID)
			}
			return err
		}
		if err := tx.noteEpoch(e.ID, e.Epoch); err != nil {
			return err
		}
		if _, err := tx.exec(`INSERT INTO rekeyed (old, now, final, clock, device, condemned) VALUES (?, ?, ?, ?, ?, 0)`,
			old[:], e.ID[:], final, clock, device); err != nil {
			return err
		}
		return tx.say(e.ID)
	})
}

// Rekeyed returns the objects whose content this home has stored anew, and that it
// has yet to delete.
func (c *Catalog) Rekeyed(ctx context.Context) (all []Rekeyed, err error) {
	var none bool
	if err := c.row(ctx, `SELECT NOT EXISTS (SELECT 1 FROM rekeyed)`).Scan(&none); err != nil || none {
		return nil, c.classify(ctx, err)
	}
	err = c.write(ctx, func(tx *writing) error {
		all = nil
		err := tx.each(func(rows *sql.Rows) error {
			var r Rekeyed
			var old, now []byte
			err := rows.Scan(&old, &now, &r.Final, &r.Condemned)
			r.row, r.Now = idOf(old), idOf(now)
			all = append(all, r)
			return err
		}, `SELECT old, now, final, condemned FROM rekeyed ORDER BY old`)
		for i := range all {
			if err == nil {
				all[i].Old, err = current(all[i].row, tx.row)
			}
			if err == nil {
				all[i].Now, err = current(all[i].Now, tx.row)
			}
		}
		return err
	})
	return all, err
}

// Supersede has the object that has the content under other keys be in the place
// of the old one, which is deleted by a word of that generation, before the mesh is
// told. Names, tags and a pin that others have given the old one since go to the
// other. Kinds: FileNotFound (one of the two is not there, or was deleted), Exists
// (the old one is shared).
func (c *Catalog) Supersede(ctx context.Context, r Rekeyed, at time.Time, word uint64, final bool) error {
	return c.write(ctx, func(tx *writing) error {
		old, err := tx.entry(r.Old)
		if err != nil {
			return err
		}
		now, err := tx.entry(r.Now)
		if err != nil {
			return err
		}
		var shared, unchanged bool
		if err := tx.row([]any{&shared}, `SELECT EXISTS (SELECT 1 FROM share WHERE object = ? AND withdrawn IS NULL AND (expires = 0 OR expires > ?))`,
			r.Old[:], at.UnixNano()); err != nil {
			return err
		}
		if shared {
			return errs.New(errs.Exists, "%v is shared", r.Old)
		}
		if err := tx.row([]any{&unchanged}, `SELECT EXISTS (SELECT 1 FROM said JOIN rekeyed USING (clock, device) WHERE object = ? AND old = ?)`,
			r.Old[:], r.row[:]); err != nil {
			return err
		}
		if !unchanged && now.inherit(&old) {
			if err := tx.update(&now); err != nil {
				return err
			}
		}
		if _, err := tx.exec(`INSERT INTO deletion (id, deleted, word, final, done) VALUES (?, ?, ?, ?, 0)`, r.Old[:], at.UnixNano(), int64(word), final); err != nil {
			return err
		}
		if _, err := tx.exec(`UPDATE rekeyed SET condemned = 1, final = ? WHERE old = ?`, final, r.row[:]); err != nil {
			return err
		}
		return tx.say(r.Old)
	})
}

// inherit gives an object the names, tags and pin of another, beside its own, and
// reports whether it had not all of them.
func (e *Entry) inherit(from *Entry) bool {
	before := *e
	names := e.Names()
	if e.Name == "" {
		e.Name = from.Name
	}
	e.setNames(append(names, from.Names()...))
	e.Tags = slices.Clone(e.Tags)
	for _, tag := range from.Tags {
		if !slices.Contains(e.Tags, tag) && len(e.Tags) < format.MaxTags {
			e.Tags = append(e.Tags, tag)
		}
	}
	e.Pinned = e.Pinned || from.Pinned
	return e.Name != before.Name || !slices.Equal(e.Further, before.Further) || !slices.Equal(e.Tags, before.Tags) || e.Pinned != before.Pinned
}

// EndRekey notes that nothing more is to be done of a rekeyed object.
func (c *Catalog) EndRekey(ctx context.Context, r Rekeyed) error {
	return c.write(ctx, func(tx *writing) error {
		_, err := tx.exec(`DELETE FROM rekeyed WHERE old = ?`, r.row[:])
		return err
	})
}
