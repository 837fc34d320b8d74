package node

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"datamesh/internal/config"
	"datamesh/internal/errs"
)

// configured are the options of a node whose configuration names doors.
func configured(h config.Home, role Role, doors ...config.Peer) Options {
	o := options(h, role)
	for _, p := range doors {
		o.Config.Mesh.Bootstrap = append(o.Config.Mesh.Bootstrap, p.String())
	}
	return o
}

func door(t *testing.T, r *running) config.Peer {
	return through(t, r.home, Client, r).Bootstrap[0]
}

func TestHomeWithoutAMeshJoinsTheConfiguredOne(t *testing.T) {
	t.Parallel()
	first := bootstrap(t, home(t))
	mesh, err := first.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []Role{Storage, Client} {
		h := home(t)
		n := open(t, configured(h, role, door(t, first)))
		if s, err := n.Stats(t.Context()); err != nil || s.Mesh != mesh.Mesh {
			t.Errorf("role %v: got %+v, %v, want the mesh %s", role, s, err, mesh.Mesh)
		}
		n.end()

		// It knows its mesh now, and another door is none to it.
		stranger := bootstrap(t, home(t))
		n = open(t, configured(h, role, door(t, stranger)))
		if s, err := n.Stats(t.Context()); err != nil || s.Mesh != mesh.Mesh {
			t.Errorf("role %v, again: got %+v, %v, want the mesh %s", role, s, err, mesh.Mesh)
		}
	}
}

func TestHomeThatIsToJoinBeginsNoMesh(t *testing.T) {
	t.Parallel()
	first := bootstrap(t, home(t))
	h := home(t)
	o := configured(h, Storage, door(t, first))
	o.NewMesh = true
	n, err := Open(t.Context(), o)
	if n != nil || errs.KindOf(err) != errs.Invalid || !strings.Contains(errs.HintFor(err), "datamesh service") {
		t.Errorf("got %v, hint %q", err, errs.HintFor(err))
	}
	if m, err := loadMemory(h); err != nil || m.genesis != nil {
		t.Errorf("it remembers %+v, %v", m, err)
	}
	open(t, configured(h, Storage, door(t, first))).end()
	open(t, o) // as the one of a mesh that the home is of, it may run
}

func TestDoctorJoinsThroughAConfiguredDoor(t *testing.T) {
	t.Parallel()
	first := bootstrap(t, home(t))
	open(t, configured(home(t), Client, door(t, first))).wantChecks("a client", map[string]string{"members": CheckOK})
}

func TestGreetNeedsNoHome(t *testing.T) {
	t.Parallel()
	first := bootstrap(t, home(t))
	p := door(t, first)
	s, err := first.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var g Greeting
	soon(func() bool { // it gives up after 5 s
		g, err = Greet(t.Context(), p)
		return err == nil
	})
	if err != nil || g.Peer != p.ID || g.Mesh != s.Mesh || g.LatencyMS <= 0 {
		t.Errorf("got %+v, %v", g, err)
	}
}

func TestConfiguredPortIsTakenOrSaidToBeInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := options(home(t), Storage)
	o.NewMesh, o.Port = true, l.Addr().(*net.TCPAddr).Port
	n, err := Open(t.Context(), o)
	if n != nil || errs.KindOf(err) != errs.Configuration || !strings.Contains(err.Error(), strconv.Itoa(o.Port)) {
		t.Errorf("got %v", err)
	}
}
