package mesh

import (
	"context"
	"crypto/ed25519"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"
)

func TestFirstDoorThatAnswersIsTaken(t *testing.T) {
	t.Parallel()
	member := start(t, first(t))
	wrong := member.peer()
	wrong.ID = datamesh.PeerID(newKey(t).Public().(ed25519.PublicKey))
	for name, doors := range map[string][]Peer{
		"nobody first":       {nobody(t), member.peer()},
		"nobody last":        {member.peer(), nobody(t)},
		"a wrong peer first": {wrong, nobody(t), member.peer()},
	} {
		cfg := storage(t)
		cfg.Join = doors
		n := start(t, cfg)
		if got, want := n.Genesis().MeshID(), member.Genesis().MeshID(); got != want {
			t.Errorf("%s: mesh %s, want %s", name, got, want)
		}
	}
}

func TestDoorWithoutAnIDIsWhoeverListens(t *testing.T) {
	t.Parallel()
	member := start(t, first(t))
	cfg := client(t, member)
	cfg.Join[0].ID = datamesh.PeerID{}
	n := start(t, cfg)
	if _, ok := n.View().Lookup(member.ID()); !ok || n.Genesis().MeshID() != member.Genesis().MeshID() {
		t.Errorf("it is of %s and knows %d members", n.Genesis().MeshID(), n.View().Len())
	}
}

func TestNodePassesItselfOver(t *testing.T) {
	t.Parallel()
	member := start(t, first(t))
	cfg := through(t, member)
	cfg.Join = append([]Peer{{ID: datamesh.PeerID(cfg.Key.Public().(ed25519.PublicKey)), Addr: "/ip4/127.0.0.1/tcp/1"}}, cfg.Join...)
	if n := start(t, cfg); n.Genesis().MeshID() != member.Genesis().MeshID() {
		t.Errorf("it is of %s", n.Genesis().MeshID())
	}
}

func TestForeignDoorIsPassedOverForOneOfTheOwnMesh(t *testing.T) {
	t.Parallel()
	member, stranger := start(t, first(t)), start(t, first(t))
	cfg := through(t, member)
	cfg.Genesis = member.Genesis()
	cfg.Join = []Peer{stranger.peer(), member.peer()}
	n := start(t, cfg)
	n.waitFor(t, "the member of its mesh", func(v *ring.View) bool { return stateOf(v, member.ID()) == ring.Alive })
	if _, ok := n.View().Lookup(stranger.ID()); ok {
		t.Error("the stranger is in its table")
	}
}

func TestWhatTryingAgainDoesNotHelpIsSaidFirst(t *testing.T) {
	t.Parallel()
	member := start(t, first(t))
	wrong := member.peer()
	wrong.ID = datamesh.PeerID(newKey(t).Public().(ed25519.PublicKey))
	cfg := storage(t)
	cfg.Join = []Peer{nobody(t), wrong}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	refused(t, ctx, cfg, errs.Authentication)
}

func TestGreetTellsTheMeshAndLeavesNoTrace(t *testing.T) {
	t.Parallel()
	nodes := startMesh(t, 2)
	for name, p := range map[string]Peer{"by its id": nodes[0].peer(), "whoever listens": {Addr: nodes[0].Addrs()[0]}} {
		g, err := Greet(t.Context(), "test", p)
		if err != nil || g.Peer != nodes[0].ID() || g.Mesh != nodes[0].Genesis().MeshID() || g.Latency <= 0 {
			t.Errorf("%s: got %+v, %v", name, g, err)
		}
	}
	for _, n := range nodes {
		if n.View().Len() != 2 || count(n.View(), ring.Alive) != 2 {
			t.Errorf("%s has %d members", n.ID(), n.View().Len())
		}
	}
}

func TestGreetSaysWhoDoesNotAnswer(t *testing.T) {
	t.Parallel()
	member := start(t, first(t))
	wrong := member.peer()
	wrong.ID = datamesh.PeerID(newKey(t).Public().(ed25519.PublicKey))
	for name, tt := range map[string]struct {
		peer Peer
		want errs.Kind
	}{
		"nobody":     {nobody(t), errs.Unavailable},
		"another":    {wrong, errs.Authentication},
		"no address": {Peer{ID: member.ID(), Addr: "192.0.2.1:40871"}, errs.Invalid},
	} {
		if g, err := Greet(t.Context(), "test", tt.peer); errs.KindOf(err) != tt.want {
			t.Errorf("%s: got %+v, %v, want kind %s", name, g, err, tt.want.Name())
		}
	}
}
