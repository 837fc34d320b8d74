package catalog

import (
	"context"

	"datamesh"
)

// dispute notes that an object is listed though one device has deleted it, if it
// is: another has said something of it later, and perhaps without knowing. Then
// the mesh may have it deleted.
func (w *writing) dispute(id datamesh.ObjectID) error {
	_, err := w.exec(`INSERT INTO disputed (id) SELECT id FROM object WHERE id = ? AND `+w.c.live+` ON CONFLICT DO NOTHING`, id[:])
	return err
}

// disputeReplaced does so with the object that has another id by now than the one
// by which a device has deleted it.
func (w *writing) disputeReplaced(id datamesh.ObjectID) error {
	now, err := current(id, w.row)
	if err != nil || now == id {
		return err
	}
	return w.dispute(now)
}

// Disputed returns the objects that are listed and that another device has deleted
// without knowing what else was said of them, until they are said to be settled.
func (c *Catalog) Disputed(ctx context.Context) (ids []datamesh.ObjectID, err error) {
	rows, err := c.db.QueryContext(ctx, `SELECT id FROM disputed WHERE `+c.live)
	if err != nil {
		return nil, c.classify(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id []byte
		if err := rows.Scan(&id); err != nil {
			return nil, c.classify(ctx, err)
		}
		ids = append(ids, idOf(id))
	}
	return ids, c.classify(ctx, rows.Err())
}

// Settled notes that the mesh has of an object what is said of it.
func (c *Catalog) Settled(ctx context.Context, id datamesh.ObjectID) error {
	return c.write(ctx, func(tx *writing) error {
		_, err := tx.exec(`DELETE FROM disputed WHERE id = ?`, id[:])
		return err
	})
}
