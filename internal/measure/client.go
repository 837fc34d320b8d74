package measure

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"time"

	"datamesh/internal/errs"
	"datamesh/internal/mesh"
)

// answerTime is how long a client waits for an answer without bytes.
const answerTime = 5 * time.Second

// A Reading is what a peer's clock shows.
type Reading struct {
	Offset time.Duration // of its clock from this one; negative: it is behind
	RTT    time.Duration
}

// Clock asks what time it is at the other end of a stream. Kinds: as [Send].
func Clock(ctx context.Context, s mesh.Stream) (Reading, error) {
	began := time.Now()
	resp, err := ask(ctx, s, request{Op: opClock}, answerTime)
	if err != nil {
		return Reading{}, err
	}
	rtt := time.Since(began)
	return Reading{Offset: time.UnixMilli(resp.Clock).Sub(began.Add(rtt / 2)), RTT: rtt}, nil
}

// Send moves n bytes to the other end of a stream, and returns how long that
// took until it had them all. Kinds: Unavailable (it is silent, or busy),
// Network (the stream broke), Invalid (too many bytes), Serialization.
func Send(ctx context.Context, s mesh.Stream, n int64) (time.Duration, error) {
	defer context.AfterFunc(ctx, func() { mesh.Abort(s) })()
	if _, err := ask(ctx, s, request{Op: opTake, Bytes: n}, answerTime); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := s.SetDeadline(began.Add(moveTime)); err != nil {
		return 0, broken(ctx, err)
	}
	if err := fill(s, n); err != nil {
		return 0, broken(ctx, err)
	}
	resp, err := answer(ctx, s)
	if err != nil {
		return 0, err
	}
	if resp.Bytes != n {
		return 0, errs.New(errs.Serialization, "%d of %d bytes came", resp.Bytes, n)
	}
	return time.Since(began), nil
}

// Receive has n bytes moved from the other end, and returns how long they took
// from the first to the last. Kinds: as [Send].
func Receive(ctx context.Context, s mesh.Stream, n int64) (time.Duration, error) {
	defer context.AfterFunc(ctx, func() { mesh.Abort(s) })()
	resp, err := ask(ctx, s, request{Op: opSend, Bytes: n}, answerTime)
	if err != nil {
		return 0, err
	}
	if resp.Bytes != n {
		return 0, errs.New(errs.Serialization, "%d bytes are offered, %d were asked for", resp.Bytes, n)
	}
	began := time.Now()
	if err := s.SetDeadline(began.Add(moveTime)); err != nil {
		return 0, broken(ctx, err)
	}
	buf := make([]byte, piece)
	for left := n; left > 0; {
		got, err := s.Read(buf[:min(left, piece)])
		if left -= int64(got); err != nil && left > 0 {
			return 0, broken(ctx, err)
		}
	}
	return time.Since(began), nil
}

// DialBack has the other end try to reach this node, and returns from which IP
// it sees this node, and which of the addresses there it has tried. Kinds: as
// [Send].
func DialBack(ctx context.Context, s mesh.Stream) (netip.Addr, []mesh.Reached, error) {
	resp, err := ask(ctx, s, request{Op: opDialBack}, dialTime+answerTime)
	if err != nil {
		return netip.Addr{}, nil, err
	}
	seen, err := netip.ParseAddr(resp.Seen)
	if err != nil {
		return netip.Addr{}, nil, errs.New(errs.Serialization, "response: %w", err)
	}
	var all []mesh.Reached
	for _, r := range resp.Reached {
		all = append(all, mesh.Reached{Addr: r.Addr, Answers: r.Answers})
	}
	return seen.WithZone(""), all, nil // a zone is any text
}

// ask makes a request and reads its answer.
func ask(ctx context.Context, s mesh.Stream, req request, patience time.Duration) (*response, error) {
	req.Version = version
	defer context.AfterFunc(ctx, func() { mesh.Abort(s) })()
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, broken(ctx, err)
	}
	if err := write(s, req); err != nil {
		return nil, broken(ctx, err)
	}
	return answer(ctx, s)
}

// answer reads an answer, or the error that it tells.
func answer(ctx context.Context, s mesh.Stream) (*response, error) {
	resp, err := readResponse(s)
	if err != nil {
		return nil, broken(ctx, err)
	}
	return resp, resp.err()
}

// broken gives an error of a stream its kind.
func broken(ctx context.Context, err error) error {
	var timeout interface{ Timeout() bool }
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errs.KindOf(err) != errs.Other:
		return err
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return errs.New(errs.Unavailable, "no answer in time")
	}
	return errs.New(errs.Network, "the stream broke: %w", err)
}
