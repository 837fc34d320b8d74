package sim

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/repair"
	"datamesh/internal/store"
)

// maxHolders is how many peers are kept for one shard, as in a [store.Disk].
const maxHolders = 4

// A Disk is what a node has: shards, and what was reported to it of others. It
// is a [datamesh.ShardStore] and a [repair.Index] in memory, which a test
// compares with [store.Disk]. It is safe for concurrent use.
type Disk struct {
	capacity int64
	trusted  func(desc *datamesh.Descriptor) bool   // whether it was checked before; may be nil
	put      func(key datamesh.ShardKey)            // is told of a shard that is there now; may be nil
	removed  func(key datamesh.ShardKey)            // is told of one that was given up; may be nil
	moved    func(key datamesh.ShardKey, back bool) // is told of one that went to the trash, or came back; may be nil

	mu       sync.Mutex // guards the rest
	used     int64
	full     bool // nothing more can be entered
	shards   map[datamesh.ShardKey]*kept
	segments map[datamesh.SegmentID]*row
	words    map[datamesh.SegmentID]*datamesh.Deletion
	records  map[datamesh.RecordKey]*datamesh.Record
	trash    map[datamesh.ShardKey]*kept                    // counts as used
	peers    map[datamesh.PeerID]map[datamesh.ShardKey]bool // of whom is reported what
	keys     []datamesh.ShardKey                            // of the shards, in order; nil when out of date
	order    []datamesh.SegmentID                           // of the segments; nil when out of date
}

// kept is a shard on the disk.
type kept struct {
	bytes   []byte
	damaged bool // the last read has found so
}

// row is what is known of a segment.
type row struct {
	d       *datamesh.Descriptor
	shards  int                 // that are here
	holders [][]datamesh.PeerID // by index, those reported last first
}

var (
	_ datamesh.ShardStore = (*Disk)(nil)
	_ repair.Index        = (*Disk)(nil)
)

// NewDisk returns an empty disk for shards of capacity bytes in all.
func NewDisk(capacity int64) *Disk {
	return &Disk{capacity: capacity, shards: map[datamesh.ShardKey]*kept{}, segments: map[datamesh.SegmentID]*row{},
		words: map[datamesh.SegmentID]*datamesh.Deletion{}, records: map[datamesh.RecordKey]*datamesh.Record{}, trash: map[datamesh.ShardKey]*kept{}, peers: map[datamesh.PeerID]map[datamesh.ShardKey]bool{}}
}

// know returns what is known of a segment, and enters it if that is nothing.
func (d *Disk) know(desc *datamesh.Descriptor) (*row, error) {
	r := d.segments[desc.Segment]
	if r != nil && r.d == desc {
		return r, nil
	}
	if d.trusted == nil || !d.trusted(desc) {
		got, err := format.DecodeDescriptor(format.EncodeDescriptor(desc))
		if err != nil {
			return nil, errs.New(errs.Integrity, "%s: %w", desc.Segment, err)
		}
		if got.Segment != desc.Segment {
			return nil, errs.New(errs.Integrity, "%s: its descriptor is that of %s", desc.Segment, got.Segment)
		}
	}
	if r == nil {
		r = &row{d: desc, holders: make([][]datamesh.PeerID, len(desc.Shards))}
		d.segments[desc.Segment], d.order = r, nil
	}
	return r, nil
}

// forgetUnused forgets a segment of which there is nothing left.
func (d *Disk) forgetUnused(segment datamesh.SegmentID) {
	r := d.segments[segment]
	if r == nil || r.shards > 0 || slices.ContainsFunc(r.holders, func(who []datamesh.PeerID) bool { return len(who) > 0 }) {
		return
	}
	delete(d.segments, segment)
	d.order = nil
}

// deleted returns the word by which a segment was deleted, if it was.
func (d *Disk) deleted(segment datamesh.SegmentID) *datamesh.Deletion {
	if word := d.words[segment]; word != nil && word.Gone() {
		return word
	}
	return nil
}

func errDeleted(segment datamesh.SegmentID) error {
	return errs.New(errs.Deleted, "%s: its owner has deleted it", segment)
}

// Put keeps a copy of the shard.
func (d *Disk) Put(ctx context.Context, desc *datamesh.Descriptor, index int, shard []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if index < 0 || index >= len(desc.Shards) || len(shard) != desc.ShardLen() || hash.Shard(shard) != desc.Shards[index] {
		return errs.New(errs.Integrity, "%s/%d: not the shard that its descriptor names", desc.Segment, index)
	}
	key := datamesh.ShardKey{Segment: desc.Segment, Index: index}
	if done, err := d.keep(desc, key, shard); done || err != nil {
		return err
	}
	if d.put != nil {
		d.put(key)
	}
	return nil
}

// keep reports whether the shard was there.
func (d *Disk) keep(desc *datamesh.Descriptor, key datamesh.ShardKey, shard []byte) (was bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deleted(desc.Segment) != nil {
		return false, errDeleted(desc.Segment)
	}
	if x := d.shards[key]; x != nil {
		if _, err := d.know(desc); err != nil {
			return false, err
		}
		was = bytes.Equal(x.bytes, shard)
		*x = kept{bytes: bytes.Clone(shard)}
		return was, nil
	}
	if d.full || d.used+int64(len(shard)) > d.capacity {
		return false, errs.New(errs.Full, "put %s/%d: %d bytes, %d free", key.Segment, key.Index, len(shard), d.capacity-d.used)
	}
	r, err := d.know(desc)
	if err != nil {
		return false, err
	}
	r.shards++
	d.used += int64(len(shard))
	d.shards[key], d.keys = &kept{bytes: bytes.Clone(shard)}, nil
	return false, nil
}

// Get reads a shard, and checks it.
func (d *Disk) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.shards[key]
	if x == nil {
		return nil, nil, errs.New(errs.FileNotFound, "get %s/%d: no such shard here", key.Segment, key.Index)
	}
	desc := d.segments[key.Segment].d
	if x.damaged = hash.Shard(x.bytes) != desc.Shards[key.Index]; x.damaged {
		return nil, nil, errs.New(errs.Integrity, "get %s/%d: the bytes are not what their descriptor says", key.Segment, key.Index)
	}
	return desc, append(buf[:0], x.bytes...), nil
}

// GetRange reads a part of a shard, with its proof.
func (d *Disk) GetRange(ctx context.Context, key datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	desc, shard, err := d.Get(ctx, key, nil)
	if err != nil {
		return nil, nil, err
	}
	if off < 0 || n <= 0 || off > len(shard)-n {
		return nil, nil, errs.New(errs.Invalid, "get %s/%d: %d bytes from %d: %w", key.Segment, key.Index, n, off, hash.ErrRange)
	}
	outboard, _ := hash.Outboard(shard)
	slice, err := hash.Slice(bytes.NewReader(shard), len(shard), outboard, off, n)
	return desc, slice, err
}

// Has reports which shards are there, and not known to be damaged.
func (d *Disk) Has(ctx context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	has := make([]bool, len(keys))
	for i, key := range keys {
		x := d.shards[key]
		has[i] = x != nil && !x.damaged
	}
	return has, nil
}

// List returns keys in their order.
func (d *Disk) List(ctx context.Context, after datamesh.ShardKey, limit int) ([]datamesh.ShardKey, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.sorted(after, limit)), nil
}

// sorted returns the keys after one, at most so many.
func (d *Disk) sorted(after datamesh.ShardKey, limit int) []datamesh.ShardKey {
	if d.keys == nil {
		d.keys = make([]datamesh.ShardKey, 0, len(d.shards))
		for key := range d.shards {
			d.keys = append(d.keys, key)
		}
		slices.SortFunc(d.keys, datamesh.ShardKey.Compare)
	}
	return later(d.keys, after, limit)
}

// later returns at most limit of the keys, which are in order, from behind one.
func later(keys []datamesh.ShardKey, after datamesh.ShardKey, limit int) []datamesh.ShardKey {
	i, found := slices.BinarySearchFunc(keys, after, datamesh.ShardKey.Compare)
	if found {
		i++
	}
	return keys[i:min(len(keys), i+max(limit, 0))]
}

// Remove gives up a shard.
func (d *Disk) Remove(ctx context.Context, key datamesh.ShardKey) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.take(key) && d.removed != nil {
		d.removed(key)
	}
	return nil
}

func (d *Disk) take(key datamesh.ShardKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.shards[key]
	if x == nil {
		return false
	}
	d.used -= int64(len(x.bytes))
	delete(d.shards, key)
	d.keys = nil
	d.segments[key.Segment].shards--
	d.forgetUnused(key.Segment)
	return true
}

// rot changes a bit of a shard that is kept.
func (d *Disk) rot(key datamesh.ShardKey, bit int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if x := d.shards[key]; x != nil {
		x.bytes[bit/8%len(x.bytes)] ^= 1 << (bit % 8)
	}
}

// tear leaves half of a shard behind, as of one that was being written when
// the power went, and reports whether it did: what was there before is not
// touched.
func (d *Disk) tear(desc *datamesh.Descriptor, key datamesh.ShardKey, shard []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full || d.deleted(desc.Segment) != nil || d.shards[key] != nil {
		return false
	}
	r, err := d.know(desc)
	if err != nil {
		return false
	}
	r.shards++
	d.used += int64(len(shard))
	d.shards[key], d.keys = &kept{bytes: slices.Concat(shard[:len(shard)/2], make([]byte, len(shard)-len(shard)/2))}, nil
	return true
}

// Track returns the segments that are known, in their order.
func (d *Disk) Track(ctx context.Context, after datamesh.SegmentID, limit int) (list []store.Tracked, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, segment := range d.some(after, limit) {
		r := d.segments[segment]
		list = append(list, store.Tracked{Descriptor: r.d, Holdings: r.holdings()})
	}
	return list, nil
}

// Owned returns an owner's segments, of so many of which something is known.
func (d *Disk) Owned(ctx context.Context, owner datamesh.OwnerKey, after datamesh.SegmentID, limit int) (list []*datamesh.Descriptor, last datamesh.SegmentID, more bool, err error) {
	last = after
	if err := ctx.Err(); err != nil {
		return nil, last, false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	some := d.some(after, limit)
	for _, segment := range some {
		if last = segment; d.segments[segment].d.Owner == owner {
			list = append(list, d.segments[segment].d)
		}
	}
	return list, last, len(some) == limit && limit > 0, nil
}

// some returns at most limit of the segments of which something is known, after
// one, in their order.
func (d *Disk) some(after datamesh.SegmentID, limit int) []datamesh.SegmentID {
	if d.order == nil {
		d.order = make([]datamesh.SegmentID, 0, len(d.segments))
		for segment := range d.segments {
			d.order = append(d.order, segment)
		}
		slices.SortFunc(d.order, compareSegments)
	}
	i, found := slices.BinarySearchFunc(d.order, after, compareSegments)
	if found {
		i++
	}
	return d.order[i:min(len(d.order), i+max(limit, 0))]
}

func compareSegments(a, b datamesh.SegmentID) int { return bytes.Compare(a[:], b[:]) }

func (r *row) holdings() (list []store.Holding) {
	for i, who := range r.holders {
		for _, peer := range who {
			list = append(list, store.Holding{Index: i, Peer: peer})
		}
	}
	return list
}

// Held returns the shards that are here, in their order.
func (d *Disk) Held(ctx context.Context, after datamesh.ShardKey, limit int) (list []store.Held, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range d.sorted(after, limit) {
		list = append(list, store.Held{Descriptor: d.segments[key.Segment].d, Index: key.Index, Damaged: d.shards[key].damaged})
	}
	return list, nil
}

// Reported returns the shards that a peer was reported to hold, in their order.
func (d *Disk) Reported(ctx context.Context, peer datamesh.PeerID, after datamesh.ShardKey, limit int) (list []store.Held, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	keys := make([]datamesh.ShardKey, 0, len(d.peers[peer]))
	for key := range d.peers[peer] {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, datamesh.ShardKey.Compare)
	for _, key := range later(keys, after, limit) {
		x := d.shards[key]
		list = append(list, store.Held{Descriptor: d.segments[key.Segment].d, Index: key.Index, Damaged: x != nil && x.damaged})
	}
	return list, nil
}

// Report enters who holds what.
func (d *Disk) Report(ctx context.Context, reports []store.Report) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return errs.New(errs.Full, "report: the disk is full")
	}
	for _, r := range reports {
		for _, h := range r.Holdings {
			if h.Index < 0 || h.Index >= len(r.Descriptor.Shards) {
				return errs.New(errs.Integrity, "report %s: shard %d of %d", r.Descriptor.Segment, h.Index, len(r.Descriptor.Shards))
			}
		}
	}
	var deleted error
	for _, r := range reports {
		if d.deleted(r.Descriptor.Segment) != nil {
			deleted = errDeleted(r.Descriptor.Segment)
			continue
		}
		if len(r.Holdings) == 0 {
			continue
		}
		x, err := d.know(r.Descriptor)
		if err != nil {
			return err
		}
		for _, h := range r.Holdings {
			d.hold(x, h)
		}
	}
	return deleted
}

// hold enters a holder as the one reported last.
func (d *Disk) hold(r *row, h store.Holding) {
	d.unhold(r, h)
	who := slices.Insert(r.holders[h.Index], 0, h.Peer)
	r.holders[h.Index] = who
	key := datamesh.ShardKey{Segment: r.d.Segment, Index: h.Index}
	if d.peers[h.Peer] == nil {
		d.peers[h.Peer] = map[datamesh.ShardKey]bool{}
	}
	d.peers[h.Peer][key] = true
	for len(r.holders[h.Index]) > maxHolders {
		d.unhold(r, store.Holding{Index: h.Index, Peer: r.holders[h.Index][maxHolders]})
	}
}

func (d *Disk) unhold(r *row, h store.Holding) {
	r.holders[h.Index] = slices.DeleteFunc(r.holders[h.Index], func(p datamesh.PeerID) bool { return p == h.Peer })
	delete(d.peers[h.Peer], datamesh.ShardKey{Segment: r.d.Segment, Index: h.Index})
	if len(d.peers[h.Peer]) == 0 {
		delete(d.peers, h.Peer)
	}
}

// Correct takes a peer's word for what it holds in a range.
func (d *Disk) Correct(ctx context.Context, peer datamesh.PeerID, after, upto datamesh.ShardKey, keys []datamesh.ShardKey) (unknown []datamesh.SegmentID, deleted []*datamesh.Deletion, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	last := after
	for _, key := range keys {
		if key.Compare(last) <= 0 || key.Compare(upto) > 0 || key.Index < 0 || key.Index >= datamesh.MaxShards {
			return nil, nil, errs.New(errs.Invalid, "inventory: shard %s/%d is not in its place in the range", key.Segment, key.Index)
		}
		last = key
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var gone []datamesh.ShardKey
	left := false // some could not be entered
	for key := range d.peers[peer] {
		if _, said := slices.BinarySearchFunc(keys, key, datamesh.ShardKey.Compare); !said && key.Compare(after) > 0 && key.Compare(upto) <= 0 {
			gone = append(gone, key)
		}
	}
	for i, key := range keys {
		r := d.segments[key.Segment]
		first := i == 0 || keys[i-1].Segment != key.Segment
		switch del := d.deleted(key.Segment); {
		case del != nil && first:
			deleted = append(deleted, del)
		case del != nil:
		case r == nil && first:
			unknown = append(unknown, key.Segment)
		case r == nil || key.Index >= len(r.d.Shards) || d.peers[peer][key]:
		case d.full:
			left = true
		default:
			d.hold(r, store.Holding{Index: key.Index, Peer: peer})
		}
	}
	for _, key := range gone {
		d.unhold(d.segments[key.Segment], store.Holding{Index: key.Index, Peer: peer})
		d.forgetUnused(key.Segment)
	}
	if left {
		return nil, nil, errs.New(errs.Full, "inventory: the disk is full")
	}
	return unknown, deleted, nil
}

// Locate returns what is known of a segment.
func (d *Disk) Locate(ctx context.Context, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.segments[segment]
	if r == nil && d.deleted(segment) != nil {
		return nil, nil, errDeleted(segment)
	}
	if r == nil {
		return nil, nil, errs.New(errs.FileNotFound, "locate %s: no such segment here", segment)
	}
	return r.d, r.holdings(), nil
}

// Forget forgets who was reported to hold segments.
func (d *Disk) Forget(ctx context.Context, segments []datamesh.SegmentID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, segment := range segments {
		r := d.segments[segment]
		if r == nil {
			continue
		}
		for _, h := range r.holdings() {
			d.unhold(r, h)
		}
		d.forgetUnused(segment)
	}
	return nil
}

// Proven takes nothing down: nobody asks here when something was proven.
func (d *Disk) Proven(ctx context.Context, proofs []store.Proof) error { return ctx.Err() }

// Proofs returns none.
func (d *Disk) Proofs(ctx context.Context, segments []datamesh.SegmentID) ([]store.Proof, error) {
	return nil, ctx.Err()
}

// Receipts returns none: nobody signs any here.
func (d *Disk) Receipts(ctx context.Context, segment datamesh.SegmentID) ([]*datamesh.Receipt, error) {
	return nil, ctx.Err()
}

// assume has a shard be here whose bytes nobody asks for.
func (d *Disk) assume(desc *datamesh.Descriptor, index int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.row(desc).shards++
	d.shards[datamesh.ShardKey{Segment: desc.Segment, Index: index}], d.keys = new(kept), nil
}

// suppose has a shard be reported of a segment that nobody has signed.
func (d *Disk) suppose(desc *datamesh.Descriptor, h store.Holding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hold(d.row(desc), h)
}

// row returns what is known of a segment, which is not checked.
func (d *Disk) row(desc *datamesh.Descriptor) *row {
	if d.segments[desc.Segment] == nil {
		d.segments[desc.Segment], d.order = &row{d: desc, holders: make([][]datamesh.PeerID, len(desc.Shards))}, nil
	}
	return d.segments[desc.Segment]
}
