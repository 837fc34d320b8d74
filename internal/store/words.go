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

// queryWords is over both tables, of which one has the word on a segment.
const queryWords = `SELECT deletion FROM (
	SELECT * FROM (SELECT segment, deletion FROM tombstones WHERE segment > ?1 ORDER BY segment LIMIT ?2)
	UNION ALL SELECT * FROM (SELECT segment, deletion FROM undeletions WHERE segment > ?1 ORDER BY segment LIMIT ?2)
	) ORDER BY segment LIMIT ?2`

// Words returns at most limit of the owners' words that are kept, on segments
// greater than after, in the order of those; fewer means that these are the
// last. Their signatures were checked when they came. Kinds: Integrity,
// Unavailable, Database.
func (d *Disk) Words(ctx context.Context, after datamesh.SegmentID, limit int) (words []*datamesh.Deletion, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	err = d.index.rows(func(rows *sql.Rows) error {
		var word sql.RawBytes
		if err := rows.Scan(&word); err != nil {
			return err
		}
		del, err := format.ReadDeletion(word)
		words = append(words, del)
		return err
	}, queryWords, after[:], max(limit, 0))
	if err != nil {
		return nil, errs.New(kindOf(err), "store: words: %w", err)
	}
	return words, nil
}

// Deletion returns the last word on a segment, whose signature was checked when
// it came. Kinds: FileNotFound (there is
// none), Integrity, Unavailable, Database.
func (d *Disk) Deletion(ctx context.Context, segment datamesh.SegmentID) (*datamesh.Deletion, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	var word []byte
	err := d.index.row(`SELECT deletion FROM tombstones WHERE segment = ?1 UNION ALL SELECT deletion FROM undeletions WHERE segment = ?1`, []any{segment[:]}, &word)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, errs.New(errs.FileNotFound, "deletion of %s: none is known", segment)
	case err != nil:
		return nil, errs.New(kindOf(err), "deletion of %s: %w", segment, err)
	}
	del, err := format.ReadDeletion(word)
	if err != nil || del.Descriptor.Segment != segment {
		return nil, errs.New(errs.Integrity, "deletion of %s: it cannot be read: %v", segment, err)
	}
	return del, nil
}

// ForgetWords forgets words that are of no more use here, unless a higher
// generation has come, or something in the trash belongs to them, or a shard that
// they have brought back: or anybody could say the word before again, and have it
// deleted for as long as it takes to learn the last. Kinds:
// Unavailable, Database.
func (d *Disk) ForgetWords(ctx context.Context, words []*datamesh.Deletion) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	return d.wait(&change{frees: true, stage: func(b *batch) error {
		for _, w := range words {
			segment, generation := w.Descriptor.Segment[:], binary.BigEndian.AppendUint64(nil, w.Generation)
			for _, table := range []string{"tombstones", "undeletions"} {
				b.exec(`DELETE FROM `+table+` WHERE segment = ?1 AND generation = ?2
					AND NOT EXISTS (SELECT 1 FROM trash WHERE segment = ?1)
					AND NOT EXISTS (SELECT 1 FROM shards WHERE segment = ?1)`, segment, generation)
			}
		}
		return nil
	}})
}
