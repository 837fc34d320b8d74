//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datamesh/internal/node"
)

// words writes the words of a home's identity, which it makes if need be, to a
// file.
func (u *user) words(t testing.TB) string {
	t.Helper()
	file := u.home + ".words"
	result[any](t, u.run(t, "keys", "init", "--phrase-file", file))
	return file
}

// recovers brings the catalog of words back into the home, through any member
// that runs.
func (u *user) recovers(t testing.TB, words string) outcome {
	t.Helper()
	return u.run(t, append(u.mesh.door(t), "recover", "--phrase-file", words)...)
}

// Whoever loses his home, and two members with it, has all that he stored and
// did to it, in a new home, from the words alone.
func TestLostHomeComesBackFromTheWords(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	lost := m.user(t)
	words := lost.words(t)
	contents := map[string][]byte{}
	for i := range 12 {
		name := fmt.Sprint("dir/file ", i)
		contents[name] = noisy(byte(i), 1<<(i*2))
		lost.put(t, contents[name], "--name", name, "--tags", fmt.Sprintf("t%d,all", i%3))
	}
	for _, name := range []string{"dir/file 2", "dir/file 3", "dir/file 4"} {
		result[node.Removed](t, lost.run(t, "rm", name))
	}
	result[node.Undeleted](t, lost.run(t, "undelete", "dir/file 3"))
	result[node.Removed](t, lost.run(t, "rm", "--forget", "dir/file 5"))
	list := result[node.List](t, lost.run(t, "list"))
	deleted := result[node.DeletedObjects](t, lost.run(t, "list", "--deleted"))
	if len(list.Objects) != 9 || len(deleted.Objects) != 2 {
		t.Fatalf("%d objects, %d deleted", len(list.Objects), len(deleted.Objects))
	}
	if err := os.RemoveAll(lost.home); err != nil {
		t.Fatal(err)
	}
	kill(m.members[2:4]...)

	u := m.newcomer()
	other := m.user(t)
	stranger := other.words(t)
	if p := problem(t, u.recovers(t, stranger), 6); p.Kind != "KeyManagement" || !strings.Contains(p.Error, "no catalog") {
		t.Errorf("with the words of somebody who has stored nothing: %+v", p)
	}
	mistyped := filepath.Join(m.dir, "mistyped")
	text, err := os.ReadFile(words)
	if err == nil {
		err = os.WriteFile(mistyped, bytes.Replace(text, []byte("\n 7. "), []byte("\n 7. x"), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if p := problem(t, u.recovers(t, mistyped), 6); !strings.Contains(p.Error, "7") {
		t.Errorf("with a word that is mistyped: %+v", p)
	}
	if _, err := os.Lstat(filepath.Join(u.home, "identity")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("wrong words have left an identity: %v", err)
	}

	r := result[node.Recovered](t, u.recovers(t, words))
	if r.Objects != 9 || r.Devices != 1 || r.Missing != 0 || r.Answered < 4 || r.Asked < r.Answered {
		t.Errorf("got %+v", r)
	}
	wantLists(t, u, list, deleted)
	for _, o := range list.Objects {
		u.reads(t, o.ID, contents[o.Name])
		if got := u.run(t, "get", o.Name, "-"); got.code != 0 || !bytes.Equal(got.stdout, contents[o.Name]) {
			t.Errorf("get %s: exit status %d: %s", o.Name, got.code, got.stderr)
		}
	}
	result[node.Recovered](t, u.recovers(t, words))
	wantLists(t, u, list, deleted)

	// The new home goes on where the lost one was.
	u.put(t, []byte("more"), "--name", "more")
	result[node.Undeleted](t, u.run(t, "undelete", "dir/file 4"))
	third := m.newcomer()
	r = result[node.Recovered](t, third.recovers(t, words))
	if r.Objects != 11 || r.Devices != 2 {
		t.Errorf("a third home: got %+v", r)
	}
	if p := problem(t, other.recovers(t, words), 1); p.Kind != "Exists" {
		t.Errorf("in a home that has another identity: %+v", p)
	}
}

func wantLists(t *testing.T, u *user, list node.List, deleted node.DeletedObjects) {
	t.Helper()
	if diff := cmp.Diff(list, result[node.List](t, u.run(t, "list"))); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(deleted, result[node.DeletedObjects](t, u.run(t, "list", "--deleted"))); diff != "" {
		t.Errorf("list --deleted (-want +got):\n%s", diff)
	}
}

// A put that has returned is in what comes back, though its home was gone the
// next moment; a list of which too few are there who keep it does not come back
// as an older one.
func TestPutThatReturnedIsRecovered(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	lost := m.user(t)
	words := lost.words(t)
	for i := range 3 {
		content := noisy(byte(i), 1000)
		lost.put(t, content, "--name", fmt.Sprint("name ", i))
		copied := m.newcomer()
		r := result[node.Recovered](t, copied.recovers(t, words))
		if int(r.Objects) != i+1 {
			t.Errorf("after %d puts: got %+v", i+1, r)
		}
	}
	if err := os.RemoveAll(lost.home); err != nil {
		t.Fatal(err)
	}
	kill(m.members[1:4]...)
	u := m.newcomer()
	if p := problem(t, u.recovers(t, words), 5); p.Kind != "Unavailable" {
		t.Errorf("with three of six: %+v", p)
	}
	if _, err := os.Lstat(filepath.Join(u.home, "identity")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an identity is left: %v", err)
	}
	restart(t, m.members[1])
	m.settle(t)
	if r := result[node.Recovered](t, u.recovers(t, words)); r.Objects != 3 {
		t.Errorf("with four of six: got %+v", r)
	}
}

// The name of what was put with --async is not in the mesh before the next change.
func TestNameOfAnAsyncPutIsSentLater(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 5)
	u := m.user(t)
	other := u.elsewhere(t)
	content := noisy(1, 5000)
	u.put(t, content, "--name", "a", "--async")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "b"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if o := u.run(t, "put", "-r", dir, "--name", "tree", "--async"); o.code != 0 {
		t.Fatalf("put -r: exit status %d: %s", o.code, o.stderr)
	}
	names := func() (names []string) {
		for _, o := range result[node.List](t, other.run(t, "list", "--sort", "name")).Objects {
			names = append(names, o.Name)
		}
		return names
	}
	problem(t, other.run(t, "tag", "a", "--add", "x"), 4) // which has it ask what other homes have said
	if got := names(); len(got) > 0 {
		t.Errorf("another home lists %v", got)
	}
	u.put(t, content, "--name", "c")
	if got := other.run(t, "get", "a", "-"); got.code != 0 || !bytes.Equal(got.stdout, content) {
		t.Errorf("get: exit status %d: %s", got.code, got.stderr)
	}
	if got, want := names(), []string{"a", "c", "tree", "tree/b"}; !slices.Equal(got, want) {
		t.Errorf("another home lists %v, want %v", got, want)
	}
}

// What one home of an owner stores another finds by its name.
func TestOtherHomesNamesAreFound(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 5)
	u := m.user(t)
	other := u.elsewhere(t)
	content := noisy(1, 5000)
	u.put(t, content, "--name", "from here")
	if got := other.run(t, "get", "from here", "-"); got.code != 0 || !bytes.Equal(got.stdout, content) {
		t.Errorf("get: exit status %d: %s", got.code, got.stderr)
	}
	other.put(t, content, "--name", "from there")
	result[node.Removed](t, other.run(t, "rm", "from here"))
	if got := u.run(t, "get", "from there", "-"); got.code != 0 || !bytes.Equal(got.stdout, content) {
		t.Errorf("get: exit status %d: %s", got.code, got.stderr)
	}
	if list := result[node.List](t, u.run(t, "list")); len(list.Objects) != 1 || list.Objects[0].Name != "from there" {
		t.Errorf("got %+v", list)
	}
}
