package main

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"datamesh/internal/api"
	"datamesh/internal/node"
)

// What the documents say of commands, exit codes and JSON is made of the
// program itself. With -update the tests write it:
//
//	go test ./cmd/datamesh -run Documented -update
var update = flag.Bool("update", false, "write docs/commands.md, docs/exit-codes.md and docs/json.md anew")

// documents has, for every command, the result that it prints with --json, or
// nil for one that prints none.
var documents = map[string]any{
	"datamesh bootstrap":     ready{},
	"datamesh completion":    nil,
	"datamesh demo":          demoReport{},
	"datamesh generate docs": generated{},
	"datamesh generate man":  generated{},
	"datamesh get":           node.Fetched{},
	"datamesh id":            node.Identity{},
	"datamesh info":          node.Info{},
	"datamesh interactive":   nil,
	"datamesh keys export":   exported{},
	"datamesh keys import":   node.Identity{},
	"datamesh list":          node.List{},
	"datamesh peers":         node.Peers{},
	"datamesh put":           node.Stored{},
	"datamesh service":       ready{},
	"datamesh stats":         node.Stats{},
	"datamesh version":       versions{},
}

// an error's document comes from no command in particular.
const errorTitle = "Errors"

// described returns the root command as users see it.
func described() *cobra.Command {
	c := &cli{out: io.Discard, err: io.Discard}
	root := c.root()
	root.InitDefaultHelpCmd()
	return root
}

// leaves returns the commands that do something.
func leaves() (all []*cobra.Command) {
	for _, cmd := range commands(described()) {
		if !cmd.HasSubCommands() {
			all = append(all, cmd)
		}
	}
	return all
}

func fromRoot(name string) string { return filepath.Join("..", "..", name) }

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(fromRoot(name))
	if err != nil && !(*update && os.IsNotExist(err)) {
		t.Fatal(err)
	}
	return string(b)
}

// matches compares a document with what it should be, or writes it.
func matches(t *testing.T, name, want string) {
	t.Helper()
	got := read(t, name)
	if *update && got != want {
		if err := os.WriteFile(fromRoot(name), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s is not what the program says: go test ./cmd/datamesh -run Documented -update (-want +got):\n%s", name, diff)
	}
}

func TestCommandsAreDocumented(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("# Commands\n\nThis page is made from the program: `go test ./cmd/datamesh -run Documented -update`. What each prints with `--json` is in\n[json.md](json.md), how it ends in [exit-codes.md](exit-codes.md).\n\n")
	anchor := func(page string) string { return "#" + strings.ReplaceAll(strings.TrimSuffix(page, ".md"), "_", "-") }
	for _, cmd := range commands(described()) {
		if err := doc.GenMarkdownCustom(cmd, &b, anchor); err != nil {
			t.Fatal(err)
		}
		if len(cmd.Aliases) > 0 {
			fmt.Fprintf(&b, "### Aliases\n\n`%s`\n\n", strings.Join(cmd.Aliases, "`, `"))
		}
	}
	matches(t, "docs/commands.md", strings.TrimRight(b.String(), "\n")+"\n")
}

func TestExitCodesAreDocumented(t *testing.T) {
	var page, table strings.Builder
	page.WriteString("# Exit codes\n\nThis page is made from the program: `go test ./cmd/datamesh -run Documented -update`. The kind of an error is in the document\nthat it prints with `--json`; see [json.md](json.md#errors).\n\n| exit status | meaning | kinds of errors |\n|---|---|---|\n")
	counted := 0
	for _, e := range exitCodes {
		kinds := kindsOf(e.code)
		counted += len(kinds)
		fmt.Fprintf(&page, "| %d | %s | %s |\n", e.code, e.meaning, strings.Join(kinds, ", "))
		fmt.Fprintf(&table, "| %d | %s |\n", e.code, e.meaning)
	}
	if counted == 0 || counted != len(kindsOfAll()) {
		t.Errorf("%d kinds end with a status that is known, want %d", counted, len(kindsOfAll()))
	}
	matches(t, "docs/exit-codes.md", page.String())
	if readme := read(t, "README.md"); !strings.Contains(readme, "| exit status | meaning |\n|---|---|\n"+table.String()+"\n") {
		t.Errorf("README.md has not this table:\n%s", &table)
	}
}

func kindsOfAll() (all []string) {
	for code := range 256 {
		all = append(all, kindsOf(code)...)
	}
	return all
}

// TestCommandsAreDocumentedInREADME checks that its table has each command, and
// none that does not exist.
func TestCommandsAreDocumentedInREADME(t *testing.T) {
	_, table, found := strings.Cut(read(t, "README.md"), "| command | what it does |\n|---|---|\n")
	table, _, ended := strings.Cut(table, "\n\n")
	if !found || !ended {
		t.Fatal("README.md has no table of commands")
	}
	root := described()
	named := map[string]bool{}
	for line := range strings.SplitSeq(table, "\n") {
		first := strings.Split(strings.ReplaceAll(line, `\|`, "/"), "|")[1]
		for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(first, -1) {
			words := strings.Fields(code[1])
			cmd, _, err := root.Find(words)
			if err != nil || cmd == root {
				t.Errorf("README.md names %q, which does not exist", code[1])
				continue
			}
			named[cmd.CommandPath()] = true
			for _, name := range regexp.MustCompile(`--[a-z-]+`).FindAllString(code[1], -1) {
				if cmd.Flag(strings.TrimPrefix(name, "--")) == nil {
					t.Errorf("README.md says that %s has %s", cmd.CommandPath(), name)
				}
			}
		}
	}
	for _, cmd := range leaves() {
		if !named[cmd.CommandPath()] {
			t.Errorf("README.md has no row for %s", cmd.CommandPath())
		}
	}
}

// A field is a row of docs/json.md.
type field struct{ name, kind string }

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	timeType      = reflect.TypeFor[time.Time]()
)

// fieldsOf returns the fields of a document, those of what it contains behind
// what contains them.
func fieldsOf(t reflect.Type, prefix string) (all []field) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		kind, below := kindOf(f.Type)
		if options != "" {
			kind += ", or absent"
		}
		name = prefix + name
		all = append(all, field{name, kind})
		if below != nil {
			if strings.HasPrefix(kind, "array") {
				name += "[]"
			}
			all = append(all, fieldsOf(below, name+".")...)
		}
	}
	return all
}

// kindOf says what a type is in JSON, and which fields lie below it.
func kindOf(t reflect.Type) (kind string, below reflect.Type) {
	switch {
	case t == timeType:
		return "time", nil
	case t.Implements(textMarshaler):
		return "string", nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.Slice:
		kind, below := kindOf(t.Elem())
		return "array of " + kind + "s", below
	case reflect.Struct:
		return "object", t
	case reflect.Bool:
		return "boolean", nil
	case reflect.Float64:
		return "number", nil
	case reflect.String:
		return "string", nil
	}
	return "integer", nil
}

// meanings returns what the document says already, by section and field.
func meanings(text string) map[string]string {
	said := map[string]string{}
	section := ""
	for line := range strings.SplitSeq(text, "\n") {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = title
		}
		if cells := strings.Split(line, " | "); len(cells) == 3 && strings.HasPrefix(line, "| `") {
			said[section+strings.TrimPrefix(cells[0], "| ")] = strings.TrimSuffix(cells[2], " |")
		}
	}
	return said
}

func TestJSONIsDocumented(t *testing.T) {
	said := meanings(read(t, "docs/json.md"))
	var b strings.Builder
	b.WriteString("# JSON\n\nWith `--json` a command prints one document, on one line. Sizes are bytes, times RFC 3339 in UTC, arrays are never null. The fields on\nthis page are those of the program: `go test ./cmd/datamesh -run Documented -update` adds what is new, and fails until its meaning is\nwritten here.\n\n")
	section := func(title string, document any) {
		fmt.Fprintf(&b, "## %s\n\n| field | type | meaning |\n|---|---|---|\n", title)
		for _, f := range fieldsOf(reflect.TypeOf(document), "") {
			meaning := said[title+"`"+f.name+"`"]
			if meaning == "" {
				t.Errorf("docs/json.md: %s: say what %s means", title, f.name)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.name, f.kind, meaning)
		}
		b.WriteString("\n")
	}
	left := map[string]bool{}
	for name := range documents {
		left[name] = true
	}
	for _, cmd := range leaves() {
		document, ok := documents[cmd.CommandPath()]
		if !ok {
			t.Errorf("%s has no entry in documents", cmd.CommandPath())
		}
		delete(left, cmd.CommandPath())
		if document != nil {
			section(cmd.CommandPath(), document)
		}
	}
	for name := range left {
		t.Errorf("documents has %s, which does not exist", name)
	}
	section(errorTitle, api.Problem{})
	matches(t, "docs/json.md", strings.TrimRight(b.String(), "\n")+"\n")
}

// TestDocumentedJSONIsWhatCommandsPrint runs commands and takes no field that
// their document has not, nor misses one.
func TestDocumentedJSONIsWhatCommandsPrint(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"put", file, "--tags", "a"}, {"list"}, {"info", "file"}, {"get", "file", file + ".copy"}, {"peers"}, {"stats"},
		{"id"}, {"version"}, {"keys", "export", file + ".key"}, {"keys", "import", file + ".key"},
		{"generate", "man", filepath.Join(t.TempDir(), "man")},
	} {
		cmd, _, err := described().Find(args)
		if err != nil {
			t.Fatal(err)
		}
		var raw json.RawMessage
		ask(t, command(t, home, args...), &raw)
		document := reflect.New(reflect.TypeOf(documents[cmd.CommandPath()]))
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(document.Interface()); err != nil {
			t.Errorf("%s: %v in %s", cmd.CommandPath(), err, raw)
		}
		var printed map[string]json.RawMessage
		if err := json.Unmarshal(raw, &printed); err != nil {
			t.Fatal(err)
		}
		for _, f := range fieldsOf(document.Type().Elem(), "") {
			if _, ok := printed[f.name]; !ok && !strings.Contains(f.name, ".") && !strings.HasSuffix(f.kind, "absent") {
				t.Errorf("%s: no %s in %s", cmd.CommandPath(), f.name, raw)
			}
		}
	}
}
