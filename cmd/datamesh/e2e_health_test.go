//go:build unix

package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"datamesh/internal/api"
	"datamesh/internal/node"
)

// health runs health, which must end with the code and say so in both of its
// documents.
func (u *user) health(t testing.TB, code int, flags ...string) (h node.Health) {
	t.Helper()
	o := u.run(t, append([]string{"health"}, flags...)...)
	if err := json.Unmarshal(o.stdout, &h); err != nil || o.code != code || h.Degraded != (code == 9) {
		t.Fatalf("%v: got %v, code %d, %s%s; want code %d", o.args, err, o.code, o.stdout, o.stderr, code)
	}
	var p api.Problem
	if err := json.Unmarshal(lastLine(o.stderr), &p); code == 9 && (err != nil || p.Kind != "Degraded" || p.Error != h.Verdict || p.Hint == "") {
		t.Errorf("%v: got %v in %s, want an error of kind Degraded with the verdict and a hint", o.args, err, o.stderr)
	}
	return h
}

// agrees checks that info and peers say what a health does. Own is 1 in the
// home of a member, which peers does not list.
func (u *user) agrees(t testing.TB, h node.Health, own int) {
	t.Helper()
	for _, o := range h.Objects {
		info := u.run(t, "info", o.ID.String())
		survives := -1
		if info.code == 0 {
			survives = result[node.Info](t, info).Survives
		}
		if survives != o.Survives {
			t.Errorf("%s survives %d by health, %d by info: %s", o.Name, o.Survives, survives, info.stderr)
		}
	}
	states := map[string]int{"alive": own}
	for _, p := range result[node.Peers](t, u.run(t, "peers")).Peers {
		states[p.State]++
	}
	if got := h.Members; got.Alive != states["alive"] || got.Suspect != states["suspect"] || got.Dead != states["dead"] {
		t.Errorf("members are %+v by health, %v by peers", got, states)
	}
}

func TestHealthIsWhatIsKilledAndRestarted(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	killed := m.members[3:]
	users := []struct {
		*user
		own int
	}{{m.user(t), 0}, {&m.members[0].user, 1}}
	for _, u := range users {
		comesTrue(t, "all answer", func(t testing.TB) {
			if h := u.health(t, 0); h.Verdict != "no objects yet; 6 of 6 members answer" {
				t.Errorf("got %q", h.Verdict)
			}
		})
		for i, size := range []int64{10, 100_000, 20 << 20} {
			u.put(t, noisy(byte(i), size), "--name", string('a'+rune(i)))
		}
	}
	well := func() {
		t.Helper()
		for _, u := range users {
			comesTrue(t, "all is well", func(t testing.TB) {
				h := u.health(t, 0)
				if h.Verdict != "all 3 objects can lose any 2 more peers" || h.Members.Alive != 6 || h.Catalog.Objects != 3 || len(h.Objects) != 3 {
					t.Errorf("got %+v", h)
				}
				for _, o := range h.Objects {
					if o.Survives != 2 || o.Possible != 2 || o.Lost != 0 || o.Problem != "" {
						t.Errorf("got %+v, want survives 2 of 2 possible", o)
					}
				}
				u.agrees(t, h, u.own)
				if quick := u.health(t, 0, "--quick"); quick.Verdict != "6 of 6 members answer; 3 objects not asked about" || len(quick.Objects) != 0 {
					t.Errorf("quick: got %+v", quick)
				}
			})
		}
	}
	well()

	known := func(dead int) { // to all that a client may learn it from
		t.Helper()
		for _, x := range m.running() {
			eventually(t, "the dead are known", func() bool { return x.count(t, "dead") == dead })
		}
	}
	kill(killed[0])
	for _, u := range users {
		u.health(t, 9) // before it is known to be dead, too
		u.health(t, 9, "--quick")
		comesTrue(t, "one is lost, quickly", func(t testing.TB) {
			if quick := u.health(t, 9, "--quick"); quick.Verdict != "5 of 6 members answer; 3 objects not asked about" {
				t.Errorf("quick: got %+v", quick)
			}
		})
		known(1)
		comesTrue(t, "one is lost", func(t testing.TB) {
			h := u.health(t, 9)
			if !strings.HasSuffix(h.Verdict, ": 1 of 6 members does not answer") || h.Members.Dead != 1 {
				t.Errorf("one lost: got %+v", h)
			}
			// The smallest has three copies, of which maybe none is lost. Of five
			// members one may go, with all shards there.
			for _, o := range h.Objects {
				if o.Name == "a" && o.Possible != 2 || o.Name != "a" && (o.Possible != 1 || o.Survives != 1 || o.Lost < 1 || o.Unwhole < 1) {
					t.Errorf("one lost: got %+v", o)
				}
			}
			u.agrees(t, h, u.own)
		})
	}

	kill(killed[1:]...)
	known(3)
	for _, u := range users {
		comesTrue(t, "three are lost", func(t testing.TB) {
			h := u.health(t, 9)
			if !strings.HasSuffix(h.Verdict, " of 3 objects cannot be read now: 3 of 6 members do not answer") {
				t.Errorf("three lost: got %+v", h)
			}
			unreadable := func(o node.ObjectHealth) bool { return o.Survives < 0 }
			if n := slices.IndexFunc(h.Objects, func(o node.ObjectHealth) bool { return !unreadable(o) }); n == 0 || n > 0 && slices.ContainsFunc(h.Objects[n:], unreadable) {
				t.Errorf("what cannot be read is not the first: %+v", h.Objects)
			}
			u.agrees(t, h, u.own)
		})
		u.health(t, 9, "--quick")
	}

	restart(t, killed...)
	m.settle(t)
	well()
}

// count returns how many others are in that state to the user's node.
func (u *user) count(t testing.TB, state string) (n int) {
	t.Helper()
	for _, p := range result[node.Peers](t, u.run(t, "peers")).Peers {
		if p.State == state {
			n++
		}
	}
	return n
}

// An object that was put before the mesh grew could survive more.
func TestHealthTellsOfWhatAMeshHasOutgrown(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 3)
	u := m.user(t)
	old := u.put(t, noisy(1, 1<<20))
	comesTrue(t, "the object is well", func(t testing.TB) {
		if h := u.health(t, 0); h.Verdict != "the one object can lose any 1 more peer" {
			t.Errorf("got %q", h.Verdict)
		}
	})
	door := m.members[0].door()
	for range 3 {
		m.add(t, append([]string{"service", "--port", "0"}, door...)...)
	}
	startAll(t, m.members[3:]...)
	m.settle(t)
	u.put(t, noisy(2, 1<<20))
	comesTrue(t, "one of two could survive more", func(t testing.TB) {
		h := u.health(t, 9)
		h.Objects[0].Safety = node.Safety{}
		if want := (node.ObjectHealth{ID: old.ID, Name: "", Survives: 1, Possible: 2, Unwhole: 1, Segments: 2}); h.Objects[0] != want {
			t.Errorf("got %+v, want %+v first", h.Objects[0], want)
		}
		if h.Verdict != "1 of 2 objects survives fewer losses than it could: their shards are not spread over all 6 members" {
			t.Errorf("got %q", h.Verdict)
		}
		if h.Objects[1].Survives != 2 {
			t.Errorf("got %+v, want the new object to survive 2", h.Objects[1])
		}
	})
}
