package catalog

import (
	"context"
	"database/sql"
	"errors"
	"slices"

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
// takes its row, by which its words are found, too.
func (w *writing) leave(id []byte) error {
	var row, since int64
	err := w.row([]any{&row}, `DELETE FROM object WHERE id = ? RETURNING row`, id)
	if err == nil {
		err = w.row([]any{&since}, `SELECT row FROM object WHERE id = (SELECT min(now) FROM former WHERE id = ?) AND row > ?`, id, row)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		_, err = w.exec(`UPDATE object SET row = ? WHERE row = ?`, row, since)
	}
	if err == nil {
		_, err = w.exec(`DELETE FROM word WHERE rowid = ?`, since)
	}
	if err == nil {
		_, err = w.exec(`INSERT INTO word (rowid, text) SELECT row, text FROM wording WHERE row = ? AND `+listed, row)
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
	err = c.row(ctx, `SELECT coalesce(max(n), 0), coalesce(max(n) FILTER (WHERE id = ?), 0) FROM epoch`, endedEpoch).Scan(&epoch, &ended)
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
// before that. Those of backups stay as they are, since snapshots name packs by
// their ids.
func (c *Catalog) Behind(ctx context.Context, epoch int) (ids []datamesh.ObjectID, err error) {
	return c.idsOf(ctx, `SELECT id FROM object LEFT JOIN epoch USING (id) WHERE `+c.live+` AND coalesce(n, 0) < ?
		AND NOT type GLOB 'application/vnd.datamesh.*' ORDER BY row`, epoch)
}

func (c *Catalog) idsOf(ctx context.Context, query string, args ...any) (ids []datamesh.ObjectID, err error) {
	err = c.write(ctx, func(tx *writing) error {
		ids, err = tx.ids(query, args...)
		return err
	})
	return ids, err
}

// Replace has an object have another id from now on, by which its manifest is
// sealed to that epoch. All else that is known of it stays, and it stays shared as
// it is. Kind: FileNotFound (it is not there, or was deleted).
func (c *Catalog) Replace(ctx context.Context, old, now datamesh.ObjectID, epoch int) error {
	return c.write(ctx, func(tx *writing) error {
		n, err := tx.exec(`UPDATE object SET id = ? WHERE id = ? AND `+c.live, now[:], old[:])
		if err != nil {
			return err
		}
		if n == 0 {
			return errs.New(errs.FileNotFound, "object %v is not in the catalog", old)
		}
		for _, statement := range []string{`UPDATE alias SET id = ? WHERE id = ?`, `UPDATE disputed SET id = ? WHERE id = ?`} {
			if _, err := tx.exec(statement, now[:], old[:]); err != nil {
				return err
			}
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
		if err := tx.moveShares(old, now); err != nil {
			return err
		}
		return tx.say(old)
	})
}

// moveShares has what is shared of an object be of another one, and says so.
func (w *writing) moveShares(from, to datamesh.ObjectID) error {
	all, err := w.ids(`SELECT id FROM share WHERE object = ? AND done = 0`, from[:])
	for _, id := range all {
		if err == nil {
			_, err = w.exec(`UPDATE share SET object = ? WHERE id = ?`, to[:], id[:])
		}
		if err == nil {
			err = w.say(id)
		}
	}
	return err
}

// MoveShares has what is shared by an id that no object has any more be of the
// object that had it: another device has shared it without knowing.
func (c *Catalog) MoveShares(ctx context.Context) error {
	return c.write(ctx, func(tx *writing) error {
		all, err := tx.ids(`SELECT DISTINCT object FROM share WHERE done = 0 AND object NOT IN (SELECT id FROM object)
			AND EXISTS (SELECT 1 FROM former WHERE id = object OR now = object)`)
		for _, id := range all {
			if err != nil {
				break
			}
			var now datamesh.ObjectID
			if now, err = current(id, tx.row); err == nil && now != id {
				err = tx.moveShares(id, now)
			}
		}
		return err
	})
}

// Undropped returns the ids whose manifests this device has yet to have deleted.
func (c *Catalog) Undropped(ctx context.Context) ([]datamesh.ObjectID, error) {
	return c.idsOf(ctx, `SELECT DISTINCT id FROM former WHERE dropped = 0 ORDER BY id`)
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
	err = c.row(ctx, `SELECT EXISTS (SELECT 1 FROM former WHERE id = ?1 OR now = ?1)`, id[:]).Scan(&was)
	return was, c.classify(ctx, err)
}

// Current returns the id that an object has now which had that one, or that id.
func (c *Catalog) Current(ctx context.Context, id datamesh.ObjectID) (now datamesh.ObjectID, err error) {
	if has, err := c.has(ctx, "former"); err != nil || !has {
		return id, err
	}
	now, err = current(id, func(into []any, query string, args ...any) error {
		return c.row(ctx, query, args...).Scan(into...)
	})
	return now, c.classify(ctx, err)
}

// DeletedWas returns, of what was deleted, the ids that it had before, if it had
// others.
func (c *Catalog) DeletedWas(ctx context.Context) (map[datamesh.ObjectID][]datamesh.ObjectID, error) {
	for _, table := range []string{"former", "deletion"} {
		if has, err := c.has(ctx, table); err != nil || !has {
			return nil, err
		}
	}
	rows, err := c.db.QueryContext(ctx, `WITH RECURSIVE was (id, now) AS (
		SELECT f.id, f.now FROM deletion d JOIN former f ON f.now = d.id
		UNION SELECT f.id, was.now FROM was JOIN former f ON f.now = was.id)
		SELECT id, now FROM was ORDER BY id`)
	if err != nil {
		return nil, c.classify(ctx, err)
	}
	defer rows.Close()
	was := map[datamesh.ObjectID][]datamesh.ObjectID{}
	for rows.Next() {
		var id, now []byte
		if err := rows.Scan(&id, &now); err != nil {
			return nil, c.classify(ctx, err)
		}
		was[idOf(now)] = append(was[idOf(now)], idOf(id))
	}
	return was, c.classify(ctx, rows.Err())
}

// current is Current by rows that row reads. They need not be read at once: no row of
// former ever goes, and an object gets another id together with one.
func current(id datamesh.ObjectID, row func(into []any, query string, args ...any) error) (datamesh.ObjectID, error) {
	for range format.MaxEpoch + 1 { // nobody has a longer history
		var there bool
		if err := row([]any{&there}, `SELECT EXISTS (SELECT 1 FROM object WHERE id = ?)`, id[:]); err != nil || there {
			return id, err
		}
		// The least of those in whose place two devices have put one each holds.
		var next []byte
		err := row([]any{&next}, `SELECT min(now) FROM former WHERE id = ?1 HAVING min(now) IS NOT NULL
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

// A Twin is one of two ids by which an object is in the list, and is to go.
type Twin struct {
	ID   datamesh.ObjectID
	Kept datamesh.ObjectID // the other
	Back bool              // the other was deleted, and something was said of this one later
}

// Twins returns objects that are twice in the list: two devices have sealed the
// manifest of one anew without knowing of each other, or one has, and another has
// said something of it by its old id.
func (c *Catalog) Twins(ctx context.Context) (all []Twin, err error) {
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
					all = append(all, Twin{ID: last, Kept: *kept})
				}
			}
		}
		if err != nil {
			return err
		}
		old, err := tx.ids(`SELECT DISTINCT former.id FROM former JOIN object USING (id) WHERE ` + c.live + ` ORDER BY former.id`)
		for _, id := range old {
			if err != nil {
				break
			}
			t := Twin{ID: id}
			if t.Kept, err = tx.last(id); err == nil {
				err = tx.row([]any{&t.Back}, `SELECT EXISTS (SELECT 1 FROM deletion WHERE id = ?1 AND final = 0) AND `+saidLater, t.Kept[:], id[:])
			}
			all = append(all, t)
		}
		return err
	})
	return all, err
}

// saidLater is whether something was said of ?2 later than of ?1.
const saidLater = `coalesce((SELECT clock FROM said WHERE object = ?2) > (SELECT clock FROM said WHERE object = ?1), FALSE)`

// Rejoin forgets one of two ids of an object. The other has what was said last of
// either, and what is shared by either.
func (c *Catalog) Rejoin(ctx context.Context, t Twin) error {
	return c.write(ctx, func(tx *writing) error {
		gone, err := tx.entry(t.ID)
		if errors.Is(err, errs.FileNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		kept, err := tx.entry(t.Kept)
		later := t.Back // before it was brought back, that is
		if err == nil && !later {
			err = tx.row([]any{&later}, `SELECT `+saidLater, t.Kept[:], t.ID[:])
		}
		if err == nil && later {
			err = tx.takeOver(gone, kept)
		}
		if err != nil && !errors.Is(err, errs.FileNotFound) { // else it was deleted meanwhile
			return err
		}
		if err := tx.moveShares(t.ID, t.Kept); err != nil {
			return err
		}
		if err := tx.leave(t.ID[:]); err != nil {
			return err
		}
		return tx.say(t.ID)
	})
}

// takeOver has an object be as another is that is the same.
func (w *writing) takeOver(from, to Entry) error {
	same := from.Name == to.Name && slices.Equal(from.Further, to.Further) && slices.Equal(from.Tags, to.Tags) &&
		from.Pinned == to.Pinned && from.Created.Equal(to.Created)
	if same {
		return nil
	}
	from.ID = to.ID
	return w.update(&from)
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
