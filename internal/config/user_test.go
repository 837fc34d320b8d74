package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"datamesh/internal/errs"
)

// makes has the home have an identity of that name.
func makes(t *testing.T, home Home, name string) User {
	t.Helper()
	u, err := home.User(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Make(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(u.Identity(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestIdentitiesOfAHomeShareNoFile(t *testing.T) {
	home := Home(t.TempDir())
	used, err := home.Used()
	if err != nil || used != home.Default() || used.Identity() != filepath.Join(string(home), "identity") {
		t.Errorf("a home of before uses %+v, %v", used, err)
	}
	if names, err := home.Users(); err != nil || len(names) != 0 {
		t.Errorf("an empty home has %v, %v", names, err)
	}
	seen := map[string]bool{}
	for _, name := range []string{"work", DefaultUser, "a-b_9"} {
		u := makes(t, home, name)
		for _, path := range []string{u.Identity(), u.Catalog(), u.Puts()} {
			if seen[path] {
				t.Errorf("%s is of two", path)
			}
			seen[path] = true
		}
	}
	if names, err := home.Users(); err != nil || !slices.Equal(names, []string{DefaultUser, "a-b_9", "work"}) {
		t.Errorf("got %v, %v", names, err)
	}
}

func TestAnIdentityIsUsedUntilAnotherIs(t *testing.T) {
	home := Home(t.TempDir())
	if err := home.Use("work"); errs.KindOf(err) != errs.FileNotFound {
		t.Errorf("one that is not there: %v", err)
	}
	work := makes(t, home, "work")
	if err := home.Use("work"); err != nil {
		t.Fatal(err)
	}
	if got, err := home.Used(); err != nil || got != work {
		t.Errorf("got %+v, %v", got, err)
	}
	makes(t, home, DefaultUser)
	if err := home.Use(DefaultUser); err != nil {
		t.Fatal(err)
	}
	if got, err := home.Used(); err != nil || got != home.Default() {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, text := range []string{"", "work", usedMagic, usedMagic + "../..", usedMagic + strings.Repeat("x", 5000)} {
		if err := os.WriteFile(home.used(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := home.Used(); errs.KindOf(err) != errs.Configuration || got != (User{}) {
			t.Errorf("%.30q: got %+v, %v", text, got, err)
		}
	}
	if err := os.WriteFile(home.used(), []byte(usedMagic+"work\n"), 0o600); err != nil { // as version 1 has it
		t.Fatal(err)
	}
	if got, err := home.Used(); err != nil || got != work {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestNamesOfIdentitiesLeadNowhere(t *testing.T) {
	home := Home(t.TempDir())
	for _, name := range []string{"", ".", "..", "a/b", `a\b`, "a.b", "A", "ä", "a b", "used\n", strings.Repeat("a", 65)} {
		if _, err := home.User(name); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%q: got %v", name, err)
		}
		if _, err := home.Known(name); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%q: got %v", name, err)
		}
	}
}
