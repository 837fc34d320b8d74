package store

import (
	"context"
	"database/sql"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// MaxReceipts is how many receipts the registry keeps of a segment: those that
// came last.
const MaxReceipts = 32

// receive keeps the receipts of a report. On a disk that was too full to have a
// table for them when the store was opened, they are left out.
func (b *batch) receive(r Report) {
	if len(r.Receipts) == 0 || !b.exists(`SELECT 1 FROM sqlite_schema WHERE name = 'receipts'`) {
		return
	}
	segment := r.Descriptor.Segment
	for _, x := range r.Receipts {
		b.exec(`INSERT OR IGNORE INTO receipts (segment, receipt) VALUES (?, ?)`, segment[:], format.EncodeReceipt(x))
	}
	b.exec(`
		DELETE FROM receipts WHERE id IN (
			SELECT id FROM receipts WHERE segment = ?
			ORDER BY id DESC LIMIT -1 OFFSET ?)`, segment[:], MaxReceipts)
}

// Receipts returns the receipts of a segment, those that came last first. What
// cannot be read is left out. Kinds: Unavailable, Database.
func (d *Disk) Receipts(ctx context.Context, segment datamesh.SegmentID) (list []*datamesh.Receipt, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	err = d.index.rows(func(rows *sql.Rows) error {
		var b sql.RawBytes
		if err := rows.Scan(&b); err != nil {
			return err
		}
		if r, err := format.DecodeReceipt(b); err == nil && r.Segment == segment {
			list = append(list, r)
		}
		return nil
	}, `SELECT receipt FROM receipts WHERE segment = ? ORDER BY id DESC`, segment[:])
	if err != nil {
		return nil, errs.New(kindOf(err), "store: receipts of %s: %w", segment, err)
	}
	return list, nil
}
