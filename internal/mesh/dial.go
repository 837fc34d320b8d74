package mesh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"datamesh/internal/errs"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
)

// connect makes sure of a connection to p, at the given addresses or, without
// any, where libp2p has learnt that it is. TCP is tried first; only when it
// gets no answer at all is QUIC: who refuses TCP is not there, and QUIC would
// find that out by waiting. Kind: Unavailable.
func (n *Net) connect(ctx context.Context, p peer.ID, addrs []string) error {
	if n.host.Network().Connectedness(p) == network.Connected {
		return nil
	}
	if s, ok := n.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(p) // whom to ask how often is the ring's to say
	}
	tcp, other := split(addrs)
	if len(tcp) == 0 || len(other) == 0 {
		return n.dial(ctx, p, append(tcp, other...))
	}
	err := n.dialFirst(ctx, p, tcp)
	if err == nil || errs.IsRefused(err) || ctx.Err() != nil {
		return err
	}
	return n.dial(ctx, p, other)
}

// dialFirst dials with half of the time that there is.
func (n *Net) dialFirst(ctx context.Context, p peer.ID, addrs []ma.Multiaddr) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	return n.dial(ctx, p, addrs)
}

func (n *Net) dial(ctx context.Context, p peer.ID, addrs []ma.Multiaddr) error {
	if len(addrs) > 0 {
		n.host.Peerstore().ClearAddrs(p)
		n.host.Peerstore().AddAddrs(p, addrs, peerstore.TempAddrTTL)
	}
	if err := n.host.Connect(ctx, peer.AddrInfo{ID: p, Addrs: addrs}); err != nil {
		return errs.New(errs.Unavailable, "cannot be reached: %w", dialError{err})
	}
	return nil
}

func split(addrs []string) (tcp, other []ma.Multiaddr) {
	for _, a := range addrs {
		m, err := ma.NewMultiaddr(a)
		if err != nil {
			continue // of a newer version
		}
		if isTCP(m) {
			tcp = append(tcp, m)
		} else {
			other = append(other, m)
		}
	}
	return tcp, other
}

func isTCP(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_TCP)
	return err == nil
}

// tcpFirst is how addresses are dialled that libp2p has learnt itself.
func tcpFirst(addrs []ma.Multiaddr) []network.AddrDelay {
	out := make([]network.AddrDelay, len(addrs))
	for i, a := range addrs {
		out[i].Addr = a
		if !isTCP(a) {
			out[i].Delay = time.Second
		}
	}
	return out
}

// A dialError says in one short line what libp2p lists by address.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

func (e dialError) Error() string {
	if dial, ok := errors.AsType[*swarm.DialError](e.error); ok && len(dial.DialErrors) > 0 {
		cause := dial.DialErrors[0].Cause
		if system, ok := errors.AsType[syscall.Errno](cause); ok {
			cause = system // before which Go says what it did, and to which address
		}
		return fmt.Sprintf("%s: %v", dial.DialErrors[0].Address, cause)
	}
	if errors.Is(e.error, context.DeadlineExceeded) {
		return "no answer"
	}
	return strings.Join(strings.Fields(e.error.Error()), " ")
}
