package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"maps"
	"slices"

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
		want, n, before := limit-len(list), 0, len(list)
		var here []holders
		err := d.index.rows(func(rows *sql.Rows) error {
			var segment, descriptor, value sql.RawBytes
			if err := rows.Scan(&segment, &descriptor, &value); err != nil {
				return err
			}
			n++
			copy(after[:], segment)
			desc := stored(after, descriptor)
			if desc == nil {
				return nil
			}
			list = append(list, Tracked{Descriptor: desc})
			here = append(here, slices.DeleteFunc(readHolders(value), func(h holder) bool { return h.index >= len(desc.Shards) }))
			return nil
		}, `SELECT segment, descriptor, holders FROM segments WHERE segment > ? ORDER BY segment LIMIT ?`, after[:], max(want, 0))
		for i := range here { // not while the rows are read: either takes a connection
			if err == nil {
				list[before+i].Holdings, err = d.index.holdings(here[i])
			}
		}
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
	queryHeld = `SELECT s.segment, s.idx, g.descriptor, 0, NULL FROM shards s CROSS JOIN segments g USING (segment)
		WHERE (s.segment, s.idx) > (?, ?) ORDER BY s.segment, s.idx LIMIT ?`
	queryReported = `SELECT h.segment, h.idx, g.descriptor, h.peer, g.holders FROM holdings h CROSS JOIN segments g USING (segment)
		WHERE h.peer = (SELECT number FROM peers WHERE peer = ?) AND (h.segment, h.idx) > (?, ?) ORDER BY h.segment, h.idx LIMIT ?`
	queryRange = `SELECT segment, idx FROM holdings
		WHERE peer = ? AND (segment, idx) > (?, ?) AND (segment, idx) <= (?, ?)`
)

// Held returns at most limit of the shards that are here and greater than
// after, in their order; fewer means that these are the last. What cannot be
// read is left out. Kinds: Unavailable, Database.
func (d *Disk) Held(ctx context.Context, after datamesh.ShardKey, limit int) ([]Held, error) {
	return d.held(ctx, after, limit, queryHeld)
}

// Reported is as Held, of the shards that a peer was reported to hold. What is not
// said in the row of the segment, which has rotted, is left out, so that the peer is
// asked for it again.
func (d *Disk) Reported(ctx context.Context, peer datamesh.PeerID, after datamesh.ShardKey, limit int) ([]Held, error) {
	return d.held(ctx, after, limit, queryReported, peer[:])
}

func (d *Disk) held(ctx context.Context, after datamesh.ShardKey, limit int, query string, args ...any) (list []Held, err error) {
	err = d.pages(ctx, func() (bool, error) {
		var desc *datamesh.Descriptor // of the last one
		var all holders               // of the same segment
		want, n := limit-len(list), 0
		err := d.index.rows(func(rows *sql.Rows) error {
			var descriptor, value sql.RawBytes
			var number int64 // of the peer; 0: it is here
			key, err := scanKey(rows, &descriptor, &number, &value)
			if err != nil {
				return err
			}
			if n == 0 || key.Segment != after.Segment {
				desc, all = stored(key.Segment, descriptor), readHolders(value)
			}
			n, after = n+1, key
			if desc != nil && key.Index < len(desc.Shards) && (number == 0 || all.find(key.Index, number) >= 0) {
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
	c := correction{peer: peer, after: after, upto: upto, keys: keys, enter: full == nil}
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

	left    bool // some could not be entered
	unknown []datamesh.SegmentID
	words   [][]byte // deletions, encoded
}

// stage enters what is new before it takes out what is gone: a segment whose
// one holder has another shard of it now shall stay known.
func (c *correction) stage(b *batch) {
	c.left, c.unknown, c.words = false, nil, nil
	number := b.number(c.peer)
	there := c.reported(b, number)
	for segment, keys := range bySegment(c.keys) {
		word, descriptor := b.wordOn(segment)
		if word != nil {
			c.words = append(c.words, word)
			continue
		}
		desc := stored(segment, descriptor)
		if desc == nil { // not known, or damaged: it gives way to the one that is asked for
			c.unknown = append(c.unknown, segment)
			continue
		}
		list := b.holders(segment)
		var fresh []Holding
		for _, key := range keys {
			switch {
			case there[key] && list.find(key.Index, number) >= 0:
				delete(there, key)
			case key.Index >= len(desc.Shards): // there is no such shard
			case c.enter:
				now := list.without(key.Index, number) // where the row of the peer has rotted alone
				b.setHolders(segment, list, now)
				list = now
				delete(there, key)
				fresh = append(fresh, Holding{key.Index, c.peer})
			default:
				c.left = true
			}
		}
		b.hold(segment, fresh)
	}
	for segment, keys := range bySegment(slices.SortedFunc(maps.Keys(there), datamesh.ShardKey.Compare)) {
		was := b.holders(segment)
		now := was
		for _, key := range keys {
			now = now.without(key.Index, number)
			b.unhold(segment, key.Index, number) // also if the row of the segment has rotted
		}
		b.setHolders(segment, was, now)
		b.dropDescriptor(segment)
	}
}

// reported returns what was said of the peer in the range.
func (c *correction) reported(b *batch, number int64) map[datamesh.ShardKey]bool {
	there := make(map[datamesh.ShardKey]bool)
	b.query(func(rows *sql.Rows) error {
		key, err := scanKey(rows)
		there[key] = true
		return err
	}, queryRange, number, c.after.Segment[:], c.after.Index, c.upto.Segment[:], c.upto.Index)
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
			b.forgetHolders(segment)
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
