package store

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// Memory is a ShardStore that lasts as long as the process.
type Memory struct {
	capacity int64

	mu       sync.RWMutex // guards what follows
	used     int64
	shards   map[datamesh.ShardKey][]byte
	segments map[datamesh.SegmentID]*datamesh.Descriptor
	words    map[datamesh.SegmentID]*datamesh.Deletion
	trash    map[datamesh.ShardKey][]byte // counts as used
}

// NewMemory returns an empty store for shards of capacity bytes in all.
func NewMemory(capacity int64) *Memory {
	return &Memory{
		capacity: capacity,
		shards:   make(map[datamesh.ShardKey][]byte),
		segments: make(map[datamesh.SegmentID]*datamesh.Descriptor),
		words:    make(map[datamesh.SegmentID]*datamesh.Deletion),
		trash:    make(map[datamesh.ShardKey][]byte),
	}
}

// Put keeps a copy of the shard.
func (m *Memory) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	key := datamesh.ShardKey{Segment: d.Segment, Index: index}
	if err := ready(ctx, "put", key); err != nil {
		return err
	}
	if _, err := authentic(d, nil); err != nil {
		return err
	}
	if err := checkShard(d, index, shard); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if word := m.words[d.Segment]; word != nil && word.Gone() {
		return errDeleted("put", d.Segment)
	}
	if _, ok := m.shards[key]; ok {
		return nil
	}
	if m.used+int64(len(shard)) > m.capacity {
		return errs.New(errs.Full, "put %s: %d bytes, %d free", name(key), len(shard), m.capacity-m.used)
	}
	m.used += int64(len(shard))
	m.shards[key] = bytes.Clone(shard)
	m.segments[d.Segment] = d
	return nil
}

// Get copies the shard into buf, or into a new slice if that is too small.
func (m *Memory) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	d, shard, err := m.look(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	buf = append(buf[:0], shard...)
	if err := checkShard(d, key.Index, buf); err != nil {
		return nil, nil, err
	}
	return d, buf, nil
}

// GetRange makes the slice from an outboard that it computes each time.
func (m *Memory) GetRange(ctx context.Context, key datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	d, shard, err := m.look(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	if err := checkRange(key, len(shard), off, n); err != nil {
		return nil, nil, err
	}
	outboard, id := hash.Outboard(shard)
	if err := checkID(d, key.Index, id); err != nil {
		return nil, nil, err
	}
	slice, err := hash.Slice(bytes.NewReader(shard), len(shard), outboard, off, n)
	return d, slice, err
}

// look returns what is kept under key. Nobody changes those bytes.
func (m *Memory) look(ctx context.Context, key datamesh.ShardKey) (*datamesh.Descriptor, []byte, error) {
	if err := ready(ctx, "get", key); err != nil {
		return nil, nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	shard, ok := m.shards[key]
	if !ok {
		return nil, nil, errNotFound("get", key)
	}
	return m.segments[key.Segment], shard, nil
}

// Has reports which shards are there.
func (m *Memory) Has(_ context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	has := make([]bool, len(keys))
	for i, key := range keys {
		_, has[i] = m.shards[key]
	}
	return has, nil
}

// List sorts all keys each time: it is for small stores.
func (m *Memory) List(_ context.Context, after datamesh.ShardKey, limit int) ([]datamesh.ShardKey, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var keys []datamesh.ShardKey
	for key := range m.shards {
		if key.Compare(after) > 0 {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, datamesh.ShardKey.Compare)
	return keys[:min(max(limit, 0), len(keys))], nil
}

// Drop keeps what it gives up until it is brought back, or the word is final.
func (m *Memory) Drop(_ context.Context, del *datamesh.Deletion) error {
	if _, err := owned(del); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	segment := del.Descriptor.Segment
	if was := m.words[segment]; was != nil && was.Generation >= del.Generation || del.Generation == 0 {
		return nil
	}
	m.words[segment] = del
	from, to := m.shards, m.trash
	if !del.Gone() {
		from, to = to, from
		m.segments[segment] = del.Descriptor
	} else {
		delete(m.segments, segment)
	}
	for i := range del.Descriptor.Shards {
		key := datamesh.ShardKey{Segment: segment, Index: i}
		if shard, ok := from[key]; ok {
			to[key] = shard
			delete(from, key)
		}
		if shard, ok := m.trash[key]; ok && del.Final() {
			m.used -= int64(len(shard))
			delete(m.trash, key)
		}
	}
	return nil
}

// Deletion returns the last word on a segment. Kind: FileNotFound.
func (m *Memory) Deletion(_ context.Context, segment datamesh.SegmentID) (*datamesh.Deletion, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if word := m.words[segment]; word != nil {
		return word, nil
	}
	return nil, errs.New(errs.FileNotFound, "deletion of %s: none is known", segment)
}
