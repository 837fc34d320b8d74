package mesh

import (
	"context"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"
)

// ringProtocol carries the messages of package ring: requests on a stream,
// each answered before the next. Messages are small and many, and to open a
// stream for each would cost more than what it carries.
const ringProtocol = "ring/1"

const (
	ringTime     = 10 * time.Second // for a ring message that is asked of us
	ringIdle     = 2 * time.Minute  // after which a server ends a stream without requests
	ringKeep     = ringIdle * 3 / 4 // for which a client keeps one, so that it is the first to end it
	ringRequests = 1000             // on a stream
	ringResting  = 4                // streams of a peer that a server has without requests
)

// ask carries out one call of the machine: on the stream that is kept to the
// peer, or on a fresh one when there is none, or it has ended meanwhile.
func (n *Net) ask(c ring.Call) (answer *ring.Message, took time.Duration, err error) {
	var moved ringBytes
	defer func() {
		if tell := n.events.RingCalled; tell != nil && n.ctx.Err() == nil {
			tell(moved.sent, moved.received, err)
		}
	}()
	ctx, cancel := context.WithTimeout(n.ctx, c.Timeout)
	defer cancel()
	if s := n.kept.take(c.To); s != nil {
		answer, took, err := n.askOn(ctx, s, c, &moved)
		if err == nil || ctx.Err() != nil {
			return answer, took, err
		}
	}
	s, err := n.openAt(ctx, c.To, c.Addrs, ringProtocol)
	if err != nil {
		return nil, 0, err
	}
	return n.askOn(ctx, s, c, &moved)
}

// ringBytes counts those of messages.
type ringBytes struct{ sent, received int }

// askOn asks on a stream, which is kept if the peer answers.
func (n *Net) askOn(ctx context.Context, s Stream, c ring.Call, moved *ringBytes) (*ring.Message, time.Duration, error) {
	stop := context.AfterFunc(ctx, func() { Abort(s) })
	start := time.Now()
	answer, err := askRing(s, c.Message, moved)
	took := time.Since(start)
	if stop() && err == nil {
		n.valued(c.To)
		n.kept.give(c.To, s)
	} else {
		Abort(s)
	}
	return answer, took, err
}

func askRing(s Stream, question *ring.Message, moved *ringBytes) (*ring.Message, error) {
	b := question.Encode()
	if err := WriteFrame(s, b); err != nil {
		return nil, err
	}
	moved.sent += len(b)
	answer, n, err := readRing(s)
	moved.received += n
	return answer, err
}

func readRing(s Stream) (m *ring.Message, n int, err error) {
	b, err := ReadFrame(s, ring.MaxMessage)
	if err != nil {
		return nil, 0, err
	}
	m, err = ring.DecodeMessage(b)
	return m, len(b), err
}

// serveRing answers ring messages until the peer ends the stream, is silent
// for too long or breaks the protocol. A stream without requests is ended
// at once when the peer has enough of those.
func (n *Net) serveRing(ctx context.Context, from datamesh.PeerID, s Stream) {
	question, size, err := nextRing(s, ringTime)
	for i := 1; err == nil; i++ {
		var answer int
		if answer, err = n.answerRing(ctx, from, s, question); err != nil {
			break
		}
		if tell := n.events.RingServed; tell != nil {
			tell(size, answer)
		}
		if i == ringRequests || !n.rest(from) {
			s.Close() // and no reset, which could overtake the answer
			return
		}
		question, size, err = nextRing(s, ringIdle)
		n.rested(from)
	}
	s.Reset()
}

func nextRing(s Stream, patience time.Duration) (m *ring.Message, n int, err error) {
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, 0, err
	}
	return readRing(s)
}

// answerRing answers a message and returns the bytes of the answer.
func (n *Net) answerRing(ctx context.Context, from datamesh.PeerID, s Stream, question *ring.Message) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, ringTime)
	defer cancel()
	if err := s.SetDeadline(time.Now().Add(ringTime)); err != nil {
		return 0, err
	}
	reply := make(chan *ring.Message, 1)
	err := n.tell(ctx, func(st *state) {
		st.token++
		st.replies[st.token] = reply
		n.step(st, ring.Request{From: from, Message: question, Token: st.token})
	})
	if err != nil {
		return 0, err
	}
	select {
	case answer := <-reply:
		if answer == nil {
			return 0, errs.New(errs.Serialization, "ring: peer %s breaks the protocol", from)
		}
		b := answer.Encode()
		return len(b), WriteFrame(s, b)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// rest counts one more stream of a peer that waits for a request, unless
// there are enough.
func (n *Net) rest(from datamesh.PeerID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.resting[from] == ringResting {
		return false
	}
	n.resting[from]++
	return true
}

func (n *Net) rested(from datamesh.PeerID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.resting[from]--; n.resting[from] == 0 {
		delete(n.resting, from)
	}
}

// keptStreams are those to the ring of other peers that no request uses, one
// to each at most.
type keptStreams struct {
	mu     sync.Mutex // guards the rest
	to     map[datamesh.PeerID]*keptStream
	closed bool
}

type keptStream struct {
	Stream
	expire *time.Timer
}

// take returns the stream that is kept to a peer, or nil.
func (k *keptStreams) take(id datamesh.PeerID) Stream {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.to[id]
	delete(k.to, id)
	if s == nil || !s.expire.Stop() {
		return nil
	}
	return s.Stream
}

// give keeps a stream for a time, or ends it when there is one already.
func (k *keptStreams) give(id datamesh.PeerID, s Stream) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.to[id] != nil {
		Abort(s)
		return
	}
	if k.to == nil {
		k.to = make(map[datamesh.PeerID]*keptStream)
	}
	kept := &keptStream{Stream: s}
	kept.expire = time.AfterFunc(ringKeep, func() { k.expired(id, kept) })
	k.to[id] = kept
}

func (k *keptStreams) expired(id datamesh.PeerID, s *keptStream) {
	k.mu.Lock()
	if k.to[id] == s {
		delete(k.to, id)
	}
	k.mu.Unlock()
	Abort(s)
}

// close ends all streams that are kept, and those that are given from now on.
func (k *keptStreams) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for _, s := range k.to {
		if s.expire.Stop() {
			Abort(s)
		}
	}
	clear(k.to)
}
