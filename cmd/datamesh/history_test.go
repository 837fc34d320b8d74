package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHistoryIsBoundedAndPrivate(t *testing.T) {
	h := &history{path: filepath.Join(t.TempDir(), "history")}
	var old strings.Builder
	for i := range 3 * maxHistory {
		fmt.Fprintf(&old, "put %d\n", i)
	}
	if err := os.WriteFile(h.path, []byte(old.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	h.add("list")
	if err := h.save(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(h.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) != 1000 || lines[0] != "put 2001" || lines[999] != "list" {
		t.Errorf("%d lines, %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
	fi, err := os.Stat(h.path)
	if err != nil || fi.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("%v, %v, want mode 0600", fi.Mode(), err)
	}
}

func TestHistoryKeepsWhatIsWorthIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	one, other := &history{path: path}, &history{path: path}
	for line, want := range map[string]bool{
		"": false, " put secret": false, "\tput secret": false, "put \x1b[2J": false, "put \xff\n": false,
		strings.Repeat("x", maxHistoryLine+1): false,
	} {
		if got := one.add(line); got != want {
			t.Errorf("add(%.20q) = %v, want %v", line, got, want)
		}
	}
	for _, h := range []*history{one, other} { // two consoles at once
		if !h.add("put übung.txt") || h.add("put übung.txt") {
			t.Error("a line is kept once")
		}
		if err := h.save(); err != nil {
			t.Fatal(err)
		}
	}
	one.add("list")
	if err := one.save(); err != nil {
		t.Fatal(err)
	}
	got, err := other.load()
	if diff := cmp.Diff([]string{"put übung.txt", "put übung.txt", "list"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestHistoryWaitsForTheHome(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	h := &history{path: filepath.Join(home, "history")}
	h.add("version")
	if err := h.save(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(home); !os.IsNotExist(err) {
		t.Fatalf("the home was made: %v", err)
	}
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	h.add("id")
	if err := h.save(); err != nil {
		t.Fatal(err)
	}
	got, err := h.load()
	if diff := cmp.Diff([]string{"version", "id"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestLinksAreNotKeptInAHistory(t *testing.T) {
	for _, line := range []string{"get datamesh:dmobj1x#dmkey1x out", "get 'datamesh:dmobj1x#dmkey1x'", "unshare a --link datamesh:dmobj1x#dmkey1x"} {
		if keeps(line) {
			t.Errorf("%q is kept", line)
		}
	}
	if !keeps("unshare a --link dmobj1x") {
		t.Error("a line without a secret is not kept")
	}
}
