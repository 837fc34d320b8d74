package mesh

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/linetest"
	"datamesh/internal/ring"

	"github.com/google/go-cmp/cmp"
)

// refused starts a node that must fail, and returns its error.
func refused(t *testing.T, ctx context.Context, cfg Config, want errs.Kind) error {
	t.Helper()
	n, err := New(ctx, cfg)
	if err == nil {
		n.Close()
		t.Fatal("it has joined")
	}
	if errs.KindOf(err) != want {
		t.Errorf("got %v, of kind %s, want kind %s", err, errs.KindOf(err).Name(), want.Name())
	}
	return err
}

func TestMembersMeetThroughAnyOfThem(t *testing.T) {
	nodes := startMesh(t, 6)
	for _, n := range nodes {
		if got, want := n.Genesis().MeshID(), nodes[0].Genesis().MeshID(); got != want {
			t.Errorf("%s is of %s, want %s", n.ID(), got, want)
		}
		if err := n.Met(t.Context()); err != nil {
			t.Errorf("met: %v", err)
		}
	}
}

func TestRecordsHaveTheAddressesOfTheirMembers(t *testing.T) {
	nodes := startMesh(t, 2)
	for _, n := range nodes {
		m, _ := nodes[0].View().Lookup(n.ID())
		if !slices.Equal(m.Record.Addrs, n.Addrs()) {
			t.Errorf("record: %q, the node: %q", m.Record.Addrs, n.Addrs())
		}
		tcp, quic := 0, 0
		for _, a := range n.Addrs() {
			if strings.Contains(a, "/tcp/") {
				tcp++
			}
			if strings.HasSuffix(a, "/quic-v1") {
				quic++
			}
		}
		if tcp != 1 || quic != 1 {
			t.Errorf("addresses %q, want one for TCP and one for QUIC", n.Addrs())
		}
		if m.Record.Capacity != 1<<30 || m.Record.Used != 1<<20 || m.Record.Role != ring.Storage {
			t.Errorf("record: %+v", m.Record)
		}
	}
}

func TestClientIsInNobodysTable(t *testing.T) {
	nodes := startMesh(t, 3)
	c := start(t, client(t, nodes[1]))
	if err := c.Met(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.waitFor(t, "all members", func(v *ring.View) bool { return count(v, ring.Alive) == 3 })
	for _, n := range append(nodes, c) {
		if _, ok := n.View().Lookup(c.ID()); ok || n.View().Len() != 3 {
			t.Errorf("%s has %d members, the client among them: %v", n.ID(), n.View().Len(), ok)
		}
	}
	if c.Port() != 0 || len(c.Addrs()) != 0 {
		t.Errorf("the client listens on %q", c.Addrs())
	}
}

func TestWrongPeerIDIsRefusedByName(t *testing.T) {
	member := start(t, first(t))
	cfg := through(t, member)
	cfg.Join[0].ID = datamesh.PeerID(newKey(t).Public().(ed25519.PublicKey))
	err := refused(t, t.Context(), cfg, errs.Authentication)
	if !strings.Contains(err.Error(), member.ID().String()) || !strings.Contains(err.Error(), cfg.Join[0].ID.String()) {
		t.Errorf("%v does not name the two", err)
	}
}

func TestForeignMeshIsRefusedByName(t *testing.T) {
	member := start(t, first(t))
	cfg := through(t, member)
	cfg.Genesis = newGenesis(t, "other")
	err := refused(t, t.Context(), cfg, errs.Authentication)
	if !strings.Contains(err.Error(), member.Genesis().MeshID().String()) || !strings.Contains(err.Error(), cfg.Genesis.MeshID().String()) {
		t.Errorf("%v does not name the two", err)
	}
}

func TestNodeDoesNotJoinThroughItself(t *testing.T) {
	member := start(t, first(t))
	cfg := through(t, member)
	cfg.Key = newKey(t)
	cfg.Join[0].ID = datamesh.PeerID(cfg.Key.Public().(ed25519.PublicKey))
	refused(t, t.Context(), cfg, errs.Invalid)
}

func TestHomeWithoutAMeshIsToldSo(t *testing.T) {
	err := refused(t, t.Context(), storage(t), errs.Configuration)
	if !strings.Contains(errs.HintFor(err), "datamesh bootstrap") {
		t.Errorf("hint %q", errs.HintFor(err))
	}
}

func TestAddressThatIsNoneIsRefused(t *testing.T) {
	member := start(t, first(t))
	cfg := through(t, member)
	cfg.Join[0].Addr = "192.0.2.1:40871"
	refused(t, t.Context(), cfg, errs.Invalid)
}

func TestPortInUseIsSaid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := first(t)
	cfg.Port = l.Addr().(*net.TCPAddr).Port
	refused(t, t.Context(), cfg, errs.Configuration)
}

// A port that only UDP cannot have will do if it was asked for. It is none to choose.
func TestPortThatUDPCannotHave(t *testing.T) {
	var cfg Config
	var n *Net
	for n == nil {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		cfg = first(t)
		cfg.Port = udp.LocalAddr().(*net.UDPAddr).Port
		if h, err := listen(cfg, true); err == nil {
			h.Close()
			t.Fatal("it is chosen")
		} else if !errors.Is(err, ErrPortTaken) {
			t.Errorf("chosen: %v", err)
		}
		if n, err = New(t.Context(), cfg); err != nil && (!errors.Is(err, ErrPortTaken) || CheckPort(cfg.Listen, cfg.Port) == nil) {
			t.Fatal(err) // else another process has it
		}
	}
	defer stop(t, n)
	if addrs, err := n.Listening(); err != nil || len(addrs) != 1 || !strings.HasSuffix(addrs[0], fmt.Sprint("/tcp/", cfg.Port)) {
		t.Errorf("it listens at %v, %v", addrs, err)
	}
}

func TestAddressesThatOthersHaveAreNone(t *testing.T) {
	cfg := first(t)
	cfg.Listen = []netip.Addr{loopback[0], loopback[0]}
	if addrs, err := start(t, cfg).Listening(); err != nil || len(addrs) != 2 {
		t.Errorf("it listens at %v, %v", addrs, err)
	}
	four, six, local := netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.IPv6LinkLocalAllNodes()
	for _, tt := range []struct{ ips, want []netip.Addr }{
		{[]netip.Addr{loopback[0], four, local}, []netip.Addr{four, local}},
		{[]netip.Addr{six, loopback[0], local}, []netip.Addr{six, loopback[0]}},
		{[]netip.Addr{six, four, six, four}, []netip.Addr{six, four}},
	} {
		if got := distinct(tt.ips); !slices.Equal(got, tt.want) {
			t.Errorf("%v: got %v, want %v", tt.ips, got, tt.want)
		}
	}
}

func TestPortIsTheOneAskedFor(t *testing.T) {
	cfg := first(t)
	for { // until no other process takes the port first
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		n, err := New(t.Context(), cfg)
		if errors.Is(err, ErrPortTaken) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer stop(t, n)
		if n.Port() != cfg.Port {
			t.Errorf("port %d, want %d", n.Port(), cfg.Port)
		}
		return
	}
}

// nobody is the address of a member that has ended.
func nobody(t *testing.T) Peer {
	n := start(t, first(t))
	p := n.peer()
	stop(t, n)
	return p
}

func TestDeadBootstrapPeerIsWaitedForUntilTheContextEnds(t *testing.T) {
	t.Parallel()
	cfg := storage(t)
	cfg.Join = []Peer{nobody(t)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := refused(t, ctx, cfg, errs.Unavailable)
	if !strings.Contains(err.Error(), cfg.Join[0].ID.String()) {
		t.Errorf("%v does not name the peer", err)
	}
}

func TestBootstrapPeerThatStartsLaterIsMet(t *testing.T) {
	cfg := first(t)
	n := start(t, cfg)
	door := n.peer()
	cfg.Port = n.Port()
	stop(t, n)
	late := storage(t)
	late.Join = []Peer{door}
	joined := make(chan error, 1)
	go func() {
		n, err := New(t.Context(), late)
		if err == nil {
			err = n.Close()
		}
		joined <- err
	}()
	start(t, cfg)
	if err := <-joined; err != nil {
		t.Errorf("join: %v", err)
	}
}

func TestDeadBootstrapPeerDoesNotMatterToWhoKnowsOthers(t *testing.T) {
	t.Parallel()
	nodes := startMesh(t, 3)
	cfg := storage(t)
	cfg.Genesis, cfg.Join = nodes[0].Genesis(), []Peer{nobody(t)}
	for m := range nodes[0].View().All() {
		cfg.Known = append(cfg.Known, ring.Learned{Record: m.Record, State: m.State, Since: m.Since})
	}
	n := start(t, cfg)
	if err := n.Met(t.Context()); err != nil {
		t.Error(err)
	}
	n.waitFor(t, "all others", func(v *ring.View) bool { return count(v, ring.Alive) == 4 })
}

func TestNodeAloneMeetsNobody(t *testing.T) {
	n := start(t, first(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Met(ctx); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("met: %v", err)
	}
	if n.View().Len() != 1 || n.Connected() != 0 {
		t.Errorf("%d members, %d connections", n.View().Len(), n.Connected())
	}
}

// A node that announces an address is reached there, and nowhere else is known.
func TestAnnouncedAddressIsTheOneThatIsUsed(t *testing.T) {
	there := linetest.NewLine(0, 0)
	r, err := linetest.NewRelay(linetest.Path{there}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cfg := first(t)
	cfg.Announce = []string{r.Addr()}
	n := start(t, cfg)
	r.To(n.Port())
	other := start(t, through(t, n))
	other.waitFor(t, "the first", func(v *ring.View) bool { return count(v, ring.Alive) == 2 })
	m, _ := other.View().Lookup(n.ID())
	if diff := cmp.Diff(cfg.Announce, m.Record.Addrs); diff != "" || there.Carried() == 0 {
		t.Errorf("%d bytes came by the announced address; its addresses (-want +got):\n%s", there.Carried(), diff)
	}
	if _, err := New(t.Context(), Config{Key: newKey(t), Role: ring.Storage, Listen: loopback, Announce: []string{"nowhere"}}); errs.KindOf(err) != errs.Configuration {
		t.Errorf("an address that is none: %v", err)
	}
}
