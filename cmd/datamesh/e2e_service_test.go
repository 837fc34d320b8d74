//go:build unix

package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datamesh"
)

func TestServicesEndWithZeroAfterSIGTERM(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 2)
	for _, x := range m.members {
		x.task.signal(t, syscall.SIGTERM)
		if o := x.task.wait(t); o.code != 0 {
			t.Errorf("%s exited with %d", x.flags[0], o.code)
		}
	}
}

func TestPortIsTheOneAskedForAndKept(t *testing.T) {
	t.Parallel()
	m := emptyMesh(t)
	port := freePort(t)
	begin := m.add(t, "bootstrap", "--port", fmt.Sprint(port))
	begin.start(t)
	join := m.add(t, append([]string{"service", "--port", "0"}, begin.door()...)...)
	join.start(t)
	if addr := nearestAddr(begin.ready.Addrs); addr != fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port) {
		t.Errorf("asked for port %d, got %s", port, addr)
	}
	for _, x := range m.members {
		before := x.ready
		for _, flags := range [][]string{x.flags[:1], x.flags} { // without a port, and with the same again
			kill(x)
			x.start(t, flags...)
			if diff := cmp.Diff(before, x.ready); diff != "" {
				t.Errorf("%v again (-before +after):\n%s", flags, diff)
			}
		}
	}
	other := freePort(t)
	kill(join)
	join.start(t, "service", "--port", fmt.Sprint(other))
	if addr := nearestAddr(join.ready.Addrs); addr != fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", other) {
		t.Errorf("asked for another port %d, got %s", other, addr)
	}
	m.settle(t)
}

// freePort returns a port that nobody listens on, from below those that systems give to
// whoever asks for any, as other tests do.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+(64*os.Getpid()+int(ports.Add(1)))%12_000)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		defer l.Close()
		if c, err := net.ListenPacket("udp", addr); err == nil {
			defer c.Close()
			return l.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal("no port is free")
	return 0
}

var ports atomic.Int64 // that this process has tried

func TestServiceThatCannotJoinSaysWhy(t *testing.T) {
	t.Parallel()
	m, other := newMesh(t, 1), newMesh(t, 1)
	first, stranger := m.members[0], other.members[0]
	nobody := fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", freePort(t))
	member := m.add(t, append([]string{"service"}, m.door(t)...)...)
	member.start(t)
	for _, c := range []struct {
		name    string
		home    *user
		peer    datamesh.PeerID
		addr    string
		timeout string // long where it ends before
		code    int
		says    string
	}{
		{"nobody there", m.newcomer(), first.ready.PeerID, nobody, "2", 5, nobody},
		{"another peer there", m.newcomer(), first.ready.PeerID, nearestAddr(stranger.ready.Addrs), "30", 6, stranger.ready.PeerID.String()},
		{"a second service in the home", &member.user, first.ready.PeerID, nearestAddr(first.ready.Addrs), "30", 11, member.home},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := problem(t, c.home.run(t, "service", "--timeout", c.timeout,
				"--bootstrap-peer", c.peer.String(), "--bootstrap-addr", c.addr), c.code)
			if !strings.Contains(p.Error, c.says) || p.Hint == "" {
				t.Errorf("got %+v, want an error that tells of %s, and a hint", p, c.says)
			}
		})
	}

	t.Run("another mesh there", func(t *testing.T) {
		kill(member)
		for _, command := range []string{"service", "peers"} {
			p := problem(t, member.run(t, append([]string{command}, other.door(t)...)...), 6)
			if !strings.Contains(p.Error, first.ready.Mesh.String()) || !strings.Contains(p.Error, stranger.ready.Mesh.String()) || p.Hint == "" {
				t.Errorf("%s: got %+v, want both meshes by name, and a hint", command, p)
			}
		}
		restart(t, member)
		m.settle(t)
	})
	t.Run("nobody left", func(t *testing.T) {
		kill(first, member)
		if p := problem(t, member.run(t, "service", "--timeout", "2"), 5); p.Kind != "Unavailable" || p.Hint == "" {
			t.Errorf("got %+v, want Unavailable, and a hint", p)
		}
	})
}
