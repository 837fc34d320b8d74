package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// Limits of the records that are kept of one owner.
const (
	MaxRecordDevices   = 64      // devices that have written them
	MaxRecordsOfDevice = 256     // records of each of these
	MaxRecordBytes     = 4 << 20 // of all, as they are encoded
)

// PutRecord keeps an owner's record, and removes those that it supersedes; when
// it returns nil that is durable. One that is here is no error. Two records of one
// device and number are both kept, and a put of either is answered Exists; so is
// that of one that is superseded itself, which is not kept. Kinds: Authentication
// (the owner did not sign it), Exists, Full (he has as many as he may, or there is no room), Unavailable,
// Database.
func (d *Disk) PutRecord(ctx context.Context, r *datamesh.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	encoded := format.EncodeRecord(r)
	if _, err := format.DecodeRecord(encoded); err != nil {
		return errs.New(errs.Authentication, "record: %w", err)
	}
	key := format.RecordKey(r)
	full, err := d.takesRecordOf(key.Place)
	if err != nil {
		return err
	}
	return d.wait(&change{frees: full != nil, stage: func(b *batch) error { return b.keepRecord(key, r.Base, encoded, full) }})
}

// takesRecordOf returns in full why an owner's records may take no more room, if
// that is so; of that kind it is. An owner of whom something is here may have
// twice the room that others have: they cannot keep him out by filling theirs.
func (d *Disk) takesRecordOf(place [32]byte) (full, err error) {
	var known bool
	if err := d.index.row(`SELECT EXISTS (SELECT 1 FROM records WHERE place = ?)`, []any{place[:]}, &known); err != nil {
		return nil, errs.New(kindOf(err), "store: look up records: %w", err)
	}
	if known {
		err = d.takesMoreRecords()
	} else {
		err = d.takesRecords()
	}
	if err != nil && !errors.Is(err, errs.Full) {
		return nil, err
	}
	return err, nil
}

// keepRecord keeps a record that its owner has signed, and removes what it
// supersedes. If full is not nil it is the error of one that takes more room
// than it frees.
func (b *batch) keepRecord(key datamesh.RecordKey, base uint64, encoded []byte, full error) error {
	place, device, seq := key.Place[:], key.Device[:], number(key.Seq)
	if b.superseded(key) {
		return errs.New(errs.Exists, "record %d of device %x: it has written later ones in its place", key.Seq, key.Device)
	}
	conflict := errs.New(errs.Exists, "record %d of device %x: it has written another of that number", key.Seq, device)
	others := b.exists(`SELECT 1 FROM records WHERE place = ? AND device = ? AND seq = ? AND digest <> ?`, place, device, seq, key.Digest[:])
	if b.exists(`SELECT 1 FROM records WHERE place = ? AND device = ? AND seq = ? AND digest = ?`, place, device, seq, key.Digest[:]) {
		if others {
			return conflict
		}
		return nil
	}
	if err := b.fitsRecord(key, base, len(encoded), full); err != nil {
		return err
	}
	b.exec(`DELETE FROM records WHERE place = ? AND device = ? AND seq <= ?`, place, device, number(base))
	b.exec(`INSERT INTO records (place, device, seq, digest, base, record) VALUES (?, ?, ?, ?, ?, ?)`,
		place, device, seq, key.Digest[:], number(base), encoded)
	if others {
		return conflict
	}
	return nil
}

// number returns a number as it stands in a row.
func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

const querySuperseded = `SELECT 1 FROM records WHERE place = ? AND device = ? AND base >= ?`

// superseded reports whether a later record of its device has taken the place of
// one.
func (b *batch) superseded(key datamesh.RecordKey) bool {
	return b.exists(querySuperseded, key.Place[:], key.Device[:], number(key.Seq))
}

// fitsRecord reports with an error of kind Full that with a record of n bytes an
// owner would have more than he may.
func (b *batch) fitsRecord(key datamesh.RecordKey, base uint64, n int, full error) error {
	devices, records, bytes, freed := 0, 0, n, 0
	known := false
	b.query(func(rows *sql.Rows) error {
		var device sql.RawBytes
		var count, size, gone, goneSize int
		if err := rows.Scan(&device, &count, &size, &gone, &goneSize); err != nil {
			return err
		}
		devices++
		bytes += size
		if string(device) == string(key.Device[:]) {
			known, records, freed = true, count-gone, goneSize
		}
		return nil
	}, `SELECT device, count(*), sum(length(record)), sum(device = ?2 AND seq <= ?3), sum(iif(device = ?2 AND seq <= ?3, length(record), 0))
		FROM records WHERE place = ?1 GROUP BY device`, key.Place[:], key.Device[:], number(base))
	switch {
	case !known && devices >= MaxRecordDevices:
		return errs.New(errs.Full, "record of device %x: its owner has %d devices, the limit", key.Device, devices)
	case records >= MaxRecordsOfDevice:
		return errs.New(errs.Full, "record of device %x: it has %d, the limit", key.Device, records)
	case bytes-freed > MaxRecordBytes:
		return errs.New(errs.Full, "record of %d bytes: its owner would have %d bytes, limit %d", n, bytes-freed, MaxRecordBytes)
	case full != nil && freed < n:
		return fmt.Errorf("record: %w", full)
	}
	return nil
}

// RecordKeys returns at most limit of the keys of the records that are here and
// greater than after, in their order; fewer means that these are the last.
// Kinds: Unavailable, Database.
func (d *Disk) RecordKeys(ctx context.Context, after datamesh.RecordKey, limit int) (keys []datamesh.RecordKey, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	err = d.index.rows(func(rows *sql.Rows) error {
		var place, device, seq, digest sql.RawBytes
		if err := rows.Scan(&place, &device, &seq, &digest); err != nil {
			return err
		}
		var key datamesh.RecordKey
		copy(key.Place[:], place)
		copy(key.Device[:], device)
		copy(key.Digest[:], digest)
		if len(seq) == 8 {
			key.Seq = binary.BigEndian.Uint64(seq)
		}
		keys = append(keys, key)
		return nil
	}, `SELECT place, device, seq, digest FROM records WHERE (place, device, seq, digest) > (?, ?, ?, ?)
		ORDER BY place, device, seq, digest LIMIT ?`, after.Place[:], after.Device[:], number(after.Seq), after.Digest[:], max(limit, 0))
	if err != nil {
		return nil, errs.New(kindOf(err), "store: records: %w", err)
	}
	return keys, nil
}

// Record returns a record, whose signature was checked when it came. Kinds:
// FileNotFound, Integrity, Unavailable, Database.
func (d *Disk) Record(ctx context.Context, key datamesh.RecordKey) (*datamesh.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	var encoded []byte
	err := d.index.row(`SELECT record FROM records WHERE place = ? AND device = ? AND seq = ? AND digest = ?`,
		[]any{key.Place[:], key.Device[:], number(key.Seq), key.Digest[:]}, &encoded)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, errs.New(errs.FileNotFound, "record %d of device %x: it is not here", key.Seq, key.Device)
	case err != nil:
		return nil, errs.New(kindOf(err), "store: record: %w", err)
	}
	r, err := format.ReadRecord(encoded)
	if err != nil || format.RecordKey(r) != key {
		return nil, errs.New(errs.Integrity, "record %d of device %x: it cannot be read: %v", key.Seq, key.Device, err)
	}
	return r, nil
}

// HasRecords reports for each key whether its record is here, or is superseded
// by one that is. Kinds: Unavailable, Database.
func (d *Disk) HasRecords(ctx context.Context, keys []datamesh.RecordKey) ([]bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	has := make([]bool, len(keys))
	for i, key := range keys {
		err := d.index.row(`SELECT EXISTS (`+querySuperseded+`)
			OR EXISTS (SELECT 1 FROM records WHERE place = ? AND device = ? AND seq = ? AND digest = ?)`,
			[]any{key.Place[:], key.Device[:], number(key.Seq), key.Place[:], key.Device[:], number(key.Seq), key.Digest[:]}, &has[i])
		if err != nil {
			return nil, errs.New(kindOf(err), "store: look up records: %w", err)
		}
	}
	return has, nil
}

// ForgetRecords forgets records, as if they had never been here. Kinds:
// Unavailable, Database.
func (d *Disk) ForgetRecords(ctx context.Context, keys []datamesh.RecordKey) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	return d.wait(&change{frees: true, stage: func(b *batch) error {
		for _, key := range keys {
			b.exec(`DELETE FROM records WHERE place = ? AND device = ? AND seq = ? AND digest = ?`,
				key.Place[:], key.Device[:], number(key.Seq), key.Digest[:])
		}
		return nil
	}})
}
