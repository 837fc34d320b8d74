package transfer

import "sync"

// buffers keeps shard buffers for the next shard.
type buffers struct{ pool sync.Pool }

// take returns a buffer of n bytes with whatever is in them.
func (b *buffers) take(n int) []byte {
	if p, ok := b.pool.Get().(*[]byte); ok && cap(*p) >= n {
		return (*p)[:n]
	}
	return make([]byte, n)
}

// give takes a buffer back, unless it is too small to be worth it.
func (b *buffers) give(buf []byte) {
	if cap(buf) >= progressStep {
		b.pool.Put(&buf)
	}
}
