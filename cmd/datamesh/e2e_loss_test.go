//go:build unix

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/node"
)

func TestAnyTwoOfSixMayBeLostAndNoThreeOfThem(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	content := noisy(1, 3<<20)
	owner := m.user(t)
	stored := owner.put(t, content, "--name", "x")
	if stored.Survives != 2 || stored.Peers != 6 {
		t.Fatalf("put: got %+v, want survives 2 on 6 peers", stored)
	}
	reader := owner.elsewhere(t)
	keepsManifest := map[datamesh.PeerID]bool{}
	for _, shard := range result[node.Info](t, owner.run(t, "info", stored.ID.String())).Segments[0].Shards {
		keepsManifest[shard.Peer] = true
	}
	for a := range m.members {
		for b := a + 1; b < len(m.members); b++ {
			m.settle(t)
			lost := []*member{m.members[a], m.members[b]}
			kill(lost...)
			reader.reads(t, stored.ID, content)
			for c := b + 1; c < len(m.members); c++ {
				kill(m.members[c])
				three, answered := append(lost, m.members[c]), "3 shards answered, 4 are needed"
				if !slices.ContainsFunc(three, func(x *member) bool { return !keepsManifest[x.ready.PeerID] }) {
					answered = "0 shards answered, 1 are needed"
				}
				unreadable(t, reader, stored, three, answered)
				restart(t, m.members[c])
			}
			restart(t, lost...)
		}
	}
}

// unreadable gets an object of which too many shards are lost, which must tell
// how many there are and who does not serve, and leave no file.
func unreadable(t *testing.T, u *user, stored node.Stored, lost []*member, answered string) {
	t.Helper()
	dir := t.TempDir()
	p := problem(t, u.run(t, "get", stored.ID.String(), filepath.Join(dir, "out")), 5)
	if p.Kind != "Unavailable" || !strings.Contains(p.Error, answered) || p.Hint == "" {
		t.Errorf("got %+v, want Unavailable, since %s", p, answered)
	}
	for _, x := range lost {
		if !strings.Contains(p.Error, x.ready.PeerID.String()) {
			t.Errorf("%s is lost and not told: %s", x.ready.PeerID, p.Error)
		}
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("get left %v, %v", left, err)
	}
}

func TestSmallMeshesSurviveWhatTheySay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name              string
		members, survives int
	}{{"one", 1, 0}, {"two", 2, 1}, {"three", 3, 1}} {
		t.Run(c.name, func(t *testing.T) {
			m := newMesh(t, c.members)
			owner := m.user(t)
			content := noisy(1, 1<<20)
			stored := owner.put(t, content)
			if stored.Survives != c.survives || stored.Peers != c.members {
				t.Fatalf("put: got %+v, want survives %d on %d peers", stored, c.survives, c.members)
			}
			owner.reads(t, stored.ID, content)
			if c.survives == 0 {
				return
			}
			for _, x := range m.members {
				kill(x)
				owner.reads(t, stored.ID, content)
				restart(t, x)
				m.settle(t)
			}
		})
	}
}

func TestMemberCutOffFromFiveOthersFailsToPut(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	file := noiseFile(t, "x", 1, 1<<20)
	left, others := m.members[0], m.members[1:]
	kill(others...)
	failsToPut(t, left, file)
	eventually(t, "the others are known to be dead", func() bool {
		return left.sees(t, "dead", others...) == len(others)
	})
	failsToPut(t, left, file)
}

// failsToPut puts a file, of which nothing may remain.
func failsToPut(t *testing.T, x *member, file string) {
	t.Helper()
	if p := problem(t, x.run(t, "put", file), 5); p.Kind != "Unavailable" {
		t.Errorf("got %+v, want Unavailable", p)
	}
	if list := result[node.List](t, x.run(t, "list")); len(list.Objects) > 0 {
		t.Errorf("the catalog has %+v", list.Objects)
	}
	if stats := result[node.Stats](t, x.run(t, "stats")); stats.Store.Shards > 0 {
		t.Errorf("it keeps %d shards", stats.Store.Shards)
	}
}
