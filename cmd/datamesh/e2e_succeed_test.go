//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/node"
)

// other returns the same home, for commands of another of its identities, which is
// made.
func (u *user) other(t testing.TB, name string) *user {
	t.Helper()
	result[identityMade](t, u.run(t, "keys", "new", name))
	other := *u
	other.identity = name
	return &other
}

func (u *user) address(t testing.TB) string {
	t.Helper()
	return result[node.Identity](t, u.run(t, "id")).Address
}

// contact returns the only contact of a user.
func (u *user) contact(t testing.TB) node.Contact {
	t.Helper()
	all := result[node.Contacts](t, u.run(t, "contact", "list")).Contacts
	if len(all) != 1 {
		t.Fatalf("contacts: %+v", all)
	}
	return all[0]
}

// shares shares an object with a contact, and returns the share.
func (u *user) shares(t testing.TB, name, to string, content []byte) node.Share {
	t.Helper()
	u.put(t, content, "--name", name)
	return result[node.Share](t, u.run(t, "share", name, "--to", to))
}

// has checks what the inbox of a user has from one contact, by name.
func (u *user) has(t testing.TB, from string, want map[string][]byte) node.Inbox {
	t.Helper()
	box := result[node.Inbox](t, u.run(t, "inbox"))
	if len(box.Objects) != len(want) || len(box.Unreached) > 0 {
		t.Errorf("got %+v, want %d from %s", box, len(want), from)
	}
	for _, o := range box.Objects {
		if o.From != from || want[o.Name] == nil {
			t.Errorf("from %s: %s", o.From, o.Name)
			continue
		}
		for _, ref := range []string{o.ID.String(), from + "/" + o.Name} {
			if got := u.run(t, "get", ref, "-"); got.code != 0 || !bytes.Equal(got.stdout, want[o.Name]) {
				t.Errorf("get %s: exit status %d: %s", ref, got.code, got.stderr)
			}
		}
	}
	return box
}

// A user goes on as another identity, and whoever knows him follows without being
// asked: what is shared with him opens with the new one and not with the old one,
// and what the new one shares is in the inbox as his.
func TestContactsFollowASuccession(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 5)
	old, bob := m.user(t), m.user(t)
	words := bob.words(t)
	oldWords := old.words(t)
	bob.knows(t, "ann", old)
	old.knows(t, "bob", bob)
	before := bob.shares(t, "before", "ann", noisy(1, 70_000))
	old.shares(t, "letter of the old", "bob", noisy(2, 100))

	next := old.other(t, "next")
	from, to := old.address(t), next.address(t)
	s := result[node.Succeeded](t, old.run(t, "keys", "succeed", "next", "--yes"))
	if s.Owner.Address() != from || s.Address != to || s.Successor.Address() != to || len(s.Warnings) > 0 {
		t.Errorf("got %+v", s)
	}
	result[node.Contact](t, next.run(t, "contact", "add", "bob", bob.address(t)))
	next.shares(t, "letter of the new", "bob", noisy(3, 100))

	after := bob.shares(t, "after", "ann", noisy(4, 70_000))
	if after.Contact != "ann" || after.Address != to || len(after.Warnings) != 1 || !strings.Contains(after.Warnings[0], to) {
		t.Errorf("shared: %+v", after)
	}
	next.reads(t, after.ID, noisy(4, 70_000))
	old.refuses(t, 6, "Decryption", "get", after.ID.String())
	old.reads(t, before.ID, noisy(1, 70_000)) // as it was
	next.refuses(t, 6, "Decryption", "get", before.ID.String())
	next.has(t, "bob", map[string][]byte{"after": noisy(4, 70_000)})
	old.has(t, "bob", map[string][]byte{"before": noisy(1, 70_000)})

	letters := map[string][]byte{"letter of the old": noisy(2, 100), "letter of the new": noisy(3, 100)}
	if box := bob.has(t, "ann", letters); len(box.Warnings) > 0 {
		t.Errorf("he is told twice: %+v", box)
	}
	follows := func(u *user) {
		t.Helper()
		if k := u.contact(t); k.Name != "ann" || k.Address != to || !slices.Equal(k.Former, []string{from}) || k.Disputed {
			t.Errorf("contact: %+v", k)
		}
	}
	follows(bob)
	for _, address := range []string{from, to} { // each is his
		if again := result[node.Share](t, bob.run(t, "share", "after", "--to", address)); again.ID != after.ID {
			t.Errorf("shared with %s it is another: %+v", address, again)
		}
	}

	// Who hears of the old address only follows at once, and so does who has lost his
	// home.
	eve := m.user(t)
	if k := eve.knows(t, "ann", old); k.Address != to || !slices.Equal(k.Former, []string{from}) || len(k.Warnings) != 1 {
		t.Errorf("added: %+v", k)
	}
	if err := os.RemoveAll(bob.home); err != nil {
		t.Fatal(err)
	}
	back := m.newcomer()
	result[node.Recovered](t, back.recovers(t, words))
	follows(back)
	back.has(t, "ann", letters)
	third := back.shares(t, "third", "ann", noisy(5, 100))
	next.reads(t, third.ID, noisy(5, 100))
	old.refuses(t, 6, "Decryption", "get", third.ID.String())
	for _, name := range []string{"before", "after"} { // whoever he was
		if u := result[node.Unshared](t, back.run(t, "unshare", name, "--from", "ann")); len(u.Taken) != 1 {
			t.Errorf("unshare %s: %+v", name, u)
		}
	}
	old.refuses(t, 1, "Deleted", "get", before.ID.String())
	next.refuses(t, 1, "Deleted", "get", after.ID.String())

	// It is for ever: said again it is the same, by a home that is made from the words,
	// too, which says it in all its cards, also after a rotation; and there is no other.
	result[node.Succeeded](t, old.run(t, "keys", "succeed", "next", "--yes"))
	old.other(t, "another")
	if p := problem(t, old.run(t, "keys", "succeed", "another", "--yes"), 1); p.Kind != "Exists" {
		t.Errorf("another one: %+v", p)
	}
	if p := problem(t, next.run(t, "keys", "succeed", "default", "--yes"), 1); p.Kind != "Exists" {
		t.Errorf("the other way round: %+v", p)
	}
	home := m.newcomer()
	result[node.Recovered](t, home.recovers(t, oldWords))
	result[node.Rotated](t, home.run(t, "keys", "rotate"))
	result[node.Inbox](t, home.run(t, "inbox"))
	dan := m.user(t)
	if k := dan.knows(t, "ann", home); k.Address != to {
		t.Errorf("added: %+v", k)
	}

	// A successor has a successor.
	last := next.other(t, "last")
	result[node.Succeeded](t, next.run(t, "keys", "succeed", "last", "--yes"))
	fourth := back.shares(t, "fourth", "ann", noisy(6, 100))
	last.reads(t, fourth.ID, noisy(6, 100))
	next.refuses(t, 6, "Decryption", "get", fourth.ID.String())
	if k := back.contact(t); k.Address != last.address(t) || !slices.Equal(k.Former, []string{from, to}) {
		t.Errorf("contact: %+v", k)
	}
}

// Content that is stored anew under other keys is passed on to who a contact is by
// now, and not to who he was.
func TestRevocationPassesOnToTheSuccessor(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 4)
	bob, old, eve := m.user(t), m.user(t), m.user(t)
	bob.knows(t, "ann", old)
	bob.knows(t, "eve", eve)
	content := noisy(1, 200_000)
	first := bob.shares(t, "x", "ann", content)
	result[node.Share](t, bob.run(t, "share", "x", "--to", "eve"))
	next := old.other(t, "next")
	result[node.Succeeded](t, old.run(t, "keys", "succeed", "next", "--yes"))
	next.knows(t, "bob", bob)
	u := result[node.Unshared](t, bob.run(t, "unshare", "x", "--from", "eve", "--revoke"))
	if u.Revoked == nil || !slices.Equal(u.Revoked.Kept, []string{"ann"}) {
		t.Errorf("got %+v", u)
	}
	next.has(t, "bob", map[string][]byte{"x": content})
	old.refuses(t, 1, "Deleted", "get", first.ID.String())
	shared := result[node.Shares](t, bob.run(t, "list", "--shared")).Shares
	if len(shared) != 1 || shared[0].Contact != "ann" || shared[0].Address != next.address(t) {
		t.Errorf("shared: %+v", shared)
	}
}

// What was stored moves by an archive, with names, modes and times.
func TestWhatWasStoredMovesToTheSuccessor(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 4)
	old := m.user(t)
	tree := filepath.Join(m.dir, "tree")
	then := time.Unix(1_600_000_000, 0)
	if err := os.MkdirAll(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "x"), []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(tree, "x"), then, then); err != nil {
		t.Fatal(err)
	}
	result[batch](t, old.run(t, "put", "-r", tree, "--tags", "kept"))
	next := old.other(t, "next")
	result[node.Succeeded](t, old.run(t, "keys", "succeed", "next", "--yes"))
	exported := old.run(t, "export", "**")
	if exported.code != 0 {
		t.Fatalf("export: exit status %d: %s", exported.code, exported.stderr)
	}
	imports := next.command("import", "-", "--tags", "again") // an archive has no tags
	imports.Stdin = bytes.NewReader(exported.stdout)
	result[batch](t, start(t, imports).wait(t))
	result[batch](t, next.run(t, "get", "tree", filepath.Join(m.dir, "back")))
	info, err := os.Stat(filepath.Join(m.dir, "back", "x"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(m.dir, "back", "x")); string(b) != "content" || err != nil || info.Mode().Perm() != 0o640 || !info.ModTime().Equal(then) {
		t.Errorf("got %q, %v, %v, %v", b, info.Mode(), info.ModTime(), err)
	}
	listed := result[node.List](t, next.run(t, "list")).Objects
	for _, o := range listed {
		if !slices.Equal(o.Tags, []string{"again"}) {
			t.Errorf("%s has tags %v", o.Name, o.Tags)
		}
	}
	if len(listed) != 2 {
		t.Errorf("listed: %+v", listed)
	}
	for _, o := range result[node.List](t, old.run(t, "list")).Objects {
		result[node.Removed](t, old.run(t, "rm", "--now", o.ID.String()))
	}
	if left := result[node.List](t, old.run(t, "list")).Objects; len(left) != 0 {
		t.Errorf("left with the old one: %+v", left)
	}
}

// What cannot be taken back is done only if yes is typed.
func TestSuccessionIsAskedFor(t *testing.T) {
	home := t.TempDir()
	printed(t, home, []string{"keys", "init", "--phrase-file", filepath.Join(home, "words")})
	printed(t, home, []string{"keys", "new", "next"})
	for answer, want := range map[string]struct {
		code int
		says string
	}{"no": {1, "nothing was done"}, "": {1, "nothing was done"}, "yes": {5, "this home knows no mesh"}} {
		s := onScreen(t, command(t, home, "keys", "succeed", "next"))
		s.shows(t, "the identity default goes on as next for ever, and contacts follow; type yes to go on: ")
		s.types(t, answer+enter)
		s.shows(t, want.says)
		if o := s.task.wait(t); o.code != want.code {
			t.Errorf("%q: exit status %d", answer, o.code)
		}
	}
}

// declares has a home of an owner, whoever has made it, name somebody as the successor
// in its card, as a program of a thief would.
func (u *user) declares(t testing.TB, s format.Successor) {
	t.Helper()
	ctx := t.Context()
	owner, err := keyring.At(filepath.Join(u.home, "identity")).OwnerKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Open(ctx, filepath.Join(u.home, "user.db"))
	if err != nil {
		t.Fatal(err)
	}
	if more, err := c.Claim(ctx, owner, []format.Successor{s}, time.Now()); !more || err != nil {
		t.Fatalf("got %v, %v", more, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	result[node.Inbox](t, u.run(t, "inbox"))
}

// thief returns a home of somebody who has the identity of another, and the
// successor whom he would like that one to have.
func (u *user) thief(t testing.TB) (*user, format.Successor) {
	t.Helper()
	ring, err := keyring.New(keyring.NewRoot())
	if err != nil {
		t.Fatal(err)
	}
	owner, err := datamesh.ParseAddress(u.address(t))
	if err != nil {
		t.Fatal(err)
	}
	return u.elsewhere(t), format.Succeed(owner, ring.Owner)
}

// Nobody is followed who has not agreed, and nobody of two who are named.
func TestSuccessionsThatAreNotFollowed(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 4)
	old, bob, early := m.user(t), m.user(t), m.user(t)
	address := old.address(t)
	bob.knows(t, "ann", old)
	early.knows(t, "ann", old)
	thief, his := old.thief(t)
	forged := his
	forged.Consent[0] ^= 1
	thief.declares(t, forged)
	s := bob.shares(t, "forged", "ann", noisy(1, 100))
	if k := bob.contact(t); s.Address != address || len(s.Warnings) > 0 || k.Address != address || k.Disputed {
		t.Errorf("one who has not agreed: shared %+v, contact %+v", s, k)
	}
	old.reads(t, s.ID, noisy(1, 100))

	// One has heard of the true one when the other is named.
	next := old.other(t, "next")
	result[node.Succeeded](t, old.run(t, "keys", "succeed", "next", "--yes"))
	early.shares(t, "first", "ann", noisy(2, 100))
	second := old.elsewhere(t)
	second.declares(t, his)
	disputed := func(u *user, address string) {
		t.Helper()
		s := u.shares(t, "again", "ann", noisy(3, 100))
		box := result[node.Inbox](t, u.run(t, "inbox"))
		k := u.contact(t)
		if s.Address != address || len(s.Warnings) != 1 || len(box.Warnings) != 1 || k.Address != address || !k.Disputed {
			t.Errorf("two are named: shared %+v, inbox %+v, contact %+v", s, box, k)
		}
	}
	disputed(early, next.address(t))
	disputed(bob, address)
	eve := m.user(t)
	if k := eve.knows(t, "ann", old); k.Address != address || !k.Disputed || len(k.Warnings) != 1 {
		t.Errorf("added: %+v", k)
	}
	if s := result[node.Succeeded](t, old.run(t, "keys", "succeed", "next", "--yes")); len(s.Warnings) != 1 {
		t.Errorf("the owner is not told: %+v", s)
	}
}

// ofSuccession tells the steps of a succession, at which
// TestPowerCutAtEachStepOfASuccession cuts.
func ofSuccession(step string) bool {
	return strings.HasPrefix(step, "node: succeed: ") || strings.HasPrefix(step, "node: follow: ")
}

// diesAt runs a command that dies at a step.
func (u *user) diesAt(t *testing.T, steps, at string, args ...string) {
	t.Helper()
	exe, err := exec.LookPath("datamesh") // this test, as TestMain has it
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{stepsReached: "", stepToDieAt: at} {
		if err := os.WriteFile(filepath.Join(steps, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dies := u.command(args...)
	dies.Path, dies.Args[0] = exe, exe
	dies.Env = append(dies.Env, stepsDir+"="+steps)
	if o := start(t, dies).wait(t); o.code == 0 {
		t.Errorf("%q was not reached: %s", at, o.stdout)
	}
}

// A succession that was cut off goes on when it is typed again, and is the same;
// whoever asks in between follows or does not, and shares with one of the two.
func TestPowerCutAtEachStepOfASuccession(t *testing.T) {
	t.Parallel()
	onlyInFull(t, "a power cut at each step of a succession")
	m := newMesh(t, 4)
	steps := t.TempDir()
	cuts := slices.DeleteFunc(allSteps(t), func(s string) bool { return !ofSuccession(s) })
	if len(cuts) < 5 {
		t.Fatalf("there are too few steps: %q", cuts)
	}
	for _, at := range cuts {
		old, bob := m.user(t), m.user(t)
		bob.knows(t, "ann", old)
		next := old.other(t, "next")
		from, to := old.address(t), next.address(t)
		succeed := []string{"keys", "succeed", "next", "--yes"}
		if strings.HasPrefix(at, "node: succeed: ") {
			old.diesAt(t, steps, at, succeed...)
			between := bob.shares(t, "between", "ann", noisy(1, 100))
			who := map[string]*user{from: old, to: next}[between.Address]
			if who == nil {
				t.Fatalf("cut at %q: shared %+v", at, between)
			}
			who.reads(t, between.ID, noisy(1, 100))
			result[node.Succeeded](t, old.run(t, succeed...))
		} else {
			result[node.Succeeded](t, old.run(t, succeed...))
			bob.diesAt(t, steps, at, "inbox")
		}
		after := bob.shares(t, "after", "ann", noisy(2, 100))
		if k := bob.contact(t); after.Address != to || k.Address != to || k.Disputed || !slices.Equal(k.Former, []string{from}) {
			t.Errorf("cut at %q: shared %+v, contact %+v", at, after, k)
		}
		next.reads(t, after.ID, noisy(2, 100))
	}
}

// printed returns the document of a command. A bad state, such as that no node
// runs, is an error after it.
func printed(t *testing.T, home string, args []string) (document any) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := command(t, home, append(args, "--json")...)
	cmd.Env = append(cmd.Env, "XDG_CONFIG_HOME="+filepath.Join(home, "xdg")) // where units of the user are
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &document); err != nil {
		t.Fatalf("%v: %v in %q: %s", args, err, out, &stderr)
	}
	return document
}
