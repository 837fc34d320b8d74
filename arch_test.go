package datamesh_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "datamesh"

// levels has the packages from the bottom up: each may import only packages of
// a lower level. Every package stands here, so that to add one is a decision.
var levels = [][]string{
	{".", "internal/errs", "internal/linetest", "internal/step"},
	{"internal/durable", "internal/hash"},
	{"internal/config", "internal/crypt", "internal/durability", "internal/erasure", "internal/placement", "internal/tree"},
	{"internal/archive", "internal/compress", "internal/format", "internal/keyring", "internal/partial"},
	{"internal/cache", "internal/ring", "internal/store", "internal/storetest"},
	{"internal/mesh", "internal/scrub"},
	{"internal/measure", "internal/transfer"},
	{"internal/object", "internal/repair"},
	{"internal/catalog", "internal/metrics"},
	{"internal/node"},
	{"internal/api", "internal/backup", "internal/benchmark", "internal/mirror", "internal/sim"},
	{"cmd/bench", "cmd/datamesh"},
}

// levelOf returns the level of a package, or -1.
func levelOf(pkg string) int {
	return slices.IndexFunc(levels, func(level []string) bool { return slices.Contains(level, pkg) })
}

// owners has, for the beginning of an import path, the packages that may
// import it. Every third-party module is owned, so that to use one in another
// package, or to add one, is a decision. Tests are free.
var owners = map[string][]string{
	"database/sql": {"internal/backup", "internal/catalog", "internal/mirror", "internal/store"},
	"log/slog":     {"internal/config", "internal/node", "internal/api", "cmd/datamesh"},
	"net/http":     {"internal/api"},

	"datamesh/internal/config":    {"internal/node", "cmd/bench", "cmd/datamesh"},
	"datamesh/internal/linetest":  {"cmd/bench"}, // and tests
	"datamesh/internal/storetest": {},            // tests alone

	"filippo.io/age":                          {"internal/crypt"},
	"github.com/PlakarKorp/go-cdc-chunkers":   {"internal/backup"},
	"github.com/adrg/xdg":                     {"internal/config"},
	"github.com/bmatcuk/doublestar/":          {"internal/catalog"},
	"github.com/btcsuite/btcd/btcutil/bech32": {".", "internal/crypt", "internal/keyring"},
	"github.com/coreos/go-systemd/":           {"cmd/datamesh"},
	"github.com/fsnotify/fsnotify":            {"cmd/datamesh"},
	"github.com/fxamacker/cbor/":              {"internal/format"},
	"github.com/gabriel-vasile/mimetype":      {"internal/node"},
	"github.com/gofrs/flock":                  {"internal/backup", "internal/benchmark", "internal/mirror", "internal/object", "internal/partial", "internal/store"},
	"github.com/google/go-cmp/":               {"internal/storetest"},
	"github.com/ipfs/go-log/":                 {"internal/mesh"},
	"github.com/klauspost/compress/":          {"internal/compress"},
	"github.com/klauspost/reedsolomon":        {"internal/erasure"},
	"github.com/libp2p/":                      {"internal/mesh", "cmd/bench"},
	"github.com/maypok86/otter/":              {"internal/cache"},
	"github.com/mr-tron/base58":               {"."},
	"github.com/multiformats/":                {"internal/mesh"},
	"github.com/peterh/liner":                 {"cmd/datamesh"},
	"github.com/prometheus/":                  {"internal/metrics"},
	"github.com/pelletier/go-toml/":           {"internal/config"},
	"github.com/spf13/cobra":                  {"cmd/datamesh"},
	"github.com/spf13/pflag":                  {"cmd/datamesh"},
	"github.com/vbauerster/mpb/":              {"cmd/datamesh"},
	"github.com/zeebo/blake3":                 {"internal/hash"},
	"golang.org/x/crypto/scrypt":              {"internal/crypt"},
	"golang.org/x/sync/":                      {"internal/benchmark", "internal/mesh", "internal/object", "internal/repair", "internal/transfer", "cmd/bench"},
	"golang.org/x/sys/":                       {"internal/hash", "internal/store", "cmd/bench"},
	"golang.org/x/term":                       {"cmd/datamesh"},
	"golang.org/x/text/unicode/norm":          {"internal/tree"},
	"gonum.org/v1/plot":                       {"cmd/bench"},
	"lukechampine.com/blake3":                 {"internal/hash"},
	"modernc.org/sqlite":                      {"internal/backup", "internal/catalog", "internal/mirror", "internal/store"},
}

// A source is one parsed file of the module.
type source struct {
	name string // path from the root
	pkg  string // its directory
	*ast.File
}

func (s *source) isTest() bool { return strings.HasSuffix(s.name, "_test.go") }

// sources parses all Go files of the module, whatever system they are for.
func sources(t *testing.T) (all []source) {
	t.Helper()
	root := os.DirFS(".")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || len(name) > 1 && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{name, path.Dir(name), file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// imports calls check for each import of a file that is no test.
func imports(t *testing.T, check func(s source, path string)) {
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		for _, spec := range s.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			check(s, imported)
		}
	}
}

func TestPackagesImportOnlyLowerLevels(t *testing.T) {
	imports(t, func(s source, imported string) {
		rest, ours := strings.CutPrefix(imported+"/", module+"/")
		if !ours {
			return
		}
		dep := path.Clean(rest)
		if from, to := levelOf(s.pkg), levelOf(dep); from <= to {
			t.Errorf("%s: %s (level %d) imports %s (level %d)", s.name, s.pkg, from, dep, to)
		}
	})
}

func TestModulesAreUsedByTheirOwnersOnly(t *testing.T) {
	used := map[string]bool{}
	imports(t, func(s source, imported string) {
		owned := false
		for prefix, list := range owners {
			if !strings.HasPrefix(imported, prefix) {
				continue
			}
			owned, used[prefix] = true, true
			if !slices.Contains(list, s.pkg) {
				t.Errorf("%s: %s is for %v only", s.name, imported, list)
			}
		}
		first, _, _ := strings.Cut(imported, "/")
		if strings.Contains(first, ".") && !owned {
			t.Errorf("%s: %s has no owner", s.name, imported)
		}
	})
	for prefix, list := range owners {
		if len(list) > 0 && !used[prefix] {
			t.Errorf("%s is owned by %v and used by none", prefix, list)
		}
	}
}

func TestEveryPackageHasALevelAndOnePackageComment(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		if levelOf(s.pkg) < 0 {
			t.Errorf("%s: package %s has no level", s.name, s.pkg)
		}
		found := comments[s.pkg]
		if s.Doc != nil {
			found = append(found, s.name)
		}
		comments[s.pkg] = found
	}
	for pkg, files := range comments {
		if len(files) != 1 {
			t.Errorf("package %s has %d package comments, want 1: %v", pkg, len(files), files)
		}
	}
	for _, pkg := range slices.Concat(levels...) {
		if _, ok := comments[pkg]; !ok {
			t.Errorf("package %s has a level and does not exist", pkg)
		}
	}
}

// TestDirectDependenciesAreExplained compares go.mod with docs/dependencies.md.
func TestDirectDependenciesAreExplained(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	direct := regexp.MustCompile(`(?m)^(?:require |\t)([a-z][^ ]*\.[^ ]*) (v[^ \n]+)$`).FindAllSubmatch(mod, -1)
	if len(direct) == 0 {
		t.Fatal("no direct dependency found in go.mod")
	}
	for _, m := range direct {
		if row := fmt.Sprintf("| %s | %s |", m[1], m[2]); !strings.Contains(string(doc), row) {
			t.Errorf("docs/dependencies.md has no row that begins %q", row)
		}
	}
}

func TestNoTestSleeps(t *testing.T) {
	for _, s := range sources(t) {
		if !s.isTest() {
			continue
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" && isName(sel.X, "time") {
				t.Errorf("%s sleeps: wait for an event", s.name)
			}
			return true
		})
	}
}

// unfinished is how people mark what they mean to come back to.
var unfinished = regexp.MustCompile(`(?i)\b(TODO|FIXME|XXX|HACK)\b|not (yet )?implemented|unimplemented|\bfor now\b`)

func TestNothingIsLeftUnfinished(t *testing.T) {
	for _, s := range sources(t) {
		if s.name == "arch_test.go" {
			continue // it has the words themselves
		}
		for _, group := range s.Comments {
			if found := unfinished.FindString(group.Text()); found != "" {
				t.Errorf("%s: a comment says %q", s.name, found)
			}
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && isName(call.Fun, "panic") && len(call.Args) == 1 {
				if lit, ok := call.Args[0].(*ast.BasicLit); ok && unfinished.MatchString(lit.Value) {
					t.Errorf("%s: panic(%s)", s.name, lit.Value)
				}
			}
			return true
		})
	}
}

func isName(x ast.Expr, name string) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == name
}
