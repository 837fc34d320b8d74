//go:build unix

package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/node"
)

// knows makes a contact of another user, of that name.
func (u *user) knows(t testing.TB, name string, other *user) node.Contact {
	t.Helper()
	result[node.Inbox](t, other.run(t, "inbox")) // which publishes his card
	address := result[node.Identity](t, other.run(t, "id")).Address
	return result[node.Contact](t, u.run(t, "contact", "add", name, address))
}

// refuses sees that a get fails, with that status and kind, and leaves nothing.
func (u *user) refuses(t testing.TB, code int, kind string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	p := problem(t, u.run(t, append(args, filepath.Join(dir, "out"))...), code)
	if p.Kind != kind {
		t.Errorf("%v: got %+v, want %s", args, p, kind)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("%v: it leaves %v, %v", args, left, err)
	}
	if out := u.run(t, append(args, "-")...); out.code != code || len(out.stdout) > 0 {
		t.Errorf("%v: exit status %d, %d bytes", args, out.code, len(out.stdout))
	}
}

// A file that is shared opens for him with whom, and for nobody else; taken back
// it is gone for him, and whole for its owner.
func TestSharedFilesAreReadByTheirReceiversAlone(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 5)
	alice, bob, eve := m.user(t), m.user(t), m.user(t)
	toBob, toAlice := alice.knows(t, "bob", bob), bob.knows(t, "alice", alice)
	eve.knows(t, "alice", alice)
	contents := map[string][]byte{"small": noisy(1, 100), "dir/large": noisy(2, 5_000_000)}
	ids := map[string]datamesh.ObjectID{}
	for name, content := range contents {
		stored := alice.put(t, content, "--name", name, "--tags", "secret")
		before := m.shardsSaid(t, alice, stored.ID)
		s := result[node.Share](t, alice.run(t, "share", name, "--to", "bob"))
		if s.Contact != "bob" || s.Address != toBob.Address || s.Object != stored.ID || s.ID == stored.ID {
			t.Errorf("shared: %+v", s)
		}
		if again := result[node.Share](t, alice.run(t, "share", name, "--to", toBob.Address)); again.ID != s.ID {
			t.Errorf("shared again it is another: %v, %v", s.ID, again.ID)
		}
		if after := m.shardsSaid(t, alice, stored.ID); after != before {
			t.Errorf("the content has moved: %d shards, then %d", before, after)
		}
		ids[name] = s.ID
	}

	box := result[node.Inbox](t, bob.run(t, "inbox"))
	if len(box.Objects) != 2 || len(box.Unreached) != 0 {
		t.Fatalf("got %+v", box)
	}
	for _, o := range box.Objects {
		if o.From != "alice" || o.Address != toAlice.Address || o.ID != ids[o.Name] || o.Size != int64(len(contents[o.Name])) {
			t.Errorf("got %+v", o)
		}
		bob.reads(t, o.ID, contents[o.Name])
		if got := bob.run(t, "get", "alice/"+o.Name, "-"); got.code != 0 || !bytes.Equal(got.stdout, contents[o.Name]) {
			t.Errorf("get alice/%s: exit status %d: %s", o.Name, got.code, got.stderr)
		}
		eve.refuses(t, 6, "Decryption", "get", o.ID.String())
	}
	if box := result[node.Inbox](t, eve.run(t, "inbox")); len(box.Objects) != 0 {
		t.Errorf("another contact of hers has %+v", box)
	}
	eve.refuses(t, 4, "FileNotFound", "get", "alice/small")
	if p := problem(t, bob.run(t, "rm", ids["small"].String()), 6); p.Kind != "Authentication" {
		t.Errorf("the receiver deletes: %+v", p)
	}

	u := result[node.Unshared](t, alice.run(t, "unshare", "small", "--from", "bob"))
	if len(u.Taken) != 1 || u.Taken[0] != ids["small"] {
		t.Errorf("got %+v", u)
	}
	bob.refuses(t, 1, "Deleted", "get", ids["small"].String())
	bob.refuses(t, 4, "FileNotFound", "get", "alice/small")
	if p := problem(t, alice.run(t, "unshare", "small", "--from", "bob"), 4); p.Kind != "FileNotFound" {
		t.Errorf("twice: %+v", p)
	}
	alice.put(t, noisy(3, 100), "--name", "small")
	if box := result[node.Inbox](t, bob.run(t, "inbox")); len(box.Objects) != 1 || box.Objects[0].Name != "dir/large" {
		t.Errorf("got %+v", box)
	}
	for _, o := range result[node.List](t, alice.run(t, "list")).Objects {
		if got := alice.run(t, "get", o.ID.String(), "-"); got.code != 0 || o.Name == "dir/large" && !bytes.Equal(got.stdout, contents[o.Name]) {
			t.Errorf("the owner's %s: exit status %d: %s", o.Name, got.code, got.stderr)
		}
	}
	if p := problem(t, alice.run(t, "contact", "remove", "bob"), 1); p.Kind != "Exists" {
		t.Errorf("a contact with whom something is shared is removed: %+v", p)
	}

	// What is deleted is shared no more; brought back, it is again.
	result[node.Removed](t, alice.run(t, "rm", "dir/large"))
	bob.refuses(t, 1, "Deleted", "get", ids["dir/large"].String())
	if box := result[node.Inbox](t, bob.run(t, "inbox")); len(box.Objects) != 0 {
		t.Errorf("got %+v", box)
	}
	result[node.Undeleted](t, alice.run(t, "undelete", "dir/large"))
	bob.reads(t, ids["dir/large"], contents["dir/large"])
	if box := result[node.Inbox](t, bob.run(t, "inbox")); len(box.Objects) != 1 {
		t.Errorf("got %+v", box)
	}
	result[node.Removed](t, alice.run(t, "rm", "--now", "dir/large"))
	bob.refuses(t, 1, "Deleted", "get", ids["dir/large"].String())
	if list := result[node.Shares](t, alice.run(t, "list", "--shared")); len(list.Shares) != 0 {
		t.Errorf("still shared: %+v", list)
	}
	result[node.Contact](t, alice.run(t, "contact", "remove", "bob"))
}

// shardsSaid counts those of an object that are there.
func (m *mesh) shardsSaid(t testing.TB, u *user, id datamesh.ObjectID) (n int) {
	t.Helper()
	for _, s := range result[node.Info](t, u.run(t, "info", id.String())).Segments {
		n += len(s.Shards)
	}
	return n
}

// Who is no contact puts nothing into an inbox.
func TestStrangersPutNothingIntoAnInbox(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 4)
	alice, bob := m.user(t), m.user(t)
	alice.knows(t, "bob", bob)
	alice.put(t, noisy(1, 100), "--name", "unasked")
	result[node.Share](t, alice.run(t, "share", "unasked", "--to", "bob"))
	if box := result[node.Inbox](t, bob.run(t, "inbox")); len(box.Objects) != 0 {
		t.Errorf("got %+v", box)
	}
	bob.knows(t, "alice", alice)
	if box := result[node.Inbox](t, bob.run(t, "inbox")); len(box.Objects) != 1 {
		t.Errorf("once she is a contact: got %+v", box)
	}
}

// When its time is over a share is taken back, by the next command that shares.
func TestSharesEndInTime(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 4)
	alice, bob := m.user(t), m.user(t)
	alice.knows(t, "bob", bob)
	bob.knows(t, "alice", alice)
	alice.put(t, noisy(1, 100), "--name", "soon")
	alice.put(t, noisy(2, 100), "--name", "never")
	soon := result[node.Share](t, alice.run(t, "share", "soon", "--to", "bob", "--expires", "1ms"))
	if soon.Until.IsZero() {
		t.Errorf("got %+v", soon)
	}
	never := result[node.Share](t, alice.run(t, "share", "never", "--to", "bob"))
	list := result[node.Shares](t, alice.run(t, "list", "--shared"))
	if len(list.Shares) != 1 || list.Shares[0].ID != never.ID {
		t.Errorf("got %+v", list)
	}
	bob.refuses(t, 1, "Deleted", "get", soon.ID.String())
	if box := result[node.Inbox](t, bob.run(t, "inbox")); len(box.Objects) != 1 || box.Objects[0].ID != never.ID {
		t.Errorf("got %+v", box)
	}
}

// Shares and contacts come back from the words, with all that can be done to them.
func TestSharesAreRecoveredFromTheWords(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 5)
	alice, bob := m.user(t), m.user(t)
	words := alice.words(t)
	alice.knows(t, "bob", bob)
	bob.knows(t, "alice", alice)
	var stored []node.Stored
	var shared []node.Share
	for i, name := range []string{"one", "two"} {
		stored = append(stored, alice.put(t, noisy(byte(i), 70_000), "--name", name))
		shared = append(shared, result[node.Share](t, alice.run(t, "share", name, "--to", "bob")))
	}
	link := result[node.Share](t, alice.run(t, "share", "two", "--link"))
	contacts := alice.run(t, "contact", "list").stdout
	list := alice.run(t, "list", "--shared").stdout
	if err := os.RemoveAll(alice.home); err != nil {
		t.Fatal(err)
	}

	back := m.newcomer()
	result[node.Recovered](t, back.recovers(t, words))
	if got := back.run(t, "contact", "list").stdout; !bytes.Equal(got, contacts) {
		t.Errorf("contacts: got %s, want %s", got, contacts)
	}
	if got := back.run(t, "list", "--shared").stdout; !bytes.Equal(got, list) {
		t.Errorf("shares: got %s, want %s", got, list)
	}
	if box := result[node.Inbox](t, bob.run(t, "inbox")); len(box.Objects) != 2 {
		t.Errorf("got %+v", box)
	}
	result[node.Unshared](t, back.run(t, "unshare", "one", "--from", "bob"))
	result[node.Unshared](t, back.run(t, "unshare", "two", "--link", link.Link))
	bob.refuses(t, 1, "Deleted", "get", shared[0].ID.String())
	bob.refuses(t, 1, "Deleted", "get", link.Link)
	if box := result[node.Inbox](t, bob.run(t, "inbox")); len(box.Objects) != 1 || box.Objects[0].ID != shared[1].ID {
		t.Errorf("after one was taken back: got %+v", box)
	}
	bob.reads(t, shared[1].ID, noisy(1, 70_000))
	back.reads(t, stored[0].ID, noisy(0, 70_000))
	third := result[node.Share](t, back.run(t, "share", "one", "--to", "bob"))
	bob.reads(t, third.ID, noisy(0, 70_000))
}

// A link opens in a home that has no identity, and makes none; with a password
// only with that.
func TestLinksAreOpenedByWhoeverHasThem(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 4)
	alice := m.user(t)
	content := noisy(1, 3_000_000)
	stored := alice.put(t, content, "--name", "film")
	password := filepath.Join(m.dir, "password")
	wrong := filepath.Join(m.dir, "wrong")
	for file, text := range map[string]string{password: "correct horse\n", wrong: "correct horsf\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := result[node.Share](t, alice.run(t, "share", "film", "--link"))
	locked := result[node.Share](t, alice.run(t, "share", "film", "--link", "--password-file", password, "--expires", "30d"))
	if locked.Until.IsZero() || open.Link == locked.Link || open.ID == locked.ID || strings.Contains(string(alice.run(t, "list", "--shared").stdout), "#") {
		t.Errorf("got %+v and %+v", open, locked)
	}

	u := m.newcomer()
	door := m.door(t)
	gets := func(args ...string) []string {
		return append(append([]string{}, door...), append([]string{"get"}, args...)...)
	}
	for _, args := range [][]string{gets(open.Link, "-"), gets("--password-file", password, locked.Link, "-"), gets("-v", open.Link, "-")} {
		got := u.run(t, args...)
		if got.code != 0 || !bytes.Equal(got.stdout, content) {
			t.Errorf("%q: exit status %d: %s", args, got.code, got.stderr)
		}
		if _, secret, _ := strings.Cut(open.Link, "#"); bytes.Contains(got.stderr, []byte(secret)) {
			t.Errorf("%q: it shows the secret: %s", args, got.stderr)
		}
	}
	u.refuses(t, 6, "Decryption", gets("--password-file", wrong, locked.Link)...)
	u.refuses(t, 2, "Invalid", gets(locked.Link)...)
	u.refuses(t, 2, "Invalid", gets("--password-file", password, open.Link)...)
	u.refuses(t, 2, "Invalid", gets(open.Link[:len(open.Link)-1])...)
	other := open.Link[:strings.IndexByte(open.Link, '#')] + locked.Link[strings.IndexByte(locked.Link, '#'):]
	u.refuses(t, 6, "Decryption", gets("--password-file", password, other)...)
	u.refuses(t, 6, "Decryption", gets(strings.Replace(open.Link, open.ID.String(), stored.ID.String(), 1))...)
	if _, err := os.Lstat(filepath.Join(u.home, "identity")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an identity was made: %v", err)
	}

	result[node.Unshared](t, alice.run(t, "unshare", "film", "--link", open.ID.String()))
	u.refuses(t, 1, "Deleted", gets(open.Link)...)
	if got := u.run(t, gets("--password-file", password, locked.Link, "-")...); !bytes.Equal(got.stdout, content) {
		t.Errorf("the other link: exit status %d: %s", got.code, got.stderr)
	}
	alice.reads(t, stored.ID, content)
}

// What is deleted of a directory is also what another home has stored there since.
func TestADirectoryIsDeletedWithWhatOtherHomesHaveThere(t *testing.T) {
	t.Parallel()
	one := newMesh(t, 4).user(t)
	one.put(t, []byte("a"), "--name", "dir/a")
	two := one.elsewhere(t)
	two.put(t, []byte("b"), "--name", "dir/b")
	if r := result[manyDone](t, one.run(t, "rm", "-r", "dir")); r.Done != 2 || r.Failed != 0 {
		t.Errorf("deleted %+v", r)
	}
	p := problem(t, two.run(t, "get", "dir/b", "-"), 1)
	if p.Kind != "Deleted" {
		t.Errorf("got %+v", p)
	}
}

// Of a directory the newest of each file is shared, and nothing twice.
func TestASharedDirectoryIsReadFileByFile(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 4)
	alice, bob := m.user(t), m.user(t)
	alice.knows(t, "bob", bob)
	bob.knows(t, "alice", alice)
	dir := filepath.Join(t.TempDir(), "dir")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "sub"), 0o700), os.WriteFile(filepath.Join(dir, "a"), []byte("old"), 0o600),
		os.WriteFile(filepath.Join(dir, "sub", "b"), []byte("b"), 0o600), os.Symlink("a", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	result[batch](t, alice.run(t, "put", "-r", dir))
	alice.put(t, []byte("new one"), "--name", "dir/a")
	alice.put(t, []byte("no part of it"), "--name", "dirt")
	for range 2 {
		r := result[manyDone](t, alice.run(t, "share", "dir/", "--to", "bob"))
		if r.Name != "dir/" || r.Done != 2 || r.Failed != 0 || r.Bytes != 8 || len(r.Files) != 2 || r.Files[0].State != fileShared {
			t.Errorf("shared %+v", r)
		}
	}
	if box := result[node.Inbox](t, bob.run(t, "inbox")); len(box.Objects) != 2 {
		t.Errorf("got %+v", box)
	}
	for name, want := range map[string]string{"dir/a": "new one", "dir/sub/b": "b"} {
		if got := bob.run(t, "get", "alice/"+name, "-"); got.code != 0 || string(got.stdout) != want {
			t.Errorf("%s: %q, exit status %d: %s", name, got.stdout, got.code, got.stderr)
		}
	}
}
