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
	mu   sync.Mutex // guards keys
	keys map[datamesh.ShardKey]bool
}

// note takes note of what came of reading, or putting, a whole shard.
func (m *damaged) note(key datamesh.ShardKey, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err == nil:
		delete(m.keys, key)
	case errors.Is(err, errs.Integrity):
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
