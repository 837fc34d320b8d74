//go:build unix

package main

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/measure"
	network "datamesh/internal/mesh"
	"datamesh/internal/node"
	"datamesh/internal/ring"
)

// doctor runs doctor, which must end with the code, and returns what it found
// by name.
func (u *user) doctor(t *testing.T, code int) map[string]node.Check {
	t.Helper()
	o := u.run(t, "doctor")
	if o.code != code {
		t.Errorf("doctor exited with %d, want %d: %s%s", o.code, code, o.stdout, o.stderr)
	}
	byName := map[string]node.Check{}
	for _, c := range document[node.Diagnosis](t, o.stdout).Checks {
		byName[c.Name] = c
		if (c.Status == node.CheckFailed || c.Status == node.CheckWarning) != (c.Advice != "") {
			t.Errorf("got %+v", c)
		}
	}
	return byName
}

func wantStatus(t *testing.T, who string, checks map[string]node.Check, want map[string]string) {
	t.Helper()
	for name, status := range want {
		if got := checks[name]; got.Status != status {
			t.Errorf("%s: %s: got %+v, want %s", who, name, got, status)
		}
	}
}

func TestDoctorOfAHealthyMesh(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 3)
	a, c := m.members[0], m.members[2]
	u := m.user(t)
	u.put(t, noisy(1, 1<<20))
	a.put(t, noisy(2, 1<<20))
	result[any](t, a.run(t, "keys", "export", filepath.Join(m.dir, "backup")))
	wantStatus(t, "a service", a.doctor(t, 0), map[string]string{"home": "ok", "keys": "ok", "identity": "ok", "catalog": "ok", "store": "ok", "mesh": "ok",
		"space": "ok", "port": "ok", "members": "ok", "reach": "skipped", "clock": "ok", "versions": "ok"})
	wantStatus(t, "a client that has exported nothing", u.doctor(t, 0), map[string]string{"home": "ok", "identity": "warning", "catalog": "ok", "store": "skipped",
		"port": "skipped", "members": "ok", "reach": "skipped", "clock": "ok", "versions": "ok"})

	kill(c)
	wantStatus(t, "a service that one has left", a.doctor(t, 0), map[string]string{"members": "warning", "clock": "ok"})
	wantStatus(t, "a home whose node does not run", c.doctor(t, 0), map[string]string{"port": "ok", "store": "ok", "members": "ok", "reach": "skipped"})
	kill(m.members[1])
	wantStatus(t, "a service that all have left", a.doctor(t, 9), map[string]string{"members": "failed", "clock": "skipped", "port": "ok"})
	kill(a)
	if got := u.doctor(t, 9)["members"]; got.Status != node.CheckFailed {
		t.Errorf("a client that nobody answers: got %+v", got)
	}
}

func TestDoctorOfANodeThatIsAlone(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	wantStatus(t, "alone", m.members[0].doctor(t, 0), map[string]string{"port": "ok", "members": "skipped", "reach": "skipped", "clock": "skipped"})
	taken := m.members[0].ready
	kill(m.members[0])
	l, err := net.Listen("tcp", "127.0.0.1:"+strings.TrimPrefix(nearestAddr(taken.Addrs), "/ip4/127.0.0.1/tcp/"))
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "a node whose port another program has taken", m.members[0].doctor(t, 9), map[string]string{"port": "failed"})
	l.Close()
}

func TestDoctorFindsADamagedCatalogBesideARunningNode(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 2)
	x := m.members[0]
	x.put(t, noisy(1, 1000))
	junk := []byte(strings.Repeat("junk ", 10_000))
	u := m.user(t)
	u.put(t, noisy(1, 1000))
	if err := os.WriteFile(filepath.Join(u.home, "user.db"), junk, 0o600); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "a client", u.doctor(t, 9), map[string]string{"catalog": "failed", "members": "ok", "clock": "ok"})
	if got, err := os.ReadFile(filepath.Join(u.home, "user.db")); err != nil || string(got) != string(junk) {
		t.Errorf("doctor has changed the damaged catalog, %v", err)
	}
	wantStatus(t, "a service", x.doctor(t, 0), map[string]string{"catalog": "ok"})
	truncate(t, filepath.Join(x.home, "node.key"))
	wantStatus(t, "a service whose key is damaged", x.doctor(t, 9), map[string]string{"catalog": "ok"})
}

// skewed is a member in this process, whose clock is a day off.
func (m *mesh) skewed(t *testing.T, by time.Duration) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	server := &measure.Server{Clock: func() time.Time { return time.Now().Add(by) }}
	door := m.members[0].ready
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	member, err := network.New(ctx, network.Config{Key: key, Role: ring.Storage, Listen: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Probe: time.Second, Agent: node.Agent,
		Usage: func() (int64, int64) { return 0, 0 },
		Serve: map[string]func(context.Context, datamesh.PeerID, network.Stream){measure.Protocol: server.Handle},
		Join:  []network.Peer{{ID: door.PeerID, Addr: nearestAddr(door.Addrs)}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := member.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := member.Met(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestDoctorFindsAClockThatIsADayOff(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	x := m.members[0]
	m.skewed(t, 24*time.Hour)
	got := x.doctor(t, 9)
	wantStatus(t, "one of two", got, map[string]string{"members": "ok", "clock": "failed"})
	d, by := got["clock"], ""
	_, err := fmt.Sscanf(d.Detail, "this clock is %s behind the", &by)
	off, bad := time.ParseDuration(by)
	if err != nil || bad != nil || (off-24*time.Hour).Abs() > time.Minute || d.Advice == "" { // the ways there and back may differ
		t.Errorf("got %+v", d)
	}
	m.add(t, append([]string{"service", "--port", "0"}, x.door()...)...).start(t)
	m.add(t, append([]string{"service", "--port", "0"}, x.door()...)...).start(t)
	m.settle(t)
	wantStatus(t, "one of three others", x.doctor(t, 0), map[string]string{"clock": "ok"})
}
