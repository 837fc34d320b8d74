package mesh

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
)

// A dialled is what came of a DialBack.
type dialled struct {
	ip  netip.Addr
	all []Reached
	err error
}

// dialsBack is the configuration of a first member that dials whoever opens a
// stream to it, and tells the test.
func dialsBack(t *testing.T, self **Net) (Config, <-chan dialled) {
	results := make(chan dialled, 1)
	return serving(first(t), func(ctx context.Context, from datamesh.PeerID, s Stream) {
		ip, all, err := (*self).DialBack(ctx, from, s)
		results <- dialled{ip, all, err}
		s.Close()
	}), results
}

// ask opens a stream to a member, and returns what came of dialling back.
func (n *Net) askDialBack(t *testing.T, to *Net, results <-chan dialled) dialled {
	t.Helper()
	s, err := n.Open(t.Context(), to.ID(), "test/1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	if _, err := s.Write([]byte{0}); err != nil { // streams are opened by the first byte
		t.Fatal(err)
	}
	select {
	case d := <-results:
		return d
	case <-time.After(hang):
		t.Fatal("no answer")
		return dialled{}
	}
}

func TestMemberIsDialledBackWhereItListens(t *testing.T) {
	t.Parallel()
	var a *Net
	cfg, results := dialsBack(t, &a)
	a = start(t, cfg)
	b := start(t, through(t, a))
	a.waitFor(t, "the asker", func(v *ring.View) bool { return stateOf(v, b.ID()) == ring.Alive })
	var d dialled
	eventually(t, "to be dialled back", func() bool { // in time, on a busy machine
		d = b.askDialBack(t, a, results)
		return d.err != nil || !slices.ContainsFunc(d.all, func(r Reached) bool { return !r.Answers })
	})
	tcp := slices.DeleteFunc(b.Addrs(), func(a string) bool { return !strings.Contains(a, "/tcp/") })
	if d.err != nil || d.ip != loopback[0] || len(d.all) != 1 || d.all[0] != (Reached{tcp[0], true}) {
		t.Errorf("got %+v, want that %s answers", d, tcp)
	}
}

// A listener counts the connections to a port of this machine.
func listener(t *testing.T, ip string) (port int, connections func() int) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan bool, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- true
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port, func() int { return len(accepted) }
}

// Whatever a member says of itself, nobody is dialled but the machine that it
// asks from, and few ports of that.
func TestDialBackScansNobody(t *testing.T) {
	t.Parallel()
	var a *Net
	cfg, results := dialsBack(t, &a)
	a = start(t, cfg)
	asker := client(t, a)
	x := start(t, asker)
	elsewhere, seenElsewhere := listener(t, "127.0.0.2")
	here, seenHere := listener(t, "127.0.0.1")
	behind, seenBehind := listener(t, "127.0.0.1")
	strange := []string{
		fmt.Sprintf("/ip4/127.0.0.2/tcp/%d", elsewhere),
		fmt.Sprintf("/dns4/localhost/tcp/%d", behind),
		fmt.Sprintf("/ip4/127.0.0.1/tcp/%d/ws", behind),
		fmt.Sprintf("/ip4/127.0.0.1/tcp/%d/p2p/%s/p2p-circuit", behind, a.ID()),
		fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", behind),
	}
	claims := func(seq uint64, addrs []string) {
		r, err := ring.Sign(asker.Key, ring.Record{Mesh: a.Genesis().MeshID(), Seq: seq, Role: ring.Storage, Addrs: addrs})
		if err != nil {
			t.Fatal(err)
		}
		a.event(ring.Learned{Record: r})
		a.waitFor(t, "the record", func(v *ring.View) bool {
			m, ok := v.Lookup(x.ID())
			return ok && m.Record.Seq >= seq
		})
	}

	if d := x.askDialBack(t, a, results); errs.KindOf(d.err) != errs.Authentication {
		t.Errorf("one who is no member: got %+v, want Authentication", d)
	}
	now := uint64(time.Now().UnixMilli())
	claims(now, strange)
	if d := x.askDialBack(t, a, results); d.err != nil || len(d.all) != 0 || d.ip != loopback[0] {
		t.Errorf("addresses of others: got %+v, want none tried", d)
	}
	own := a.peer().Addr // where somebody answers, but not the asker
	claims(now+1, append(strange, own, fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", here)))
	if d := x.askDialBack(t, a, results); d.err != nil || len(d.all) != 2 || d.all[0].Answers || d.all[1].Answers {
		t.Errorf("addresses of others on its machine: got %+v, want two tried and no answer of it", d)
	}
	var many []string
	for range ring.MaxAddrs {
		many = append(many, fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", here))
	}
	before := seenHere()
	claims(now+2, many)
	if d := x.askDialBack(t, a, results); len(d.all) != maxDialBacks || seenHere()-before > maxDialBacks {
		t.Errorf("got %d tried and %d connections, want %d", len(d.all), seenHere()-before, maxDialBacks)
	}
	if seenElsewhere() != 0 || seenBehind() != 0 {
		t.Errorf("%d connections to another machine, %d to ports that are no addresses of the asker's", seenElsewhere(), seenBehind())
	}
}

// When a dial fails does not tell why: nobody learns from the time which ports
// of a machine are open, and what there is behind them.
func TestAllFailedDialBacksTakeTheSameTime(t *testing.T) {
	silent := func(ctx context.Context) bool { <-ctx.Done(); return false }
	after := func(d time.Duration, answers bool) func(context.Context) bool {
		return func(ctx context.Context) bool {
			select {
			case <-time.After(d): // virtual
				return answers
			case <-ctx.Done():
				return false
			}
		}
	}
	refuses, stranger, slow, member := after(0, false), after(time.Second, false), after(time.Minute, true), after(time.Second, true)
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			ports []func(context.Context) bool
			want  time.Duration
		}{
			"one refuses":                 {[]func(context.Context) bool{refuses}, identifyTime},
			"somebody else is there":      {[]func(context.Context) bool{stranger}, identifyTime},
			"nobody says anything":        {[]func(context.Context) bool{silent}, identifyTime},
			"one is too slow":             {[]func(context.Context) bool{slow}, identifyTime},
			"all of it":                   {[]func(context.Context) bool{refuses, stranger, silent, slow}, identifyTime},
			"one refuses and one answers": {[]func(context.Context) bool{refuses, member}, identifyTime},
			"all answer":                  {[]func(context.Context) bool{member, member}, time.Second},
			"there is none":               {nil, 0},
		} {
			var tried []Reached
			for i := range c.ports {
				tried = append(tried, Reached{Addr: string(rune('0' + i))})
			}
			began := time.Now()
			reach(t.Context(), tried, func(ctx context.Context, addr string) bool { return c.ports[addr[0]-'0'](ctx) })
			if got := time.Since(began); got != c.want {
				t.Errorf("%s: it took %v, want %v", name, got, c.want)
			}
		}
	})
}

// A from is a stream of which only is known where it comes from.
type from struct {
	network.Stream
	conn
}

func (f from) Conn() network.Conn { return f.conn }

type conn struct {
	network.Conn
	addr string
}

func (c conn) RemoteMultiaddr() ma.Multiaddr { return ma.StringCast(c.addr) }

func TestAskersFromNowhereAreNotDialledBack(t *testing.T) {
	t.Parallel()
	a := start(t, first(t))
	for _, s := range []Stream{
		from{conn: conn{addr: "/ip4/169.254.1.1/tcp/1"}},
		from{conn: conn{addr: "/ip6/fe80::1/tcp/1"}},
		from{conn: conn{addr: "/dns4/localhost/tcp/1"}},
		struct{ Stream }{},
	} {
		if ip, all, err := a.DialBack(t.Context(), a.ID(), s); errs.KindOf(err) != errs.Unavailable || len(all) != 0 {
			t.Errorf("got %v, %v, %v, want Unavailable", ip, all, err)
		}
	}
}

func TestStrangersMayHaveOnlySomeAddressesDialled(t *testing.T) {
	home, lan := []string{"/ip4/127.0.0.1/tcp/1", "/ip6/::1/udp/1/quic-v1"}, []string{"/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/1"}
	for _, tt := range []struct {
		own  []string
		ip   string
		want bool
	}{
		{home, "127.0.0.1", true},
		{home, "::1", true},
		{lan, "127.0.0.1", false},
		{lan, "::1", false},
		{lan, "192.168.1.3", true},
		{lan, "198.51.100.1", true},
		{lan, "2001:db8::1", true},
		{lan, "169.254.1.1", false},
		{lan, "fe80::1", false},
		{lan, "224.0.0.251", false},
		{lan, "0.0.0.0", false},
		{lan, "255.255.255.255", false},
	} {
		if got := mayDial(tt.own, netip.MustParseAddr(tt.ip)); got != tt.want {
			t.Errorf("a node at %v dials %s: %t, want %t", tt.own, tt.ip, got, tt.want)
		}
	}
	if mayDial(home, netip.Addr{}) {
		t.Error("it dials what it does not know")
	}
}
