package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/node"
	"datamesh/internal/partial"
)

func TestStoredNamesNeverLeaveTheDirectory(t *testing.T) {
	for stored, want := range map[string]string{
		"photo.jpg":         "photo.jpg",
		"Zürich & co: 1?":   "Zürich & co: 1?",
		".profile":          ".profile",
		"a/b/c.txt":         "c.txt",
		"/etc/passwd":       "passwd",
		"../../etc/passwd":  "passwd",
		`..\..\system.ini`:  "system.ini",
		"common.txt":        "common.txt",
		"COM10":             "COM10",
		"-rf":               "-rf",
		"console":           "console",
		"a\u202etxt.exe":    "a\u202etxt.exe",
		"name with spaces ": "name with spaces ",
	} {
		if got, err := safeName(stored); got != want || err != nil {
			t.Errorf("safeName(%q) = %q, %v, want %q", stored, got, err, want)
		}
	}
	for _, stored := range []string{
		"", ".", "..", "...", ". .", "/", "a/", `a\`, "a/..", "../..", "a\x00b", "a\nb", "\x1b[2J", "a\u0085",
		"CON", "con", "nul.txt", "NUL .tar.gz", "AUX", "prn", "com1", "LPT9.x", "COM²", "CONIN$",
	} {
		if got, err := safeName(stored); !errors.Is(err, errs.Invalid) {
			t.Errorf("safeName(%q) = %q, %v, want Invalid", stored, got, err)
		}
	}
}

// fetch does with a target what a get does.
func fetch(t *testing.T, out *target, info node.ObjectInfo, content string) error {
	t.Helper()
	out.begin(config.Home(t.TempDir()), false)
	defer out.abort()
	w, err := out.open(info)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, content); err != nil {
		return err
	}
	return out.commit()
}

func TestTargetIsTheFileOrIsInTheDirectory(t *testing.T) {
	dir := t.TempDir()
	info := node.ObjectInfo{Name: "a/stored", Mode: 0o600, ModTime: time.Unix(1e9, 0)}
	for out, want := range map[string]string{
		filepath.Join(dir, "given"): filepath.Join(dir, "given"),
		dir:                         filepath.Join(dir, "stored"),
	} {
		target, err := newTarget("ref", out, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := fetch(t, target, info, "content"); err != nil {
			t.Fatal(err)
		}
		if target.path != want {
			t.Errorf("%s: wrote %s, want %s", out, target.path, want)
		}
		fi, err := os.Stat(want)
		if err != nil || fi.Mode().Perm() != 0o600 || !fi.ModTime().Equal(info.ModTime) {
			t.Errorf("%s: got %v, %v, want mode 0600 and the stored time", want, fi, err)
		}
	}
}

func TestTargetIsNeverOverwrittenWithoutForce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	content := func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	free, err := newTarget("ref", path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newTarget("ref", path, false); !errors.Is(err, errs.Exists) {
		t.Errorf("before the transfer: got %v, want Exists", err)
	}
	if err := fetch(t, free, node.ObjectInfo{}, "theirs"); !errors.Is(err, errs.Exists) || content() != "mine" {
		t.Errorf("made meanwhile: got %v and %q, want Exists and mine", err, content())
	}
	inside := &target{ref: "ref", dir: filepath.Dir(path)}
	if _, err := inside.open(node.ObjectInfo{Name: "f"}); !errors.Is(err, errs.Exists) {
		t.Errorf("by its stored name: got %v, want Exists", err)
	}
	forced, err := newTarget("ref", path, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := fetch(t, forced, node.ObjectInfo{}, "theirs"); err != nil || content() != "theirs" {
		t.Errorf("forced: got %v and %q, want theirs", err, content())
	}
}

func TestTargetIsNoDeviceAndHasADirectory(t *testing.T) {
	dir := t.TempDir()
	if _, err := newTarget("ref", os.DevNull, true); !errors.Is(err, errs.Exists) {
		t.Errorf("%s: got %v, want Exists", os.DevNull, err)
	}
	for _, out := range []string{filepath.Join(dir, "none", "f"), filepath.Join(dir, "none") + string(filepath.Separator)} {
		if _, err := newTarget("ref", out, true); !errors.Is(err, errs.FileNotFound) {
			t.Errorf("%s: got %v, want FileNotFound", out, err)
		}
	}
	if _, err := newTarget("ref", "", true); !errors.Is(err, errs.Invalid) {
		t.Errorf("empty: got %v, want Invalid", err)
	}
}

func TestAbortedTargetLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	out, err := newTarget("ref", filepath.Join(dir, "f"), false)
	if err != nil {
		t.Fatal(err)
	}
	out.begin(config.Home(t.TempDir()), false)
	w, err := out.open(node.ObjectInfo{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "half"); err != nil {
		t.Fatal(err)
	}
	out.abort()
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}

// A part goes on with no interrupted get of the whole, and that can still be gone on
// with.
func TestAPartLeavesAnInterruptedGetAlone(t *testing.T) {
	home, path := config.Home(t.TempDir()), filepath.Join(t.TempDir(), "out")
	begin := func(part bool) *target {
		out, err := newTarget("ref", path, true)
		if err != nil {
			t.Fatal(err)
		}
		out.begin(home, part)
		return out
	}
	info := node.ObjectInfo{ID: datamesh.ObjectID{1}, Size: 2 * partial.Worth, ModTime: time.Unix(1, 0)}
	whole := begin(false)
	w, err := whole.open(info)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("beginning")); err != nil || !whole.leave() {
		t.Fatalf("got %v, want a get that can be gone on with", err)
	}
	part := begin(true)
	defer part.abort()
	if part.before() != nil {
		t.Errorf("a part goes on with %+v", part.before())
	}
	info.From = 1000
	if w, err = part.open(info); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("part")); err != nil {
		t.Fatal(err)
	}
	if err := part.commit(); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if got, _ := os.ReadFile(path); err != nil || string(got) != "part" || fi.ModTime().Equal(info.ModTime) {
		t.Errorf("got %q of %v, %v", got, fi, err)
	}
	again := begin(false)
	defer again.abort()
	if b := again.before(); b == nil || b.ID != info.ID || b.From != int64(len("beginning")) {
		t.Errorf("the whole goes on with %+v", b)
	}
}
