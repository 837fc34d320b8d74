package mesh

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestViewsAgreeAfterDeaths(t *testing.T) {
	t.Parallel()
	nodes := startMesh(t, 8)
	dead, live := nodes[:2], nodes[2:]
	for _, n := range dead {
		stop(t, n)
	}
	key := datamesh.SegmentID{1, 2, 3}
	var views []*ring.View
	for _, n := range live {
		n.waitFor(t, "the deaths of two", func(v *ring.View) bool {
			all := stateOf(v, dead[0].ID()) == ring.Dead && stateOf(v, dead[1].ID()) == ring.Dead && count(v, ring.Alive) == 6
			if all {
				views = append(views, v)
			}
			return all
		})
	}
	want := ring.Registrars(views[0], key, 8)
	for i, n := range live {
		if got := ring.Registrars(views[i], key, 8); len(got) != 6 || got[0] != want[0] || got[5] != want[5] {
			t.Errorf("%s: registrars %v, want %v", n.ID(), got, want)
		}
	}
}

// With a period of hours only the lost connection can tell.
func TestLostConnectionIsAHint(t *testing.T) {
	slow := first(t)
	slow.Probe = 10 * time.Hour
	a := start(t, slow)
	cfg := through(t, a)
	cfg.Probe = 10 * time.Hour
	b := start(t, cfg)
	a.waitFor(t, "the other", func(v *ring.View) bool { return stateOf(v, b.ID()) == ring.Alive })
	stop(t, b)
	a.waitFor(t, "doubt", func(v *ring.View) bool { return stateOf(v, b.ID()) != ring.Alive })
}

func TestMemberThatComesBackElsewhereIsFound(t *testing.T) {
	nodes := startMesh(t, 3)
	cfg := through(t, nodes[1])
	n := start(t, cfg)
	nodes[0].waitFor(t, "the fourth", func(v *ring.View) bool { return stateOf(v, n.ID()) == ring.Alive })
	before := n.Port()
	for range 10 { // nearly always once
		stop(t, n)
		if n = start(t, cfg); n.Port() != before {
			break
		}
	}
	if n.Port() == before {
		t.Fatal("it has the same port again")
	}
	for _, x := range nodes {
		x.waitFor(t, "its new address", func(v *ring.View) bool {
			m, _ := v.Lookup(n.ID())
			return m.State == ring.Alive && m.Record.Addrs[0] == n.Addrs()[0]
		})
	}
}

// echo answers with what it is sent.
func echo(_ context.Context, _ datamesh.PeerID, s Stream) {
	io.Copy(s, s)
	s.Close()
}

func serving(cfg Config, serve func(context.Context, datamesh.PeerID, Stream)) Config {
	cfg.Serve = map[string]func(context.Context, datamesh.PeerID, Stream){"test/1": serve}
	return cfg
}

func TestStreamsReachTheirPeer(t *testing.T) {
	var from atomic.Value
	a := start(t, serving(first(t), func(ctx context.Context, peer datamesh.PeerID, s Stream) {
		from.Store(peer)
		echo(ctx, peer, s)
	}))
	b := start(t, client(t, a))
	s, err := b.Open(t.Context(), a.ID(), "test/1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	said := bytes.Repeat([]byte("to and fro "), 100_000)
	go func() {
		s.Write(said)
		s.(interface{ CloseWrite() error }).CloseWrite()
	}()
	if heard, err := io.ReadAll(s); err != nil || !bytes.Equal(heard, said) {
		t.Errorf("got %d bytes, %v, want %d", len(heard), err, len(said))
	}
	if from.Load() != b.ID() {
		t.Errorf("the stream came from %v, want %s", from.Load(), b.ID())
	}
}

// While a stream is open neither end's connection manager may choose the
// connection to be closed.
func TestPeersAreProtectedWhileStreamsAreOpen(t *testing.T) {
	protects := func(n, peer *Net) bool { return n.host.ConnManager().IsProtected(peer.host.ID(), "") }
	a := start(t, serving(first(t), echo))
	b := start(t, client(t, a))
	if protects(a, b) || protects(b, a) {
		t.Fatal("protected without a stream")
	}
	var streams []Stream
	for range 2 {
		s, err := b.Open(t.Context(), a.ID(), "test/1")
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil { // it is served
			t.Fatal(err)
		}
	}
	for _, s := range streams {
		if !protects(a, b) || !protects(b, a) {
			t.Errorf("server protects: %t, client: %t", protects(a, b), protects(b, a))
		}
		s.Reset()
		s.Reset()
	}
	if protects(b, a) {
		t.Error("the client protects its peer after the last stream")
	}
	for guard := time.Now().Add(hang); protects(a, b); runtime.Gosched() {
		if time.Now().After(guard) {
			t.Fatal("the server protects its peer after the last stream")
		}
	}
}

func TestStreamsThatCannotBeOpened(t *testing.T) {
	nodes := startMesh(t, 2)
	stranger := start(t, serving(first(t), echo))
	if _, err := nodes[0].hello(t.Context(), stranger.ID(), stranger.Addrs()...); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		peer datamesh.PeerID
		want errs.Kind
	}{
		{"to a peer that nobody knows", datamesh.PeerID{1}, errs.Unavailable},
		{"of a protocol that is not served", nodes[1].ID(), errs.Network},
		{"to a peer of another mesh", stranger.ID(), errs.Network},
	} {
		s, err := nodes[0].Open(t.Context(), tt.peer, "test/1")
		if err == nil { // then the first byte tells, which does not come
			s.SetDeadline(time.Now().Add(hang))
			if _, readErr := s.Read(make([]byte, 1)); readErr != nil {
				err = errs.New(errs.Network, "%w", readErr)
			}
			s.Reset()
		}
		if errs.KindOf(err) != tt.want {
			t.Errorf("%s: %v, want kind %s", tt.name, err, tt.want.Name())
		}
	}
	stop(t, nodes[0])
	if _, err := nodes[0].Open(t.Context(), nodes[1].ID(), "test/1"); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("after the end: %v", err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	nodes := startMesh(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stop(t, nodes[1])
	if _, err := nodes[0].Open(ctx, nodes[1].ID(), "test/1"); err == nil {
		t.Error("no error")
	}
}

func TestCloseWaitsForWhatIsServed(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	a := start(t, serving(first(t), func(ctx context.Context, _ datamesh.PeerID, s Stream) {
		close(began)
		<-ctx.Done()
		close(ended)
	}))
	b := start(t, client(t, a))
	s, err := b.Open(t.Context(), a.ID(), "test/1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	if _, err := s.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	<-began
	stop(t, a)
	select {
	case <-ended:
	default:
		t.Error("the stream is still served")
	}
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	warm := startMesh(t, 2) // what libp2p starts once and keeps
	for _, n := range warm {
		stop(t, n)
	}
	settled := settle(t, 0)
	nodes := startMesh(t, 3)
	c := start(t, client(t, nodes[0]))
	if err := c.Met(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range append(nodes, c) {
		stop(t, n)
	}
	settle(t, settled)
}

// settle waits until no more than so many goroutines are left, or, for 0,
// until their number stays the same, and returns it.
func settle(t *testing.T, want int) int {
	t.Helper()
	guard := time.After(hang)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for before, same := 0, 0; ; {
		now := runtime.NumGoroutine()
		if same++; now != before {
			before, same = now, 0
		}
		if want == 0 && same == 20 || want > 0 && now <= want {
			return now
		}
		select {
		case <-tick.C:
		case <-guard:
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			t.Fatalf("%d goroutines are left, want %d:\n%s", now, want, stacks)
		}
	}
}

// Two parts of a mesh that do not know each other meet in Kademlia.
func TestDiscoveryJoinsWhatTheRingDoesNotKnow(t *testing.T) {
	cfg := first(t)
	a := start(t, cfg)
	other := storage(t)
	other.Genesis = cfg.Genesis
	b := start(t, other)
	if err := a.connect(t.Context(), peer.ID(b.ID().Multihash()), b.Addrs()); err != nil {
		t.Fatal(err)
	}
	guard := time.After(hang)
	for a.dht.RoutingTable().Size() == 0 {
		select {
		case <-guard:
			t.Fatal("Kademlia does not know the other")
		case <-time.After(10 * time.Millisecond):
		}
	}
	a.lookAbout(t.Context(), discoverBudget)
	for _, n := range []*Net{a, b} {
		n.waitFor(t, "the other", func(v *ring.View) bool { return count(v, ring.Alive) == 2 })
	}
}

func TestManyStreamsAtOnce(t *testing.T) {
	a := start(t, serving(first(t), echo))
	b := start(t, client(t, a))
	for range 48 { // more than libp2p's own limits allow
		s, err := b.Open(t.Context(), a.ID(), "test/1")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Reset()
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.host.Network().ConnsToPeer(peer.ID(a.ID().Multihash())); len(n) != 1 || !strings.Contains(n[0].RemoteMultiaddr().String(), "/tcp/") {
		t.Errorf("connections %v, want one, over TCP", n)
	}
}
