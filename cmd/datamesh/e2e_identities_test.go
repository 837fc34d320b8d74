//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"datamesh/internal/node"
)

// as returns the same home, for commands of one of its identities.
func (x *member) as(name string) *user {
	u := x.user
	u.wrap = nil
	u.identity = name
	return &u
}

// names returns the names in the catalog, in order.
func (u *user) names(t testing.TB) (names []string) {
	t.Helper()
	for _, o := range result[node.List](t, u.run(t, "list")).Objects {
		names = append(names, o.Name)
	}
	slices.Sort(names)
	return names
}

// Two identities of one home, beside a service of the first: neither has in its
// catalog, here and in the mesh, what the other has stored, nor reads or deletes
// it. A sweep of one leaves the puts of the other.
func TestIdentitiesOfAHomeHaveNothingOfEachOther(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 4)
	x := m.members[1]
	mine := x.put(t, []byte("mine"), "--name", "mine")
	result[identityMade](t, x.run(t, "keys", "new", "work"))
	work := x.as("work")
	theirs := work.put(t, []byte("theirs"), "--name", "theirs")
	first, second := filepath.Join(m.dir, "first.words"), filepath.Join(m.dir, "second.words")
	result[phraseShown](t, x.run(t, "keys", "init", "--phrase-file", first))
	result[phraseShown](t, work.run(t, "keys", "init", "--phrase-file", second))

	apart := func() {
		t.Helper()
		if got := x.names(t); !slices.Equal(got, []string{"mine"}) {
			t.Errorf("the first has %v", got)
		}
		if got := work.names(t); !slices.Equal(got, []string{"theirs"}) {
			t.Errorf("the second has %v", got)
		}
		for u, other := range map[*user]*node.Stored{&x.user: &theirs, work: &mine} {
			if p := problem(t, u.run(t, "get", other.ID.String(), "-"), 6); p.Kind != "Decryption" {
				t.Errorf("get of what is the other's: %+v", p)
			}
			if o := u.run(t, "get", other.Name, "-"); o.code != 4 {
				t.Errorf("get by a name of the other's: exit status %d", o.code)
			}
			if o := u.run(t, "rm", other.ID.String()); o.code != 6 {
				t.Errorf("rm of what is the other's: exit status %d: %s", o.code, o.stderr)
			}
		}
		x.reads(t, mine.ID, []byte("mine"))
		work.reads(t, theirs.ID, []byte("theirs"))
	}
	apart()
	a, b := result[node.Identity](t, x.run(t, "id")), result[node.Identity](t, work.run(t, "id"))
	if a.Owner == b.Owner || a.PeerID != b.PeerID || a.Name != "default" || b.Name != "work" || len(b.Addrs) == 0 {
		t.Errorf("got %+v and %+v", a, b)
	}

	// What only changes or shares names is each one's own, too.
	work.knows(t, "me", &x.user)
	x.knows(t, "work", work)
	shared := result[node.Share](t, work.run(t, "share", "theirs", "--to", "me"))
	if got := x.run(t, "get", "work/theirs", "-"); got.code != 0 || string(got.stdout) != "theirs" {
		t.Errorf("what is shared: exit status %d: %s", got.code, got.stderr)
	}
	for _, u := range []*user{&x.user, work} {
		shares, others := result[node.Shares](t, u.run(t, "list", "--shared")), result[node.Contacts](t, u.run(t, "contact", "list"))
		if mine := u == work; mine != (len(shares.Shares) == 1) || len(others.Contacts) != 1 || (others.Contacts[0].Name == "me") != mine {
			t.Errorf("it shares %+v with %+v", shares, others)
		}
	}
	if u := result[node.Unshared](t, work.run(t, "unshare", "theirs", "--from", "me")); len(u.Taken) != 1 || u.Taken[0] != shared.ID {
		t.Errorf("got %+v", u)
	}
	for _, words := range []string{"rename theirs renamed", "copy renamed theirs", "tag theirs --add tagged", "pin theirs", "versions theirs", "unpin theirs", "rm renamed", "cleanup --dry-run"} {
		if o := work.run(t, strings.Fields(words)...); o.code != 0 {
			t.Errorf("%s: exit status %d: %s", words, o.code, o.stderr)
		}
		if o := x.run(t, strings.Fields(words)...); strings.Contains(words, "theirs") && o.code != 4 {
			t.Errorf("%s by the other: exit status %d: %s", words, o.code, o.stderr)
		}
	}
	for u, want := range map[*user]int{&x.user: 0, work: 1} {
		for _, command := range []string{"recent", "search"} {
			args := []string{command}
			if command == "search" {
				args = append(args, "tagged")
			}
			found := result[node.List](t, u.run(t, args...)).Objects
			if n := len(slices.DeleteFunc(found, func(o node.Object) bool { return o.Name != "theirs" })); n != want {
				t.Errorf("%s finds %d", command, n)
			}
		}
	}
	apart()

	// A put of the second dies once its object is in the catalog. The first sweeps
	// what has no object in its own, and leaves it.
	exe, err := exec.LookPath("datamesh") // this test, as TestMain has it
	if err != nil {
		t.Fatal(err)
	}
	steps := t.TempDir()
	for name, text := range map[string]string{stepsReached: "", stepToDieAt: "object: put: the object is known to its user"} {
		if err := os.WriteFile(filepath.Join(steps, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dies := work.command("put", "-", "--name", "dies")
	dies.Path, dies.Args[0] = exe, exe
	dies.Stdin, dies.Env = strings.NewReader("dies"), append(dies.Env, stepsDir+"="+steps)
	if o := start(t, dies).wait(t); o.code == 0 {
		t.Fatalf("it did not die: %s", o.stdout)
	}
	if left, err := filepath.Glob(filepath.Join(x.home, "identities", "work", "puts", "*")); err != nil || len(left) == 0 {
		t.Fatalf("it has left no journal: %v", err)
	}
	kill(x)
	restart(t, x)
	m.settle(t)
	x.put(t, []byte("sweeps"), "--name", "sweeps")
	result[node.Removed](t, x.run(t, "rm", "sweeps"))
	if got := work.run(t, "get", "dies", "-"); got.code != 0 || string(got.stdout) != "dies" {
		t.Errorf("exit status %d: %s", got.code, got.stderr)
	}
	result[node.Removed](t, work.run(t, "rm", "--now", "dies"))

	// The service is started anew as the second's.
	kill(x)
	result[identityUsed](t, x.run(t, "keys", "use", "work"))
	restart(t, x)
	m.settle(t)
	x.identity = "default"
	apart()
	if o := x.as("work").run(t, "stats"); o.code != 0 {
		t.Errorf("exit status %d", o.code)
	}

	// From the words of each comes what is its.
	for words, want := range map[string]string{first: "mine", second: "theirs"} {
		u := m.newcomer()
		result[node.Recovered](t, u.recovers(t, words))
		if got := u.names(t); !slices.Equal(got, []string{want}) {
			t.Errorf("from the words of %s: %v", want, got)
		}
	}

	// Into a home that has one the other is recovered beside it.
	u := m.user(t)
	u.put(t, []byte("own"), "--name", "own")
	if p := problem(t, u.recovers(t, first), 1); p.Kind != "Exists" {
		t.Errorf("in the place of another: %+v", p)
	}
	u.identity = "back"
	result[node.Recovered](t, u.recovers(t, first))
	if got := u.names(t); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("recovered beside another: %v", got)
	}
	u.identity = ""
	if got := u.names(t); !slices.Equal(got, []string{"own"}) {
		t.Errorf("what was there has %v", got)
	}
	if _, err := os.Stat(filepath.Join(u.home, "identities", "back", "identity")); err != nil {
		t.Error(err)
	}
}
