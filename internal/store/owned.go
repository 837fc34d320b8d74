package store

import (
	"context"
	"database/sql"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// Owned returns an owner's segments of which something is here, or is known to be
// elsewhere, and which he has not deleted: of what
// is in the trash no descriptor is kept. It looks at no more than limit segments
// of whomever, those greater than after, in their order, and returns the last one
// that it has looked at; more reports whether others may follow. Kinds:
// Unavailable, Database.
func (d *Disk) Owned(ctx context.Context, owner datamesh.OwnerKey, after datamesh.SegmentID, limit int) (list []*datamesh.Descriptor, last datamesh.SegmentID, more bool, err error) {
	last = after
	if err := ctx.Err(); err != nil {
		return nil, last, false, err
	}
	if err := d.enter(); err != nil {
		return nil, last, false, err
	}
	defer d.leave()
	seen := 0
	err = d.index.rows(func(rows *sql.Rows) error {
		var segment, descriptor sql.RawBytes
		if err := rows.Scan(&segment, &descriptor); err != nil {
			return err
		}
		seen++
		copy(last[:], segment)
		if descriptor == nil {
			return nil
		}
		if x, err := format.ReadDescriptor(descriptor); err == nil && x.Owner == owner {
			list = append(list, x) // what has rotted is no reason to hide the rest
		}
		return nil
	}, `SELECT segment, iif(instr(descriptor, ?1), descriptor, NULL)
		FROM segments WHERE segment > ?2 ORDER BY segment LIMIT ?3`, owner[:], after[:], max(limit, 0))
	if err != nil {
		return nil, last, false, errs.New(kindOf(err), "store: segments of an owner: %w", err)
	}
	return list, last, seen == limit && limit > 0, nil
}
