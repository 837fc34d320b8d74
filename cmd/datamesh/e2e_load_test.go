//go:build unix

package main

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"testing"

	"datamesh/internal/node"
)

func TestParallelPutsAndGetsSucceedWithOnePeerSilent(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	service := &m.members[0].user
	homes := []*user{m.user(t), m.user(t), m.user(t)}
	m.members[5].pause(t)

	puts := make([]upload, 0, 6)
	for i, u := range append([]*user{service, service, service}, homes...) {
		puts = append(puts, beginPut(t, u, noisy(byte(i), 5<<20)))
	}
	for i := range puts {
		puts[i].end(t)
	}
	for range 5 { // not fifty at once: on a busy machine some might not join in time
		gets := make([]download, 10)
		for i := range gets {
			gets[i] = beginGet(t, &puts[i%len(puts)])
		}
		for _, g := range gets {
			g.end(t)
		}
	}
}

// An upload is a put that runs beside the test.
type upload struct {
	*task
	owner   *user
	content []byte
	stored  node.Stored // once it has ended
}

func beginPut(t *testing.T, u *user, content []byte) upload {
	t.Helper()
	cmd := u.command("put", "-")
	cmd.Stdin = bytes.NewReader(content)
	return upload{task: start(t, cmd), owner: u, content: content}
}

// end waits until the content is stored, to survive a loss.
func (p *upload) end(t *testing.T) {
	t.Helper()
	p.stored = result[node.Stored](t, p.wait(t))
	if p.stored.Survives < 1 {
		t.Errorf("put: got %+v, want survives 1 at least", p.stored)
	}
}

// A download is a get that runs beside the test.
type download struct {
	*task
	of  *upload
	got hash.Hash
}

func beginGet(t *testing.T, of *upload) download {
	t.Helper()
	cmd := of.owner.command("get", of.stored.ID.String(), "-")
	got := sha256.New()
	cmd.Stdout = got
	return download{start(t, cmd), of, got}
}

// end waits until what was uploaded has come back.
func (g *download) end(t *testing.T) {
	t.Helper()
	if o := g.wait(t); o.code != 0 {
		t.Fatalf("%v exited with %d: %s", o.args, o.code, o.stderr)
	}
	if want := sha256.Sum256(g.of.content); !bytes.Equal(g.got.Sum(nil), want[:]) {
		t.Errorf("get %s: other bytes came back", g.of.stored.ID)
	}
}
