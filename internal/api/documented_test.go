package api

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocsNameEachRequest finds in the specification what the server takes.
func TestDocsNameEachRequest(t *testing.T) {
	read := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	paths := map[string]string{}
	for _, m := range regexp.MustCompile(`(\w+Path) *= "([^"]+)"`).FindAllStringSubmatch(read("wire.go"), -1) {
		paths[m[1]] = m[2]
	}
	docs, requests := read("../../docs/protocol.md"), 0
	for _, m := range regexp.MustCompile(`mux.Handle\("(\w+) "\+(\w+),`).FindAllStringSubmatch(read("server.go"), -1) {
		requests++
		if row := "\n| `" + m[1] + " " + paths[m[2]] + "` |"; !strings.Contains(docs, row) {
			t.Errorf("docs/protocol.md has no row %q", row[1:])
		}
	}
	if requests < 40 {
		t.Errorf("the server takes %d requests: what they look like in its source has changed", requests)
	}
}
