package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"

	sqlite3 "modernc.org/sqlite/lib"
)

// Get reads the shard and checks it. A shard that should be there and is
// truncated, changed or gone is Integrity. One in a file, which is not known to be
// damaged, it does not check for a caller who does. Kinds: FileNotFound, Integrity,
// Unavailable, IO, Database.
func (d *Disk) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	if err := ready(ctx, "get", key); err != nil {
		return nil, nil, err
	}
	if err := d.enter(); err != nil {
		return nil, nil, err
	}
	defer d.leave()
	began := d.damaged.begin()
	check := !datamesh.Unchecked(ctx) || d.damaged.has(key)
	desc, shard, err := d.get(key, buf, check)
	if check || err != nil { // else nothing is known of the bytes
		d.damaged.note(key, began, err)
	}
	return desc, shard, err
}

// get reads a shard. One in a file is checked if check says so.
func (d *Disk) get(key datamesh.ShardKey, buf []byte, check bool) (*datamesh.Descriptor, []byte, error) {
	e, err := d.find(key, buf)
	if err != nil {
		return nil, nil, err
	}
	if e.inFile {
		if e.shard, err = d.readFile(e, buf); err != nil {
			return nil, nil, err
		}
	}
	if check || !e.inFile {
		if err := checkShard(e.descriptor, key.Index, e.shard); err != nil {
			return nil, nil, err
		}
	}
	return e.descriptor, e.shard, nil
}

// GetRange reads no more of a file than the outboard and the groups that the
// range touches; the tree of a row it computes. The slice is checked. Kinds:
// as Get, and Invalid.
func (d *Disk) GetRange(ctx context.Context, key datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	if err := ready(ctx, "get", key); err != nil {
		return nil, nil, err
	}
	if err := d.enter(); err != nil {
		return nil, nil, err
	}
	defer d.leave()
	began := d.damaged.begin()
	desc, slice, err := d.getRange(key, off, n)
	if err != nil { // a good slice says nothing of the rest
		d.damaged.note(key, began, err)
	}
	return desc, slice, err
}

func (d *Disk) getRange(key datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	e, err := d.find(key, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := checkRange(key, e.descriptor.ShardLen(), off, n); err != nil {
		return nil, nil, err
	}
	slice, err := d.slice(e, off, n)
	if err != nil {
		return nil, nil, err
	}
	if err := checkSlice(e.descriptor, key, slice, off, n); err != nil {
		return nil, nil, err
	}
	return e.descriptor, slice, nil
}

// An entry is what the index has of a shard.
type entry struct {
	key        datamesh.ShardKey
	descriptor *datamesh.Descriptor
	size       int64
	inFile     bool
	shard      []byte // of a row
}

// find looks a shard up; the bytes of a row go to buf.
func (d *Disk) find(key datamesh.ShardKey, buf []byte) (*entry, error) {
	e := &entry{key: key}
	var descriptor []byte
	err := d.index.rows(func(rows *sql.Rows) error {
		var data sql.RawBytes
		if err := rows.Scan(&e.size, &e.inFile, &descriptor, &data); err != nil {
			return err
		}
		e.shard = append(buf[:0], data...)
		return nil
	}, `SELECT s.size, s.payload IS NULL, g.descriptor, p.data
		FROM shards s JOIN segments g USING (segment) LEFT JOIN payloads p ON p.id = s.payload
		WHERE s.segment = ? AND s.idx = ?`, key.Segment[:], key.Index)
	switch {
	case sqliteCode(err) == sqlite3.SQLITE_CORRUPT:
		return nil, errs.New(errs.Integrity, "get %s: %w", name(key), err)
	case err != nil:
		return nil, errs.New(kindOf(err), "get %s: %w", name(key), err)
	case descriptor == nil:
		return nil, errNotFound("get", key)
	}
	if e.descriptor, err = format.DecodeDescriptor(descriptor); err != nil {
		return nil, errs.New(errs.Integrity, "get %s: %w", name(key), err)
	}
	if err := checkSegment(key, e.descriptor); err != nil {
		return nil, err
	}
	return e, checkShape(e.descriptor, key.Index, e.descriptor.ShardLen())
}

// readFile returns the shard of an entry from its file, in buf if that is
// large enough.
func (d *Disk) readFile(e *entry, buf []byte) ([]byte, error) {
	n := e.descriptor.ShardLen()
	f, err := d.openEntry(e, n)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	return buf, readError(e.key, f.read(buf))
}

// slice returns the slice of a range of the shard.
func (d *Disk) slice(e *entry, off, n int) ([]byte, error) {
	if !e.inFile {
		outboard, _ := hash.Outboard(e.shard)
		slice, err := hash.Slice(bytes.NewReader(e.shard), len(e.shard), outboard, off, n)
		return slice, readError(e.key, err)
	}
	f, err := d.openEntry(e, e.descriptor.ShardLen())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	slice, err := f.slice(off, n)
	return slice, readError(e.key, err)
}

// openEntry opens the file of an entry. One that is gone although the index
// still has the shard is damage, unless it was replaced meanwhile; FileNotFound
// is a shard removed meanwhile.
func (d *Disk) openEntry(e *entry, n int) (*shardFile, error) {
	f, err := d.openFile(e.key, e.size, n)
	if !errors.Is(err, errs.FileNotFound) {
		return f, err
	}
	if k, knownErr := d.known(e.key); knownErr != nil || !k.present {
		return nil, errors.Join(err, knownErr)
	}
	if f, err = d.openFile(e.key, e.size, n); !errors.Is(err, errs.FileNotFound) {
		return f, err
	}
	return nil, errs.New(errs.Integrity, "get %s: its file is gone", name(e.key))
}

// readError gives an error of reading a shard its kind: bytes that end early,
// and a tree that leads nowhere, are damage.
func readError(key datamesh.ShardKey, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errs.New(errs.Integrity, "get %s: %w", name(key), err)
	default:
		return errs.New(kindOf(err), "get %s: %w", name(key), err)
	}
}
