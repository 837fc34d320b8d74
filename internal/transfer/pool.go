package transfer

import (
	"context"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/mesh"
)

const (
	maxStreams = 32               // to one peer at once
	maxKept    = 4                // open streams to one peer without a request
	keepTime   = 20 * time.Second // that a stream is kept so
)

// A pool keeps streams for the next request, and limits how many there are.
type pool struct {
	open func(context.Context, datamesh.PeerID) (mesh.Stream, error)

	mu     sync.Mutex // guards the rest
	peers  map[datamesh.PeerID]*peerPool
	closed bool
}

type peerPool struct {
	slots chan struct{} // one for each stream in use
	kept  []*keptStream
}

type keptStream struct {
	mesh.Stream
	expire *time.Timer
}

// take returns a stream to peer, and whether it was kept from an earlier
// request. It waits for one of the peer's places, and then at most patience
// for a new stream. Every stream goes back by give.
func (p *pool) take(ctx context.Context, peer datamesh.PeerID, patience time.Duration) (s mesh.Stream, kept bool, err error) {
	slots, err := p.slots(peer)
	if err != nil {
		return nil, false, err
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	if s := p.reuse(peer); s != nil {
		return s, true, nil
	}
	opening, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if s, err = p.open(opening, peer); err != nil {
		<-slots
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		return nil, false, err
	}
	return s, false, nil
}

func (p *pool) slots(peer datamesh.PeerID) (chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errs.New(errs.Unavailable, "the node is shutting down")
	}
	if p.peers[peer] == nil {
		p.peers[peer] = &peerPool{slots: make(chan struct{}, maxStreams)}
	}
	return p.peers[peer].slots, nil
}

func (p *pool) reuse(peer datamesh.PeerID) mesh.Stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	pp := p.peers[peer]
	for n := len(pp.kept); n > 0; n = len(pp.kept) {
		k := pp.kept[n-1] // the last used is the likeliest to live
		pp.kept = pp.kept[:n-1]
		if k.expire.Stop() {
			return k.Stream
		}
	}
	return nil
}

// give takes back a stream: for the next request when it can be reused.
func (p *pool) give(peer datamesh.PeerID, s mesh.Stream, reuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pp := p.peers[peer]
	<-pp.slots
	if !reuse || p.closed || len(pp.kept) >= maxKept {
		s.Reset()
		return
	}
	k := &keptStream{Stream: s}
	k.expire = time.AfterFunc(keepTime, func() { p.expire(pp, k) })
	pp.kept = append(pp.kept, k)
}

func (p *pool) expire(pp *peerPool, k *keptStream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range pp.kept {
		if pp.kept[i] == k {
			pp.kept = append(pp.kept[:i], pp.kept[i+1:]...)
			break
		}
	}
	k.Reset()
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, pp := range p.peers {
		for _, k := range pp.kept {
			if k.expire.Stop() {
				k.Reset()
			}
		}
		pp.kept = nil
	}
}
