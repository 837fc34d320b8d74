package transfer

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

// How long a peer may be silent before a client gives it up. The time to open
// a stream counts; bytes of a shard that move, either way, and words of
// progress begin it anew.
const (
	putSilence   = 5 * time.Second
	getSilence   = 3 * time.Second
	probeSilence = 2 * time.Second

	inventorySilence = 30 * time.Second // in which a registrar reads all that it knows of a peer
)

// maxWait is for how long a client lets itself be told to wait.
const maxWait = 20 * time.Second

// behindTime is for how long nothing may move on a stream while something does on
// others of the same peer.
const behindTime = time.Minute

// leastStep is how many bytes of a shard count as progress.
const leastStep = 16 << 10

// An exchange says how a request is made and its answer taken.
type exchange struct {
	payload []byte                          // sent behind the request
	silence time.Duration                   // how long the peer may say nothing
	into    func(*response) ([]byte, error) // where the answer's bytes go; nil: none are taken
	class   class
}

// shard reports whether one may go either way.
func (x *exchange) shard() bool { return x.payload != nil || x.into != nil }

// call makes a request on a stream of the pool. A kept stream may have died
// with the peer's last run; then a fresh one is tried, once and within the
// same silence.
func (c *Client) call(ctx context.Context, peer datamesh.PeerID, req request, x exchange) (*response, []byte, error) {
	req.Version = version
	s, err := c.pool.take(ctx, peer, x.class, x.silence)
	if err != nil {
		return nil, nil, err
	}
	resp, body, reuse, err := x.do(ctx, s, req)
	if s.kept && resp == nil && errs.KindOf(err) == errs.Network && time.Since(s.began) < x.silence {
		s.abort()
		if s, err = c.pool.fresh(ctx, peer, s, x.silence); err == nil {
			resp, body, reuse, err = x.do(ctx, s, req)
		}
	}
	c.pool.give(s, reuse)
	if err != nil && ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	return resp, body, err
}

// do makes one request. The response is nil if none came; otherwise an error
// is what it tells, or what is wrong with it. reuse reports whether the stream
// is between two messages, so that another request can be made on it.
func (x *exchange) do(ctx context.Context, s *lease, req request) (resp *response, body []byte, reuse bool, err error) {
	if err := s.SetDeadline(s.since().Add(x.silence)); err != nil {
		return nil, nil, false, x.broken(err)
	}
	defer x.watch(s)()
	stop := context.AfterFunc(ctx, s.abort)
	defer stop()
	moved := func() error { return s.extend(x.silence) }
	if len(x.payload) <= fewBehind { // then nothing is answered before all is written
		var w io.Writer = s
		if x.payload != nil {
			w = teller{s, datamesh.Sent(ctx)}
		}
		if err := writeMessage(w, req, x.payload, moved); err != nil {
			return nil, nil, false, x.broken(err)
		}
		resp, body, err = x.receive(s, datamesh.Received(ctx))
		return resp, body, (err == nil || resp != nil && resp.Text != "") && stop(), err
	}
	sent := make(chan error, 1)
	go func() {
		err := writeMessage(teller{s, datamesh.Sent(ctx)}, req, x.payload, moved)
		sent <- err
		if isTimeout(err) {
			s.abort() // an answer is waited for as long as the peer is heard at all
		}
	}()
	if resp, body, err = x.receive(s, datamesh.Received(ctx)); err != nil {
		select {
		case late := <-sent:
			if resp == nil && isTimeout(late) {
				err = x.broken(late)
			}
		default:
			s.abort() // the answer may have come before all was sent
			<-sent
		}
		return resp, nil, false, err
	}
	if err := <-sent; err != nil {
		return resp, nil, false, x.broken(err)
	}
	return resp, body, stop(), nil
}

// A teller tells how many bytes it has written.
type teller struct {
	w    io.Writer
	sent func(int)
}

func (t teller) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.sent(n)
	return n, err
}

// receive takes the answer, and tells came of its bytes.
func (x *exchange) receive(s *lease, came func(int)) (*response, []byte, error) {
	for received := 0; ; {
		resp := new(response)
		if err := readMessage(s, "response", resp); err != nil {
			return nil, nil, x.broken(err)
		}
		s.heard()
		switch {
		case resp.Version != version:
			return resp, nil, errs.New(errs.Serialization, "response of version %d, this program knows %d", resp.Version, version)
		case resp.More:
			if err := x.word(s.began, received, resp.Received); err != nil {
				return resp, nil, err
			}
			received = resp.Received
			if err := s.extend(x.silence); err != nil { // of the sending too
				return nil, nil, x.broken(err)
			}
		case resp.Text != "":
			return resp, nil, resp.err()
		case x.into != nil:
			came(0)
			body, err := x.body(s, resp, came)
			return resp, body, err
		case resp.Length != 0:
			return resp, nil, errs.New(errs.Serialization, "response with %d bytes of shard", resp.Length)
		default:
			return resp, nil, nil
		}
	}
}

// watch has the silence on a stream begin anew while the peer is heard on others: on
// a slow line all that is asked stands behind much else. Nothing may move on the stream
// itself for behindTime.
func (x *exchange) watch(s *lease) (stop func()) {
	tick := x.silence / 4
	s.moved.Store(time.Now().UnixNano())
	var mu sync.Mutex // guards again
	var again *time.Timer
	mu.Lock()
	defer mu.Unlock()
	again = time.AfterFunc(tick, func() {
		mu.Lock()
		defer mu.Unlock()
		if again == nil {
			return
		}
		now := time.Now()
		if s.peer.heard.Load() >= now.Add(-tick).UnixNano() && s.moved.Load() > now.Add(-behindTime).UnixNano() {
			s.extend(x.silence) // its error is that the stream is aborted
		}
		again.Reset(tick)
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		again.Stop()
		again = nil
	}
}

// word refuses words on the way that a server could go on sending for ever:
// that a shard has to wait, after maxWait, and of progress that is none.
func (x *exchange) word(began time.Time, before, now int) error {
	switch {
	case before == 0 && now == 0 && x.shard():
		if time.Since(began) >= maxWait {
			return errs.New(errs.Unavailable, "busy for %v", maxWait)
		}
	case now == len(x.payload) && before < now, now < len(x.payload) && now-before >= leastStep:
	default:
		return errs.New(errs.Serialization, "%d bytes received, after %d of %d", now, before, len(x.payload))
	}
	return nil
}

// body reads the bytes behind an answer. Each leastStep of them has the time
// of a silence, so that few bytes at a time do not pass for progress.
func (x *exchange) body(s *lease, resp *response, came func(int)) ([]byte, error) {
	if resp.Length < 0 || resp.Length > maxShard {
		return nil, errs.New(errs.Serialization, "response with %d bytes of shard", resp.Length)
	}
	body, err := x.into(resp)
	if err != nil {
		return nil, err
	}
	step := 0 // where the silence began anew
	for at := 0; at < len(body); {
		if at == 0 || at-step >= leastStep {
			s.heard()
			came(at - step)
			if err := s.extend(x.silence); err != nil {
				return nil, x.broken(err)
			}
			step = at
		}
		n, err := s.Read(body[at:])
		if at += n; err != nil && at < len(body) {
			return nil, x.broken(err)
		}
	}
	came(len(body) - step)
	return body, nil
}

// broken gives an error of the stream its kind.
func (x *exchange) broken(err error) error {
	if errs.KindOf(err) != errs.Other {
		return err
	}
	if isTimeout(err) {
		return errs.New(errs.Unavailable, "silent for %v", x.silence)
	}
	return errs.New(errs.Network, "the stream broke: %w", err)
}

func isTimeout(err error) bool {
	timeout := net.Error(nil)
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
