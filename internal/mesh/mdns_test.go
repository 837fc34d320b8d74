package mesh

import (
	"context"
	"strconv"
	"testing"
	"time"

	"datamesh/internal/errs"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	ma "github.com/multiformats/go-multiaddr"
)

// notifee is what mDNS tells a node of others through. That the network
// carries it is tested with processes in namespaces.
func (n *Net) notifee() mdns.Notifee { return finder(n.found) }

func (n *Net) info() peer.AddrInfo { return peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()} }

func TestMembersThatAreFoundMeet(t *testing.T) {
	a := start(t, first(t))
	cfg := storage(t)
	cfg.Genesis = a.Genesis()
	b := start(t, cfg) // of the same mesh, which it does not meet
	stranger := start(t, first(t))
	b.wg.Go(b.greetFound)
	b.notifee().HandlePeerFound(stranger.info())
	eventually(t, "the other", func() bool {
		b.notifee().HandlePeerFound(a.info()) // again, as mDNS does
		return count(a.View(), ring.Alive) == 2 && count(b.View(), ring.Alive) == 2
	})
	if _, ok := b.View().Lookup(stranger.ID()); ok {
		t.Error("one of another mesh has become a member")
	}
}

// mDNS tells of a peer once, which may not be ready yet.
func TestMeshIsMetThroughOneThatBeginsLate(t *testing.T) {
	cfg := first(t)
	a := start(t, cfg)
	info := a.info()
	cfg.Port = a.Port()
	stop(t, a)
	b := start(t, first(t))
	b.notifee().HandlePeerFound(info)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		m, err := b.meetFound(ctx)
		if err == nil && m.genesis.MeshID() != cfg.Genesis.MeshID() {
			t.Errorf("met %s, want %s", m.genesis.MeshID(), cfg.Genesis.MeshID())
		}
		done <- err
	}()
	for tick := time.Tick(10 * time.Millisecond); len(b.found) > 0 && ctx.Err() == nil; {
		<-tick // it is being greeted
	}
	start(t, cfg)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWhoFindsNobodySaysSo(t *testing.T) {
	a := start(t, first(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.meetFound(ctx); errs.KindOf(err) != errs.Unavailable || errs.HintFor(err) == "" {
		t.Errorf("got %v, want Unavailable with a hint", err)
	}
}

// Anybody on a network can announce anything.
func TestWhatIsAnnouncedOfOtherNetworksIsNotDialled(t *testing.T) {
	a, b := start(t, first(t)), start(t, first(t))
	port, connections := listener(t, "127.0.0.1")
	info := b.info()
	info.Addrs = nil
	for _, addr := range []string{"/ip4/203.0.113.1/tcp/1", "/ip6/2001:db8::1/tcp/1", "/dns4/localhost/tcp/" + strconv.Itoa(port), "/ip4/224.0.0.251/tcp/1"} {
		info.Addrs = append(info.Addrs, ma.StringCast(addr))
	}
	if _, err := a.helloTo(t.Context(), info); errs.KindOf(err) != errs.Invalid {
		t.Errorf("got %v, want Invalid", err)
	}
	info.Addrs = append(info.Addrs, b.host.Addrs()...)
	if m, err := a.helloTo(t.Context(), info); err != nil || m.record.Peer != b.ID() {
		t.Errorf("one of them is near: %v", err)
	}
	if n := connections(); n != 0 {
		t.Errorf("%d connections through a name", n)
	}
}
