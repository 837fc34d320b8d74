package store

import (
	"context"
	"database/sql"
	"errors"

	"datamesh/internal/errs"
)

// Position returns what [Disk.SetPosition] has kept under a name, or nil if
// there is nothing. Kinds: Unavailable, Database.
func (d *Disk) Position(ctx context.Context, name string) (value []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	err = d.index.row(`SELECT value FROM positions WHERE name = ?`, []any{name}, &value)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, errs.New(kindOf(err), "store: position of %s: %w", name, err)
	}
	return value, nil
}

// SetPosition keeps how far something has come that goes over the store. It
// lasts until the index has to be rebuilt: whoever keeps it must be able to
// begin anew. Kinds: Unavailable, Full, Database.
func (d *Disk) SetPosition(ctx context.Context, name string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	return d.commit(func(b *batch) error {
		b.exec(`INSERT INTO positions (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value`, name, value)
		return nil
	})
}
