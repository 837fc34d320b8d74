//go:build unix

package tree

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"datamesh/internal/errs"
)

func TestWalkReportsWhatItCannotRead(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, map[string]string{"a": "", "locked/x": "", "bad\xffname": "", "badrules/x": "", "badrules/" + IgnoreFile: "x", "rules/x": "", "rules/" + IgnoreFile + "/": "", "z": "",
		"large/secret": "", "large/" + IgnoreFile: "secret\n" + string(bytes.Repeat([]byte("#\n"), maxIgnore/2))})
	if err := errors.Join(syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600), syscall.Mkfifo(filepath.Join(dir, "badrules", "pipe"), 0o600),
		os.Chmod(filepath.Join(dir, "locked"), 0), os.Chmod(filepath.Join(dir, "badrules", IgnoreFile), 0)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "locked"), 0o700) })
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	got, failed := walked(t, dir, Options{Exclude: []string{"/badrules/pipe"}})
	want := ". a badrules large locked rules rules/.datameshignore rules/x z"
	kinds := map[string]errs.Kind{"bad\xffname": errs.Invalid, "large/" + IgnoreFile: errs.Invalid}
	if os.Getuid() == 0 {
		want = ". a badrules badrules/.datameshignore large locked locked/x rules rules/.datameshignore rules/x z"
		t.Log("NOT TESTED: root reads what nobody may")
	} else {
		kinds["locked"], kinds["badrules/"+IgnoreFile] = errs.IO, errs.IO
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got %s\nwant %s", s, want)
	}
	for path, kind := range kinds {
		if errs.KindOf(failed[path]) != kind {
			t.Errorf("%q: %v", path, failed[path])
		}
	}
	for _, path := range []string{"pipe", "socket"} {
		if !errors.Is(failed[path], ErrSpecial) {
			t.Errorf("%s: %v", path, failed[path])
		}
	}
	if len(failed) != len(kinds)+2 {
		t.Errorf("got %v", failed)
	}
}

// What took the place of a file that was met is not read for it: a pipe that
// nobody writes to least of all.
func TestAnotherFileIsNotReadInstead(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, map[string]string{"link": "", "pipe": "", "file": "", "gone": "", "other": "secret"})
	tree, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	kinds := map[string]errs.Kind{"link": errs.IO, "pipe": errs.IO, "file": errs.IO, "gone": errs.FileNotFound, "other": errs.Other}
	for e, err := range tree.Walk(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Path == "." {
			continue
		}
		full := filepath.Join(dir, e.Path)
		if e.Path != "other" {
			err = os.Remove(full)
		}
		switch e.Path {
		case "link":
			err = errors.Join(err, os.Symlink("other", full))
		case "pipe":
			err = errors.Join(err, syscall.Mkfifo(full, 0o600))
		case "file":
			err = errors.Join(err, os.Link(filepath.Join(dir, "other"), full))
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := tree.File(e)
		if errs.KindOf(err) != kinds[e.Path] {
			t.Errorf("%s: %v", e.Path, err)
		}
		if f != nil {
			f.Close()
		}
	}
}

// A directory that is swapped for a link is not left through it.
func TestWalkStaysInItsDirectory(t *testing.T) {
	top := t.TempDir()
	makeFiles(t, top, map[string]string{"outside/secret": "", "dir/a/x": "", "dir/b/x": ""})
	tree, err := Open(filepath.Join(top, "dir"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	for e, err := range tree.Walk(t.Context()) {
		if err == nil && (e.Path == "a" || e.Path == "b") {
			full := filepath.Join(top, "dir", e.Path)
			target := "../outside"
			if e.Path == "b" {
				target = "."
			}
			if err := errors.Join(os.Rename(full, full+".was"), os.Symlink(target, full)); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(e.Path, "secret") || err == nil && (strings.HasPrefix(e.Path, "a/") || strings.HasPrefix(e.Path, "b/")) {
			t.Errorf("%s was yielded, %v", e.Path, err)
		}
	}
}

// A link that a writer has left which died goes as files do.
func TestLinksThatAreLeftGo(t *testing.T) {
	dir := t.TempDir()
	left, recent := filepath.Join(dir, ".datamesh-left.tmp"), filepath.Join(dir, ".datamesh-recent.tmp")
	if err := errors.Join(os.Symlink("a", left), os.Symlink("a", recent)); err != nil {
		t.Fatal(err)
	}
	long := unix.NsecToTimespec(time.Now().Add(-2 * leftTime).UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, left, []unix.Timespec{long, long}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Fatal(err)
	}
	w, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Dir(Entry{Path: "d", Type: Directory}), w.Close(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Lstat(recent); err != nil {
		t.Errorf("one that may be in use: %v", err)
	}
}
