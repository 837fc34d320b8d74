package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHomeIsFlagThenEnvironmentThenXDG(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DATAMESH_HOME", filepath.Join(dir, "env"))
	for flag, want := range map[string]string{
		filepath.Join(dir, "flag"): filepath.Join(dir, "flag"),
		"":                         filepath.Join(dir, "env"),
	} {
		if got, err := FindHome(flag); string(got) != want || err != nil {
			t.Errorf("FindHome(%q) = %v, %v, want %v", flag, got, err, want)
		}
	}
	t.Setenv("DATAMESH_HOME", "")
	if got, err := FindHome(""); filepath.Base(string(got)) != "datamesh" || !filepath.IsAbs(string(got)) || err != nil {
		t.Errorf("FindHome: got %v, %v, want datamesh in the XDG data directory", got, err)
	}
	t.Chdir(dir)
	if got, err := FindHome("here"); !filepath.IsAbs(string(got)) || err != nil {
		t.Errorf("FindHome(here) = %v, %v, want an absolute path", got, err)
	}
}

func TestMakeIsPrivateAndRepeatable(t *testing.T) {
	home := Home(filepath.Join(t.TempDir(), "a", "b"))
	for range 2 {
		if err := home.Make(); err != nil {
			t.Fatal(err)
		}
	}
	fi, err := os.Stat(string(home))
	if err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v, want mode 0700", fi.Mode(), err)
	}
}

func TestSocketIsInTheHomeWhenItFits(t *testing.T) {
	if got, want := Home("/srv/mesh").Socket(), "/srv/mesh/run/api.sock"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSocketOfLongHomeIsShort(t *testing.T) {
	long := "/" + strings.Repeat("long/", 40)
	runtime := "/run/user/1000"
	for _, tt := range []struct{ runtime, tmp, prefix string }{
		{runtime, "/tmp", runtime + "/datamesh/"},
		{"", "/var/tmp", "/var/tmp/datamesh-"},
		{"relative", "/var/tmp", "/var/tmp/datamesh-"},
		{long, "/var/tmp", "/tmp/datamesh-"},
		{"", long, "/tmp/datamesh-"},
	} {
		t.Setenv("XDG_RUNTIME_DIR", tt.runtime)
		t.Setenv("TMPDIR", tt.tmp)
		a, b := Home(long+"a").Socket(), Home(long+"b").Socket()
		if len(a) > maxSocket || !strings.HasPrefix(a, tt.prefix) {
			t.Errorf("XDG_RUNTIME_DIR=%s TMPDIR=%s: got %s, want %s… of at most %d bytes", tt.runtime, tt.tmp, a, tt.prefix, maxSocket)
		}
		if a == b || a != Home(long+"a").Socket() {
			t.Errorf("sockets %s and %s: want one for each home, always the same", a, b)
		}
	}
}

func TestSocketIsTheSameByEveryPathToTheHome(t *testing.T) {
	dir := t.TempDir()
	home := Home(filepath.Join(dir, strings.Repeat("x", 120)))
	if err := home.Make(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{strings.Repeat("y", 120), "short"} {
		link := Home(filepath.Join(dir, name))
		if err := os.Symlink(string(home), string(link)); err != nil {
			t.Fatal(err)
		}
		if a, b := home.Socket(), link.Socket(); a != b {
			t.Errorf("got %s and %s", a, b)
		}
	}
}
