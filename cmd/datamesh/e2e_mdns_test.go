//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"datamesh/internal/node"
)

// newLAN makes two machines with a cable between them, and returns the command
// lines that run something on either.
func newLAN(t *testing.T) (wraps [2][]string) {
	t.Helper()
	var names [2]string
	for i := range names {
		names[i] = newNamespace(t, "what two machines on a network of their own do")
		wraps[i] = []string{"ip", "netns", "exec", names[i]}
	}
	ip(t, "-n", names[0], "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", names[1])
	for i, name := range names {
		ip(t, "-n", name, "addr", "add", fmt.Sprintf("10.78.0.%d/24", i+1), "dev", "cable")
		ip(t, "-n", name, "link", "set", "cable", "up")
	}
	return wraps
}

func TestMembersOnOneNetworkFindEachOtherByMDNS(t *testing.T) {
	t.Parallel()
	wraps := newLAN(t)
	here := emptyMesh(t, "DATAMESH_MESH_LISTEN=0.0.0.0,::", "DATAMESH_MESH_MDNS=true")
	there := &mesh{dir: t.TempDir(), exe: here.exe, env: here.env, wrap: wraps[1]}
	here.wrap = wraps[0]
	meet := func(a, b *member) {
		t.Helper()
		for x, y := range map[*member]*member{a: b, b: a} {
			eventually(t, x.home+" sees the other alive", func() bool { return x.sees(t, "alive", y) == 1 })
		}
	}

	a, b := here.add(t, "bootstrap", "--port", "0"), there.add(t, "service", "--port", "0")
	problem(t, there.newcomer().run(t, "service", "--timeout", "2"), 5) // nobody is there yet
	a.start(t)
	b.start(t) // which is told of nobody
	if a.ready.Mesh != b.ready.Mesh {
		t.Fatalf("it is of %s, want %s", b.ready.Mesh, a.ready.Mesh)
	}
	meet(a, b)
	for _, x := range []*member{a, b} {
		if got := x.doctor(t, 0)["reach"]; got.Status != node.CheckOK {
			t.Errorf("%s: got %+v, want that the other reaches it", x.home, got)
		}
	}

	kill(a, b) // both come back elsewhere, where neither looks for the other
	a.start(t, "bootstrap", "--port", fmt.Sprint(freePort(t)))
	b.start(t, "service", "--port", fmt.Sprint(freePort(t)))
	meet(a, b)

	// Who does not want it is not found, and finds nobody.
	off := there.newcomer()
	cmd := off.command("service", "--timeout", "5")
	cmd.Env = append(slices.Clone(cmd.Env), "DATAMESH_MESH_MDNS=false")
	problem(t, start(t, cmd).wait(t), 10)
	if _, err := os.Stat(off.home + "/mesh"); err == nil {
		t.Error("it has joined a mesh")
	}
}

// What the cable has carried is what bandwidth says that it has moved, and not
// much more.
func TestBandwidthGoesOverTheCable(t *testing.T) {
	t.Parallel()
	wraps := newLAN(t)
	here := emptyMesh(t, "DATAMESH_MESH_LISTEN=0.0.0.0,::")
	there := &mesh{dir: t.TempDir(), exe: here.exe, env: here.env, wrap: wraps[1]}
	here.wrap = wraps[0]
	a := here.add(t, "bootstrap", "--port", "0")
	a.start(t)
	b := there.add(t, append([]string{"service", "--port", "0"}, a.door()...)...)
	b.start(t)
	carried := func(direction string) (n int64) {
		t.Helper()
		out, err := exec.Command(wraps[0][0], append(slices.Clone(wraps[0][1:]), "cat", "/sys/class/net/cable/statistics/"+direction)...).Output()
		if err == nil {
			n, err = strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		}
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const size = 16 << 20
	sent, received := carried("tx_bytes"), carried("rx_bytes")
	result[node.Bandwidth](t, a.run(t, "bandwidth", b.ready.PeerID.String()))
	for direction, n := range map[string]int64{"to": carried("tx_bytes") - sent, "from": carried("rx_bytes") - received} {
		if n < size || n > size*3/2 {
			t.Errorf("%d bytes went %s the other, want somewhat more than %d", n, direction, size)
		}
	}
}
