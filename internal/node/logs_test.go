package node

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocsListEveryMessage compares what this package logs, and what package
// repair has it log, with docs/logs.md.
func TestDocsListEveryMessage(t *testing.T) {
	doc, err := os.ReadFile("../../docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range regexp.MustCompile(`(?m)^\| [A-Z, ]+ \| ([^|]+) \|`).FindAllSubmatch(doc, -1) {
		listed = append(listed, string(row[1]))
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	told, err := filepath.Glob("../repair/*.go") // which has this package log for it
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, told...)
	var logged []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && logs(call) {
				if lit, ok := call.Args[0].(*ast.BasicLit); ok {
					message, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					logged = append(logged, message)
				}
			}
			return true
		})
	}
	slices.Sort(listed)
	slices.Sort(logged)
	if diff := cmp.Diff(slices.Compact(logged), listed); diff != "" || len(listed) == 0 {
		t.Errorf("docs/logs.md (-logged +listed):\n%s", diff)
	}
}

// logs reports whether a call may write to the log, its message first.
func logs(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	return ok && len(call.Args) > 0 && slices.Contains([]string{"Debug", "Info", "Warn", "Error", "failed"}, f.Sel.Name)
}
