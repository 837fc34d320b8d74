package catalog

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

// A DeletedEntry is an object that its user has deleted.
type DeletedEntry struct {
	Entry
	Deleted time.Time
	Word    uint64 // the generation of the owner's word on the manifest
	Final   bool   // it cannot be brought back
	Done    bool   // the mesh has been told
}

// deletions are what was added to the schema for them. A catalog of an earlier
// version gets it when it is opened; an earlier program lists what is deleted as
// if it were not.
const deletions = `
CREATE TABLE IF NOT EXISTS deletion (
	id      BLOB    PRIMARY KEY,
	deleted INTEGER NOT NULL, -- nanoseconds since 1970 in UTC
	word    INTEGER NOT NULL, -- the generation of the manifest's; a final one is negative
	final   INTEGER NOT NULL,
	done    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`

// Delete takes an object out of the list, before the mesh is told, by a word of
// that generation, that it shall be gone. Kind: FileNotFound.
func (c *Catalog) Delete(ctx context.Context, id datamesh.ObjectID, now time.Time, word uint64, final bool) error {
	return c.write(ctx, func(tx *writing) error { return tx.delete(id, now, word, final) })
}

// DeleteAs is as Delete, of an object that is still as it was seen: another
// process may have pinned it since, or given it a further name. Kinds:
// FileNotFound, Refused.
func (c *Catalog) DeleteAs(ctx context.Context, seen Entry, now time.Time, word uint64, final bool) error {
	return c.write(ctx, func(tx *writing) error {
		e, err := tx.entry(seen.ID)
		if errors.Is(err, errs.FileNotFound) { // or it is deleted already, and that goes on
			return tx.deleteAgain(seen.ID, now, word, final)
		}
		if err != nil {
			return err
		}
		if e.Pinned && !seen.Pinned {
			return errs.New(errs.Refused, "it was pinned just now")
		}
		known := seen.Names()
		for _, name := range e.Names() {
			if !slices.Contains(known, name) {
				return errs.WithHint(errs.New(errs.Refused, "it was named %q just now", name), "delete it by its id if that name shall go too: datamesh rm %s", e.ID)
			}
		}
		return tx.delete(e.ID, now, word, final)
	})
}

// deleteAgain is delete of what is deleted. Kind: FileNotFound.
func (w *writing) deleteAgain(id datamesh.ObjectID, now time.Time, word uint64, final bool) error {
	var is bool
	err := w.row([]any{&is}, `SELECT EXISTS (SELECT 1 FROM deletion WHERE id = ?)`, id[:])
	if err == nil && !is {
		err = errs.New(errs.FileNotFound, "object %v is not in the catalog", id)
	}
	if err != nil {
		return err
	}
	return w.delete(id, now, word, final)
}

func (w *writing) delete(id datamesh.ObjectID, now time.Time, word uint64, final bool) error {
	n, err := w.exec(`INSERT INTO deletion (id, deleted, word, final, done) SELECT id, ?2, ?3, ?4, 0 FROM object WHERE id = ?1
		ON CONFLICT DO UPDATE SET word = excluded.word, final = max(final, excluded.final), done = 0`, id[:], now.UnixNano(), int64(word), final)
	if err != nil {
		return err
	}
	if n == 0 {
		return errs.New(errs.FileNotFound, "object %v is not in the catalog", id)
	}
	return w.say(id)
}

// Undone notes that the mesh may not know any more that a deleted object shall
// be gone. Kind: FileNotFound.
func (c *Catalog) Undone(ctx context.Context, id datamesh.ObjectID) error {
	return c.changeBy(ctx, (*writing).sayOn, id, `UPDATE deletion SET done = 0 WHERE id = ?`, id[:])
}

// Done notes that the mesh has been told that an object shall be gone. Kind:
// FileNotFound.
func (c *Catalog) Done(ctx context.Context, id datamesh.ObjectID) error {
	return c.changeBy(ctx, (*writing).sayOn, id, `UPDATE deletion SET done = 1 WHERE id = ?`, id[:])
}

// Undelete brings an object back into the list. Kind: FileNotFound.
func (c *Catalog) Undelete(ctx context.Context, id datamesh.ObjectID) error {
	return c.change(ctx, id, `DELETE FROM deletion WHERE id = ?`, id[:])
}

// Again says once more of an object what the catalog has of it, so that this is
// what was said last.
func (c *Catalog) Again(ctx context.Context, id datamesh.ObjectID) error {
	return c.write(ctx, func(tx *writing) error { return tx.say(id) })
}

// Forget removes an object, deleted or not, for good. Kind: FileNotFound.
func (c *Catalog) Forget(ctx context.Context, id datamesh.ObjectID) error {
	return c.change(ctx, id, `DELETE FROM object WHERE id = ?`, id[:])
}

// ForgetDeleted removes for good what the mesh was told to delete before a time,
// and what is final. Another device that has brought something back since is not
// contradicted.
func (c *Catalog) ForgetDeleted(ctx context.Context, before time.Time) error {
	return c.write(ctx, func(tx *writing) error {
		old, err := tx.ids(`SELECT id FROM deletion WHERE done = 1 AND (final = 1 OR deleted < ?)`, before.UnixNano())
		for _, id := range old {
			if err == nil {
				_, err = tx.exec(`DELETE FROM object WHERE id = ?`, id[:])
			}
			if err == nil {
				err = tx.sayOn(id)
			}
			if err == nil {
				err = tx.withdrawAll(id)
			}
		}
		return err
	})
}

// change makes a change that concerns one row. Kind: FileNotFound, if there is
// none.
func (c *Catalog) change(ctx context.Context, id datamesh.ObjectID, statement string, args ...any) error {
	return c.changeBy(ctx, (*writing).say, id, statement, args...)
}

func (c *Catalog) changeBy(ctx context.Context, say func(*writing, datamesh.ObjectID) error, id datamesh.ObjectID, statement string, args ...any) error {
	return c.write(ctx, func(tx *writing) error {
		n, err := tx.exec(statement, args...)
		if err != nil {
			return err
		}
		if n == 0 {
			return errs.New(errs.FileNotFound, "object %v is not in the catalog", id)
		}
		return say(tx, id)
	})
}

// deletedQuery returns a query for what scanDeleted reads.
func (c *Catalog) deletedQuery(rest string) string {
	return `SELECT ` + c.columns + c.further + `, deleted, word, final, done FROM object JOIN deletion USING (id) ` + rest
}

// Deleted yields the objects that were deleted, those deleted last first. It
// ends after the first error.
func (c *Catalog) Deleted(ctx context.Context) iter.Seq2[DeletedEntry, error] {
	return func(yield func(DeletedEntry, error) bool) {
		if has, err := c.has(ctx, "deletion"); err != nil || !has {
			if err != nil {
				yield(DeletedEntry{}, err)
			}
			return
		}
		rows, err := c.db.QueryContext(ctx, c.deletedQuery(`ORDER BY deleted DESC, row DESC`))
		if err != nil {
			yield(DeletedEntry{}, c.classify(ctx, err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			e, err := c.scanDeleted(ctx, rows)
			if !yield(e, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(DeletedEntry{}, c.classify(ctx, err))
		}
	}
}

// DeletedByID returns the deleted object of that id. Kind: FileNotFound.
func (c *Catalog) DeletedByID(ctx context.Context, id datamesh.ObjectID) (DeletedEntry, error) {
	return c.deleted(ctx, c.deletedQuery(`WHERE id = ?`), id[:])
}

// DeletedByName returns the object that had that name and was deleted last. Kind:
// FileNotFound.
func (c *Catalog) DeletedByName(ctx context.Context, name string) (DeletedEntry, error) {
	return c.deleted(ctx, c.deletedQuery(`WHERE `+c.named+` AND ?1 <> '' ORDER BY deleted DESC, row DESC LIMIT 1`), name)
}

// Versions returns the objects that have a name, the newest first, and then those
// that had it when they were deleted, in the same order. Of the others Deleted is
// zero.
func (c *Catalog) Versions(ctx context.Context, name string) (all []DeletedEntry, err error) {
	if name == "" {
		return nil, nil
	}
	c.entries(ctx, selection{`SELECT ` + c.columns + c.further + `, row FROM object WHERE ` + c.named + ` AND ` + c.live + ` ORDER BY created DESC, row DESC`, []any{name}},
		func(e Entry, failed error) bool {
			all, err = append(all, DeletedEntry{Entry: e}), failed
			return true
		})
	if err != nil {
		return nil, err
	}
	rows, err := c.db.QueryContext(ctx, c.deletedQuery(`WHERE `+c.named+` ORDER BY created DESC, row DESC`), name)
	if err != nil {
		return nil, c.classify(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		e, err := c.scanDeleted(ctx, rows)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, c.classify(ctx, rows.Err())
}

func (c *Catalog) deleted(ctx context.Context, query string, arg any) (DeletedEntry, error) {
	e, err := c.scanDeleted(ctx, c.row(ctx, query, arg))
	if errors.Is(err, sql.ErrNoRows) {
		return e, errs.New(errs.FileNotFound, "no such object was deleted")
	}
	return e, err
}

// scanDeleted reads a row of deletedQuery. Its error may be [sql.ErrNoRows].
func (c *Catalog) scanDeleted(ctx context.Context, row scanner) (e DeletedEntry, err error) {
	var deleted, word int64
	e.Entry, err = c.scan(ctx, row, &deleted, &word, &e.Final, &e.Done)
	e.Deleted, e.Word = time.Unix(0, deleted).UTC(), uint64(word)
	return e, err
}
