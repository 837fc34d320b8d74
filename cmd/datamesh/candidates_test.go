package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConsoleOffersWhatAShellDoes(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("DATAMESH_HOME", filepath.Join(dir, "home"))
	for _, name := range []string{"one.txt", "sub/two words", "sub/.hidden", "übung"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	con := &console{cli: &cli{}}
	for _, tt := range []struct {
		line string
		head string
		list []string
	}{
		{"inf", "", []string{"info "}},
		{"datamesh inf", "datamesh ", []string{"info "}},
		{"q", "", []string{"quit "}},
		{"put ", "put ", []string{"one.txt", "sub/", "übung"}},
		{"put s", "put ", []string{"sub/"}},
		{"put sub/", "put ", []string{`sub/two\ words `}},
		{"put 'sub/two w", "put ", []string{`sub/two\ words `}},
		{"put sub/.", "put ", []string{"sub/.hidden "}},
		{"put ü", "put ", []string{"übung "}},
		{"put " + dir + "/o", "put ", []string{dir + "/one.txt "}},
		{"--home ", "--home ", []string{"sub/"}},
		{"--home=s", "", []string{"--home=sub/"}},
		{"put one.txt --cod", "put one.txt ", []string{"--code "}},
		{"put --code=10", "put ", []string{"--code=10+4 "}},
		{"keys ", "keys ", []string{"export", "import", "init", "list", "new", "passphrase", "rotate", "show", "succeed", "use", "verify"}},
		{"list ", "list ", nil},
		{"nonsense x", "nonsense ", nil},
	} {
		head, list, tail := con.complete(tt.line, len([]rune(tt.line)))
		if diff := cmp.Diff(tt.list, list); diff != "" || head != tt.head || tail != "" {
			t.Errorf("%q: %q … %q (-want +got):\n%s", tt.line, head, tail, diff)
		}
	}
	head, list, tail := con.complete("put ü --json", 5)
	if diff := cmp.Diff([]string{"übung"}, list); diff != "" || head != "put " || tail != " --json" {
		t.Errorf("in the middle: %q … %q (-want +got):\n%s", head, tail, diff)
	}
	if _, err := os.Stat(filepath.Join(dir, "home")); !os.IsNotExist(err) {
		t.Errorf("the home was made: %v", err)
	}
}
