package tree

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// make makes files with content, by path; directories end with a slash.
func makeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		parent := filepath.Dir(full)
		if strings.HasSuffix(name, "/") {
			parent = full
		}
		if err := os.MkdirAll(parent, 0o755); err != nil {
			t.Fatal(err)
		}
		if parent != full {
			if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// walked returns the paths that a walk yields, in order, and its errors.
func walked(t testing.TB, dir string, o Options) (paths []string, failed map[string]error) {
	t.Helper()
	tree, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	failed = map[string]error{}
	for e, err := range tree.Walk(context.Background()) {
		if err != nil {
			failed[e.Path] = err
			continue
		}
		paths = append(paths, e.Path)
	}
	slices.Sort(paths)
	return paths, failed
}

// lines of ignore files, each of which is tried by itself, too.
var lines = []string{
	"a", "*.c", "/a", "b/", "/b/", "a/b", "a/*", "a/**", "**/c", "**/a/c", "a/**/c", "!a/b/c", "#a", `\#a`, `\!a`, "a ", `a\ `, "a\t",
	"[ab]", "[!a]", "[^a]", "[a-c]x", "[]a]", "[!]a]", "[a", "[[:alpha:]]", "[[:digit:]][[:upper:]]", "[[:bad:]]", "[a/]", "a[/]b", "a[!x]b",
	"[+-0]", "*", "!*.c", "?", "??", "a?b", "**", "***", "a**", "a/b/**", "/**/c", "/*/c", "*/c", "**b", "a**/c", `\*`, `\a`, `a\`, `[\]]`, `[\\]`,
	"b/**/", "a//c", "/", "//a", "!", "!!a", "", " ", "{a,b}", "a.c", "(a|b)", "a+", "^a$", "äöüß", "a/b/c/", "B", "[a-]x", "[-a]x", "[c-a]",
}

var ignorable = map[string]string{
	"a": "", "b/a": "", "b/c": "", "b/x/c": "", "b/x/y.c": "", "c": "", "d.c": "", "e/a/b/c": "", "e/a/c": "", "e/b": "", "#a": "", "!a": "",
	"a ": "", "]": "", "[a": "", "1A": "", "cx": "", "-x": "", "*": "", `\`: "", "{a,b}": "", "a+": "", "(a|b)": "", "^a$": "", "äöüß": "", "f/a/b/c/d": "", "f/a/x/y/c": "",
	"f/ab": "", "f/axb": "", "f/.c": "", "g/b/b": "", "g/a\tb": "", "+": "", "0": "", ".x": "",
}

// TestIgnoresAsGitDoes compares what is left out with what Git says, but for one
// thing: to Git a ? is a byte, and here a character.
func TestIgnoresAsGitDoes(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("NOT TESTED: there is no git to compare with")
	}
	run := func(in string, args ...string) string {
		cmd := exec.Command(git, args...)
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "HOME="+cmd.Dir)
		cmd.Stdin = strings.NewReader(in)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil && (cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1) {
			t.Fatalf("git %v: %v: %s", args, err, &stderr)
		}
		return string(out)
	}
	dir := t.TempDir()
	makeFiles(t, dir, ignorable)
	run("", "-C", dir, "init", "-q")
	exclude := filepath.Join(dir, ".git", "info", "exclude")
	all := func(skip func(string) bool) (names []string) {
		for name := range ignorable {
			if !skip(name) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	check := func(what string) {
		t.Helper()
		out := run(strings.Join(all(func(string) bool { return false }), "\x00"), "-C", dir, "check-ignore", "--no-index", "-z", "--stdin")
		ignored := strings.Split(out, "\x00")
		want := all(func(name string) bool { return slices.Contains(ignored, name) })
		paths, failed := walked(t, dir, Options{Exclude: []string{"/.git"}})
		got := slices.DeleteFunc(paths, func(p string) bool { _, file := ignorable[p]; return !file })
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || len(failed) > 0 {
			t.Errorf("%s: %v (-git +got):\n%s", what, failed, diff)
		}
	}
	// both gives a directory the same file twice, under the names that each of the two reads.
	both := func(in string, text string) {
		for _, name := range []string{".gitignore", IgnoreFile} {
			if err := os.WriteFile(filepath.Join(dir, in, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(exclude, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		both(".", line+"\n")
		check(line)
		both(".", "*\n!*/\n!"+line)
		check("all but " + line)
		both("e", "!a\n!c\nb")
		both("f", line)
		check("in two places " + line)
		both("e", "")
		both("f", "")
	}
	both(".", "\ufeffa\r\n# a remark\r\n\r\n*.c \r\n!d.c\n")
	check("of Windows")
	for i := range lines {
		both(".", strings.Join(lines[:i+1], "\n"))
		check("the first " + lines[i])
	}
}

func TestPatternsOfFlagsCountBeforeIgnoreFiles(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, map[string]string{"a.o": "", "b.o": "", "c": "", "d/e.o": "", "d/f": "", "d/g/h.txt": "", "i/j/": "", IgnoreFile: "a.o\nf\n"})
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, ". .datameshignore b.o c d d/e.o d/g d/g/h.txt i i/j"},
		{Options{Exclude: []string{"!a.o", "*.txt"}}, ". .datameshignore a.o b.o c d d/e.o d/g i i/j"},
		{Options{Exclude: []string{"/d"}}, ". .datameshignore b.o c i i/j"},
		{Options{Include: []string{"*.o"}}, ". b.o d d/e.o"},
		{Options{Include: []string{"*.txt", "j/"}}, ". d d/g d/g/h.txt i i/j"},
		{Options{Include: []string{"/d"}, Exclude: []string{"g"}}, ". d d/e.o"},
		{Options{Include: []string{"nothing"}}, ""},
	} {
		got, failed := walked(t, dir, c.o)
		if s := strings.Join(got, " "); s != c.want || len(failed) > 0 {
			t.Errorf("%+v: got %s, want %s; %v", c.o, s, c.want, failed)
		}
	}
	for _, bad := range []string{"", "[a", `a\`, "/", "!"} {
		if _, err := Open(dir, Options{Exclude: []string{bad}}); err == nil {
			t.Errorf("the pattern %q was taken", bad)
		}
	}
}
