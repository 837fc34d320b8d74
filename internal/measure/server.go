package measure

import (
	"context"
	"crypto/rand"
	"io"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/mesh"
)

const (
	idleTime = 10 * time.Second // after which a server closes an unused stream
	moveTime = 2 * time.Minute  // for all bytes of a measurement
	dialTime = 10 * time.Second // for dialling back
	slots    = 4                // measurements at once, of all peers
	piece    = 64 << 10         // bytes that are read or written at once
)

// A Server answers those who measure. Its zero value does not dial back.
type Server struct {
	// Clock tells the time. nil is the system's.
	Clock func() time.Time

	// DialBack tries to reach the peer at the other end of a stream, as
	// [mesh.Net.DialBack] does.
	DialBack func(ctx context.Context, from datamesh.PeerID, s mesh.Stream) (netip.Addr, []mesh.Reached, error)

	mu   sync.Mutex // guards busy
	busy map[datamesh.PeerID]bool
}

// Handle serves one stream until the peer closes it, is silent for too long,
// or breaks the protocol.
func (s *Server) Handle(ctx context.Context, from datamesh.PeerID, stream mesh.Stream) {
	defer stream.Reset()
	for {
		if stream.SetDeadline(time.Now().Add(idleTime)) != nil {
			return
		}
		req, err := readRequest(stream)
		if err != nil || s.answer(ctx, from, stream, req) != nil {
			return
		}
	}
}

// answer carries out a request. An error means that the stream is of no more
// use.
func (s *Server) answer(ctx context.Context, from datamesh.PeerID, stream mesh.Stream, req *request) error {
	if req.Op == opClock {
		return respond(stream, response{Clock: s.now().UnixMilli()})
	}
	if err := s.enter(from); err != nil {
		return refuse(stream, err)
	}
	defer s.leave(from)
	switch {
	case req.Op == opDialBack:
		return s.dialBack(ctx, from, stream)
	case req.Op != opTake && req.Op != opSend:
		return refuse(stream, errs.New(errs.Invalid, "request %d is not known", req.Op))
	case req.Bytes < 1 || req.Bytes > MaxBytes:
		return refuse(stream, errs.New(errs.Invalid, "%d bytes, limit %d", req.Bytes, int64(MaxBytes)))
	}
	if err := stream.SetDeadline(time.Now().Add(moveTime)); err != nil {
		return err
	}
	if req.Op == opTake {
		return take(stream, req.Bytes)
	}
	return send(stream, req.Bytes)
}

func (s *Server) now() time.Time {
	if s.Clock == nil {
		return time.Now()
	}
	return s.Clock()
}

// enter begins a measurement, if there is room for one. Kind: Unavailable.
func (s *Server) enter(from datamesh.PeerID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.busy[from]:
		return errs.New(errs.Unavailable, "one measurement of this peer is under way")
	case len(s.busy) == slots:
		return errs.New(errs.Unavailable, "%d measurements are under way", slots)
	case s.busy == nil:
		s.busy = map[datamesh.PeerID]bool{}
	}
	s.busy[from] = true
	return nil
}

func (s *Server) leave(from datamesh.PeerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, from)
}

func (s *Server) dialBack(ctx context.Context, from datamesh.PeerID, stream mesh.Stream) error {
	if s.DialBack == nil {
		return refuse(stream, errs.New(errs.Unavailable, "this peer does not dial back"))
	}
	if err := stream.SetDeadline(time.Now().Add(dialTime + idleTime)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	seen, addrs, err := s.DialBack(ctx, from, stream)
	if err != nil {
		return refuse(stream, err)
	}
	resp := response{Seen: seen.String()}
	for _, a := range addrs {
		resp.Reached = append(resp.Reached, reached{Addr: a.Addr, Answers: a.Answers})
	}
	return respond(stream, resp)
}

func take(stream mesh.Stream, n int64) error {
	if err := respond(stream, response{}); err != nil {
		return err
	}
	buf := make([]byte, piece)
	for left := n; left > 0; {
		got, err := stream.Read(buf[:min(left, piece)])
		if left -= int64(got); err != nil && left > 0 {
			return err
		}
	}
	return respond(stream, response{Bytes: n})
}

func send(stream mesh.Stream, n int64) error {
	if err := respond(stream, response{Bytes: n}); err != nil {
		return err
	}
	return fill(stream, n)
}

// fill writes n bytes that do not compress.
func fill(w io.Writer, n int64) error {
	var seed [32]byte
	rand.Read(seed[:]) // never fails
	noise := mathrand.NewChaCha8(seed)
	buf := make([]byte, piece)
	for left := n; left > 0; {
		b := buf[:min(left, piece)]
		noise.Read(b) // never fails
		if _, err := w.Write(b); err != nil {
			return err
		}
		left -= int64(len(b))
	}
	return nil
}

func respond(stream mesh.Stream, resp response) error {
	resp.Version = version
	return write(stream, resp)
}

func refuse(stream mesh.Stream, err error) error {
	kind, text := errs.ToWire(err)
	return respond(stream, response{Kind: kind, Text: text})
}
