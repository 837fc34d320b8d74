package store

import (
	"errors"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
)

// damaged knows which shards the last read of each has found damaged. Its zero
// value is ready for use.
type damaged struct {
	mu   sync.Mutex // guards the rest
	keys map[datamesh.ShardKey]bool
	past int // removals, of any shard
}

// begin returns the moment at which a read or a put begins.
func (m *damaged) begin() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.past
}

// removed tells that a shard has been removed: what has been read of it does
// not hold for one that is put in its place.
func (m *damaged) removed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.past++
}

// note takes note of what came of reading, or putting, a whole shard.
func (m *damaged) note(key datamesh.ShardKey, began int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err == nil:
		delete(m.keys, key)
	case errors.Is(err, errs.Integrity) && began == m.past:
		if m.keys == nil {
			m.keys = make(map[datamesh.ShardKey]bool)
		}
		m.keys[key] = true
	}
}

func (m *damaged) has(key datamesh.ShardKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys[key]
}
