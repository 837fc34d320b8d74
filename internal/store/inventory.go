package store

import (
	"context"
	"database/sql"
	"iter"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// A Tracked segment is one that the registry knows, with its holders by index,
// those reported last first. The signature of its descriptor was checked when
// it came.
type Tracked struct {
	Descriptor *datamesh.Descriptor
	Holdings   []Holding
}

// Track returns at most limit segments of the registry that are greater than
// after, in their order; fewer means that these are the last. Kinds:
// Unavailable, Integrity, Database.
func (d *Disk) Track(ctx context.Context, after datamesh.SegmentID, limit int) (list []Tracked, err error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = d.index.rows(func(rows *sql.Rows) error {
		var segment, descriptor, peer sql.RawBytes
		var index sql.NullInt64
		if err := rows.Scan(&segment, &descriptor, &index, &peer); err != nil {
			return err
		}
		if n := len(list); n == 0 || string(list[n-1].Descriptor.Segment[:]) != string(segment) {
			desc, err := stored(segment, descriptor)
			if err != nil {
				return err
			}
			list = append(list, Tracked{Descriptor: desc})
		}
		if index.Valid {
			last := &list[len(list)-1]
			last.Holdings = append(last.Holdings, Holding{int(index.Int64), datamesh.PeerID(peer)})
		}
		return nil
	}, `SELECT s.segment, s.descriptor, h.idx, h.peer
		FROM (SELECT segment, descriptor FROM segments WHERE segment > ? ORDER BY segment LIMIT ?) s
		LEFT JOIN holders h USING (segment) ORDER BY s.segment, h.idx, h.id DESC`, after[:], max(limit, 0))
	return list, inventoryError(err)
}

// stored reads a descriptor that was checked before it was stored.
func stored(segment, descriptor []byte) (*datamesh.Descriptor, error) {
	desc, err := format.ReadDescriptor(descriptor)
	if err != nil {
		return nil, errs.New(errs.Integrity, "descriptor of %x: %w", segment, err)
	}
	if string(desc.Segment[:]) != string(segment) {
		return nil, errs.New(errs.Integrity, "descriptor of %x: it is that of %s", segment, desc.Segment)
	}
	return desc, nil
}

func inventoryError(err error) error {
	if err == nil || errs.KindOf(err) != errs.Other {
		return err
	}
	return errs.New(kindOf(err), "store: inventory: %w", err)
}

// A Held shard is one that is here, or is said to be somewhere.
type Held struct {
	Descriptor *datamesh.Descriptor
	Index      int
	Damaged    bool // the last read has found so
}

// Key returns the shard's.
func (h *Held) Key() datamesh.ShardKey {
	return datamesh.ShardKey{Segment: h.Descriptor.Segment, Index: h.Index}
}

// Held returns at most limit of the shards that are here and greater than
// after, in their order; fewer means that these are the last. Kinds: as Track.
func (d *Disk) Held(ctx context.Context, after datamesh.ShardKey, limit int) ([]Held, error) {
	return d.held(ctx, `SELECT s.segment, s.idx, g.descriptor FROM shards s JOIN segments g USING (segment)
		WHERE (s.segment, s.idx) > (?, ?) ORDER BY s.segment, s.idx LIMIT ?`, after.Segment[:], after.Index, max(limit, 0))
}

// Reported is as Held, of the shards that a peer was reported to hold.
func (d *Disk) Reported(ctx context.Context, peer datamesh.PeerID, after datamesh.ShardKey, limit int) ([]Held, error) {
	return d.held(ctx, `SELECT h.segment, h.idx, g.descriptor FROM holders h JOIN segments g USING (segment)
		WHERE h.peer = ? AND (h.segment, h.idx) > (?, ?) ORDER BY h.segment, h.idx LIMIT ?`,
		peer[:], after.Segment[:], after.Index, max(limit, 0))
}

func (d *Disk) held(ctx context.Context, query string, args ...any) (list []Held, err error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = d.index.rows(func(rows *sql.Rows) error {
		var segment, descriptor sql.RawBytes
		var h Held
		if err := rows.Scan(&segment, &h.Index, &descriptor); err != nil {
			return err
		}
		if n := len(list); n > 0 && string(list[n-1].Descriptor.Segment[:]) == string(segment) {
			h.Descriptor = list[n-1].Descriptor
		} else if h.Descriptor, err = stored(segment, descriptor); err != nil {
			return err
		}
		h.Damaged = d.damaged.has(h.Key())
		list = append(list, h)
		return nil
	}, query, args...)
	return list, inventoryError(err)
}

// Correct takes a peer's word for which of the shards greater than after, and
// not greater than upto, it holds: all others are taken out of the holder map.
// It returns the segments that are not known here, and so cannot be entered,
// and the deletions of those that were deleted. Kinds: Invalid (a key is not
// in the range, or no key), Unavailable, Full, Integrity, Database.
func (d *Disk) Correct(ctx context.Context, peer datamesh.PeerID, after, upto datamesh.ShardKey, keys []datamesh.ShardKey) (unknown []datamesh.SegmentID, deleted []*datamesh.Deletion, err error) {
	held := make(map[datamesh.ShardKey]bool, len(keys))
	for _, key := range keys {
		if key.Compare(after) <= 0 || key.Compare(upto) > 0 || key.Index < 0 || key.Index >= datamesh.MaxShards {
			return nil, nil, errs.New(errs.Invalid, "inventory: shard %s is not in its range", name(key))
		}
		held[key] = true
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if err := d.enter(); err != nil {
		return nil, nil, err
	}
	defer d.leave()
	var words [][]byte
	now := time.Now().Unix()
	err = d.wait(&change{frees: true, stage: func(b *batch) error {
		unknown, words = nil, nil
		var gone []datamesh.ShardKey
		b.query(func(rows *sql.Rows) error {
			key, err := scanKey(rows)
			if !held[key] {
				gone = append(gone, key)
			}
			return err
		}, `SELECT segment, idx FROM holders WHERE peer = ? AND (segment, idx) > (?, ?) AND (segment, idx) <= (?, ?)`,
			peer[:], after.Segment[:], after.Index, upto.Segment[:], upto.Index)
		for _, key := range gone {
			b.exec(`DELETE FROM holders WHERE segment = ? AND idx = ? AND peer = ?`, key.Segment[:], key.Index, peer[:])
			b.dropDescriptor(key.Segment)
		}
		for segment, of := range bySegment(keys) {
			word, descriptor := b.wordOn(segment)
			if word != nil {
				words = append(words, word)
				continue
			}
			if descriptor == nil {
				unknown = append(unknown, segment)
				continue
			}
			desc, err := stored(segment[:], descriptor)
			if err != nil {
				return err
			}
			for _, key := range of {
				if key.Index < len(desc.Shards) {
					b.hold(Holding{key.Index, peer}, segment, now)
				}
			}
		}
		return nil
	}})
	if err != nil {
		return nil, nil, err
	}
	for _, word := range words {
		del, err := format.DecodeDeletion(word)
		if err != nil {
			return nil, nil, errs.New(errs.Integrity, "inventory: %w", err)
		}
		deleted = append(deleted, del)
	}
	return unknown, deleted, nil
}

// Forget forgets who was reported to hold segments. Kinds: Unavailable,
// Database.
func (d *Disk) Forget(ctx context.Context, segments []datamesh.SegmentID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	return d.wait(&change{frees: true, stage: func(b *batch) error {
		for _, segment := range segments {
			b.exec(`DELETE FROM holders WHERE segment = ?`, segment[:])
			b.dropDescriptor(segment)
		}
		return nil
	}})
}

// wordOn returns the deletion of a segment, and its descriptor, if there is
// such.
func (b *batch) wordOn(segment datamesh.SegmentID) (word, descriptor []byte) {
	b.query(func(rows *sql.Rows) error { return rows.Scan(&word) }, `SELECT deletion FROM tombstones WHERE segment = ?`, segment[:])
	b.query(func(rows *sql.Rows) error { return rows.Scan(&descriptor) }, `SELECT descriptor FROM segments WHERE segment = ?`, segment[:])
	return word, descriptor
}

// bySegment yields runs of keys of one segment, as they come.
func bySegment(keys []datamesh.ShardKey) iter.Seq2[datamesh.SegmentID, []datamesh.ShardKey] {
	return func(yield func(datamesh.SegmentID, []datamesh.ShardKey) bool) {
		for len(keys) > 0 {
			n := 1
			for n < len(keys) && keys[n].Segment == keys[0].Segment {
				n++
			}
			if !yield(keys[0].Segment, keys[:n]) {
				return
			}
			keys = keys[n:]
		}
	}
}
