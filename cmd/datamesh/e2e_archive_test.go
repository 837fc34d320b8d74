//go:build unix

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datamesh/internal/node"
)

// archives are the formats, each with a program that opens it, told where, and how
// exactly it keeps times.
var archives = []struct {
	ending string
	open   []string
	times  time.Duration
}{
	{"tar", []string{"tar", "-xpf"}, 1},
	{"tar.gz", []string{"tar", "-xpzf"}, 1},
	{"zip", []string{"unzip", "-q", "-^"}, time.Second},
}

// archivable is aTree, but for the link that leads out of it.
func archivable(t testing.TB, n int) string {
	t.Helper()
	dir := aTree(t, "source", n)
	if err := os.Remove(filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(dir, time.Time{}, time.Unix(9e8, 5000)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// alone makes a home without a mesh.
func alone(t testing.TB) *user { return emptyMesh(t).newcomer() }

// inUnits is a tree as it is when times are kept in units.
func inUnits(tree map[string]string, unit time.Duration) map[string]string {
	in := map[string]string{}
	head := regexp.MustCompile(`^([a-z/]* [0-7]+ )([0-9]+)`)
	for path, is := range tree {
		in[path] = head.ReplaceAllStringFunc(is, func(s string) string {
			m := head.FindStringSubmatch(s)
			ns, _ := strconv.ParseInt(m[2], 10, 64) // it is digits
			return m[1] + fmt.Sprint(ns/int64(unit)*int64(unit))
		})
	}
	return in
}

// listed is what a list says of all objects, but for when they were stored and
// under which id, with times in units.
func listed(t testing.TB, u *user, unit time.Duration) (all []string) {
	t.Helper()
	for _, o := range result[node.List](t, u.run(t, "list")).Objects {
		all = append(all, fmt.Sprintf("%q %s %d %o %d %v", o.Name, o.Type, o.Size, o.Mode, o.ModTime.UnixNano()/int64(unit), o.Tags))
	}
	slices.Sort(all)
	return all
}

// What is exported opens with the programs that everybody has, and is in all
// what it was; imported in another home it is the same again.
func TestExportedArchivesAreWhatWasStored(t *testing.T) {
	t.Parallel()
	dir := archivable(t, 60)
	want := treeOf(t, dir)
	a := alone(t)
	result[batch](t, a.run(t, "put", "-r", dir, "--tags", "x"))
	for _, f := range archives {
		t.Run(f.ending, func(t *testing.T) {
			want := inUnits(want, f.times)
			file := filepath.Join(t.TempDir(), "all."+f.ending)
			got := result[archived](t, a.run(t, "export", "source", "-o", file))
			if got.Format != f.ending || got.Out != file || got.Files+got.Directories+got.Links != int64(len(want)) || got.Links != 2 {
				t.Errorf("exported %+v of %d", got, len(want))
			}
			if fi, err := os.Stat(file); err != nil || fi.Mode() != 0o600 {
				t.Errorf("the archive is %v, %v", fi.Mode(), err)
			}
			t.Run("opened by "+f.open[0], func(t *testing.T) {
				out := t.TempDir()
				canBeRemoved(t, out)
				program, err := exec.LookPath(f.open[0])
				if err != nil {
					t.Skipf("NOT TESTED: there is no %s: nothing is known about whether it opens what is exported", f.open[0])
				}
				cmd := exec.Command(program, append(f.open[1:], file)...)
				cmd.Dir, cmd.Env = out, append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
				if text, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v: %s", cmd.Args, err, text)
				}
				if diff := cmp.Diff(want, inUnits(treeOf(t, filepath.Join(out, "source")), f.times)); diff != "" {
					t.Errorf("what it opens to (-want +got):\n%s", diff)
				}
			})
			b := alone(t)
			if in := result[batch](t, b.run(t, "import", file, "--tags", "x")); in.Stored != len(want) || in.Failed+in.Skipped+in.Unchanged != 0 {
				t.Errorf("imported %+v", in)
			}
			if diff := cmp.Diff(listed(t, a, f.times), listed(t, b, f.times)); diff != "" {
				t.Errorf("the list of the other home (-want +got):\n%s", diff)
			}
			out := filepath.Join(t.TempDir(), "out")
			canBeRemoved(t, out)
			result[batch](t, b.run(t, "get", "source", out))
			if diff := cmp.Diff(want, inUnits(treeOf(t, out), f.times)); diff != "" {
				t.Errorf("what comes back (-want +got):\n%s", diff)
			}
			if again := result[batch](t, b.run(t, "import", file)); again.Unchanged != len(want) || again.Stored != 0 {
				t.Errorf("the same again: %d unchanged of %d, %d stored", again.Unchanged, len(want), again.Stored)
			}
		})
	}
}

// piped runs one command into another.
func piped(t *testing.T, from, to *exec.Cmd) (outcome, outcome) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from.Stdout, to.Stdin = w, r
	first, second := start(t, from), start(t, to)
	w.Close()
	r.Close()
	return first.wait(t), second.wait(t)
}

// An archive goes from one home to the other without a file, and one that another
// program writes is taken as it is.
func TestArchivesAreStreamed(t *testing.T) {
	t.Parallel()
	dir := archivable(t, 40)
	want := treeOf(t, dir)
	a, b := alone(t), alone(t)
	result[batch](t, a.run(t, "put", "-r", dir))
	for _, format := range []string{"tar", "tgz"} {
		b := alone(t)
		from, to := piped(t, a.command("export", "source/", "--format", format), b.command("import", "-", "--name", "in/here/"))
		if in := result[batch](t, to); from.code != 0 || in.Stored != len(want) {
			t.Errorf("%s: %s%+v", format, from.stderr, in)
		}
		if sent := document[archived](t, from.stderr); sent.Out != "-" || sent.Bytes == 0 {
			t.Errorf("%s: %+v", format, sent)
		}
		out := filepath.Join(t.TempDir(), "out")
		canBeRemoved(t, out)
		result[batch](t, b.run(t, "get", "in/here/source", out))
		wantTree(t, want, out)
	}
	for _, name := range []string{"large", "line\nbreak"} { // one is stored at the same time as others
		if err := os.Link(filepath.Join(dir, name), filepath.Join(dir, name+", again")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(dir, time.Time{}, time.Unix(9e8, 0)); err != nil {
		t.Fatal(err)
	}
	pack := exec.Command("tar", "--format=pax", "-cz", ".")
	pack.Dir = dir
	if _, to := piped(t, pack, b.command("import", "-", "--name", "again")); to.code != 0 {
		t.Fatalf("%s", to.stderr)
	}
	out := filepath.Join(t.TempDir(), "out")
	canBeRemoved(t, out)
	result[batch](t, b.run(t, "get", "again", out))
	wantTree(t, treeOf(t, dir), out)
}

// What cannot be read ends the export, and nothing looks like an archive.
func TestAnExportThatFailsLeavesNoArchive(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 6 << 20} { // one is read ahead of its turn
		u := alone(t)
		dir := filepath.Join(t.TempDir(), "d")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for i, n := range []int{512, size, 100} { // a tar has whole blocks before what is lost
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), noisy(byte(i), int64(n)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		stored := result[batch](t, u.run(t, "put", "-r", dir))
		lose(t, u, stored.Files[2])
		out := t.TempDir()
		for _, f := range archives {
			o := u.run(t, "export", "d", "-o", filepath.Join(out, "a."+f.ending))
			if o.code == 0 || len(o.stdout) > 0 || !bytes.Contains(o.stderr, []byte("d/1")) {
				t.Errorf("%s: exit status %d: %s%s", f.ending, o.code, o.stdout, o.stderr)
			}
			if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
				t.Errorf("%s: it has left %v, %v", f.ending, left, err)
			}
			o = u.run(t, "export", "d", "--format", f.ending)
			if o.code == 0 {
				t.Errorf("%s to standard output: exit status 0", f.ending)
			}
			check := exec.Command(f.open[0], "-tf", "-")
			if f.ending == "tar.gz" {
				check = exec.Command(f.open[0], "-tzf", "-")
			}
			check.Stdin = bytes.NewReader(o.stdout)
			if f.ending != "zip" {
				if text, err := check.CombinedOutput(); err == nil {
					t.Errorf("%s: tar takes it for whole: %s", f.ending, text)
				}
			}
			half := filepath.Join(t.TempDir(), "half")
			if err := os.WriteFile(half, o.stdout, 0o600); err != nil {
				t.Fatal(err)
			}
			other := alone(t)
			if o := other.run(t, "import", half); o.code == 0 {
				t.Errorf("%s: import takes it for whole: %s", f.ending, o.stdout)
			}
		}
	}
}

// lose removes the shards of a file from a home that is alone: those of its content
// if they are files, or else those of its manifest.
func lose(t *testing.T, u *user, f batchFile) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(u.home, "store", "shards", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if len(files) > 0 {
		return
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(u.home, "store", "node.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r, err := db.Exec("DELETE FROM shards WHERE segment = ?", f.ID[:])
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("%d shards of %s were lost: %v", n, f.Name, err)
	}
}

// An import that was killed goes on, between entries and within one.
func TestKilledImportGoesOn(t *testing.T) {
	onlyInFull(t, "imports that are killed")
	t.Parallel()
	m := newMesh(t, 6)
	u := m.user(t)
	dir := archivable(t, 250)
	want := treeOf(t, dir)
	file := packWith(t, dir, "tar", "-cf")
	in := start(t, u.command("import", file))
	eventually(t, "some files are stored", func() bool {
		return len(result[node.List](t, u.run(t, "list")).Objects) >= 20 || !in.running()
	})
	in.kill()
	if o := in.wait(t); o.code != -1 {
		t.Fatalf("the import ended before it was killed, with %d", o.code)
	}
	before := len(result[node.List](t, u.run(t, "list")).Objects)
	again := result[batch](t, u.run(t, "import", file))
	if again.Unchanged != before || again.Stored != len(want)-before || again.Stored == 0 {
		t.Errorf("unchanged %d of %d, stored %d of %d", again.Unchanged, before, again.Stored, len(want)-before)
	}

	one := noiseFile(t, "film", 9, long)
	for _, pack := range []string{"-cf", "-czf"} {
		file := packWith(t, one, "tar", pack)
		shards := m.shardFiles(t)
		in := start(t, u.command("import", file, "--name", pack[1:]))
		eventually(t, "some segments are stored", func() bool { return m.shardFiles(t) > shards+18 || !in.running() }) // as in halfPut
		in.kill()
		if o := in.wait(t); o.code != -1 {
			t.Fatalf("the import ended before it was killed, with %d", o.code)
		}
		again := result[batch](t, u.run(t, "import", file, "--name", pack[1:]))
		if again.Stored != 1 || again.Resumed < 16<<20 {
			t.Errorf("%s: stored %d, of which %d bytes were stored before", pack, again.Stored, again.Resumed)
		}
		out := filepath.Join(t.TempDir(), "out")
		result[node.Fetched](t, u.run(t, "get", pack[1:]+"/film", out))
		if err := sameFile(one, out); err != nil {
			t.Error(err)
		}
	}
}

// A stream that nobody goes on with is not waited for, once the command is to end.
func TestAnImportOfAStreamIsInterrupted(t *testing.T) {
	t.Parallel()
	u := alone(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cmd := u.command("import", "-")
	cmd.Stdin = r
	in := start(t, cmd)
	archive := tar.NewWriter(w)
	for _, h := range []*tar.Header{{Name: "whole", Mode: 0o600}, {Name: "half", Size: 1 << 20, Mode: 0o600}} {
		if err := archive.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the first is stored", func() bool {
		return len(result[node.List](t, u.run(t, "list")).Objects) > 0 || !in.running()
	})
	interrupt(t, in)
	if o := in.wait(t); o.code != 130 {
		t.Errorf("exit status %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if all := result[node.List](t, u.run(t, "list")).Objects; len(all) != 1 || all[0].Name != "whole" {
		t.Errorf("stored %+v", all)
	}
}

// Nor is it when the node is gone that stores what comes.
func TestAnImportOfAStreamEndsWithItsNode(t *testing.T) {
	t.Parallel()
	x := newMesh(t, 1).members[0]
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cmd := x.command("import", "-")
	cmd.Stdin = r
	in := start(t, cmd)
	if err := tar.NewWriter(w).WriteHeader(&tar.Header{Name: "half", Size: 1 << 20, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is being stored", func() bool {
		return len(result[node.Transfers](t, x.run(t, "transfers")).Transfers) > 0 || !in.running()
	})
	kill(x)
	if o := in.wait(t); o.code != 8 {
		t.Errorf("exit status %d: %s%s", o.code, o.stdout, o.stderr)
	}
}

// packWith packs a file or directory with another program.
func packWith(t *testing.T, path string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "packed")
	cmd := exec.Command(args[0], append(args[1:], file, filepath.Base(path))...)
	cmd.Dir = filepath.Dir(path)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, text)
	}
	return file
}

// Of an archive that is refused nothing is stored; of a stream what came before.
func TestHostileArchivesAreNotStored(t *testing.T) {
	t.Parallel()
	u := alone(t)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"good", "../up", "late"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: 4, Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "text"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	names := func() (all []string) {
		for _, o := range result[node.List](t, u.run(t, "list")).Objects {
			all = append(all, o.Name)
		}
		return all
	}
	if p := problem(t, u.run(t, "import", file), 1); p.Kind != "Import" || !strings.Contains(p.Error, `"../up"`) || !strings.Contains(p.Hint, "datamesh put -r DIR") {
		t.Errorf("%+v", p)
	}
	open, err := os.Open(file) // a file is one, also as standard input
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	cmd := u.command("import", "-")
	cmd.Stdin = open
	if p := problem(t, start(t, cmd).wait(t), 1); p.Kind != "Import" {
		t.Errorf("%+v", p)
	}
	if got := names(); got != nil {
		t.Fatalf("stored %v", got)
	}
	cmd = u.command("import", "-")
	cmd.Stdin = struct{ io.Reader }{&b} // a pipe
	o := start(t, cmd).wait(t)
	stored := document[batch](t, o.stdout)
	if !bytes.Contains(o.stderr, []byte(`"kind":"Import"`)) || o.code != 1 || stored.Stored != 1 || stored.Files[0].Name != "good" {
		t.Errorf("exit status %d, %+v, %s", o.code, stored, o.stderr)
	}
	if got := names(); !slices.Equal(got, []string{"good"}) {
		t.Errorf("stored %v", got)
	}

	// A bomb is refused as a file, and ends as a stream, unless it is allowed.
	b.Reset()
	z := gzip.NewWriter(&b)
	w = tar.NewWriter(z)
	const large = 12 << 20
	if err := w.WriteHeader(&tar.Header{Name: "bomb", Size: large, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, large)); err != nil {
		t.Fatal(err)
	}
	if w.Close() != nil || z.Close() != nil {
		t.Fatal("the bomb was not written")
	}
	bomb := filepath.Join(t.TempDir(), "bomb")
	if err := os.WriteFile(bomb, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if p := problem(t, u.run(t, "import", bomb, "--max-size", "10M"), 1); p.Kind != "Import" || !strings.Contains(p.Hint, "--max-size") {
		t.Errorf("%+v", p)
	}
	cmd = u.command("import", "-", "--max-size", "10M")
	cmd.Stdin = struct{ io.Reader }{bytes.NewReader(b.Bytes())}
	if o := start(t, cmd).wait(t); o.code != 1 || document[batch](t, o.stdout).Stored != 0 {
		t.Errorf("a stream: exit status %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if in := result[batch](t, u.run(t, "import", bomb, "--max-size", "13M")); in.Stored != 1 || in.Bytes != large {
		t.Errorf("%+v", in)
	}
}

// One damaged file of a zip fails alone, and so do its other names in a tar.
func TestOneDamagedEntryFailsAlone(t *testing.T) {
	t.Parallel()
	a, u := alone(t), alone(t)
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), bytes.Repeat([]byte(fmt.Sprint("text", i)), 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	result[batch](t, a.run(t, "put", "-r", dir))
	file := filepath.Join(t.TempDir(), "a.zip")
	result[archived](t, a.run(t, "export", "d", "-o", file))
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("d/1")) + 3 + 9 + 3 // behind its time, in what is packed
	b[at] ^= 0x10
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	o := u.run(t, "import", file)
	if p := partly(t, o); p.Kind != "Partial" {
		t.Errorf("%+v", p)
	}
	for _, f := range document[batch](t, o.stdout).Files {
		if failed := f.Name == "d/1"; failed != (f.State == fileFailed) || failed && f.Error.Kind != "Integrity" {
			t.Errorf("%+v %+v", f, f.Error)
		}
	}
}
