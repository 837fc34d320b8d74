//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// libp2p's defaults end a mesh on one address, but not on a loopback one.
func TestEightNodesOnOneAddressOfALAN(t *testing.T) {
	t.Parallel()
	const address = "10.77.0.1"
	namespace := newNamespace(t, "that a mesh forms on one address that is not loopback's")
	ip(t, "-n", namespace, "addr", "add", address+"/24", "dev", "lo")
	m := emptyMesh(t, "DATAMESH_MESH_LISTEN=0.0.0.0,::")
	m.wrap = []string{"ip", "netns", "exec", namespace}
	m.grow(t, 8)
	ports := map[string]bool{}
	for _, x := range m.members {
		addr := nearestAddr(x.ready.Addrs)
		port, ok := strings.CutPrefix(addr, "/ip4/"+address+"/tcp/")
		if !ok || ports[port] {
			t.Errorf("%s is on %s, want a port of its own on %s", x.home, addr, address)
		}
		ports[port] = true
	}
	content := noisy(1, 2<<20)
	for _, u := range []*user{m.user(t), m.user(t), &m.members[3].user} {
		stored := u.put(t, content)
		if stored.Survives < 1 {
			t.Errorf("put: got %+v, want survives 1 at least", stored)
		}
		u.reads(t, stored.ID, content)
	}
}

// namespaces counts those that were made.
var namespaces atomic.Int32

// newNamespace makes a network namespace that has only loopback, or skips a
// test of that.
func newNamespace(t testing.TB, what string) string {
	t.Helper()
	const why = "NOT TESTED: %s needs root and iproute2: %v"
	if os.Geteuid() != 0 {
		t.Skipf(why, what, "this is not root")
	}
	name := fmt.Sprintf("datamesh-test-%d-%d", os.Getpid(), namespaces.Add(1))
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Skipf(why, what, fmt.Errorf("%w: %s", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
			t.Errorf("ip netns del: %v: %s", err, out)
		}
	})
	ip(t, "-n", name, "link", "set", "lo", "up")
	return name
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}
