package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"slices"
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
// after, in their order; fewer means that these are the last. What cannot be
// read is left out. Kinds: Unavailable, Database.
func (d *Disk) Track(ctx context.Context, after datamesh.SegmentID, limit int) (list []Tracked, err error) {
	err = d.pages(ctx, func() (bool, error) {
		var at *Tracked // the last one's, or nil if it cannot be read
		want, n := limit-len(list), 0
		err := d.index.rows(func(rows *sql.Rows) error {
			var segment, descriptor, peer sql.RawBytes
			var index sql.NullInt64
			if err := rows.Scan(&segment, &descriptor, &index, &peer); err != nil {
				return err
			}
			if n == 0 || string(after[:]) != string(segment) {
				n, at = n+1, nil
				copy(after[:], segment)
				if desc := stored(after, descriptor); desc != nil {
					list = append(list, Tracked{Descriptor: desc})
					at = &list[len(list)-1]
				}
			}
			if at != nil && index.Valid && int(index.Int64) < len(at.Descriptor.Shards) {
				at.Holdings = append(at.Holdings, Holding{Index: int(index.Int64)})
				copy(at.Holdings[len(at.Holdings)-1].Peer[:], peer)
			}
			return nil
		}, `SELECT s.segment, s.descriptor, h.idx, h.peer
			FROM (SELECT segment, descriptor FROM segments WHERE segment > ? ORDER BY segment LIMIT ?) s
			LEFT JOIN holders h USING (segment) ORDER BY s.segment, h.idx, h.id DESC`, after[:], max(want, 0))
		return n == want && len(list) < limit, err
	})
	return list, err
}

// pages calls page for as long as that wants to be called again: when some of
// what it has read is left out.
func (d *Disk) pages(ctx context.Context, page func() (more bool, err error)) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if more, err = page(); err != nil {
			return errs.New(kindOf(err), "store: inventory: %w", err)
		}
	}
	return nil
}

// stored reads a descriptor that was checked before it was stored. It returns
// nil for what is not that of the segment, as after damage: then one row is
// lost, and not all that are read with it.
func stored(segment datamesh.SegmentID, descriptor []byte) *datamesh.Descriptor {
	desc, err := format.ReadDescriptor(descriptor)
	if err != nil || desc.Segment != segment {
		return nil
	}
	return desc
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

// The queries of an inventory. They go from one key to the next in the order of
// an index, and sort nothing.
const (
	queryHeld = `SELECT s.segment, s.idx, g.descriptor FROM shards s CROSS JOIN segments g USING (segment)
		WHERE (s.segment, s.idx) > (?, ?) ORDER BY s.segment, s.idx LIMIT ?`
	queryReported = `SELECT h.segment, h.idx, g.descriptor FROM holders h CROSS JOIN segments g USING (segment)
		WHERE h.peer = ? AND (h.segment, h.idx) > (?, ?) ORDER BY h.segment, h.idx LIMIT ?`
	queryRange = `SELECT segment, idx FROM holders
		WHERE peer = ? AND (segment, idx) > (?, ?) AND (segment, idx) <= (?, ?)`
)

// Held returns at most limit of the shards that are here and greater than
// after, in their order; fewer means that these are the last. What cannot be
// read is left out. Kinds: Unavailable, Database.
func (d *Disk) Held(ctx context.Context, after datamesh.ShardKey, limit int) ([]Held, error) {
	return d.held(ctx, after, limit, queryHeld)
}

// Reported is as Held, of the shards that a peer was reported to hold.
func (d *Disk) Reported(ctx context.Context, peer datamesh.PeerID, after datamesh.ShardKey, limit int) ([]Held, error) {
	return d.held(ctx, after, limit, queryReported, peer[:])
}

func (d *Disk) held(ctx context.Context, after datamesh.ShardKey, limit int, query string, args ...any) (list []Held, err error) {
	err = d.pages(ctx, func() (bool, error) {
		var desc *datamesh.Descriptor // of the last one
		want, n := limit-len(list), 0
		err := d.index.rows(func(rows *sql.Rows) error {
			var descriptor sql.RawBytes
			key, err := scanKey(rows, &descriptor)
			if err != nil {
				return err
			}
			if n == 0 || key.Segment != after.Segment {
				desc = stored(key.Segment, descriptor)
			}
			n, after = n+1, key
			if desc != nil && key.Index < len(desc.Shards) {
				list = append(list, Held{desc, key.Index, d.damaged.has(key)})
			}
			return nil
		}, query, append(slices.Clip(args), after.Segment[:], after.Index, max(want, 0))...)
		return n == want && len(list) < limit, err
	})
	return list, err
}

// Correct takes a peer's word for which of the shards greater than after, and
// not greater than upto, it holds: these, in their order. All others are taken
// out of the holder map. It returns the segments that are not known here, and
// so cannot be entered, and the deletions of those that were deleted. On a full
// disk it only takes out. Kinds: Invalid (a key is not in the range, or not in
// order, or no key), Unavailable, Full (others could not be entered), Integrity,
// Database.
func (d *Disk) Correct(ctx context.Context, peer datamesh.PeerID, after, upto datamesh.ShardKey, keys []datamesh.ShardKey) (unknown []datamesh.SegmentID, deleted []*datamesh.Deletion, err error) {
	last := after
	for _, key := range keys {
		if key.Compare(last) <= 0 || key.Compare(upto) > 0 || key.Index < 0 || key.Index >= datamesh.MaxShards {
			return nil, nil, errs.New(errs.Invalid, "inventory: shard %s is not in its place in the range", name(key))
		}
		last = key
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if err := d.enter(); err != nil {
		return nil, nil, err
	}
	defer d.leave()
	full := d.room.fitsDisk(0, claimed)
	c := correction{peer: peer, after: after, upto: upto, keys: keys, enter: full == nil, now: time.Now().Unix()}
	// The spare room is for what takes out, and not for what enters.
	err = d.wait(&change{frees: !c.enter, stage: func(b *batch) error { c.stage(b); return nil }})
	if err == nil && c.left {
		err = full
	}
	if err != nil {
		return nil, nil, fmt.Errorf("inventory: %w", err)
	}
	for _, word := range c.words {
		del, err := format.DecodeDeletion(word)
		if err != nil {
			return nil, nil, errs.New(errs.Integrity, "inventory: %w", err)
		}
		deleted = append(deleted, del)
	}
	return c.unknown, deleted, nil
}

// A correction is what a peer says of itself, and what it is to be answered.
type correction struct {
	peer        datamesh.PeerID
	after, upto datamesh.ShardKey
	keys        []datamesh.ShardKey
	enter       bool // there is room for more
	now         int64

	left    bool // some could not be entered
	unknown []datamesh.SegmentID
	words   [][]byte // deletions, encoded
}

// stage enters what is new before it takes out what is gone: a segment whose
// one holder has another shard of it now shall stay known.
func (c *correction) stage(b *batch) {
	c.left, c.unknown, c.words = false, nil, nil
	there := c.reported(b)
	for segment, keys := range bySegment(c.keys) {
		word, descriptor := b.wordOn(segment)
		if word != nil {
			c.words = append(c.words, word)
			continue
		}
		desc := stored(segment, descriptor)
		if desc == nil {
			if descriptor != nil { // damaged: it gives way to the one that is asked for
				b.exec(`DELETE FROM segments WHERE segment = ?`, segment[:])
			}
			c.unknown = append(c.unknown, segment)
			continue
		}
		for _, key := range keys {
			switch {
			case there[key]:
				delete(there, key)
			case key.Index >= len(desc.Shards): // there is no such shard
			case c.enter:
				b.hold(Holding{key.Index, c.peer}, segment, c.now)
			default:
				c.left = true
			}
		}
	}
	for key := range there {
		b.exec(`DELETE FROM holders WHERE segment = ? AND idx = ? AND peer = ?`, key.Segment[:], key.Index, c.peer[:])
		b.dropDescriptor(key.Segment)
	}
}

// reported returns what was said of the peer in the range.
func (c *correction) reported(b *batch) map[datamesh.ShardKey]bool {
	there := make(map[datamesh.ShardKey]bool)
	b.query(func(rows *sql.Rows) error {
		key, err := scanKey(rows)
		there[key] = true
		return err
	}, queryRange, c.peer[:], c.after.Segment[:], c.after.Index, c.upto.Segment[:], c.upto.Index)
	return there
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
