package transfer

import (
	"cmp"
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/mesh"
)

const (
	fewBytes = crypt.FrameLen   // of a shard that is a small one, or of a slice
	keepTime = 20 * time.Second // that a stream is kept open without a request
)

// A class is what a stream carries. Each has places of its own, so that what is small
// does not wait for what is large, nor a question for shards.
type class int

const (
	question class = iota
	small          // a small shard
	bulk           // a shard

	classes
)

// places is how many streams to one peer there may be at once of each class.
var places = [classes]int{question: 16, small: 16, bulk: 8}

// classOf returns the class of a shard of n bytes.
func classOf(n int) class {
	if n <= fewBytes {
		return small
	}
	return bulk
}

// A pool keeps streams for the next request, and limits how many there are.
type pool struct {
	open func(context.Context, datamesh.PeerID) (mesh.Stream, error)

	mu     sync.Mutex // guards the rest
	peers  map[datamesh.PeerID]*peerPool
	closed bool
}

type peerPool struct {
	places [classes]chan struct{} // one for each stream in use
	heard  atomic.Int64           // when anything came from the peer, in Unix nanoseconds
	kept   []*keptStream          // guarded by pool.mu
}

type keptStream struct {
	mesh.Stream
	expire *time.Timer
}

// A lease is a stream in use, always the same. Its place goes back by give.
type lease struct {
	mesh.Stream
	peer   *peerPool
	places chan struct{} // that it has one of
	kept   bool          // from an earlier request
	began  time.Time     // when it had its place
	over   atomic.Bool   // it was aborted
	moved  atomic.Int64  // when something moved on it, in Unix nanoseconds
}

// abort ends all reads and writes, also of those who are putting off their
// deadline.
func (l *lease) abort() {
	l.over.Store(true)
	mesh.Abort(l.Stream)
}

// extend gives reads and writes so much time from now.
func (l *lease) extend(d time.Duration) error {
	err := l.SetDeadline(time.Now().Add(d))
	if l.over.Load() { // maybe only since
		return cmp.Or(l.SetDeadline(time.Unix(1, 0)), os.ErrDeadlineExceeded)
	}
	return err
}

// take waits for one of the peer's places, and then at most patience for a
// stream, unless there is one from an earlier request.
func (p *pool) take(ctx context.Context, id datamesh.PeerID, c class, patience time.Duration) (*lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	pp, err := p.peer(id)
	if err != nil {
		return nil, err
	}
	l := &lease{peer: pp, places: pp.places[c]}
	select {
	case l.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	l.began = time.Now()
	if l.Stream = p.reuse(pp); l.Stream != nil {
		l.kept = true
		return l, nil
	}
	if l, err = p.fresh(ctx, id, l, patience); err != nil {
		<-l.places
		return nil, err
	}
	return l, nil
}

// fresh returns a lease of a new stream in the place of l, which has what is
// left of the patience. On an error it returns l.
func (p *pool) fresh(ctx context.Context, id datamesh.PeerID, l *lease, patience time.Duration) (*lease, error) {
	if busy := time.Now().Add(-time.Second); l.peer.heard.Load() > busy.UnixNano() {
		patience = max(patience, maxWait) // on a slow line even this has to wait for others
	}
	opening, cancel := context.WithDeadline(ctx, l.began.Add(patience))
	defer cancel()
	s, err := p.open(opening, id)
	if err != nil {
		return l, cmp.Or(ctx.Err(), err)
	}
	return &lease{Stream: s, peer: l.peer, places: l.places, began: l.began}, nil
}

func (p *pool) peer(id datamesh.PeerID) (*peerPool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errs.New(errs.Unavailable, "the node is shutting down")
	}
	if p.peers[id] == nil {
		pp := new(peerPool)
		for c, n := range places {
			pp.places[c] = make(chan struct{}, n)
		}
		p.peers[id] = pp
	}
	return p.peers[id], nil
}

func (p *pool) reuse(pp *peerPool) mesh.Stream {
	p.mu.Lock()
	defer p.mu.Unlock()
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
func (p *pool) give(l *lease, reuse bool) {
	if !reuse || !p.keep(l) {
		l.abort()
	}
	<-l.places
}

func (p *pool) keep(l *lease) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	k := &keptStream{Stream: l.Stream}
	k.expire = time.AfterFunc(keepTime, func() { p.expire(l.peer, k) })
	l.peer.kept = append(l.peer.kept, k)
	return true
}

func (p *pool) expire(pp *peerPool, k *keptStream) {
	p.mu.Lock()
	for i := range pp.kept {
		if pp.kept[i] == k {
			pp.kept = append(pp.kept[:i], pp.kept[i+1:]...)
			break
		}
	}
	p.mu.Unlock()
	k.Reset()
}

// heard takes note that something came from the peer.
func (l *lease) heard() {
	now := time.Now().UnixNano()
	l.moved.Store(now)
	l.peer.heard.Store(now)
}

// since is when the lease began, or the peer was heard after that.
func (l *lease) since() time.Time {
	if heard := time.Unix(0, l.peer.heard.Load()); heard.After(l.began) {
		return heard
	}
	return l.began
}

// heardSince reports whether anything has come from a peer, on any stream.
func (p *pool) heardSince(id datamesh.PeerID, t time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	pp := p.peers[id]
	return pp != nil && pp.heard.Load() > t.UnixNano()
}

// close ends the streams that are kept.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, pp := range p.peers {
		for _, k := range pp.kept {
			if k.expire.Stop() {
				mesh.Abort(k)
			}
		}
		pp.kept = nil
	}
}
