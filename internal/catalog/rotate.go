package catalog

import (
	"context"
	"database/sql"
	"errors"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// formerTables were added to the schema when manifests could be sealed anew. An
// object then has another id. The change of the new id says which it was; the old
// id is said to be forgotten. All who have learnt the same have the same of
// both tables.
const formerTables = `
CREATE TABLE IF NOT EXISTS former (
	id      BLOB    NOT NULL, -- that an object had
	now     BLOB    NOT NULL, -- that it has since, or had then
	dropped INTEGER NOT NULL, -- 0: this device has yet to have its manifest deleted
	PRIMARY KEY (id, now)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS former_by_now ON former (now);
CREATE TABLE IF NOT EXISTS epoch ( -- of the recipients of manifests
	id BLOB    PRIMARY KEY,
	n  INTEGER NOT NULL -- above 0
) STRICT, WITHOUT ROWID;
`

// Rows of the table epoch that are of no object.
var (
	begunEpoch = []byte{0} // that manifests are sealed to from now on
	endedEpoch = []byte{1} // to which all manifests were sealed that could be
)

func (w *writing) noteEpoch(id datamesh.ObjectID, epoch int) error {
	return w.raise(id[:], epoch)
}

func (w *writing) raise(row []byte, epoch int) error {
	if epoch == 0 {
		return nil
	}
	_, err := w.exec(`INSERT INTO epoch (id, n) VALUES (?, ?) ON CONFLICT DO UPDATE SET n = max(n, excluded.n)`, row, epoch)
	return err
}

// history adds to a change what the object was before, and its epoch.
func (w *writing) history(change *format.Change) error {
	err := w.row([]any{&change.Was}, `SELECT id FROM former WHERE now = ? ORDER BY id LIMIT 1`, change.Object[:])
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		err = w.row([]any{&change.Epoch}, `SELECT n FROM epoch WHERE id = ?`, change.Object[:])
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// remember notes that of a change that is learnt.
func (w *writing) remember(change *format.Change) error {
	if len(change.Was) > 0 {
		if _, err := w.exec(`INSERT INTO former (id, now, dropped) VALUES (?, ?, 1) ON CONFLICT DO NOTHING`, change.Was, change.Object[:]); err != nil {
			return err
		}
	}
	return w.noteEpoch(change.Object, change.Epoch)
}

// leave removes an object. The one that has taken its place is what it was, and
// takes its row.
func (w *writing) leave(id []byte) error {
	var row int64
	err := w.row([]any{&row}, `DELETE FROM object WHERE id = ? RETURNING row`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		_, err = w.exec(`UPDATE object SET row = ?1 WHERE id = (SELECT min(now) FROM former WHERE id = ?2) AND row > ?1`, row, id)
	}
	return err
}

// Epoch returns the epoch to whose recipient manifests are sealed, and whether
// all that can be are.
func (c *Catalog) Epoch(ctx context.Context) (epoch int, complete bool, err error) {
	if has, err := c.has(ctx, "former"); err != nil || !has {
		return 0, true, err
	}
	var ended int
	err = c.db.QueryRowContext(ctx, `SELECT coalesce(max(n), 0), coalesce(max(n) FILTER (WHERE id = ?), 0) FROM epoch`, endedEpoch).Scan(&epoch, &ended)
	return epoch, epoch == ended, c.classify(ctx, err)
}

// BeginEpoch has manifests be sealed to the recipient of an epoch from now on.
func (c *Catalog) BeginEpoch(ctx context.Context, epoch int) error {
	return c.write(ctx, func(tx *writing) error { return tx.raise(begunEpoch, epoch) })
}

// EndEpoch notes that all manifests are sealed to an epoch that can be.
func (c *Catalog) EndEpoch(ctx context.Context, epoch int) error {
	return c.write(ctx, func(tx *writing) error { return tx.raise(endedEpoch, epoch) })
}

// Behind returns the objects, not deleted, whose manifests are sealed to an epoch
// before that.
func (c *Catalog) Behind(ctx context.Context, epoch int) (ids []datamesh.ObjectID, err error) {
	return c.query(ctx, `SELECT id FROM object LEFT JOIN epoch USING (id) WHERE `+c.live+` AND coalesce(n, 0) < ? ORDER BY row`, epoch)
}

func (c *Catalog) query(ctx context.Context, query string, args ...any) (ids []datamesh.ObjectID, err error) {
	err = c.write(ctx, func(tx *writing) error {
		ids, err = tx.ids(query, args...)
		return err
	})
	return ids, err
}

// Replace has an object have another id from now on, by which its manifest is
// sealed to that epoch. Kind: FileNotFound (it is not there, or was deleted).
func (c *Catalog) Replace(ctx context.Context, old, now datamesh.ObjectID, epoch int) error {
	return c.write(ctx, func(tx *writing) error {
		n, err := tx.exec(`UPDATE object SET id = ? WHERE id = ? AND `+c.live, now[:], old[:])
		if err != nil {
			return err
		}
		if n == 0 {
			return errs.New(errs.FileNotFound, "object %v is not in the catalog", old)
		}
		if _, err := tx.exec(`INSERT INTO former (id, now, dropped) VALUES (?, ?, 0)`, old[:], now[:]); err != nil {
			return err
		}
		if err := tx.noteEpoch(now, epoch); err != nil {
			return err
		}
		if err := tx.say(now); err != nil { // first, so that it is learnt before the other goes
			return err
		}
		return tx.say(old)
	})
}

// Undropped returns the ids whose manifests this device has yet to have deleted.
func (c *Catalog) Undropped(ctx context.Context) ([]datamesh.ObjectID, error) {
	return c.query(ctx, `SELECT DISTINCT id FROM former WHERE dropped = 0 ORDER BY id`)
}

// Dropped notes that a manifest was deleted.
func (c *Catalog) Dropped(ctx context.Context, id datamesh.ObjectID) error {
	return c.write(ctx, func(tx *writing) error {
		_, err := tx.exec(`UPDATE former SET dropped = 1 WHERE id = ?`, id[:])
		return err
	})
}

// WasObject reports whether an object has, or had, that id, so that its content
// is in use.
func (c *Catalog) WasObject(ctx context.Context, id datamesh.ObjectID) (was bool, err error) {
	err = c.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM former WHERE id = ?1 OR now = ?1)`, id[:]).Scan(&was)
	return was, c.classify(ctx, err)
}

// Current returns the id that an object has now which had that one, or that id.
func (c *Catalog) Current(ctx context.Context, id datamesh.ObjectID) (now datamesh.ObjectID, err error) {
	if has, err := c.has(ctx, "former"); err != nil || !has {
		return id, err
	}
	err = c.write(ctx, func(tx *writing) error {
		now, err = tx.current(id)
		return err
	})
	return now, err
}

func (w *writing) current(id datamesh.ObjectID) (datamesh.ObjectID, error) {
	for range format.MaxEpoch + 1 { // nobody has a longer history
		var there bool
		if err := w.row([]any{&there}, `SELECT EXISTS (SELECT 1 FROM object WHERE id = ?)`, id[:]); err != nil || there {
			return id, err
		}
		// The least of those in whose place two devices have put one each holds.
		var next []byte
		err := w.row([]any{&next}, `SELECT min(now) FROM former WHERE id = ?1 HAVING min(now) IS NOT NULL
			UNION ALL SELECT min(b.now) FROM former a JOIN former b USING (id) WHERE a.now = ?1 HAVING min(b.now) <> ?1 LIMIT 1`, id[:])
		if errors.Is(err, sql.ErrNoRows) {
			return id, nil
		}
		if err != nil {
			return id, err
		}
		id = idOf(next)
	}
	return id, nil
}

// Twins returns objects that are twice in the list, since two devices have sealed
// the manifest of one anew without knowing of each other: the ones that are to go.
func (c *Catalog) Twins(ctx context.Context) (all []datamesh.ObjectID, err error) {
	err = c.write(ctx, func(tx *writing) error {
		all = nil
		split, err := tx.ids(`SELECT id FROM former GROUP BY id HAVING count(*) > 1 ORDER BY id`)
		for _, id := range split {
			if err != nil {
				break
			}
			var now []datamesh.ObjectID
			if now, err = tx.ids(`SELECT now FROM former WHERE id = ? ORDER BY now`, id[:]); err != nil {
				break
			}
			var kept *datamesh.ObjectID
			for _, n := range now {
				last, err := tx.last(n)
				if err != nil {
					return err
				}
				var live bool
				if err := tx.row([]any{&live}, `SELECT EXISTS (SELECT 1 FROM object WHERE id = ? AND `+c.live+`)`, last[:]); err != nil {
					return err
				}
				switch {
				case !live:
				case kept == nil:
					kept = &last
				case *kept != last:
					all = append(all, last)
				}
			}
		}
		return err
	})
	return all, err
}

// last follows an id to what has no other in its place.
func (w *writing) last(id datamesh.ObjectID) (datamesh.ObjectID, error) {
	for range format.MaxEpoch + 1 {
		var next []byte
		if err := w.row([]any{&next}, `SELECT min(now) FROM former WHERE id = ?`, id[:]); err != nil || next == nil {
			return id, err
		}
		id = idOf(next)
	}
	return id, nil
}

// A Doom is an object that another device has deleted, by an id that it had.
type Doom struct {
	ID    datamesh.ObjectID
	Final bool
}

// Doomed returns the objects that are listed, and of which another device has
// said later that they are deleted, by an id that they had.
func (c *Catalog) Doomed(ctx context.Context) (all []Doom, err error) {
	err = c.write(ctx, func(tx *writing) error {
		all = nil
		type pair struct {
			now   datamesh.ObjectID
			final bool
			clock int64
		}
		var pairs []pair
		err := tx.each(func(rows *sql.Rows) error {
			var now []byte
			var p pair
			err := rows.Scan(&now, &p.final, &p.clock)
			p.now = idOf(now)
			pairs = append(pairs, p)
			return err
		}, `SELECT f.now, d.final, s.clock FROM former f JOIN deletion d ON d.id = f.id JOIN said s ON s.object = f.id
			UNION SELECT f.now, d.final, s.clock FROM former f JOIN former g USING (id) JOIN deletion d ON d.id = g.now JOIN said s ON s.object = g.now WHERE f.now <> g.now`)
		for _, p := range pairs {
			if err != nil {
				break
			}
			var id datamesh.ObjectID
			if id, err = tx.last(p.now); err != nil {
				break
			}
			var doomed bool
			err = tx.row([]any{&doomed}, `SELECT EXISTS (SELECT 1 FROM object o JOIN said s ON s.object = o.id WHERE o.id = ?1 AND s.clock < ?2
				AND o.id NOT IN (SELECT id FROM deletion))`, id[:], p.clock)
			if doomed {
				all = append(all, Doom{id, p.final})
			}
		}
		return err
	})
	return all, err
}
