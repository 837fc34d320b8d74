//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/config"
	"datamesh/internal/node"
)

// testedNetwork is the document of networks test.
type testedNetwork struct {
	Name  string `json:"name"`
	Peers []struct {
		Peer      string          `json:"peer"`
		Answers   bool            `json:"answers"`
		Mesh      datamesh.MeshID `json:"mesh"`
		LatencyMS float64         `json:"latency_ms"`
		Error     string          `json:"error"`
	} `json:"peers"`
}

// tests runs networks test, which must end with the code and print its document.
func (u *user) tests(t *testing.T, code int, args ...string) (doc testedNetwork) {
	t.Helper()
	o := u.run(t, append([]string{"networks", "test"}, args...)...)
	if o.code != code {
		t.Fatalf("%v exited with %d, want %d: %s", o.args, o.code, code, o.stderr)
	}
	if err := json.Unmarshal(o.stdout, &doc); err != nil {
		t.Fatalf("%v: %v in %q", o.args, err, o.stdout)
	}
	return doc
}

// peer returns the member as PEER_ID@ADDR.
func (x *member) peer() string { return x.ready.PeerID.String() + "@" + nearestAddr(x.ready.Addrs) }

// local returns the name of the built-in network that the member is.
func (x *member) local() string {
	return "local:" + strings.Split(nearestAddr(x.ready.Addrs), "/")[4]
}

// configured returns the value of a setting in the home.
func (u *user) configured(t *testing.T, key string) string {
	t.Helper()
	return result[config.Setting](t, u.run(t, "config", "get", key)).Value
}

func TestNetworksAreTestedAndUsed(t *testing.T) {
	t.Parallel()
	m, other := newMesh(t, 2), newMesh(t, 1)
	a, b, stranger := m.members[0], m.members[1], other.members[0]
	nobody := fmt.Sprintf("%s@/ip4/127.0.0.1/tcp/%d", a.ready.PeerID, freePort(t))
	wrong := stranger.ready.PeerID.String() + "@" + nearestAddr(a.ready.Addrs)
	u := m.newcomer()
	for name, peers := range map[string][]string{"home": {nobody, a.peer(), b.peer()}, "mixed": {a.peer(), stranger.peer()}, "gone": {nobody}, "wrong": {wrong}} {
		result[any](t, u.run(t, append([]string{"networks", "add", name}, peers...)...))
	}

	got := u.tests(t, 0, "home")
	if len(got.Peers) != 3 || got.Name != "home" {
		t.Fatalf("got %+v", got)
	}
	if p := got.Peers[0]; p.Answers || p.Peer != nobody || p.Error == "" || p.Mesh != (datamesh.MeshID{}) {
		t.Errorf("nobody: got %+v", p)
	}
	for i, x := range m.members {
		if p := got.Peers[i+1]; !p.Answers || p.Peer != x.peer() || p.Mesh != x.ready.Mesh || p.LatencyMS <= 0 || p.Error != "" {
			t.Errorf("a member: got %+v", p)
		}
	}
	for name, code := range map[string]int{"mixed": 10, "gone": 5, "wrong": 6, a.local(): 0, a.peer(): 0} {
		u.tests(t, code, name)
	}
	if p := u.tests(t, 0, a.local()).Peers[0]; p.Peer != a.peer() {
		t.Errorf("local is %s, want %s", p.Peer, a.peer())
	}

	// What cannot be joined is not used.
	before := u.files(t)
	for name, code := range map[string]int{"gone": 5, "wrong": 6, "nowhere": 4} {
		problem(t, u.run(t, "networks", "use", name), code)
		if got := u.configured(t, "mesh.bootstrap"); got != "" {
			t.Errorf("%s: mesh.bootstrap is %s", name, got)
		}
	}
	if after := u.files(t); after["config.toml"] != before["config.toml"] || after["mesh"] != "" {
		t.Errorf("before %q, after %q", before, after)
	}

	used := result[struct {
		Name string          `json:"name"`
		Mesh datamesh.MeshID `json:"mesh"`
	}](t, u.run(t, "networks", "use", "home"))
	if used.Name != "home" || used.Mesh != a.ready.Mesh || u.configured(t, "mesh.bootstrap") != "home" {
		t.Errorf("got %+v, mesh.bootstrap is %s", used, u.configured(t, "mesh.bootstrap"))
	}
	if peers := result[node.Peers](t, u.run(t, "peers")); len(peers.Peers) != 2 {
		t.Errorf("peers: got %+v", peers)
	}
	u.tests(t, 0) // those of mesh.bootstrap

	// The home is of a mesh now and refuses another one.
	p := problem(t, u.run(t, "networks", "use", stranger.peer()), 6)
	if !strings.Contains(p.Error, a.ready.Mesh.String()) || !strings.Contains(p.Error, stranger.ready.Mesh.String()) {
		t.Errorf("got %+v, want both meshes by name", p)
	}
	if got := u.configured(t, "mesh.bootstrap"); got != "home" {
		t.Errorf("mesh.bootstrap is %s", got)
	}

	// Whoever listens on this machine is a network too.
	v := m.newcomer()
	result[any](t, v.run(t, "networks", "use", b.local()))
	if got := v.configured(t, "mesh.bootstrap"); got != b.local() {
		t.Errorf("mesh.bootstrap is %s, want %s", got, b.local())
	}

	// Beside the running service of a home it is no different.
	result[any](t, a.run(t, "networks", "use", b.peer()))
	if got := a.configured(t, "mesh.bootstrap"); got != b.peer() {
		t.Errorf("mesh.bootstrap is %s, want %s", got, b.peer())
	}
	content := noisy(1, 100<<10)
	stored := u.put(t, content)
	u.reads(t, stored.ID, content)
}

// files returns what the files of the home have, by name.
func (u *user) files(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(u.home)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			b, err := os.ReadFile(filepath.Join(u.home, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all[e.Name()] = string(b)
		}
	}
	return all
}

func TestServicesAndClientsJoinByConfiguration(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	first, port := m.members[0], freePort(t)

	service := m.add(t, "service")
	result[any](t, service.run(t, "config", "set", "mesh.bootstrap", first.peer()))
	result[any](t, service.run(t, "config", "set", "mesh.port", fmt.Sprint(port)))
	service.start(t)
	if addr := nearestAddr(service.ready.Addrs); addr != fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port) {
		t.Errorf("it listens on %s, want port %d", addr, port)
	}
	m.settle(t)
	before := service.ready
	kill(service)
	service.start(t)
	if diff := cmp.Diff(before, service.ready); diff != "" {
		t.Errorf("again (-before +after):\n%s", diff)
	}
	kill(service)
	other := freePort(t)
	service.start(t, "service", "--port", fmt.Sprint(other))
	if addr := nearestAddr(service.ready.Addrs); addr != fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", other) {
		t.Errorf("the flag: it listens on %s, want port %d", addr, other)
	}
	m.settle(t)

	// A client by the environment, which goes before a file that leads nowhere.
	u := m.newcomer()
	result[any](t, u.run(t, "config", "set", "mesh.bootstrap", "local:1"))
	cmd := u.command("peers")
	cmd.Env = append(m.env, "DATAMESH_MESH_BOOTSTRAP="+first.peer())
	if peers := result[node.Peers](t, start(t, cmd).wait(t)); len(peers.Peers) != 2 {
		t.Errorf("got %+v", peers)
	}

	// bootstrap begins no mesh where one is to be joined.
	v := m.newcomer()
	result[any](t, v.run(t, "config", "set", "mesh.bootstrap", first.peer()))
	if p := problem(t, v.run(t, "bootstrap", "--port", "0"), 2); p.Hint == "" {
		t.Errorf("got %+v, want a hint", p)
	}
}

func TestConfiguredPortInUseIsSaid(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	port := strings.TrimPrefix(m.members[0].local(), "local:")
	u := m.newcomer()
	result[any](t, u.run(t, "config", "set", "mesh.port", port))
	if p := problem(t, u.run(t, "bootstrap"), 10); !strings.Contains(p.Error, "port "+port) || p.Hint == "" {
		t.Errorf("got %+v", p)
	}
}
