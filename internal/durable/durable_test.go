package durable_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

// tree returns the contents of the files in dir by name.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(b)
	}
	return got
}

func TestWriteFileMakesExactlyTheFile(t *testing.T) {
	for _, replace := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "a")
		if err := durable.WriteFile(path, 0o640, replace, text("whole")); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"a": "whole"}, tree(t, dir)); diff != "" {
			t.Errorf("replace %v: files (-want +got):\n%s", replace, diff)
		}
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm()&^0o640 != 0 {
			t.Errorf("replace %v: mode %v is wider than 0640", replace, fi.Mode())
		}
	}
}

func TestReplaceReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	for _, s := range []string{"old", "new"} {
		if err := durable.WriteFile(path, 0o600, true, text(s)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]string{"a": "new"}, tree(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestTakenNameIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	f, err := durable.Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := text("mine")(f); err != nil {
		t.Fatal(err)
	}
	// The name is taken after the file was begun.
	if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(false); !errors.Is(err, errs.Exists) || !errors.Is(err, fs.ErrExist) {
		t.Errorf("Commit: got %v, want Exists", err)
	}
	if diff := cmp.Diff(map[string]string{"a": "theirs"}, tree(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestOneOfManyWritersWinsTheName(t *testing.T) {
	dir := t.TempDir()
	var (
		wg   sync.WaitGroup
		wins atomic.Int32
		won  atomic.Value
	)
	for i := range 16 {
		wg.Go(func() {
			s := fmt.Sprint("writer ", i)
			switch err := durable.WriteFile(filepath.Join(dir, "a"), 0o600, false, text(s)); {
			case err == nil:
				wins.Add(1)
				won.Store(s)
			case !errors.Is(err, errs.Exists):
				t.Errorf("%s: got %v, want Exists", s, err)
			}
		})
	}
	wg.Wait()
	if n := wins.Load(); n != 1 {
		t.Fatalf("%d writers won, want 1", n)
	}
	if diff := cmp.Diff(map[string]string{"a": won.Load().(string)}, tree(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	broken := errors.New("the source broke")
	err := durable.WriteFile(filepath.Join(dir, "a"), 0o600, false, func(w io.Writer) error {
		if err := text("half")(w); err != nil {
			return err
		}
		return broken
	})
	if err != broken {
		t.Errorf("got %v, want the writer's own error", err)
	}
	if diff := cmp.Diff(map[string]string{}, tree(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestFailedRenameLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	// A file cannot replace a directory.
	if err := durable.WriteFile(filepath.Join(dir, "a"), 0o600, true, text("x")); err == nil {
		t.Error("got no error")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "a" {
		t.Errorf("got %v, %v, want the directory a alone", entries, err)
	}
}

func TestTimeIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	f, err := durable.Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	want := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, err := range []error{text("x")(f), f.SetTime(want), f.Commit(false)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if fi, err := os.Stat(path); err != nil || !fi.ModTime().Equal(want) {
		t.Errorf("got %v, %v, want %v", fi.ModTime(), err, want)
	}
}

func TestMissingDirectoryIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "a")
	err := durable.WriteFile(path, 0o600, true, text("x"))
	if want := "create " + path + ": no such file or directory"; err == nil || err.Error() != want || errs.KindOf(err) != errs.IO {
		t.Errorf("got %v (%v), want %q of kind IO", err, errs.KindOf(err), want)
	}
}

func TestMkdirAllMakesAllThatIsMissing(t *testing.T) {
	t.Chdir(t.TempDir())
	abs, err := filepath.Abs("x")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"a", "a/b/c", "a/b/c", "d/./e/../f", ".", filepath.Join(abs, "y")} {
		if err := durable.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(dir)
		if err != nil || !fi.IsDir() || dir != "." && fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: got %v, %v", dir, fi, err)
		}
	}
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"file", "file/a"} {
		if err := durable.MkdirAll(dir, 0o700); errs.KindOf(err) != errs.IO {
			t.Errorf("%s: got %v, want kind IO", dir, err)
		}
	}
}

// left returns the name of a temporary file that was left after some text.
func left(t *testing.T, path, text string, perm fs.FileMode) string {
	t.Helper()
	f, err := durable.Create(path, perm)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
	name := f.Temp()
	f.Leave()
	return name
}

func TestReopenGoesOnWithAFileThatIsReadOnly(t *testing.T) {
	asNobody(t, func(dir string) {
		path := filepath.Join(dir, "out")
		f, err := durable.Reopen(left(t, path, "one two", 0o444), path, 4)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, "three"); err != nil {
			t.Fatal(err)
		}
		if err := f.Commit(false); err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o444 {
			t.Errorf("%v, %v", fi.Mode(), err)
		}
		if got := tree(t, dir); got["out"] != "one three" || len(got) != 1 {
			t.Errorf("there is %q", got)
		}
	})
}

func TestReopenDoesNotFollowALink(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "out"), filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := left(t, path, "text", 0o600)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, name); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	if _, err := durable.Reopen(name, path, 1); errs.KindOf(err) != errs.IO {
		t.Errorf("reopen: %v", err)
	}
	if got := tree(t, dir); got["other"] != "mine" {
		t.Errorf("the other file has %q", got["other"])
	}
}

// Whoever may write to the directory can have put a name there of a file that
// the user may change and they may not.
func TestReopenTouchesNoFileWithAnotherName(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("what links there are is not told here")
	}
	for _, perm := range []fs.FileMode{0o600, 0o400} {
		dir := t.TempDir()
		path, other := filepath.Join(dir, "out"), filepath.Join(dir, "other")
		if err := os.WriteFile(other, []byte("mine"), perm); err != nil {
			t.Fatal(err)
		}
		name := left(t, path, "text", 0o600)
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(other, name); err != nil {
			t.Skip("no hard links here:", err)
		}
		_, err := durable.Reopen(name, path, 1)
		if errs.KindOf(err) != errs.IO || !strings.Contains(errs.HintFor(err), "rm "+name) {
			t.Errorf("reopen: %v, hint %q", err, errs.HintFor(err))
		}
		fi, err := os.Stat(other)
		if err != nil {
			t.Fatal(err)
		}
		if got := tree(t, dir); got["other"] != "mine" || fi.Mode() != perm {
			t.Errorf("the other file has %q, mode %v", got["other"], fi.Mode())
		}
	}
}

func TestSetTimeDoesNotFollowALink(t *testing.T) {
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(other)
	if err != nil {
		t.Fatal(err)
	}
	f, err := durable.Create(filepath.Join(dir, "out"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if err := os.Rename(f.Temp(), filepath.Join(dir, "moved")); err != nil {
		t.Skip("what is open cannot be moved here:", err)
	}
	if err := os.Symlink(other, f.Temp()); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	if err := f.SetTime(time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)); errs.KindOf(err) != errs.IO {
		t.Errorf("set the time: %v", err)
	}
	if after, err := os.Stat(other); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the other file is of %v, want %v; %v", after.ModTime(), before.ModTime(), err)
	}
}

// A crash is a file that was begun and has no end.
func TestTidyRemovesWhatCrashesHaveLeft(t *testing.T) {
	dir := t.TempDir()
	var temps []string
	for range 2 {
		f, err := durable.Create(filepath.Join(dir, "x"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		temps = append(temps, f.Temp())
		f.Leave()
	}
	other := filepath.Join(dir, "old")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Hour)
	for _, name := range []string{temps[0], other} {
		if err := os.Chtimes(name, before, before); err != nil {
			t.Fatal(err)
		}
	}
	durable.Tidy(dir)
	want := map[string]string{"old": "", filepath.Base(temps[1]): ""}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
