package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"

	"datamesh"
	"datamesh/internal/errs"
)

// Drop carries out an owner's word, and keeps it, if its generation is the
// highest so far. One that deletes a segment moves its shards to the trash, or,
// when it is final, removes them and what is in the trash; what is known of the
// holders goes. One that brings it back brings back what is in the trash. It
// needs no free room to speak of, unless nothing is here of the segment. Kinds:
// Authentication, Full, Unavailable, IO, Database.
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
	if err := d.takesWord(segment); err != nil {
		return fmt.Errorf("drop %s: %w", segment, err)
	}
	age := d.age.now()
	return d.removing(func(b *batch, r *removal) {
		if !b.keepWord(del, word) {
			return
		}
		if !del.Gone() {
			b.undelete(del.Descriptor, r)
			return
		}
		b.forgetHolders(segment)
		if del.Final() {
			d.stageRemove(b, r, segment, 0, datamesh.MaxShards)
			d.stagePurge(b, r, `segment = ?`, segment[:])
			return
		}
		b.discard(segment, r, age)
	})
}

// takesWord reports with an error of kind Full that there is no room for a word
// on a segment of which nothing is here.
func (d *Disk) takesWord(segment datamesh.SegmentID) error {
	var known bool
	err := d.index.row(`
		SELECT EXISTS (SELECT 1 FROM segments WHERE segment = ?1)
		    OR EXISTS (SELECT 1 FROM tombstones WHERE segment = ?1)
		    OR EXISTS (SELECT 1 FROM undeletions WHERE segment = ?1)
		    OR EXISTS (SELECT 1 FROM trash WHERE segment = ?1)`, []any{segment[:]}, &known)
	if err != nil {
		return errs.New(kindOf(err), "store: look up %s: %w", segment, err)
	}
	if known {
		return nil
	}
	return d.takesRecords()
}

// keepWord keeps an encoded word if its generation is the highest so far, and
// reports whether it is.
func (b *batch) keepWord(del *datamesh.Deletion, word []byte) bool {
	segment := del.Descriptor.Segment[:]
	generation := binary.BigEndian.AppendUint64(nil, del.Generation)
	if del.Generation == 0 || b.exists(`
		SELECT 1 FROM tombstones WHERE segment = ?1 AND generation >= ?2
		UNION ALL SELECT 1 FROM undeletions WHERE segment = ?1 AND generation >= ?2`, segment, generation) {
		return false
	}
	table, other := "tombstones", "undeletions"
	if !del.Gone() {
		table, other = other, table
	}
	b.exec(`INSERT OR REPLACE INTO `+table+` (segment, generation, deletion) VALUES (?, ?, ?)`, segment, generation, word)
	b.exec(`DELETE FROM `+other+` WHERE segment = ?`, segment)
	return true
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

// A removal counts what a change removes, and moves to the trash. What it
// brings back from there is negative.
type removal struct {
	bytes     int64
	shards    int
	discarded int64
	trashed   int // shards
	purged    int64
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
	d.room.discard(r.discarded, r.trashed)
	d.room.purge(r.purged)
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
		AND holders = x'' AND NOT EXISTS (SELECT 1 FROM shards WHERE segment = ?1)`, segment[:])
}
