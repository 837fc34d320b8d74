package store

import (
	"context"
	"encoding/binary"
	"errors"
	"os"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
	"datamesh/internal/step"
)

// Put checks the shard and keeps it; nil means that it has been synced. A
// shard that is there already is read again before it is acknowledged, and
// replaced if it has been damaged. Once the bytes are being written Put does
// not give up when ctx ends. Kinds: Integrity, Full, Deleted, Unavailable,
// IO, Database.
func (d *Disk) Put(ctx context.Context, desc *datamesh.Descriptor, index int, shard []byte) error {
	key := datamesh.ShardKey{Segment: desc.Segment, Index: index}
	if err := ready(ctx, "put", key); err != nil {
		return err
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	if err := d.keep(key, desc, shard); err != nil {
		return err
	}
	d.damaged.note(key, d.damaged.begin(), nil)
	return nil
}

func (d *Disk) keep(key datamesh.ShardKey, desc *datamesh.Descriptor, shard []byte) error {
	was, err := d.known(key)
	if err != nil {
		return err
	}
	if was.deleted {
		return errDeleted("put", desc.Segment)
	}
	p := put{key: key, shard: shard}
	if p.descriptor, err = authentic(desc, was.descriptor); err != nil {
		return err
	}
	if err := checkShape(desc, key.Index, len(shard)); err != nil {
		return err
	}
	var id datamesh.ShardID
	if len(shard) <= maxRow {
		id = hash.Shard(shard)
	} else {
		p.outboard, id = hash.Outboard(shard) // its root is the hash: the bytes are read once
	}
	if err := checkID(desc, key.Index, id); err != nil {
		return err
	}
	if !was.present {
		return d.put(&p)
	}
	if err := d.wholeYet(key); !errors.Is(err, errs.Integrity) && !errors.Is(err, errs.FileNotFound) {
		return err
	}
	return d.heal(&p)
}

// known is what the index knows about a key.
type known struct {
	deleted, present bool
	descriptor       []byte // encoded, of the segment, or nil
}

func (d *Disk) known(key datamesh.ShardKey) (k known, err error) {
	err = d.index.row(`
		SELECT EXISTS (SELECT 1 FROM tombstones WHERE segment = ?1),
		       EXISTS (SELECT 1 FROM shards WHERE segment = ?1 AND idx = ?2),
		       (SELECT descriptor FROM segments WHERE segment = ?1)`,
		[]any{key.Segment[:], key.Index}, &k.deleted, &k.present, &k.descriptor)
	if err != nil {
		return k, errs.New(kindOf(err), "store: look up %s: %w", name(key), err)
	}
	return k, nil
}

// wholeYet is nil if a shard that was there is still what it should be. Its
// file may be that of a put which is not yet committed, after a removal: so the
// index has the last word. Kinds: Integrity, FileNotFound (removed since).
func (d *Disk) wholeYet(key datamesh.ShardKey) error {
	if _, _, err := d.get(key, nil, true); err != nil {
		return err
	}
	now, err := d.known(key)
	if err == nil && !now.present {
		err = errNotFound("put", key)
	}
	return err
}

// heal replaces a damaged shard. Of many that want to, the first does: what it
// has put, and acknowledged, the others must not take for the damaged one.
func (d *Disk) heal(p *put) error {
	d.healing.Lock()
	defer d.healing.Unlock()
	switch err := d.wholeYet(p.key); {
	case errors.Is(err, errs.Integrity):
		if err := d.remove(p.key); err != nil {
			return err
		}
	case !errors.Is(err, errs.FileNotFound):
		return err
	}
	return d.put(p)
}

// A put is a shard that has been checked and waits to be kept.
type put struct {
	key        datamesh.ShardKey
	descriptor []byte // encoded
	outboard   []byte // nil for a row
	shard      []byte
	temp       string // file that has the shard, "" for a row
	size       int64  // what it takes
	fresh      bool   // it was not there before
}

// put takes room for the shard, writes it and commits it.
func (d *Disk) put(p *put) (err error) {
	header := encodeHeader(p.key, p.descriptor)
	p.size = int64(len(p.shard))
	if p.outboard != nil {
		p.size = fileSize(len(header), len(p.shard))
	}
	if err := d.room.take(p.size); err != nil {
		return err // of the disk, and not of this shard
	}
	defer func() {
		if err != nil || !p.fresh {
			d.room.give(p.size, 1)
		}
	}()
	if p.outboard == nil {
		defer d.room.written(p.size)
		return d.wait(p.change(d))
	}
	p.temp, err = d.writeTemp(header, p.outboard, p.shard)
	d.room.written(p.size)
	if err != nil {
		return errs.New(kindOf(err), "put %s: %w", name(p.key), err)
	}
	defer os.Remove(p.temp) // gone if it was put in its place
	step.At("store: put: the file is written")
	return d.wait(p.change(d))
}

func (p *put) change(d *Disk) *change {
	return &change{segment: p.key.Segment, stage: func(b *batch) error { return d.stagePut(b, p) }}
}

func (d *Disk) stagePut(b *batch, p *put) error {
	segment := p.key.Segment[:]
	if b.deleted(p.key.Segment) {
		return errDeleted("put", p.key.Segment)
	}
	p.fresh = !b.exists(`SELECT 1 FROM shards WHERE segment = ? AND idx = ?`, segment, p.key.Index)
	if !p.fresh {
		return nil // another put was faster
	}
	b.keepDescriptor(p.key.Segment, p.descriptor)
	if p.temp != "" {
		b.place(p.temp, d.path(p.key))
		b.insertShard(p.key, p.size, nil)
	} else {
		b.insertShard(p.key, p.size, b.insertPayload(p.shard))
	}
	return nil
}

func (b *batch) deleted(segment datamesh.SegmentID) bool {
	return b.exists(`SELECT 1 FROM tombstones WHERE segment = ?`, segment[:])
}

// deletedForEver reports whether a segment was deleted by a final word.
func (b *batch) deletedForEver(segment datamesh.SegmentID) bool {
	return b.exists(`SELECT 1 FROM tombstones WHERE segment = ? AND generation >= ?`, segment[:], binary.BigEndian.AppendUint64(nil, datamesh.Final))
}

// keepDescriptor keeps an encoded descriptor, once for all shards and holders.
// One that is there and is another may have been damaged.
func (b *batch) keepDescriptor(segment datamesh.SegmentID, descriptor []byte) {
	b.exec(`INSERT INTO segments (segment, descriptor) VALUES (?, ?)
		ON CONFLICT DO UPDATE SET descriptor = excluded.descriptor WHERE descriptor <> excluded.descriptor`, segment[:], descriptor)
}

// insertPayload returns the id of the row that now has the data.
func (b *batch) insertPayload(data []byte) any {
	result := b.exec(`INSERT INTO payloads (data) VALUES (?)`, data)
	if b.err != nil {
		return nil
	}
	id, _ := result.LastInsertId() // SQLite's has no error
	return id
}

// insertShard enters a shard; payload is nil for one that is a file.
func (b *batch) insertShard(key datamesh.ShardKey, size int64, payload any) {
	b.exec(`INSERT INTO shards (segment, idx, size, payload) VALUES (?, ?, ?, ?)`,
		key.Segment[:], key.Index, size, payload)
}
