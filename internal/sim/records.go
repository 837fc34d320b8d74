package sim

import (
	"context"
	"slices"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/store"
)

// PutRecord keeps an owner's record, and removes what it supersedes.
func (d *Disk) PutRecord(ctx context.Context, r *datamesh.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := format.DecodeRecord(format.EncodeRecord(r)); err != nil {
		return errs.New(errs.Authentication, "record: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := format.RecordKey(r)
	if d.superseded(key) {
		return errs.New(errs.Exists, "record %d: its device has written later ones in its place", key.Seq)
	}
	var conflict error
	devices, ofDevice, bytes := map[[16]byte]bool{key.Device: true}, 1, len(format.EncodeRecord(r))
	for k, x := range d.records {
		switch {
		case k.Place != key.Place:
			continue
		case k.Device != key.Device:
			devices[k.Device] = true
		case k.Seq <= r.Base || k == key:
			continue
		default:
			ofDevice++
			if k.Seq == key.Seq {
				conflict = errs.New(errs.Exists, "record %d: its device has written another of that number", k.Seq)
			}
		}
		bytes += len(format.EncodeRecord(x))
	}
	if d.records[key] != nil {
		return conflict
	}
	if d.full || len(devices) > store.MaxRecordDevices || ofDevice > store.MaxRecordsOfDevice || bytes > store.MaxRecordBytes {
		return errs.New(errs.Full, "record: its owner has as many as he may, or the disk is full")
	}
	for k := range d.records {
		if k.Place == key.Place && k.Device == key.Device && k.Seq <= r.Base {
			delete(d.records, k)
		}
	}
	d.records[key] = r
	return conflict
}

// superseded reports whether a later record has taken the place of one.
func (d *Disk) superseded(key datamesh.RecordKey) bool {
	for k, r := range d.records {
		if k.Place == key.Place && k.Device == key.Device && r.Base >= key.Seq {
			return true
		}
	}
	return false
}

// RecordKeys returns the keys of the records that are kept, in their order.
func (d *Disk) RecordKeys(ctx context.Context, after datamesh.RecordKey, limit int) (keys []datamesh.RecordKey, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for k := range d.records {
		if k.Compare(after) > 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, datamesh.RecordKey.Compare)
	return keys[:min(max(limit, 0), len(keys))], nil
}

// Record returns a record.
func (d *Disk) Record(ctx context.Context, key datamesh.RecordKey) (*datamesh.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.records[key]; r != nil {
		return r, nil
	}
	return nil, errs.New(errs.FileNotFound, "record %d: it is not here", key.Seq)
}

// HasRecords reports which records are kept, or are superseded by one that is.
func (d *Disk) HasRecords(ctx context.Context, keys []datamesh.RecordKey) ([]bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	has := make([]bool, len(keys))
	for i, key := range keys {
		has[i] = d.records[key] != nil || d.superseded(key)
	}
	return has, nil
}

// ForgetRecords forgets records.
func (d *Disk) ForgetRecords(ctx context.Context, keys []datamesh.RecordKey) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range keys {
		delete(d.records, key)
	}
	return nil
}
