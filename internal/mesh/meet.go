package mesh

import (
	"context"
	"errors"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"

	"github.com/libp2p/go-libp2p/core/sec"
	ma "github.com/multiformats/go-multiaddr"
)

// meetTime is how long a node that knows other members insists on meeting
// those in Join.
const meetTime = 5 * time.Second

// meet greets the peers in Join and learns from the first that answers which
// mesh this is, or makes sure that it is the one that the home belongs to.
func (n *Net) meet(ctx context.Context, cfg Config) (*met, error) {
	others := n.genesis != nil && len(cfg.Known) > 1
	if others {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, meetTime)
		defer cancel()
	}
	m, err := n.greetAll(ctx, cfg.Join)
	if others && errs.KindOf(err) == errs.Unavailable {
		return &met{genesis: n.genesis}, nil // the mesh may be met through the others
	}
	if err != nil {
		return nil, err
	}
	if n.genesis == nil {
		n.genesis = m.genesis
	}
	return m, nil
}

// greetAll greets all peers at once and returns what the first of them says.
// If none does, its error is one that trying again does not help, if there is
// such. The node itself is passed over.
func (n *Net) greetAll(ctx context.Context, peers []Peer) (*met, error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	type answer struct {
		met *met
		err error
	}
	answers := make(chan answer, len(peers))
	for _, p := range peers {
		wg.Go(func() {
			m, err := n.greet(ctx, p)
			if err == nil {
				err = n.ours(p, m)
			}
			answers <- answer{m, err}
		})
	}
	var failed error
	for range peers {
		a := <-answers
		if a.err == nil {
			return a.met, nil
		}
		if failed == nil || weight(a.err) > weight(failed) {
			failed = a.err
		}
	}
	return nil, failed
}

// errSelf is the error of a node that is to greet itself.
var errSelf = errors.New("is this node itself")

// weight ranks why peers could not be met by what it tells the user.
func weight(err error) int {
	switch {
	case errors.Is(err, errSelf):
		return 0
	case errs.KindOf(err) == errs.Unavailable:
		return 1
	}
	return 2
}

// ours tells whether a peer is of the mesh that this node belongs to, if it
// belongs to one. Kind: Authentication.
func (n *Net) ours(p Peer, m *met) error {
	if n.genesis == nil {
		return nil
	}
	if have, got := n.genesis.MeshID(), m.genesis.MeshID(); have != got {
		return errs.WithHint(errs.New(errs.Authentication, "peer %s is of the mesh %s; this home belongs to %s", m.peer, got, have),
			"use another home for another mesh: --home DIR")
	}
	return nil
}

// greet asks a peer which mesh it is of. It tries until ctx ends. Kinds:
// Invalid, Authentication, Unavailable.
func (n *Net) greet(ctx context.Context, p Peer) (*met, error) {
	if _, err := ma.NewMultiaddr(p.Addr); err != nil {
		return nil, errs.WithHint(errs.New(errs.Invalid, "%q is not a multiaddr", p.Addr), "an address is like /ip4/192.0.2.1/tcp/40871")
	}
	return tryUntil(ctx, func() (*met, error) { return n.greetOnce(ctx, p) })
}

// tryUntil tries while that is Unavailable and ctx has not ended. A try that
// was cut off says less than the one before it, whose error is returned then.
func tryUntil(ctx context.Context, try func() (*met, error)) (*met, error) {
	const pause = 500 * time.Millisecond
	var last error
	for {
		m, err := try()
		switch {
		case err == nil || errs.KindOf(err) != errs.Unavailable:
			return m, err
		case ctx.Err() == nil || last == nil:
			last = err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, last
		}
	}
}

// greetOnce greets a peer, and finds out first who that is if need be. Its
// errors are those of greet, and Serialization.
func (n *Net) greetOnce(ctx context.Context, p Peer) (*met, error) {
	if p.ID == (datamesh.PeerID{}) {
		var err error
		if p.ID, err = Identify(ctx, p.Addr); err != nil {
			return nil, errs.WithHint(err, "check that a node runs there, and its address with \"datamesh id\" there")
		}
	}
	if p.ID == n.ID() {
		return nil, errs.New(errs.Invalid, "peer %s %w", p.ID, errSelf)
	}
	m, err := n.hello(ctx, p.ID, p.Addr)
	if err == nil || errs.KindOf(err) == errs.Authentication || errs.KindOf(err) == errs.Serialization {
		return m, err
	}
	if other, ok := errors.AsType[sec.ErrPeerIDMismatch](err); ok {
		return nil, errs.WithHint(errs.New(errs.Authentication, "the peer at %s is %s, not %s", p.Addr, other.Actual, p.ID),
			"see the peer id with \"datamesh id\" there")
	}
	return nil, errs.WithHint(errs.New(errs.Unavailable, "peer %s at %s does not answer: %w", p.ID, p.Addr, err),
		"check that it runs, and its address with \"datamesh id\" there")
}
