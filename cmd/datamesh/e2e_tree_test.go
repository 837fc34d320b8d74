//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datamesh/internal/api"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// aTree copies n files of Go's own source to a new directory called name, with
// their times, and adds symbolic links, empty directories and permissions.
func aTree(t testing.TB, name string, n int) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("the tree is made of Go's own source: %v", err)
	}
	from, to := filepath.Join(strings.TrimSpace(string(out)), "src"), filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(to, 0o755); err != nil {
		t.Fatal(err)
	}
	left := n
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if left == 0 {
			return fs.SkipAll
		}
		rel, _ := filepath.Rel(from, path) // it is below
		full := filepath.Join(to, rel)
		switch {
		case rel == ".":
			return nil
		case d.IsDir():
			return os.MkdirAll(full, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		left--
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		perm := []fs.FileMode{0o644, 0o600, 0o755, 0o444}[left%4]
		if err := os.WriteFile(full, b, 0o644); err != nil {
			return err
		}
		return errors.Join(os.Chtimes(full, time.Time{}, time.Unix(1e9+int64(left), 123456789)), os.Chmod(full, perm))
	})
	if err != nil || left > 0 {
		t.Fatalf("%d files are missing: %v", left, err)
	}
	err = errors.Join(os.Symlink("archive/tar", filepath.Join(to, "a link")), os.Symlink("/etc/passwd", filepath.Join(to, "out")),
		os.Symlink("none", filepath.Join(to, "archive", "dangling")), os.MkdirAll(filepath.Join(to, "empty", "ä ö"), 0o711),
		os.WriteFile(filepath.Join(to, "nothing"), nil, 0o640), os.WriteFile(filepath.Join(to, "line\nbreak"), []byte("x"), 0o640),
		os.WriteFile(filepath.Join(to, "large"), noisy(7, 200_000), 0o640))
	if err != nil {
		t.Fatal(err)
	}
	for i, dir := range []string{"archive/tar", "archive", "empty", "."} {
		full := filepath.Join(to, dir)
		if err := errors.Join(os.Chtimes(full, time.Time{}, time.Unix(9e8+int64(i), 5000)), os.Chmod(full, []fs.FileMode{0o500, 0o750, 0o555, 0o755}[i])); err != nil {
			t.Fatal(err)
		}
	}
	canBeRemoved(t, to)
	return to
}

// canBeRemoved lets the test remove directories that keep their owner out.
func canBeRemoved(t testing.TB, dir string) {
	t.Cleanup(func() {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
			if d != nil && d.IsDir() {
				os.Chmod(path, 0o700)
			}
			return nil
		})
	})
}

// treeOf returns all that there is to a tree, by path.
func treeOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	opened, err := tree.Open(dir, tree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	all := map[string]string{}
	for e, err := range opened.Walk(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == tree.Symlink {
			all[e.Path] = "leads to " + e.Target
			continue
		}
		all[e.Path] = fmt.Sprintf("%s %o %d", e.Type, e.Mode, e.ModTime.UnixNano())
		if e.Type == "" {
			b, err := os.ReadFile(filepath.Join(dir, e.Path))
			if err != nil {
				t.Fatal(err)
			}
			all[e.Path] += string(b)
		}
	}
	return all
}

func wantTree(t testing.TB, want map[string]string, dir string) {
	t.Helper()
	if diff := cmp.Diff(want, treeOf(t, dir)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", dir, diff)
	}
}

// A tree that was put with one command comes back with one, by the words alone,
// and is in all what it was.
func TestTreeOfALostHomeComesBack(t *testing.T) {
	t.Parallel()
	treeComesBack(t, 100)
}

func TestTreeOfAThousandFilesComesBack(t *testing.T) {
	onlyInFull(t, "a tree of 1,000 files")
	treeComesBack(t, 1000)
}

func treeComesBack(t *testing.T, n int) {
	m := newMesh(t, 6)
	dir := aTree(t, "source", n)
	want := treeOf(t, dir)
	lost := m.user(t)
	words := lost.words(t)
	began := time.Now()
	b := result[batch](t, lost.run(t, "put", "-r", dir, "--tags", "go,source"))
	t.Logf("put of %d files, %d bytes, took %v", b.Stored, b.Bytes, time.Since(began))
	if b.Stored != len(want) || b.Unchanged != 0 || b.Failed != 0 || len(b.Files) != len(want) || len(b.Warnings) != 0 {
		t.Fatalf("stored %d of %d, unchanged %d, failed %d, %q", b.Stored, len(want), b.Unchanged, b.Failed, b.Warnings)
	}
	list := result[node.List](t, lost.run(t, "list"))
	deleted := result[node.DeletedObjects](t, lost.run(t, "list", "--deleted"))
	if len(list.Objects) != len(want) || len(list.Objects[0].Tags) != 2 {
		t.Fatalf("%d objects of %d, the first %+v", len(list.Objects), len(want), list.Objects[0])
	}
	if err := os.RemoveAll(lost.home); err != nil {
		t.Fatal(err)
	}

	u := m.newcomer() // which knows of one member alone
	if r := result[node.Recovered](t, u.recovers(t, words)); int(r.Objects) != len(want) || r.Missing != 0 {
		t.Errorf("got %+v", r)
	}
	wantLists(t, u, list, deleted)
	out := filepath.Join(t.TempDir(), "again")
	canBeRemoved(t, out)
	began = time.Now()
	got := result[batch](t, u.run(t, "get", "source", out))
	t.Logf("get of %d files took %v", got.Written, time.Since(began))
	if got.Written != len(want) || got.Unchanged != 0 {
		t.Errorf("written %d of %d, unchanged %d", got.Written, len(want), got.Unchanged)
	}
	wantTree(t, want, out)

	// The same again does nothing, and what is missing is all that is read.
	if again := result[batch](t, u.run(t, "get", "source", out)); again.Written != 0 || again.Unchanged != len(want) {
		t.Errorf("again: written %d, unchanged %d of %d", again.Written, again.Unchanged, len(want))
	}
	if again := result[batch](t, u.run(t, "put", "-r", "--name", "source", out, "--tags", "go")); again.Stored != 3 || again.Unchanged != len(want)-3 { // links have no times of their own
		t.Errorf("put again: stored %d, unchanged %d of %d", again.Stored, again.Unchanged, len(want))
	}
	if err := os.Remove(filepath.Join(out, "large")); err != nil {
		t.Fatal(err)
	}
	if again := result[batch](t, u.run(t, "get", "source", out)); again.Bytes != 200_000 {
		t.Errorf("with one file missing: %d bytes were read", again.Bytes)
	}
	wantTree(t, want, out)
}

// Of a batch that was killed every file that the catalog has is there, and the
// same command stores the others alone.
func TestKilledBatchGoesOn(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	u := m.user(t)
	dir := aTree(t, "source", 250)
	want := treeOf(t, dir)
	put := start(t, u.command("put", "-r", dir))
	eventually(t, "some files are stored", func() bool {
		return len(result[node.List](t, u.run(t, "list")).Objects) >= 20 || !put.running()
	})
	put.kill()
	if o := put.wait(t); o.code != -1 || len(o.stdout) > 0 {
		t.Fatalf("the batch ended before it was killed, with %d", o.code)
	}
	before := map[string]node.Object{}
	for _, o := range result[node.List](t, u.run(t, "list")).Objects {
		before[o.Name] = o
	}
	b := result[batch](t, u.run(t, "put", "-r", dir))
	if b.Unchanged != len(before) || b.Stored != len(want)-len(before) || b.Stored == 0 {
		t.Errorf("unchanged %d of %d, stored %d of %d", b.Unchanged, len(before), b.Stored, len(want)-len(before))
	}
	for _, f := range b.Files {
		if old, ok := before[f.Name]; ok != (f.State == fileUnchanged) || ok && old.ID != f.ID {
			t.Errorf("%+v, and before %+v", f, old)
		}
	}
	if list := result[node.List](t, u.run(t, "list")); len(list.Objects) != len(want) {
		t.Errorf("the catalog has %d objects, want %d", len(list.Objects), len(want))
	}
	out := filepath.Join(t.TempDir(), "source")
	canBeRemoved(t, out)
	result[batch](t, u.run(t, "get", "source", out))
	wantTree(t, want, out)
}

// A get of a tree that was killed leaves whole files alone, and the same
// command reads the others alone.
func TestKilledGetOfATreeGoesOn(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 4)
	u := m.user(t)
	dir := aTree(t, "source", 150)
	want := treeOf(t, dir)
	result[batch](t, u.run(t, "put", "-r", dir))
	var out string
	written := func() (n int) {
		filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && !strings.HasPrefix(d.Name(), ".datamesh-") {
				n++
			}
			return nil
		})
		return n
	}
	eventually(t, "a get is killed before it is done", func() bool {
		out = filepath.Join(t.TempDir(), "source")
		canBeRemoved(t, out)
		get := start(t, u.command("get", "source", out))
		eventually(t, "some files are there", func() bool { return written() >= 20 || !get.running() })
		get.kill()
		o := get.wait(t)
		if o.code > 0 {
			t.Fatalf("the get ended before it was killed, with %d: %s", o.code, o.stderr)
		}
		return o.code == -1
	})
	n := written()
	err := filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(d.Name(), ".datamesh-") {
			return err
		}
		rel, _ := filepath.Rel(out, path) // it is below
		return sameFile(filepath.Join(dir, rel), path)
	})
	if err != nil {
		t.Error(err)
	}
	b := result[batch](t, u.run(t, "get", "source", out))
	if b.Unchanged < n || b.Written+b.Unchanged != len(want) {
		t.Errorf("written %d, unchanged %d of %d that were there", b.Written, b.Unchanged, n)
	}
	filepath.WalkDir(out, func(path string, d fs.DirEntry, _ error) error {
		if strings.HasPrefix(d.Name(), ".datamesh-") {
			return os.Remove(path) // it goes by itself in an hour
		}
		return nil
	})
	for path, is := range want {
		if strings.HasPrefix(is, tree.Directory) {
			if err := os.Chtimes(filepath.Join(out, path), time.Time{}, time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	result[batch](t, u.run(t, "get", "source", out))
	wantTree(t, want, out)
}

// partly returns the error of a command that was done in part, and has printed a
// document, too.
func partly(t *testing.T, o outcome) api.Problem {
	t.Helper()
	if o.code != 3 {
		t.Fatalf("%v exited with %d, want 3: %s%s", o.args, o.code, o.stdout, o.stderr)
	}
	return document[api.Problem](t, o.stderr)
}

// Files of the beginning of 1970, as those of packages that are the same for all who
// build them, and of times that no 64 bits of nanoseconds reach, are stored once, too.
func TestFilesOfOddTimesAreStoredOnce(t *testing.T) {
	t.Parallel()
	u := &user{mesh: emptyMesh(t)}
	u.home = filepath.Join(u.mesh.dir, "u")
	dir := filepath.Join(t.TempDir(), "odd")
	for name, at := range map[string]time.Time{"first": time.Unix(0, 0), "early": time.Date(1901, 12, 14, 0, 0, 0, 0, time.UTC), "late": time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC)} {
		writeAt(t, filepath.Join(dir, name), name, 1)
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	states := func(want int, state string, args ...string) {
		t.Helper()
		o := u.run(t, args...)
		got := 0
		for _, f := range document[batch](t, o.stdout).Files {
			if f.State == state {
				got++
			}
		}
		if o.code != 0 || got != want {
			t.Errorf("%v: %d are %s, want %d: %s%s", args, got, state, want, o.stdout, o.stderr)
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	states(4, fileStored, "put", "-r", dir)
	states(4, fileUnchanged, "put", "-r", dir)
	states(4, fileWritten, "get", "odd", out)
	states(4, fileUnchanged, "get", "odd", out)
	states(4, fileUnchanged, "sync", out, "odd")
	wantTree(t, treeOf(t, dir), out)
	for range 2 {
		states(4, fileUnchanged, "sync", dir, "odd", "--two-way")
	}
}

func TestOneFileThatCannotBeReadFailsAlone(t *testing.T) {
	t.Parallel()
	u := &user{mesh: emptyMesh(t)}
	u.home = filepath.Join(u.mesh.dir, "u")
	dir := aTree(t, "source", 10)
	want := treeOf(t, dir)
	bad := filepath.Join(dir, "bad")
	args := []string{"put", "-r", dir}
	switch {
	case os.Getuid() != 0:
		if err := os.WriteFile(bad, nil, 0); err != nil {
			t.Fatal(err)
		}
	case runtime.GOOS == "linux":
		bad = "/proc/self/mem" // which even root cannot read from its beginning
		args = append(args, bad)
	default:
		t.Skip("NOT TESTED: root reads every file here")
	}
	o := u.run(t, args...)
	p := partly(t, o)
	if p.Kind != "Partial" || !strings.Contains(p.Error, "1 of ") || p.Hint == "" {
		t.Errorf("got %+v", p)
	}
	b := document[batch](t, o.stdout)
	if b.Failed != 1 || b.Stored != len(want) {
		t.Errorf("failed %d, stored %d of %d", b.Failed, b.Stored, len(want))
	}
	for _, f := range b.Files {
		if failed := f.State == fileFailed; failed != (f.Error != nil) || failed && (!strings.Contains(f.Error.Error, bad) || f.Error.Kind != "IO") {
			t.Errorf("%+v, %+v", f, f.Error)
		}
	}
	// What differs is left alone, and the rest comes.
	out := filepath.Join(t.TempDir(), "source")
	canBeRemoved(t, out)
	if err := errors.Join(os.Mkdir(out, 0o700), os.WriteFile(filepath.Join(out, "large"), []byte("mine"), 0o600)); err != nil {
		t.Fatal(err)
	}
	o = u.run(t, "get", "source", out)
	if p := partly(t, o); p.Kind != "Partial" {
		t.Errorf("got %+v", p)
	}
	if b := document[batch](t, o.stdout); b.Failed != 1 || b.Written != len(want)-1 {
		t.Errorf("failed %d, written %d of %d", b.Failed, b.Written, len(want))
	}
	if text, err := os.ReadFile(filepath.Join(out, "large")); err != nil || string(text) != "mine" {
		t.Errorf("it was overwritten: %q, %v", text, err)
	}
	if b := result[batch](t, u.run(t, "get", "source", out, "--force")); b.Written != 1 {
		t.Errorf("with --force: %d were written", b.Written)
	}
	wantTree(t, want, out)
}
