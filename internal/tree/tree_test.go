package tree

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"datamesh"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

var then = time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)

// content makes a tree with one of everything, and returns what a walk yields
// of it, by path.
func content(t *testing.T, dir string) map[string]Entry {
	t.Helper()
	makeFiles(t, dir, map[string]string{"file": "content", "script": "#!", "empty/": "", "a/b/c": "deep", "a/none": "", "closed/x": "x"})
	for name, to := range map[string]string{"link": "file", "a/up": "../a/b/c", "a/out": "/etc/passwd", "dangling": "nothing", "looped": "."} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]Entry{
		"file": {Size: 7, Mode: 0o640}, "script": {Size: 2, Mode: 0o755}, "a/b/c": {Size: 4, Mode: 0o400}, "a/none": {Mode: 0o666}, "closed/x": {Size: 1, Mode: 0o600},
		".": {Type: Directory, Mode: 0o750}, "a": {Type: Directory, Mode: 0o700}, "a/b": {Type: Directory, Mode: 0o755},
		"empty": {Type: Directory, Mode: 0o711}, "closed": {Type: Directory, Mode: 0o500},
		"link": {Type: Symlink, Target: "file"}, "a/up": {Type: Symlink, Target: "../a/b/c"}, "a/out": {Type: Symlink, Target: "/etc/passwd"},
		"dangling": {Type: Symlink, Target: "nothing"}, "looped": {Type: Symlink, Target: "."},
	}
	n := 0
	for name, e := range want {
		n++
		e.Path = name
		if e.Type == Symlink {
			e.Size = int64(len(e.Target))
		} else {
			e.ModTime = then.Add(time.Duration(n) * time.Hour)
		}
		want[name] = e
	}
	for _, types := range []string{"", Directory} { // a directory may keep its owner out of itself
		for _, name := range []string{"file", "script", "a/b/c", "a/none", "closed/x", "a/b", "a", "empty", "closed", "."} {
			e := want[name]
			if e.Type != types {
				continue
			}
			full := filepath.Join(dir, name)
			if err := errors.Join(os.Chtimes(full, time.Time{}, e.ModTime), os.Chmod(full, os.FileMode(e.Mode))); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "closed"), 0o700) })
	return want
}

// comparable leaves out what differs when a tree is copied.
var comparable = cmp.Options{cmpopts.IgnoreUnexported(Entry{}), cmp.Transformer("link", func(e Entry) Entry {
	if e.Type == Symlink {
		e.Mode, e.ModTime = 0, time.Time{}
	}
	return e
}), cmpopts.AcyclicTransformer("times", func(t time.Time) int64 { return t.UnixNano() })}

// read returns what a walk yields, by path, and the content of files.
func read(t *testing.T, dir string) (entries map[string]Entry, contents map[string]string) {
	t.Helper()
	tree, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	entries, contents = map[string]Entry{}, map[string]string{}
	for e, err := range tree.Walk(context.Background()) {
		if err != nil {
			t.Fatalf("%s: %v", e.Path, err)
		}
		if _, parent := entries[filepath.Dir(e.Path)]; !parent && e.Path != "." {
			t.Errorf("%s comes before its directory", e.Path)
		}
		entries[e.Path] = e
		if e.Type == "" {
			f, err := tree.File(e)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, e.Size+1)
			n, _ := f.Read(b)
			f.Close()
			contents[e.Path] = string(b[:n])
		}
	}
	return entries, contents
}

// copyTree writes to dir what is in another directory.
func copyTree(t *testing.T, w *Writer, entries map[string]Entry, contents map[string]string) {
	t.Helper()
	for _, e := range entries {
		var err error
		switch e.Type {
		case Directory:
			err = w.Dir(e)
		case Symlink:
			err = w.Link(e)
		default:
			err = writeFile(w, e, contents[e.Path])
		}
		if err != nil {
			t.Fatalf("%s: %v", e.Path, err)
		}
	}
	if err := w.Close(func(e Entry, err error) { t.Errorf("%s: %v", e.Path, err) }); err != nil {
		t.Fatal(err)
	}
}

func writeFile(w *Writer, e Entry, content string) error {
	f, err := w.File(e)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write([]byte(content)); err != nil {
		return err
	}
	return f.Commit()
}

func create(t *testing.T, dir string) *Writer {
	t.Helper()
	w, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestTreeComesBackAsItWas(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("NOT TESTED: the permissions are those of Unix")
	}
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "new", "to")
	want := content(t, from)
	got, contents := read(t, from)
	if diff := cmp.Diff(want, got, comparable); diff != "" {
		t.Fatalf("what is walked (-want +got):\n%s", diff)
	}
	copyTree(t, create(t, to), got, contents)
	t.Cleanup(func() { os.Chmod(filepath.Join(to, "closed"), 0o700) })
	again, contentsAgain := read(t, to)
	if diff := cmp.Diff(want, again, comparable); diff != "" {
		t.Errorf("what was written (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(contents, contentsAgain); diff != "" {
		t.Errorf("contents (-want +got):\n%s", diff)
	}
	w := create(t, to)
	for _, e := range want {
		if !w.Same(e) {
			t.Errorf("%s is not the same", e.Path)
		}
	}
	for _, other := range []Entry{{Path: "file", Size: 8, Mode: 0o640, ModTime: want["file"].ModTime}, {Path: "file", Size: 7, Mode: 0o600, ModTime: want["file"].ModTime},
		{Path: "file", Size: 7, Mode: 0o640, ModTime: then}, {Path: "link", Type: Symlink, Target: "other"}, {Path: "file", Type: Symlink, Target: "file"}, {Path: "link", Size: 4}, {Path: "none"}, {Path: "file", Type: Directory}, {Path: "a", Type: Directory, Mode: 0o700, ModTime: then}} {
		if w.Same(other) {
			t.Errorf("Same(%+v)", other)
		}
	}
	w.Force = true
	copyTree(t, w, got, contents) // into directories that keep their owner out
	again, _ = read(t, to)
	if diff := cmp.Diff(want, again, comparable); diff != "" {
		t.Errorf("what was written twice (-want +got):\n%s", diff)
	}
	noTemps(t, to)
}

func noTemps(t *testing.T, dir string) {
	t.Helper()
	paths, _ := walked(t, dir, Options{})
	for _, p := range paths {
		if durable.IsTemp(filepath.Base(p)) {
			t.Errorf("%s is left", p)
		}
	}
}

func TestWriterStaysBelowItsDirectory(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "dir")
	makeFiles(t, top, map[string]string{"outside/file": "kept", "dir/there": "kept", "dir/sub/": ""})
	for name, to := range map[string]string{"out": "../outside", "abs": filepath.Join(top, "outside"), "sub/in": "../sub", "fileout": "../outside/file"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	w := create(t, dir)
	for _, path := range []string{"", "/a", "../a", "a/../../b", "a//b", "a/", "./a", "a/./b", "..", "a\x00b", "a\xffb", strings.Repeat("n", 256),
		strings.Repeat("d/", 2500) + "x", "/", "out/x", "abs/x", "sub/in/x", "fileout", "there", "there/x", "sub"} {
		for _, e := range []Entry{{Path: path}, {Path: path, Type: Symlink, Target: "x"}, {Path: path, Type: Directory}} {
			var err error
			switch e.Type {
			case Directory:
				if err = w.Dir(e); path == "sub" {
					err = errs.Invalid // it is there, and that is well
				}
			case Symlink:
				err = w.Link(e)
			default:
				err = writeFile(w, e, "wrong")
			}
			if k := errs.KindOf(err); k != errs.Invalid && k != errs.Exists {
				t.Errorf("%s %.40q: %v", e.Type, path, err)
			}
		}
	}
	if err := w.Link(Entry{Path: "bad", Type: Symlink}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("a link that leads nowhere: %v", err)
	}
	// What the tree itself has as a link leads nowhere while it is written.
	if err := w.Link(Entry{Path: "evil", Type: Symlink, Target: "../outside"}); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(w, Entry{Path: "evil/file"}, "wrong"); err != nil {
		t.Errorf("below what will be a link: %v", err)
	}
	var failed []string
	if err := w.Close(func(e Entry, err error) { failed = append(failed, e.Path) }); err != nil || len(failed) != 1 || failed[0] != "evil" {
		t.Errorf("failed: %v, %v", failed, err)
	}
	for name, want := range map[string]string{"outside/file": "kept", "dir/there": "kept", "dir/evil/file": "wrong"} {
		if b, err := os.ReadFile(filepath.Join(top, name)); err != nil || string(b) != want {
			t.Errorf("%s has %q, %v", name, b, err)
		}
	}
	if list, err := os.ReadDir(filepath.Join(top, "outside")); err != nil || len(list) != 1 {
		t.Errorf("outside: %v, %v", list, err)
	}
	noTemps(t, dir)
}

func TestForceReplacesFilesAndLinksThemselves(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "dir")
	makeFiles(t, top, map[string]string{"outside": "kept", "dir/file": "old", "dir/was file": "old"})
	if err := errors.Join(os.Symlink("../outside", filepath.Join(dir, "link")), os.Symlink("../outside", filepath.Join(dir, "again"))); err != nil {
		t.Fatal(err)
	}
	w := create(t, dir)
	w.Force = true
	copyTree(t, w, map[string]Entry{"file": {Path: "file"}, "link": {Path: "link"}, "again": {Path: "again", Type: Symlink, Target: "file"},
		"was file": {Path: "was file", Type: Symlink, Target: "file"}}, map[string]string{"file": "new", "link": "new"})
	for name, want := range map[string]string{"outside": "kept", "dir/file": "new", "dir/link": "new", "dir/again": "new", "dir/was file": "new"} {
		if b, err := os.ReadFile(filepath.Join(top, name)); err != nil || string(b) != want {
			t.Errorf("%s has %q, %v", name, b, err)
		}
	}
	if info, err := os.Lstat(filepath.Join(dir, "link")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("link: %v, %v", info, err)
	}
}

// only stands for the list of a directory that has no other names.
func only(names ...string) func(string) ([]string, error) {
	return func(string) ([]string, error) { return names, nil }
}

// Hard links whose names differ only in case are two files for those who have them.
func TestHardLinksAreNotTakenForOneName(t *testing.T) {
	dir := t.TempDir()
	upper, lower := Entry{Path: "A/x", Size: 4, Mode: 0o600, ModTime: then}, Entry{Path: "a/x", Size: 4, Mode: 0o600, ModTime: then}
	w := create(t, dir)
	if err := writeFile(w, upper, "text"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "a"), 0o700); errors.Is(err, os.ErrExist) {
		t.Skip("NOT TESTED: this system knows no upper case")
	} else if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "A", "x"), filepath.Join(dir, "a", "x")); err != nil {
		t.Fatal(err)
	}
	if !w.Same(upper) || !w.Same(lower) {
		t.Errorf("the same: %v and %v", w.Same(upper), w.Same(lower))
	}
	if err := w.Close(nil); err != nil {
		t.Error(err)
	}
}

// A hard link stands here for a system that knows no upper case.
func TestNamesThatAreOneHereAreReported(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir)
	w.Force, w.list = true, only("a", "B", "b")
	if err := writeFile(w, Entry{Path: "a"}, "first"); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(w, Entry{Path: "B"}, "other"); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "A")); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(w, Entry{Path: "A"}, "second"); errs.KindOf(err) != errs.Exists || !strings.Contains(err.Error(), "one name") {
		t.Errorf("got %v", err)
	}
	if err := writeFile(w, Entry{Path: "b"}, "second"); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(b) != "first" {
		t.Errorf("got %q, %v", b, err)
	}
	w.Close(nil)
}

// A hard link stands here for a system that composes letters itself.
func TestNamesThatLookTheSameAreReported(t *testing.T) {
	const composed, not = "caf\u00e9", "cafe\u0301"
	if Composed(not) != composed || Composed(composed) != composed || Composed("cafe") == composed {
		t.Errorf("%q", Composed(not))
	}
	for _, force := range []bool{false, true} {
		dir := t.TempDir()
		w := create(t, dir)
		w.Force, w.list = force, only(composed)
		file := Entry{Path: composed, Size: 5, Mode: 0o600, ModTime: then}
		if err := writeFile(w, file, "first"); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(dir, composed), filepath.Join(dir, not)); err != nil {
			t.Fatal(err)
		}
		other := file
		other.Path = not
		if err := writeFile(w, other, "other"); errs.KindOf(err) != errs.Exists || !strings.Contains(err.Error(), "one name") {
			t.Errorf("got %v", err)
		}
		if !w.Same(file) || w.Same(other) {
			t.Errorf("the same: %v, and the other %v", w.Same(file), w.Same(other))
		}
		w.Close(nil)
		w = create(t, dir) // all is there before
		w.list = only(composed)
		if !w.Same(file) || w.Same(other) {
			t.Error("the other one is there, too")
		}
		if b, err := os.ReadFile(filepath.Join(dir, composed)); err != nil || string(b) != "first" {
			t.Errorf("got %q, %v", b, err)
		}
		w.Close(nil)
	}
}

func TestReservedNamesOfWindows(t *testing.T) {
	for name, want := range map[string]bool{"con": true, "NUL.txt": true, "com1": true, "LPT¹.x": true, "aux .c": true, "console": false, "com": false, "com10": false, "x.nul": false} {
		if got := Reserved(name); got != want {
			t.Errorf("Reserved(%q) is %v", name, got)
		}
	}
}

func TestWalkEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, map[string]string{"a/b": "", "c": ""})
	tree, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var last error
	n := 0
	for _, last = range tree.Walk(ctx) {
		n++
		cancel()
	}
	if n != 2 || !errors.Is(last, context.Canceled) {
		t.Errorf("%d entries, the last with %v", n, last)
	}
	for range tree.Walk(context.Background()) {
		break // and nothing is yielded after it
	}
}

func TestLeftoversAreRemovedOnceTheyAreOld(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "sub", ".datamesh-OLD.tmp")
	makeFiles(t, dir, map[string]string{"sub/.datamesh-OLD.tmp": "", "sub/.datamesh-YOUNG.tmp": "", "sub/kept": ""})
	for _, name := range []string{old, filepath.Join(dir, "sub", "kept")} {
		if err := os.Chtimes(name, then, then); err != nil {
			t.Fatal(err)
		}
	}
	w := create(t, dir)
	if err := errors.Join(writeFile(w, Entry{Path: "sub/new"}, ""), w.Close(nil)); err != nil {
		t.Fatal(err)
	}
	var got []string
	list, err := os.ReadDir(filepath.Join(dir, "sub"))
	for _, e := range list {
		got = append(got, e.Name())
	}
	if s := strings.Join(got, " "); s != ".datamesh-YOUNG.tmp kept new" || err != nil {
		t.Errorf("got %s, %v", s, err)
	}
	got, _ = walked(t, dir, Options{}) // which passes over what is being written
	if s := strings.Join(got, " "); s != ". sub sub/kept sub/new" {
		t.Errorf("walked %s", s)
	}
}

// What nobody has any permission on comes back as such, and what was written to in
// such a directory is no reason to open it.
func TestNoPermissionsComeBack(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("NOT TESTED: the permissions are those of Unix")
	}
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := errors.Join(os.Mkdir(there, 0o700), os.Chmod(there, 0)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(there, 0o700); os.Chmod(filepath.Join(dir, "d"), 0o700) })
	file := Entry{Path: "f", Size: 4, Mode: datamesh.NoPermissions, ModTime: then}
	closed := Entry{Path: "d", Type: Directory, Mode: datamesh.NoPermissions, ModTime: then}
	inside := Entry{Path: "there/f", Size: 4, Mode: 0o600, ModTime: then}
	w := create(t, dir)
	err := errors.Join(writeFile(w, file, "text"), w.Dir(closed), writeFile(w, Entry{Path: "d/f", Size: 4}, "text"), writeFile(w, inside, "text"), w.Close(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f", "d", "there"} {
		if fi, err := os.Lstat(filepath.Join(dir, name)); err != nil || fi.Mode().Perm() != 0 {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
	opened, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	w = create(t, dir)
	defer w.Close(nil)
	for _, e := range []Entry{file, closed} {
		if is, err := opened.Stat(e.Path); err != nil || is.Mode != datamesh.NoPermissions {
			t.Errorf("%s is %#o, %v", e.Path, is.Mode, err)
		}
		other := e
		if other.Mode = 0o600; !w.Same(e) || w.Same(other) {
			t.Errorf("%s: the same %v, with other permissions %v", e.Path, w.Same(e), w.Same(other))
		}
	}
}
