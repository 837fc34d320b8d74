// The pages are those of the program for Linux: elsewhere there is no systemd,
// and no commands for it.

package main

import (
	"bytes"
	"encoding"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"datamesh/internal/api"
	"datamesh/internal/backup"
	"datamesh/internal/benchmark"
	"datamesh/internal/config"
	"datamesh/internal/node"
)

// What the documents say of commands, exit codes and JSON is made of the
// program itself. With -update the tests write it:
//
//	go test ./cmd/datamesh -run Documented -update
var update = flag.Bool("update", false, "write docs/commands.md, docs/exit-codes.md and docs/json.md anew")

// documents has, for every command, the result that it prints with --json, or
// nil for one that prints none. A flag is named with which it is another.
var documents = map[string]any{
	"datamesh audit":             node.Audited{},
	"datamesh backup":            backup.Result{},
	"datamesh backups":           backup.List{},
	"datamesh bandwidth":         node.Bandwidth{},
	"datamesh benchmark":         benchmark.Result{},
	"datamesh bootstrap":         ready{},
	"datamesh cleanup":           node.Cleaned{},
	"datamesh completion":        nil,
	"datamesh copy":              node.Copied{},
	"datamesh contact add":       node.Contact{},
	"datamesh contact list":      node.Contacts{},
	"datamesh contact remove":    node.Contact{},
	"datamesh config get":        config.Setting{},
	"datamesh config init":       made{},
	"datamesh config set":        changed{},
	"datamesh config show":       allSettings{},
	"datamesh config unset":      changed{},
	"datamesh config validate":   validated{},
	"datamesh demo":              demoReport{},
	"datamesh discover":          node.Discovered{},
	"datamesh doctor":            node.Diagnosis{},
	"datamesh export":            archived{},
	"datamesh generate docs":     generated{},
	"datamesh generate man":      generated{},
	"datamesh get":               node.Fetched{},
	"datamesh get, of a tree":    batch{},
	"datamesh health":            node.Health{},
	"datamesh id":                node.Identity{},
	"datamesh import":            batch{},
	"datamesh inbox":             node.Inbox{},
	"datamesh info":              node.Info{},
	"datamesh interactive":       nil,
	"datamesh keys export":       exported{},
	"datamesh keys import":       node.Identity{},
	"datamesh keys init":         phraseShown{},
	"datamesh keys list":         identities{},
	"datamesh keys new":          identityMade{},
	"datamesh keys passphrase":   passphraseSet{},
	"datamesh keys rotate":       node.Rotated{},
	"datamesh keys show":         identityShown{},
	"datamesh keys succeed":      node.Succeeded{},
	"datamesh keys use":          identityUsed{},
	"datamesh keys verify":       phraseVerified{},
	"datamesh recover":           node.Recovered{},
	"datamesh list":              node.List{},
	"datamesh list --deleted":    node.DeletedObjects{},
	"datamesh list --shared":     node.Shares{},
	"datamesh metrics":           node.Metrics{},
	"datamesh metrics --watch":   look{},
	"datamesh networks":          networkList{},
	"datamesh networks add":      networkDoc{},
	"datamesh networks remove":   removed{},
	"datamesh networks test":     tested{},
	"datamesh networks use":      joined{},
	"datamesh paths":             paths{},
	"datamesh peers":             node.Peers{},
	"datamesh pin":               node.Pinned{},
	"datamesh put":               node.Stored{},
	"datamesh put --dry-run":     node.Planned{},
	"datamesh put --recursive":   batch{},
	"datamesh receipts":          node.Receipts{},
	"datamesh recent":            node.List{},
	"datamesh rename":            node.Renamed{},
	"datamesh repair":            node.Repaired{},
	"datamesh restore":           backup.Restored{},
	"datamesh rm":                node.Removed{},
	"datamesh rm --recursive":    manyDone{},
	"datamesh scrub":             node.Scrubbed{},
	"datamesh search":            node.List{},
	"datamesh service":           ready{},
	"datamesh service install":   installed{},
	"datamesh service logs":      nil,
	"datamesh service status":    serviceState{},
	"datamesh service uninstall": uninstalled{},
	"datamesh share":             node.Share{},
	"datamesh share, of a DIR/":  manyDone{},
	"datamesh simulate":          simulated{},
	"datamesh stats":             node.Stats{},
	"datamesh sync":              synced{},
	"datamesh tag":               node.Tagged{},
	"datamesh transfers":         node.Transfers{},
	"datamesh transfers cancel":  cancelled{},
	"datamesh undelete":          node.Undeleted{},
	"datamesh unpin":             node.Pinned{},
	"datamesh unshare":           node.Unshared{},
	"datamesh version":           versions{},
	"datamesh versions":          node.Versions{},
}

// notAsked are the documents that no command is asked for here: of those that
// run until they are stopped, of what was interrupted, of what changes the
// machine, and of those that take several members. Other tests have them.
var notAsked = []string{"datamesh audit", "datamesh bootstrap", "datamesh demo", "datamesh metrics --watch", "datamesh service",
	"datamesh service uninstall", "datamesh transfers cancel"}

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
		if _, only := cmd.Annotations[onlyHelps]; !only {
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
	b.WriteString("# Commands\n\nThis page is made from the program: `go test ./cmd/datamesh -run Documented -update`. What each prints with `--json` is in\n[json.md](json.md), how it ends in [exit-codes.md](exit-codes.md). The commands below `service` are there on Linux only: they need\nsystemd.\n\n")
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
		} else if f.Type.Kind() == reflect.Pointer {
			kind += ", or null"
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
	case reflect.Map:
		kind, _ := kindOf(t.Elem())
		return "object of " + kind + "s", nil
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
	b.WriteString("# JSON\n\nWith `--json` a command prints one document, on one line. Sizes are bytes, times RFC 3339 in UTC, arrays are never null. The fields on\nthis page are those of the program: `go test ./cmd/datamesh -run Documented -update` adds what is new, and fails until its meaning is\nwritten here. The commands below `service` are there on Linux only.\n\n")
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
	left := maps.Clone(documents)
	for _, cmd := range leaves() {
		path := cmd.CommandPath()
		if _, ok := documents[path]; !ok {
			t.Errorf("%s has no entry in documents", path)
		}
		for _, name := range slices.Sorted(maps.Keys(documents)) {
			of, flag, _ := strings.Cut(name, " --")
			of, _, _ = strings.Cut(of, ", of a ")
			if of != path || flag != "" && cmd.Flag(flag) == nil {
				continue
			}
			delete(left, name)
			if document := documents[name]; document != nil {
				section(name, document)
			}
		}
	}
	for name := range left {
		t.Errorf("documents has %s, which does not exist", name)
	}
	section(errorTitle, api.Problem{})
	matches(t, "docs/json.md", strings.TrimRight(b.String(), "\n")+"\n")
}

// TestDocumentedJSONIsWhatCommandsPrint runs commands, in a home and beside a
// node, and takes no field that their document has not, nor misses one.
func TestDocumentedJSONIsWhatCommandsPrint(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "tree"), 0o700), os.WriteFile(filepath.Join(dir, "tree", "x"), []byte("content"), 0o600)); err != nil {
		t.Fatal(err)
	}
	service, began := serving(t, command(t, filepath.Join(dir, "node"), "bootstrap", "--port", "0"))
	defer end(t, service)
	door := began.PeerID.String() + "@" + nearestAddr(began.Addrs)

	printed(t, filepath.Join(dir, "node"), []string{"inbox"}) // which publishes a card
	friend := printed(t, filepath.Join(dir, "node"), []string{"id"}).(map[string]any)["address"].(string)

	asked := map[string]bool{}
	for _, x := range []struct {
		in   string
		args []string
	}{
		{home, []string{"paths"}},
		{home, []string{"config", "init"}},
		{home, []string{"config", "set", "put.grace", "2s"}},
		{home, []string{"config", "get", "put.grace"}},
		{home, []string{"config", "unset", "put.grace"}},
		{home, []string{"config", "show"}},
		{home, []string{"config", "validate"}},
		{home, []string{"put", "--dry-run", file}},
		{home, []string{"put", file, "--tags", "a"}},
		{home, []string{"put", "--recursive", filepath.Join(dir, "tree")}},
		{home, []string{"get", "tree", filepath.Join(dir, "back")}},
		{home, []string{"export", "tree", "-o", filepath.Join(dir, "tree.tar")}},
		{home, []string{"import", filepath.Join(dir, "tree.tar"), "--name", "imported"}},
		{home, []string{"sync", filepath.Join(dir, "tree")}},
		{home, []string{"list"}},
		{home, []string{"copy", "tree/", "DIR/"}},
		{home, []string{"rm", "--recursive", "imported"}},
		{home, []string{"copy", "file", "copied"}},
		{home, []string{"rm", "copied"}},
		{home, []string{"rename", "file", "renamed"}},
		{home, []string{"rename", "renamed", "file"}},
		{home, []string{"tag", "file", "--add", "b"}},
		{home, []string{"pin", "file"}},
		{home, []string{"recent"}},
		{home, []string{"search", "fil"}},
		{home, []string{"versions", "file"}},
		{home, []string{"unpin", "file"}},
		{home, []string{"info", "file"}},
		{home, []string{"receipts", "file"}},
		{home, []string{"get", "file", file + ".copy", "--dry-run"}},
		{home, []string{"get", "file", file + ".copy"}},
		{home, []string{"get", "file", file + ".part", "--offset", "1", "--length", "2"}},
		{home, []string{"transfers"}},
		{home, []string{"health"}},
		{home, []string{"rm", "file"}},
		{home, []string{"list", "--deleted"}},
		{home, []string{"undelete", "file"}},
		{home, []string{"cleanup"}},
		{home, []string{"cleanup", "--undo"}},
		{home, []string{"backup", dir, "--name", "all", "--exclude", "node"}},
		{home, []string{"backups", "all", "--sweep"}},
		{home, []string{"restore", "all", filepath.Join(dir, "restored")}},
		{home, []string{"benchmark", "--size", "1K", "--count", "2"}},
		{home, []string{"stats"}},
		{home, []string{"id"}},
		{home, []string{"version"}},
		{home, []string{"keys", "init", "--phrase-file", file + ".words"}},
		{home, []string{"keys", "verify", "--phrase-file", file + ".words"}},
		{filepath.Join(dir, "words"), []string{"keys", "init"}},
		{home, []string{"keys", "passphrase", "--remove"}},
		{home, []string{"keys", "new", "another"}},
		{home, []string{"keys", "use", "default"}},
		{home, []string{"keys", "list"}},
		{home, []string{"keys", "show"}},
		{home, []string{"keys", "rotate"}},
		{home, []string{"keys", "export", file + ".key"}},
		{home, []string{"keys", "import", file + ".key"}},
		{home, []string{"doctor"}},
		{home, []string{"simulate", "--years", "100"}},
		{home, []string{"generate", "man", filepath.Join(dir, "man")}},
		{home, []string{"generate", "docs", filepath.Join(dir, "docs")}},
		{home, []string{"service", "install", "--system=false", "--dry-run"}},
		{home, []string{"service", "status", "--system=false"}},
		{home, []string{"networks", "test", "local:1"}},
		{filepath.Join(dir, "node"), []string{"metrics"}},
		{filepath.Join(dir, "node"), []string{"scrub"}},
		{filepath.Join(dir, "node"), []string{"repair"}},
		{filepath.Join(dir, "node"), []string{"service", "status", "--system=false"}},
		{filepath.Join(dir, "user"), []string{"networks", "add", "here", door}},
		{filepath.Join(dir, "user"), []string{"networks", "test", "here"}},
		{filepath.Join(dir, "user"), []string{"networks", "use", "here"}},
		{filepath.Join(dir, "user"), []string{"networks"}},
		{filepath.Join(dir, "user"), []string{"config", "unset", "mesh.bootstrap"}},
		{filepath.Join(dir, "user"), []string{"networks", "remove", "here"}},
		{filepath.Join(dir, "user"), []string{"peers"}},
		{filepath.Join(dir, "user"), []string{"keys", "init", "--phrase-file", file + ".user"}},
		{filepath.Join(dir, "user"), []string{"put", file}},
		{filepath.Join(dir, "user"), []string{"recover", "--phrase-file", file + ".user"}},
		{filepath.Join(dir, "user"), []string{"contact", "add", "friend", friend}},
		{filepath.Join(dir, "user"), []string{"contact", "list"}},
		{filepath.Join(dir, "user"), []string{"share", "file", "--to", "friend", "--expires", "1h"}},
		{filepath.Join(dir, "user"), []string{"put", "--recursive", filepath.Join(dir, "tree"), "--name", "DIR"}},
		{filepath.Join(dir, "user"), []string{"share", "DIR/", "--to", "friend"}},
		{filepath.Join(dir, "user"), []string{"list", "--shared"}},
		{filepath.Join(dir, "user"), []string{"inbox"}},
		{filepath.Join(dir, "user"), []string{"unshare", "file", "--from", "friend"}},
		{filepath.Join(dir, "user"), []string{"unshare", "DIR/x", "--from", "friend"}},
		{filepath.Join(dir, "user"), []string{"contact", "remove", "friend"}},
		{filepath.Join(dir, "user"), []string{"keys", "new", "next"}},
		{filepath.Join(dir, "user"), []string{"keys", "succeed", "next", "--yes"}},
		{filepath.Join(dir, "user"), []string{"discover"}},
		{filepath.Join(dir, "user"), []string{"bandwidth", "--size", "1K"}},
	} {
		cmd, _, err := described().Find(x.args)
		if err != nil {
			t.Fatal(err)
		}
		name := cmd.CommandPath()
		for _, arg := range x.args {
			for _, link := range []string{" ", ", of a "} {
				if _, another := documents[name+link+arg]; another {
					name += link + arg
				}
			}
		}
		asked[name] = true
		kinds := map[string]string{}
		for _, f := range fieldsOf(reflect.TypeOf(documents[name]), "") {
			kinds[f.name] = f.kind
		}
		for _, wrong := range undocumented(kinds, "", printed(t, x.in, x.args)) {
			t.Errorf("%v: %s", x.args, wrong)
		}
	}
	for name, document := range documents {
		if document != nil && asked[name] == slices.Contains(notAsked, name) {
			t.Errorf("%s: it is asked for: %v; in notAsked: %v", name, asked[name], !asked[name])
		}
	}
}

// undocumented returns what is wrong with a value below a prefix, by the kinds
// of all fields.
func undocumented(kinds map[string]string, prefix string, value any) (wrong []string) {
	object, ok := value.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s is %T, and no object", prefix, value)}
	}
	for key, v := range object {
		name := prefix + key
		kind, ok := kinds[name]
		kind, _, _ = strings.Cut(kind, ", or absent")
		element, isArray := strings.CutPrefix(kind, "array of ")
		elements, hasElements := v.([]any)
		switch {
		case !ok:
			wrong = append(wrong, name+" is not documented")
		case isArray != hasElements:
			wrong = append(wrong, fmt.Sprintf("%s is %T, and documented as %s", name, v, kind))
		case isArray:
			for _, v := range elements {
				if element == "objects" {
					wrong = append(wrong, undocumented(kinds, name+"[].", v)...)
				} else if !is(strings.TrimSuffix(element, "s"), v) {
					wrong = append(wrong, fmt.Sprintf("%s has %T, and is documented as %s", name, v, kind))
				}
			}
		case v == nil && strings.HasSuffix(kind, ", or null"):
		case strings.HasPrefix(kind, "object") && !strings.HasPrefix(kind, "object of"):
			wrong = append(wrong, undocumented(kinds, name+".", v)...)
		case !is(strings.TrimSuffix(kind, ", or null"), v):
			wrong = append(wrong, fmt.Sprintf("%s is %T, and documented as %s", name, v, kind))
		}
	}
	for name, kind := range kinds {
		key, below := strings.CutPrefix(name, prefix)
		if _, there := object[key]; below && !there && !strings.ContainsAny(key, ".[") && !strings.HasSuffix(kind, "absent") {
			wrong = append(wrong, name+" is missing")
		}
	}
	return wrong
}

// is reports whether a value that was decoded from JSON is of a kind.
func is(kind string, v any) bool {
	switch v.(type) {
	case string:
		return kind == "string" || kind == "time"
	case float64:
		return kind == "number" || kind == "integer"
	case bool:
		return kind == "boolean"
	case map[string]any:
		return strings.HasPrefix(kind, "object of ")
	}
	return false
}
