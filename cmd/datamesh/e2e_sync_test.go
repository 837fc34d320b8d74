//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"datamesh/internal/node"
)

// ofSync tells the steps of a sync, at which TestSyncKilledAtEachStepGoesOn cuts.
func ofSync(step string) bool {
	return strings.HasPrefix(step, "mirror: ") || strings.HasPrefix(step, "tree: ")
}

// writeAt writes a file that was modified at a time.
func writeAt(t testing.TB, file, content string, at int64) {
	t.Helper()
	when := time.Unix(at, 5000)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o640), os.Chtimes(file, when, when)); err != nil {
		t.Fatal(err)
	}
}

// Two homes of one owner, each with a directory, come to have the same by a real
// mesh. Of what both have changed the loser is a version.
func TestSyncBetweenTwoHomes(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 4)
	one := m.user(t)
	two := one.elsewhere(t)
	a, b := aTree(t, "photos", 20), filepath.Join(t.TempDir(), "photos")
	canBeRemoved(t, b)
	sync := func(u *user, dir string) synced {
		t.Helper()
		return result[synced](t, u.run(t, "sync", dir, "photos/", "--two-way"))
	}
	all := len(treeOf(t, a))
	if r := sync(one, a); r.Stored != all || r.Written+r.Deleted+r.Removed+r.Conflicts+r.Failed != 0 {
		t.Errorf("the first: %+v", r)
	}
	if r := sync(two, b); r.Written != all || r.Stored+r.Deleted+r.Removed+r.Conflicts+r.Failed != 0 {
		t.Errorf("the second: %+v", r)
	}
	wantTree(t, treeOf(t, a), b)
	for _, u := range []struct {
		*user
		dir string
	}{{one, a}, {two, b}} {
		if r := sync(u.user, u.dir); r.Unchanged != all || r.Stored+r.Written+r.Deleted+r.Removed+r.Failed != 0 {
			t.Errorf("again, when nothing has changed: %+v", r)
		}
	}

	// One side changes, deletes, and makes a file of a directory; the other changes
	// something else, and deletes what the first has changed.
	writeAt(t, filepath.Join(a, "new", "file"), "new", 2e9)
	writeAt(t, filepath.Join(a, "large"), "less", 2e9)
	if err := errors.Join(os.Remove(filepath.Join(a, "nothing")), os.RemoveAll(filepath.Join(a, "empty")), os.Remove(filepath.Join(a, "line\nbreak"))); err != nil {
		t.Fatal(err)
	}
	writeAt(t, filepath.Join(a, "empty"), "a file now", 2e9)
	writeAt(t, filepath.Join(b, "there"), "from there", 2e9)
	writeAt(t, filepath.Join(b, "line\nbreak"), "deleted on the other side", 2e9)
	if err := os.Remove(filepath.Join(b, "large")); err != nil {
		t.Fatal(err)
	}
	sync(one, a)
	r := sync(two, b)
	if r.Removed == 0 || r.Written == 0 || r.Stored == 0 || r.Failed+r.Conflicts != 0 {
		t.Errorf("after changes on both sides: %+v", r)
	}
	sync(one, a)
	wantTree(t, treeOf(t, a), b)
	for file, want := range map[string]string{"new/file": "new", "large": "less", "empty": "a file now", "there": "from there", "line\nbreak": "deleted on the other side"} {
		if got, err := os.ReadFile(filepath.Join(b, file)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, want %q; %v", file, got, want, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(b, "nothing")); !os.IsNotExist(err) {
		t.Errorf("what was deleted is there: %v", err)
	}

	// Both change one file, here the earlier and here the later first.
	for i, at := range [][2]int64{{3e9, 4e9}, {6e9, 5e9}} {
		name := "photos/there"
		writeAt(t, filepath.Join(a, "there"), "one has this", at[0])
		writeAt(t, filepath.Join(b, "there"), "two has this", at[1])
		win, lose := "one has this", "two has this"
		if at[0] < at[1] {
			win, lose = lose, win
		}
		sync(one, a)
		if i > 0 { // people are told of which file
			o := two.run(t, "sync", b, "photos/", "--two-way", "--json=false")
			if o.code != 0 || !strings.Contains(string(o.stdout), "conflicts  1 file\n") || !strings.Contains(string(o.stderr), "notice: photos/there has changed on both sides") {
				t.Errorf("conflict %d: %d, %s%s", i, o.code, o.stdout, o.stderr)
			}
		} else if r := sync(two, b); r.Conflicts != 1 || r.Failed != 0 {
			t.Errorf("conflict %d: %+v", i, r)
		}
		sync(one, a)
		for _, dir := range []string{a, b} {
			if got, err := os.ReadFile(filepath.Join(dir, "there")); err != nil || string(got) != win {
				t.Errorf("conflict %d: %s has %q, want %q; %v", i, dir, got, win, err)
			}
		}
		versions := result[node.Versions](t, one.run(t, "versions", name)).Versions
		if len(versions) < 2 {
			t.Fatalf("conflict %d: there are %d versions", i, len(versions))
		}
		one.reads(t, versions[0].ID, []byte(win))
		one.reads(t, versions[1].ID, []byte(lose))
	}
	wantTree(t, treeOf(t, a), b)

	// A disk that is not mounted deletes nothing, on no side.
	if err := errors.Join(os.Rename(b, b+".away"), os.Mkdir(b, 0o755)); err != nil {
		t.Fatal(err)
	}
	canBeRemoved(t, b+".away")
	before := result[node.List](t, two.run(t, "list"))
	if o := two.run(t, "sync", b, "photos/", "--two-way", "--max-delete", "100%"); o.code != 1 || !strings.Contains(string(o.stderr), "mounted") {
		t.Errorf("an empty directory: exit status %d: %s", o.code, o.stderr)
	}
	wantLists(t, two, before, result[node.DeletedObjects](t, two.run(t, "list", "--deleted")))
	if err := errors.Join(os.Remove(b), os.Rename(b+".away", b)); err != nil {
		t.Fatal(err)
	}

	// More deletions than may be change nothing.
	for _, e := range []string{"archive", "there", "large"} {
		if err := os.Chmod(filepath.Join(b, e), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(b, e)); err != nil {
			t.Fatal(err)
		}
	}
	writeAt(t, filepath.Join(b, "later"), "not sent", 5e9)
	if o := two.run(t, "sync", b, "photos/", "--two-way", "--max-delete", "2"); o.code != 1 || !strings.Contains(string(o.stderr), "--max-delete ") {
		t.Errorf("too many: exit status %d: %s", o.code, o.stderr)
	}
	wantLists(t, two, before, result[node.DeletedObjects](t, two.run(t, "list", "--deleted")))
	want := treeOf(t, b)
	sync(two, b)
	if o := one.run(t, "sync", a, "photos/", "--two-way", "--max-delete", "2"); o.code != 1 || !strings.Contains(string(o.stderr), "would be deleted here") {
		t.Errorf("too many here: exit status %d: %s", o.code, o.stderr)
	}
	canBeRemoved(t, a)
	sync(one, a)
	wantTree(t, want, a)
}

// A sync is killed at each step at which something is remembered, typed again,
// and does the rest; nothing is sent twice, and both sides are the same.
func TestSyncKilledAtEachStepGoesOn(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 3)
	steps := t.TempDir()
	cuts := slices.DeleteFunc(allSteps(t), func(s string) bool { return !ofSync(s) })
	if len(cuts) == 0 {
		t.Fatal("there is no step")
	}
	exe, err := exec.LookPath("datamesh") // this test, as TestMain has it
	if err != nil {
		t.Fatal(err)
	}
	one := m.user(t)
	two := one.elsewhere(t)
	sync := func(dir string) outcome {
		t.Helper()
		cmd := two.command("sync", dir, "--two-way")
		cmd.Path, cmd.Args[0] = exe, exe
		cmd.Env = append(cmd.Env, stepsDir+"="+steps)
		return start(t, cmd).wait(t)
	}
	a, b := filepath.Join(t.TempDir(), "d"), filepath.Join(t.TempDir(), "d")
	arm := func(at string) {
		t.Helper()
		for name, text := range map[string]string{stepsReached: "", stepToDieAt: at} {
			if err := os.WriteFile(filepath.Join(steps, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, cut := range append(cuts, "object: put: the object is known to its user", "node: delete: the catalog has noted it") {
		at, gone := int64(2e9)+100*int64(i), fmt.Sprint("file ", i)
		writeAt(t, filepath.Join(a, "x", "new"), cut, at)
		writeAt(t, filepath.Join(a, "gone", gone), cut, at)
		writeAt(t, filepath.Join(a, "mine too"), cut, at)
		result[synced](t, one.run(t, "sync", a, "--two-way"))
		arm("")
		result[synced](t, sync(b))
		if err := os.RemoveAll(filepath.Join(a, "gone")); err != nil {
			t.Fatal(err)
		}
		writeAt(t, filepath.Join(a, "x", "new"), cut+" again", at+1)
		writeAt(t, filepath.Join(b, "mine"), cut, at)
		writeAt(t, filepath.Join(b, "y", "mine"), cut, at)
		if err := os.Remove(filepath.Join(b, "mine too")); err != nil {
			t.Fatal(err)
		}
		result[synced](t, one.run(t, "sync", a, "--two-way"))
		arm(cut)
		deaths := 0
		for ; ; deaths++ {
			if deaths > 30 {
				t.Fatalf("%s: it never ends", cut)
			}
			o := sync(b)
			if o.code == 0 {
				break
			}
			if o.code != -1 {
				t.Fatalf("%s: exit status %d: %s", cut, o.code, o.stderr)
			}
			if deaths > 4 {
				arm("") // each time it comes so far again
			}
		}
		if deaths == 0 {
			reached, err := os.ReadFile(filepath.Join(steps, stepsReached))
			t.Errorf("%s: it did not die; it has reached %q, %v", cut, bytes.TrimSpace(reached), err)
		}
		result[synced](t, one.run(t, "sync", a, "--two-way"))
		wantTree(t, treeOf(t, a), b)
		if v := result[node.Versions](t, one.run(t, "versions", "d/mine")).Versions; len(v) != i+1 {
			t.Errorf("%s: one file was sent %d times, and changed %d times", cut, len(v), i+1)
		}
		if o := one.run(t, "versions", "d/gone/"+gone); o.code != 0 {
			t.Errorf("%s: what was deleted cannot be brought back: %s", cut, o.stderr)
		}
	}
}
