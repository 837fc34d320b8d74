//go:build linux

package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Who is not whom the user means is refused, and the home stays as it was.
// That a running node refuses too is in
// TestMemberOfAnotherMeshIsRefusedThoughANodeRuns.
func TestWrongPeersPortsAndLockedHomesAreRefused(t *testing.T) {
	t.Parallel()
	join := func(id, addr string, args ...string) []string {
		return append(args, "--bootstrap-peer", id, "--bootstrap-addr", addr)
	}
	const (
		ownHome = `^use another home for another mesh: --home DIR$`
		seeID   = `^see the peer id with "datamesh id" there$`
		inUse   = `^port \d+: it is in use$`
		choose  = `^stop what uses it, or choose another with --port$`
		locked  = `^another datamesh process uses this home; stop it or give another --home$`
	)
	guests(t, func(t *testing.T, g *guest) {
		ours, theirs := newMesh(t, 1).members[0], newMesh(t, 1).members[0]
		at := func(x *member) string { return nearestAddr(x.ready.Addrs) }
		us, them := ours.ready.PeerID.String(), theirs.ready.PeerID.String()
		_, port, _ := strings.Cut(at(ours), "/tcp/")
		g.writes(t, "file", []byte("content"))
		g.does(t, "home", join(us, at(ours), "peers")...)
		g.keeps(t, "home")
		before := (&user{mesh: g.mesh, home: filepath.Join(g.dir, "home")}).files(t)
		for _, home := range []string{"home", "fresh"} {
			for _, r := range []refusal{
				{join(them, at(ours), "put", "file"), 6, `^the peer at \S+ is ` + us + `, not ` + them + `$`, seeID},
				{join(them, at(ours), "service", "--port", "0", "--timeout", "30"), 6, `^the peer at \S+ is ` + us + `, not ` + them + `$`, seeID},
				{[]string{"networks", "use", them + "@" + at(ours)}, 6, `the peer at \S+ is ` + us + `, not ` + them + `$`, seeID},
			} {
				g.refused(t, home, r)
			}
		}
		for _, r := range []refusal{
			{join(them, at(theirs), "put", "file"), 6, `^peer ` + them + ` is of the mesh dmmesh1\w+; this home belongs to dmmesh1\w+$`, ownHome},
			{join(them, at(theirs), "service", "--port", "0", "--timeout", "30"), 6, `^peer ` + them + ` is of the mesh dmmesh1`, ownHome},
			{[]string{"networks", "use", them + "@" + at(theirs)}, 6, `: peer ` + them + ` is of the mesh dmmesh1`, ownHome},
			{[]string{"service", "--port", port}, 10, inUse, choose},
		} {
			g.refused(t, "home", r)
		}
		g.refused(t, "fresh", refusal{[]string{"bootstrap", "--port", port}, 10, inUse, choose})
		after := (&user{mesh: g.mesh, home: filepath.Join(g.dir, "home")}).files(t)
		for name := range after {
			if strings.HasPrefix(name, "user.db") || name == "mesh" { // whose members' addresses may be news
				delete(before, name)
				delete(after, name)
			}
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("the home (-before +after):\n%s", diff)
		}
		g.readsKept(t, "home")

		cmd := g.command("home", "service", "--port", "0", "--json")
		h := &herald{said: make(chan ready, 1)}
		cmd.Stdout = h
		k := start(t, cmd)
		select {
		case <-h.said:
		case <-k.ended:
			t.Fatalf("the service ended: %s", &k.stderr)
		}
		for _, command := range []string{"service", "bootstrap"} {
			g.refused(t, "home", refusal{[]string{command}, 11, `home/store: another process has it open$`, locked})
		}
		g.readsKept(t, "home")
		k.signal(t, syscall.SIGTERM)
		if o := k.wait(t); o.code != 0 {
			t.Errorf("the service ended with %d: %s", o.code, o.stderr)
		}
		g.readsKept(t, "home")
	})
}
