//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/node"
)

// ofRotation tells the steps of a rotation, at which
// TestPowerCutAtEachStepOfARotation cuts.
func ofRotation(step string) bool { return strings.HasPrefix(step, "node: rotate: ") }

// A rotating user has objects, and knows all ids that they ever had.
type rotating struct {
	*user
	contents map[string][]byte              // by name
	ids      map[string][]datamesh.ObjectID // by name
	segments int
}

// rotates stores objects of all forms, and one more that others can read.
func rotates(t *testing.T, u *user, friend string) *rotating {
	t.Helper()
	r := &rotating{user: u, contents: map[string][]byte{}, ids: map[string][]datamesh.ObjectID{}}
	for i, size := range []int{0, 1000, 100_000, 5_000_000} {
		r.puts(t, fmt.Sprint("file ", i), noisy(byte(i), int64(size)))
	}
	if friend != "" {
		r.puts(t, "shared", noisy(9, 2000), "--to", friend)
	}
	return r
}

func (r *rotating) puts(t *testing.T, name string, content []byte, flags ...string) {
	t.Helper()
	stored := r.put(t, content, append(flags, "--name", name)...)
	r.contents[name], r.ids[name] = content, append(r.ids[name], stored.ID)
	r.segments += stored.Segments
}

// whole checks that a home of the user lists each object once, and gets it by
// its name, by the first id that it had, and by the last two.
func (r *rotating) whole(t *testing.T, u *user) {
	t.Helper()
	seen := map[string]bool{}
	for _, o := range result[node.List](t, u.run(t, "list")).Objects {
		if seen[o.Name] || r.contents[o.Name] == nil && o.Name != "file 0" {
			t.Errorf("%s is listed twice, or was never put", o.Name)
		}
		seen[o.Name] = true
		if !slices.Contains(r.ids[o.Name], o.ID) {
			r.ids[o.Name] = append(r.ids[o.Name], o.ID)
		}
	}
	for name, content := range r.contents {
		if !seen[name] {
			t.Errorf("%s is not listed", name)
		}
		for _, ref := range append([]string{name}, texts(some(r.ids[name]))...) {
			if got := u.run(t, "get", ref, "-"); got.code != 0 || !bytes.Equal(got.stdout, content) {
				t.Errorf("get %s as %s: exit status %d: %s", name, ref, got.code, got.stderr)
			}
		}
	}
}

func some(ids []datamesh.ObjectID) []datamesh.ObjectID {
	if len(ids) <= 3 {
		return ids
	}
	return append(slices.Clone(ids[:1]), ids[len(ids)-2:]...)
}

func texts(ids []datamesh.ObjectID) (all []string) {
	for _, id := range ids {
		all = append(all, id.String())
	}
	return all
}

func TestRotationSealsAllAnewAndLosesNothing(t *testing.T) {
	onlyInFull(t, "a rotation that seals all anew")
	t.Parallel()
	m := newMesh(t, 5)
	u, friend := m.user(t), m.user(t)
	words := u.words(t)
	before := result[node.Identity](t, u.run(t, "id"))
	r := rotates(t, u, result[node.Identity](t, friend.run(t, "id")).Recipient)
	second := u.elsewhere(t)
	gone := second.put(t, []byte("gone"), "--name", "gone")
	result[node.Removed](t, second.run(t, "rm", "gone"))

	for epoch := 1; epoch <= 3; epoch++ {
		got := result[node.Rotated](t, u.run(t, "keys", "rotate"))
		if got.Epoch != epoch || got.Resealed != 4 || got.Shared != 1 || got.Failed != 0 || got.Owner != before.Owner || got.Recipient == before.Recipient {
			t.Errorf("got %+v", got)
		}
		if id := result[node.Identity](t, u.run(t, "id")); id.Recipient != got.Recipient || id.Owner != before.Owner {
			t.Errorf("the home is %+v", id)
		}
		if shown := result[identityShown](t, u.run(t, "keys", "show")); shown.Epoch != epoch || shown.Recipient != got.Recipient {
			t.Errorf("got %+v", shown)
		}
		r.whole(t, u)
		m.complete(t, r.segments)
		before.Recipient = got.Recipient
	}
	for _, o := range result[node.List](t, u.run(t, "list")).Objects {
		if n := len(r.ids[o.Name]); o.Name == "shared" && n != 1 || o.Name != "shared" && n != 4 {
			t.Errorf("%s has had %d ids", o.Name, n)
		}
	}
	if got := friend.run(t, "get", r.ids["shared"][0].String(), "-"); got.code != 0 {
		t.Errorf("who could read it cannot any more: %s", got.stderr)
	}

	// What is put from then on is sealed to the new recipient, and what others seal
	// to the old one is read.
	r.puts(t, "after", []byte("after"))
	old := friend.put(t, []byte("to the first"), "--to", result[node.Identity](t, second.run(t, "id")).Recipient)
	u.reads(t, old.ID, []byte("to the first"))

	// A home of the same user, which has learnt nothing since, has all of it when it
	// asks, by each id; and so has one that is made from the words.
	for _, ref := range texts(r.ids["file 2"]) {
		if got := second.run(t, "get", ref, "-"); got.code != 0 || !bytes.Equal(got.stdout, r.contents["file 2"]) {
			t.Errorf("elsewhere: get %s: exit status %d: %s", ref, got.code, got.stderr)
		}
	}
	third := m.newcomer()
	if got := result[node.Recovered](t, third.recovers(t, words)); got.Objects != 6 {
		t.Errorf("recovered %+v", got)
	}
	r.whole(t, third)
	if id := result[node.Identity](t, third.run(t, "id")); id.Recipient != before.Recipient {
		t.Errorf("its recipient is that of another epoch")
	}
	result[node.Undeleted](t, third.run(t, "undelete", gone.ID.String()))
	third.reads(t, gone.ID, []byte("gone"))

	// An old id deletes the object, and brings it back.
	result[node.Removed](t, third.run(t, "rm", r.ids["file 2"][0].String()))
	if got := third.run(t, "get", r.ids["file 2"][1].String(), "-"); got.code == 0 {
		t.Error("what is deleted is got by an old id")
	}
	result[node.Undeleted](t, third.run(t, "undelete", r.ids["file 2"][2].String()))
	r.contents["gone"], r.ids["gone"] = []byte("gone"), []datamesh.ObjectID{gone.ID}
	r.whole(t, third)
	if o := third.run(t, "health"); o.code != 0 {
		t.Errorf("health: exit status %d: %s", o.code, o.stdout)
	}
}

func TestPowerCutAtEachStepOfARotation(t *testing.T) {
	t.Parallel()
	onlyInFull(t, "a power cut at each step of a rotation")
	m := newMesh(t, 4)
	u := m.user(t)
	words := u.words(t)
	r := rotates(t, u, "")
	exe, err := exec.LookPath("datamesh") // this test, as TestMain has it
	if err != nil {
		t.Fatal(err)
	}
	steps := t.TempDir()
	cuts := slices.DeleteFunc(allSteps(t), func(s string) bool { return !ofRotation(s) })
	if len(cuts) == 0 {
		t.Fatal("there is no step")
	}
	cuts = append(cuts, "object: put: a segment is stored", "object: put: all is stored and reported", "object: put: the object is known to its user")
	for i, at := range cuts {
		for name, text := range map[string]string{stepsReached: "", stepToDieAt: at} {
			if err := os.WriteFile(filepath.Join(steps, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		dies := u.command("keys", "rotate")
		dies.Path, dies.Args[0] = exe, exe
		dies.Env = append(dies.Env, stepsDir+"="+steps)
		if o := start(t, dies).wait(t); o.code == 0 {
			t.Errorf("%q was not reached: %s", at, o.stdout)
		}
		back := m.newcomer() // in between, too
		result[node.Recovered](t, back.recovers(t, words))
		r.whole(t, back)
		r.whole(t, u)
		got := result[node.Rotated](t, u.run(t, "keys", "rotate"))
		if got.Epoch != i+1 && got.Epoch != 2*i+2 && got.Epoch < i+1 || got.Failed != 0 {
			t.Errorf("cut at %q: got %+v", at, got)
		}
		r.whole(t, u)
		eventually(t, "what was left is swept", func() bool {
			u.run(t, "stats")
			left, err := filepath.Glob(filepath.Join(u.home, "puts", "*"))
			return err == nil && len(left) == 0
		})
		m.complete(t, r.segments)
	}
}

// Two homes rotate, and one deletes, without knowing of each other. They come to
// have the same, once.
func TestTwoHomesRotateAtOnce(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 4)
	u := m.user(t)
	r := rotates(t, u, "")
	second := u.elsewhere(t)
	for name := range r.contents { // it learns of them
		if o := second.run(t, "get", name, "-"); o.code != 0 {
			t.Fatalf("get %s: %s", name, o.stderr)
		}
	}
	tasks := []*task{start(t, u.command("keys", "rotate")), start(t, second.command("keys", "rotate"))}
	for _, k := range tasks {
		if o := k.wait(t); o.code != 0 && o.code != 3 {
			t.Errorf("exit status %d: %s", o.code, o.stderr)
		}
	}
	for range 2 { // each learns what the other has done
		for _, h := range []*user{u, second} {
			result[node.Rotated](t, h.run(t, "keys", "rotate"))
		}
	}
	result[node.Rotated](t, u.run(t, "keys", "rotate"))
	result[any](t, second.run(t, "get", "file 1", filepath.Join(m.dir, "unused")))
	r.whole(t, u)
	third := m.newcomer()
	result[node.Recovered](t, third.recovers(t, u.words(t)))
	r.whole(t, third)
	m.complete(t, r.segments)
}

// What has further names, is pinned, tagged and shared is so after rotations, by
// each id that it had, in each home; and contacts seal to the new recipient.
func TestRotationKeepsNamesPinsAndShares(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 5)
	alice, bob := m.user(t), m.user(t)
	alice.knows(t, "bob", bob)
	bob.knows(t, "alice", alice)
	content := noisy(4, 300_000)
	ids := []datamesh.ObjectID{alice.put(t, content, "--name", "old name", "--tags", "a").ID}
	result[node.Renamed](t, alice.run(t, "rename", "old name", "dir/name"))
	result[node.Copied](t, alice.run(t, "copy", "dir/name", "also"))
	result[node.Tagged](t, alice.run(t, "tag", "also", "--add", "b"))
	result[node.Pinned](t, alice.run(t, "pin", "dir/name"))
	toBob := result[node.Share](t, alice.run(t, "share", "also", "--to", "bob"))
	link := result[node.Share](t, alice.run(t, "share", "also", "--link"))
	before := result[node.List](t, alice.run(t, "list", "--long"))
	second := alice.elsewhere(t)
	for range 2 {
		if got := result[node.Rotated](t, alice.run(t, "keys", "rotate")); got.Resealed != 1 || got.Shared != 0 || got.Failed != 0 {
			t.Errorf("got %+v", got)
		}
		after := result[node.List](t, alice.run(t, "list", "--long"))
		if len(after.Objects) != 2 {
			t.Fatalf("got %+v", after)
		}
		ids = append(ids, after.Objects[0].ID)
		for i := range after.Objects { // one for each name
			if after.Objects[i].ID == before.Objects[i].ID {
				t.Error("it has the same id")
			}
			after.Objects[i].ID = before.Objects[i].ID
		}
		if diff := gocmp.Diff(before, after); diff != "" || !after.Objects[0].Pinned {
			t.Errorf("the list (-want +got):\n%s", diff)
		}
		last := ids[len(ids)-1]
		for _, h := range []*user{alice, second} {
			for _, ref := range append([]string{"dir/name", "also"}, texts(ids)...) {
				if got := h.run(t, "get", ref, "-"); got.code != 0 || !bytes.Equal(got.stdout, content) {
					t.Errorf("get %s: exit status %d: %s", ref, got.code, got.stderr)
				}
			}
			shares := result[node.Shares](t, h.run(t, "list", "--shared")).Shares
			if len(shares) != 2 || shares[0].Object != last || shares[1].Object != last {
				t.Errorf("shared is %+v", shares)
			}
			if p := problem(t, h.run(t, "rm", ids[0].String()), 1); p.Kind != "Refused" {
				t.Errorf("it is pinned: %+v", p)
			}
		}
		if box := result[node.Inbox](t, bob.run(t, "inbox")); len(box.Objects) != 1 || box.Objects[0].ID != toBob.ID {
			t.Errorf("inbox: %+v", box)
		}
		for _, ref := range []string{toBob.ID.String(), "alice/dir/name", link.Link} {
			if got := bob.run(t, "get", ref, "-"); got.code != 0 || !bytes.Equal(got.stdout, content) {
				t.Errorf("bob's get %s: exit status %d: %s", ref, got.code, got.stderr)
			}
		}
	}
	bobs := bob.put(t, []byte("from bob"), "--name", "answer")
	result[node.Share](t, bob.run(t, "share", bobs.ID.String(), "--to", "alice"))
	if got := alice.run(t, "get", "bob/answer", "-"); got.code != 0 || string(got.stdout) != "from bob" {
		t.Errorf("what is shared with her since: exit status %d: %s", got.code, got.stderr)
	}

	result[node.Pinned](t, alice.run(t, "unpin", ids[1].String()))
	if r := result[node.Removed](t, alice.run(t, "rm", ids[0].String())); r.ID != ids[2] || len(r.Names) != 2 {
		t.Errorf("rm: %+v", r)
	}
	bob.refuses(t, 1, "Deleted", "get", toBob.ID.String())
	result[node.Undeleted](t, second.run(t, "undelete", ids[1].String()))
	bob.reads(t, toBob.ID, content)
	if u := result[node.Unshared](t, second.run(t, "unshare", ids[0].String(), "--from", "bob")); len(u.Taken) != 1 || u.Object != ids[2] {
		t.Errorf("unshare: %+v", u)
	}
	if u := result[node.Unshared](t, alice.run(t, "unshare", "also", "--link", link.ID.String())); len(u.Taken) != 1 {
		t.Errorf("unshare: %+v", u)
	}
	bob.refuses(t, 1, "Deleted", "get", toBob.ID.String())
	bob.refuses(t, 1, "Deleted", "get", link.Link)
	second.reads(t, ids[0], content)
	if c := result[node.Cleaned](t, alice.run(t, "cleanup", "--dry-run")); len(c.Found) != 0 || c.Waiting != 0 || c.Segments != 0 {
		t.Errorf("it leaves %+v", c)
	}
	alice.reads(t, ids[0], content) // since she has heard of it
}
