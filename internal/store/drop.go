package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// Drop removes the shards of the segment and what is known of its holders,
// and keeps the deletion if its generation is the highest so far. It needs no
// free room to speak of. Kinds: Authentication, Unavailable, IO, Database.
func (d *Disk) Drop(ctx context.Context, del *datamesh.Deletion) error {
	segment := del.Descriptor.Segment
	if err := ready(ctx, "drop", datamesh.ShardKey{Segment: segment}); err != nil {
		return err
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	word, err := owned(del)
	if err != nil {
		return err
	}
	return d.removing(func(b *batch, r *removal) {
		b.keepDeletion(del, word)
		b.exec(`DELETE FROM holders WHERE segment = ?`, segment[:])
		d.stageRemove(b, r, segment, 0, datamesh.MaxShards)
	})
}

// keepDeletion keeps an encoded deletion if its generation is the highest so
// far.
func (b *batch) keepDeletion(del *datamesh.Deletion, word []byte) {
	b.exec(`
		INSERT INTO tombstones (segment, generation, deletion) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET generation = excluded.generation, deletion = excluded.deletion
		WHERE excluded.generation > generation`,
		del.Descriptor.Segment[:], binary.BigEndian.AppendUint64(nil, del.Generation), word)
}

// Deletion returns the word by which a segment was dropped, for those who do
// not know of it. Kinds: FileNotFound (it was not), Integrity, Unavailable,
// Database.
func (d *Disk) Deletion(ctx context.Context, segment datamesh.SegmentID) (*datamesh.Deletion, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	var word []byte
	err := d.index.row(`SELECT deletion FROM tombstones WHERE segment = ?`, []any{segment[:]}, &word)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, errs.New(errs.FileNotFound, "deletion of %s: none is known", segment)
	case err != nil:
		return nil, errs.New(kindOf(err), "deletion of %s: %w", segment, err)
	}
	del, err := format.DecodeDeletion(word)
	if err != nil {
		return nil, errs.New(errs.Integrity, "deletion of %s: %w", segment, err)
	}
	return del, nil
}

// Remove gives up one shard. Nothing keeps it from being put again, and
// removing what is not there is no error. Kinds: Unavailable, IO, Database.
func (d *Disk) Remove(ctx context.Context, key datamesh.ShardKey) error {
	if err := ready(ctx, "remove", key); err != nil {
		return err
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	return d.remove(key)
}

func (d *Disk) remove(key datamesh.ShardKey) error {
	err := d.removing(func(b *batch, r *removal) {
		d.stageRemove(b, r, key.Segment, key.Index, key.Index+1)
	})
	d.damaged.removed()
	return err
}

// A removal counts what a change removes.
type removal struct {
	bytes  int64
	shards int
}

// removing commits a change that removes shards, and takes them off the
// account when they are gone.
func (d *Disk) removing(stage func(*batch, *removal)) error {
	var r removal
	err := d.wait(&change{frees: true, stage: func(b *batch) error {
		r = removal{}
		stage(b, &r)
		return nil
	}})
	if err != nil {
		return err
	}
	d.room.give(r.bytes, r.shards)
	return nil
}

// stageRemove removes the shards of a segment from index first up to, but not
// with, end.
func (d *Disk) stageRemove(b *batch, r *removal, segment datamesh.SegmentID, first, end int) {
	const these = ` shards WHERE segment = ? AND idx >= ? AND idx < ?`
	b.query(func(rows *sql.Rows) error {
		var size int64
		var inFile bool
		key, err := scanKey(rows, &size, &inFile)
		r.bytes += size
		r.shards++
		if inFile {
			b.remove(d.path(key))
		}
		return err
	}, `SELECT segment, idx, size, payload IS NULL FROM`+these, segment[:], first, end)
	b.exec(`DELETE FROM payloads WHERE id IN (SELECT payload FROM`+these+`)`, segment[:], first, end)
	b.exec(`DELETE FROM`+these, segment[:], first, end)
	b.dropDescriptor(segment)
}

// dropDescriptor removes a descriptor that is of no more use.
func (b *batch) dropDescriptor(segment datamesh.SegmentID) {
	b.exec(`
		DELETE FROM segments WHERE segment = ?1
		AND NOT EXISTS (SELECT 1 FROM shards WHERE segment = ?1)
		AND NOT EXISTS (SELECT 1 FROM holders WHERE segment = ?1)`, segment[:])
}
