package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestEveryCommandAndFlagIsTried looks for each command, and each of its
// flags, in a line of a script or of a test.
func TestEveryCommandAndFlagIsTried(t *testing.T) {
	var tried [][]string // the words of each line
	for _, pattern := range []string{"testdata/*.txtar", "*_test.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if name == "tried_linux_test.go" {
				continue
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(b)) {
				tried = append(tried, strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n\"`'=,(){}[]+", r) }))
			}
		}
	}
	is := func(words ...string) bool {
		return slices.ContainsFunc(tried, func(line []string) bool {
			for _, w := range words {
				i := slices.Index(line, w)
				if i < 0 {
					return false
				}
				line = line[i+1:]
			}
			return true
		})
	}
	for _, cmd := range leaves() {
		path := strings.Fields(cmd.CommandPath())[1:]
		if !is(path...) {
			t.Errorf("no test types %q", cmd.CommandPath())
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !is(append(path, "--"+f.Name)...) && (f.Shorthand == "" || !is(append(path, "-"+f.Shorthand)...)) {
				t.Errorf("no test types %q with --%s", cmd.CommandPath(), f.Name)
			}
		})
	}
}
