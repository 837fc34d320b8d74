package store

import (
	"context"
	"database/sql"
	"strconv"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/step"
)

// discard moves the shards of a segment to the trash. Their files stay where
// they are.
func (b *batch) discard(segment datamesh.SegmentID, r *removal, age int64) {
	b.query(func(rows *sql.Rows) error {
		return rows.Scan(&r.discarded, &r.trashed)
	}, `SELECT ifnull(sum(size), 0), count(*) FROM shards WHERE segment = ?`, segment[:])
	b.exec(`INSERT OR REPLACE INTO trash (segment, idx, size, payload, dropped)
		SELECT segment, idx, size, payload, ? FROM shards WHERE segment = ?`, age, segment[:])
	b.exec(`DELETE FROM shards WHERE segment = ?`, segment[:])
	b.dropDescriptor(segment)
}

// undelete brings back the shards of a segment that are in the trash.
func (b *batch) undelete(desc *datamesh.Descriptor, r *removal) {
	segment := desc.Segment
	var size int64
	var shards int
	b.query(func(rows *sql.Rows) error {
		return rows.Scan(&size, &shards)
	}, `SELECT ifnull(sum(size), 0), count(*) FROM trash WHERE segment = ?`, segment[:])
	if shards == 0 {
		return
	}
	r.discarded, r.trashed = -size, -shards
	b.keepDescriptor(segment, format.EncodeDescriptor(desc))
	b.exec(`INSERT INTO shards (segment, idx, size, payload) SELECT segment, idx, size, payload FROM trash WHERE segment = ?`, segment[:])
	b.exec(`DELETE FROM trash WHERE segment = ?`, segment[:])
}

// recoverTrash enters what was found of a segment that was deleted. When it was
// dropped is not known: it is as old as the store, and so stays for its whole
// time where the index, and the age with it, was made again; if it is what a
// purge has left behind it goes with the next.
func (b *batch) recoverTrash(key datamesh.ShardKey, size int64, payload any) {
	b.exec(`INSERT INTO trash (segment, idx, size, payload, dropped) VALUES (?, ?, ?, ?, 0)`, key.Segment[:], key.Index, size, payload)
}

// stagePurge removes for ever what of the trash matches.
func (d *Disk) stagePurge(b *batch, r *removal, match string, args ...any) (shards int) {
	b.query(func(rows *sql.Rows) error {
		var size int64
		var inFile bool
		key, err := scanKey(rows, &size, &inFile)
		r.purged += size
		shards++
		if inFile {
			b.remove(d.path(key))
		}
		return err
	}, `SELECT segment, idx, size, payload IS NULL FROM trash WHERE `+match, args...)
	b.exec(`DELETE FROM payloads WHERE id IN (SELECT payload FROM trash WHERE `+match+`)`, args...)
	b.exec(`DELETE FROM trash WHERE `+match, args...)
	return shards
}

// Purge removes for ever what has been in the trash for that long, of which
// only the time counts for which the store was open: a clock that is set, or a
// node that was away, shortens nothing. It returns how many shards it has
// removed. Kinds: Unavailable, IO, Database.
func (d *Disk) Purge(ctx context.Context, after time.Duration) (purged int, err error) {
	if err := d.enter(); err != nil {
		return 0, err
	}
	defer d.leave()
	age := d.age.now()
	for {
		if err := ctx.Err(); err != nil {
			return purged, err
		}
		n := 0
		err := d.removing(func(b *batch, r *removal) {
			b.exec(`INSERT INTO positions (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value`, agePosition, []byte(strconv.FormatInt(age, 10)))
			n = d.stagePurge(b, r, `(segment, idx) IN (SELECT segment, idx FROM trash WHERE dropped <= ? ORDER BY dropped LIMIT ?)`,
				age-int64(after/time.Second), maxBatch)
		})
		step.At("store: purge: the trash is emptied")
		if purged += n; err != nil || n < maxBatch {
			return purged, err
		}
	}
}

// An age is for how many seconds a store has been open in its life, as far as
// it was written down: the last minute may be missing.
type age struct {
	before int64 // it was opened this time
	clock  func() time.Time
	opened time.Time
}

const agePosition = "age"

// start begins to count, from where the store has written down.
func (a *age) start(d *Disk, clock func() time.Time) error {
	a.clock = clock
	if clock == nil {
		a.clock = time.Now
	}
	a.opened = a.clock()
	var value []byte
	err := d.index.row(`SELECT value FROM positions WHERE name = ?`, []any{agePosition}, &value)
	if err != nil { // it was never written down
		return nil
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 0 {
		return errs.New(errs.Integrity, "store: the age %q is no number of seconds", value)
	}
	a.before = n
	return nil
}

func (a *age) now() int64 {
	return a.before + int64(max(0, a.clock().Sub(a.opened))/time.Second)
}
