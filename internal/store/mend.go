package store

import (
	"bytes"
	"context"
	"errors"
	"os"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/step"
)

// Verify reads all bytes that are kept of a shard, and checks each. Of a file
// these are the header, without which the index could not be rebuilt, and the
// outboard, without which no range could be proven, too. It uses buf where
// that is large enough, and returns what it has read, also with an error.
// Kinds: FileNotFound, Integrity, Unavailable, IO, Database.
func (d *Disk) Verify(ctx context.Context, key datamesh.ShardKey, buf []byte) ([]byte, error) {
	if err := ready(ctx, "verify", key); err != nil {
		return nil, err
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	began := d.damaged.begin()
	read, err := d.verify(key, buf)
	d.damaged.note(key, began, err)
	return read, err
}

func (d *Disk) verify(key datamesh.ShardKey, buf []byte) ([]byte, error) {
	e, err := d.find(key, buf)
	if err != nil {
		return nil, err
	}
	if !e.inFile {
		return e.shard, checkShard(e.descriptor, key.Index, e.shard)
	}
	n := e.descriptor.ShardLen()
	if e.size > fileSize(prefixSize+maxRecord, n) {
		return nil, errs.New(errs.Integrity, "verify %s: its file has %d bytes", name(key), e.size)
	}
	f, err := d.openEntry(e, n)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if int64(cap(buf)) < e.size {
		buf = make([]byte, e.size)
	}
	buf = buf[:e.size]
	if _, err := f.ReadAt(buf, 0); err != nil {
		return nil, readError(key, err)
	}
	return buf, checkFile(e, buf)
}

// checkFile checks the bytes of the file of an entry, which has the right
// length. Kind: Integrity.
func checkFile(e *entry, file []byte) error {
	rest, shard := file[:len(file)-e.descriptor.ShardLen()], file[len(file)-e.descriptor.ShardLen():]
	head, was := rest[:len(rest)-hash.OutboardSize(len(shard))], rest[len(rest)-hash.OutboardSize(len(shard)):]
	outboard, id := hash.Outboard(shard)
	if err := checkID(e.descriptor, e.key.Index, id); err != nil {
		return err
	}
	if !bytes.Equal(outboard, was) {
		return errs.New(errs.Integrity, "verify %s: the outboard is not that of the shard", name(e.key))
	}
	h, err := readHeader(bytes.NewReader(head))
	switch {
	case err != nil:
		return errs.New(errs.Integrity, "verify %s: %v", name(e.key), err)
	case h.key != e.key || h.size != len(head):
		return errs.New(errs.Integrity, "verify %s: its file is that of %s", name(e.key), name(h.key))
	}
	return nil
}

// A Fate is what has become of a shard that was found damaged.
type Fate int

// The fates.
const (
	Kept    Fate = iota // nothing was done
	Mended              // its file was written anew: the shard itself was whole
	Dropped             // it was removed
)

// Mend reads a shard once more that [Disk.Verify] has found damaged, and makes
// an end of the damage if it is still there. A put of the shard that is under
// way does not lose what it puts. Kinds: FileNotFound (it was removed
// meanwhile), Unavailable, Full, IO, Database.
func (d *Disk) Mend(ctx context.Context, key datamesh.ShardKey) (Fate, error) {
	if err := ready(ctx, "mend", key); err != nil {
		return Kept, err
	}
	if err := d.enter(); err != nil {
		return Kept, err
	}
	defer d.leave()
	d.healing.Lock()
	defer d.healing.Unlock()
	desc, shard, err := d.get(key, nil, true)
	if errors.Is(err, errs.Integrity) {
		if err := d.remove(key); err != nil {
			return Kept, err
		}
		return Dropped, nil
	}
	if err != nil {
		return Kept, err
	}
	if _, err = d.verify(key, nil); errors.Is(err, errs.Integrity) {
		if err := d.rewrite(key, desc, shard); err != nil {
			return Kept, err
		}
		return Mended, nil
	}
	return Kept, err
}

// rewrite replaces the file of a shard, which is the one in it.
func (d *Disk) rewrite(key datamesh.ShardKey, desc *datamesh.Descriptor, shard []byte) error {
	header := encodeHeader(key, format.EncodeDescriptor(desc))
	outboard, _ := hash.Outboard(shard)
	temp, err := d.writeTemp(header, outboard, shard)
	if err != nil {
		return errs.New(kindOf(err), "mend %s: %w", name(key), err)
	}
	defer os.Remove(temp) // gone if it was put in its place
	step.At("store: mend: the file is written")
	placed := false
	err = d.commit(func(b *batch) error {
		if placed { // it stays where it is, whatever came of the batch: so does its row
			return nil
		}
		if !b.exists(`SELECT 1 FROM shards WHERE segment = ? AND idx = ? AND size = ? AND payload IS NULL`,
			key.Segment[:], key.Index, fileSize(len(header), len(shard))) {
			return errNotFound("mend", key)
		}
		if err := moveInto(temp, d.path(key)); err != nil {
			return errs.New(kindOf(err), "mend %s: %w", name(key), err)
		}
		placed = true
		step.At("store: mend: the file has its name")
		if err := syncDir(d.folder(key.Segment[0])); err != nil {
			return errs.New(kindOf(err), "mend %s: %w", name(key), err)
		}
		return nil
	})
	if err == nil {
		d.damaged.note(key, d.damaged.begin(), nil)
	}
	return err
}
