package object

import (
	"sync"
	"time"

	"datamesh"
)

const (
	minPatience = 200 * time.Millisecond // before another peer is asked
	maxPatience = 3 * time.Second
	troubleTime = 10 * time.Second // that a peer which failed is asked last
)

// A pace knows how fast shards come, and who has failed lately. Its zero
// value is ready for use, and it is safe for concurrent use.
type pace struct {
	mu      sync.Mutex // guards the rest
	small   time.Duration
	large   time.Duration
	trouble map[datamesh.PeerID]time.Time // until when
}

// patience is how long a shard of n bytes may take before another peer is
// asked: one and a half times the average.
func (p *pace) patience(n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(max(*p.average(n)*3/2, minPatience), maxPatience)
}

func (p *pace) average(n int) *time.Duration {
	if n <= 64<<10 {
		return &p.small
	}
	return &p.large
}

// served takes note of a shard of n bytes that came.
func (p *pace) served(peer datamesh.PeerID, n int, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	avg := p.average(n)
	if *avg == 0 {
		*avg = took
	}
	*avg += (took - *avg) / 8
	delete(p.trouble, peer)
}

// failed takes note of a peer that did not answer.
func (p *pace) failed(peer datamesh.PeerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trouble == nil {
		p.trouble = map[datamesh.PeerID]time.Time{}
	}
	p.trouble[peer] = time.Now().Add(troubleTime)
}

func (p *pace) troubled(peer datamesh.PeerID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.trouble[peer])
}
