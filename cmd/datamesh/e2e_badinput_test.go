//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"datamesh/internal/node"
)

// Bad input is refused in the same way whatever it is, to root and to an
// ordinary user: see refused. What scripts show is not repeated here: flags
// and their values (usage.txtar), stored names that lead elsewhere
// (alone.txtar), files that are no identity (identity.txtar), configurations
// of all kinds (config_file.txtar, e2e_config_test.go), files that change
// while they are read (TestSourceThatChangesIsNotStored) and clocks that are
// off (TestDoctorFindsAClockThatIsADayOff).

// A guest is a user of this machine, with a directory for homes and files.
type guest struct {
	mesh *mesh
	uid  int
	dir  string
	env  []string // beside that of the mesh
}

// guests runs a test as this user and as an ordinary one.
func guests(t *testing.T, test func(t *testing.T, g *guest)) {
	t.Helper()
	m := publicMesh(t)
	for name, uid := range map[string]int{"this user": os.Geteuid(), "ordinary user": nobodyID} {
		t.Run(name, func(t *testing.T) {
			if uid != os.Geteuid() && os.Geteuid() != 0 {
				t.Skip("NOT TESTED: that an ordinary user is refused as this one is needs root")
			}
			g := &guest{mesh: m, uid: uid, dir: filepath.Join(m.dir, strings.ReplaceAll(name, " ", "-"))}
			g.makes(t, g.dir)
			test(t, g)
		})
	}
}

// makes makes a directory that is the guest's.
func (g *guest) makes(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	g.owns(t, dir)
}

// writes makes a file that is the guest's and returns its path.
func (g *guest) writes(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(g.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	g.owns(t, path)
	return path
}

func (g *guest) owns(t *testing.T, path string) {
	t.Helper()
	if err := os.Chown(path, g.uid, g.uid); err != nil && g.uid != os.Geteuid() {
		t.Fatal(err)
	}
}

// command prepares a command as people type it, in the guest's directory.
func (g *guest) command(home string, args ...string) *exec.Cmd {
	cmd := exec.Command(g.mesh.exe, append([]string{"--home", filepath.Join(g.dir, home)}, args...)...)
	cmd.Dir = g.dir
	cmd.Env = append(g.mesh.env[:len(g.mesh.env):len(g.mesh.env)], g.env...)
	if g.uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(g.uid), Gid: uint32(g.uid)}}
	}
	return cmd
}

func (g *guest) run(t *testing.T, home string, args ...string) outcome {
	t.Helper()
	return start(t, g.command(home, args...)).wait(t)
}

// does runs a command that must succeed.
func (g *guest) does(t *testing.T, home string, args ...string) outcome {
	t.Helper()
	o := g.run(t, home, args...)
	if o.code != 0 {
		t.Fatalf("%.200q exited with %d: %.1000s", o.args, o.code, o.stderr)
	}
	return o
}

// kept is what is stored before anything goes wrong, and how it is called.
const kept = "what was stored before"

// keeps stores kept from a home.
func (g *guest) keeps(t *testing.T, home string) {
	t.Helper()
	cmd := g.command(home, "put", "-", "--name", "kept")
	cmd.Stdin = strings.NewReader(kept)
	if o := start(t, cmd).wait(t); o.code != 0 {
		t.Fatalf("put: exit status %d: %s", o.code, o.stderr)
	}
}

// readsKept checks that kept can still be read.
func (g *guest) readsKept(t *testing.T, home string) {
	t.Helper()
	if o := g.run(t, home, "get", "kept", "-"); o.code != 0 || string(o.stdout) != kept {
		t.Errorf("what was stored before: exit status %d, %q: %s", o.code, o.stdout, o.stderr)
	}
}

// A refusal is a command, and the exit status, the error and the hint that it
// must end with, as regular expressions.
type refusal struct {
	args       []string
	code       int
	says, hint string
}

// refused runs a command that must be refused: with one line that begins in
// lower case and says in plain words what is wrong, a hint, and nothing else.
func (g *guest) refused(t *testing.T, home string, r refusal) {
	t.Helper()
	checkRefused(t, g.run(t, home, r.args...), r)
}

// gos are the words of Go and of libraries, which tell people nothing.
var gos = regexp.MustCompile(`%!|goroutine |\bEOF\b|cbor|context (deadline|canceled)|strconv|json:|sql:|0x[0-9a-f]{6}|unmarshal|dial (tcp|unix)|errno|&\{|<nil>|\.tmp\b`)

func checkRefused(t *testing.T, o outcome, r refusal) {
	t.Helper()
	complain := func(what string) {
		t.Helper()
		t.Errorf("%.300q: %s: exit status %d, %.300q\n%.1500s", r.args, what, o.code, o.stdout, o.stderr)
	}
	if o.code != r.code || len(o.stdout) > 0 {
		complain("want a status of " + string(rune('0'+r.code/10)) + string(rune('0'+r.code%10)) + " and no output")
		return
	}
	var said []string
	for line := range strings.Lines(string(o.stderr)) {
		if !strings.HasPrefix(line, "notice: your identity was made") {
			said = append(said, strings.TrimSuffix(line, "\n"))
		}
	}
	if len(said) != 2 {
		complain("want an error and a hint")
		return
	}
	text, isError := strings.CutPrefix(said[0], "datamesh: ")
	hint, isHint := strings.CutPrefix(said[1], "hint: ")
	first, _ := utf8.DecodeRuneInString(text)
	switch {
	case !isError || !regexp.MustCompile(r.says).MatchString(text):
		complain("want the error " + r.says)
	case !isHint || !regexp.MustCompile(r.hint).MatchString(hint):
		complain("want the hint " + r.hint)
	case unicode.IsUpper(first) && !strings.HasPrefix(text, "DATAMESH_"):
		complain("want lower case")
	case gos.MatchString(text + hint):
		complain("these are Go's words: " + gos.FindString(text+hint))
	}
}

const stranger = "12D3KooWFA12p4eY7kF3VLeKJwwaRFFTDKNrvR9zyvNMyoYBbbYv"

func TestBadInputIsRefusedAndNothingIsLost(t *testing.T) {
	t.Parallel()
	const (
		id      = `checksum does not fit`
		copyID  = `^copy the id from "datamesh list"$`
		isPeer  = `^a peer is PEER_ID@ADDR; see both with "datamesh id"`
		oneCode = `^datamesh put file --code 4\+2$`
	)
	guests(t, func(t *testing.T, g *guest) {
		g.keeps(t, "home")
		g.writes(t, "file", []byte("content"))
		before := g.does(t, "home", "list", "--json").stdout
		for _, r := range []refusal{
			{[]string{"get", "dmobj1zzzz", "out"}, 2, id, copyID},
			{[]string{"info", "dmobj1zzzz"}, 2, id, copyID},
			{[]string{"get", "nothing", "out"}, 4, `^get nothing: `, `"datamesh list"`},
			{[]string{"transfers", "cancel", "nothing"}, 4, `no transfer nothing`, `"datamesh transfers"`},

			{[]string{"networks", "use", stranger + "@nonsense"}, 2, `"nonsense" is no address such as /ip4/`, isPeer},
			{[]string{"networks", "use", stranger + "@/ip4/1.2.3/tcp/1"}, 2, `"/ip4/1.2.3/tcp/1" is no address`, isPeer},
			{[]string{"networks", "add", "n", stranger}, 2, `is no peer$`, isPeer},
			{[]string{"networks", "add", "n", "me@/ip4/192.0.2.7/tcp/1"}, 2, `^peer "me@`, isPeer},
			{[]string{"networks", "use", "nowhere"}, 4, `^there is no network "nowhere"$`, `datamesh networks add nowhere PEER_ID@ADDR`},
			{[]string{"peers", "--bootstrap-peer", stranger, "--bootstrap-addr", "/ip4/x"}, 2, `^"/ip4/x" is not a multiaddr$`, `^an address is like /ip4/`},
			{[]string{"peers", "--bootstrap-peer", stranger, "--bootstrap-addr", "/ip4/127.0.0.1/tcp/1"}, 5, `/ip4/127.0.0.1/tcp/1: connection refused$`, `.`},
			{[]string{"config", "set", "mesh.bootstrap", "nowhere"}, 2, `mesh.bootstrap: there is no network "nowhere"$`, `datamesh networks`},

			{[]string{"config", "set", "store.capacity", "5X"}, 2, `"5X" is not a size such as 500G`, `store.capacity accepts a size`},
			{[]string{"config", "set", "store.capacity", "99999999999999999999"}, 2, `store.capacity cannot be`, `store.capacity accepts a size`},
			{[]string{"bandwidth", "--size", "5X"}, 2, `^--size: "5X" is not a size`, `^datamesh bandwidth --size 16M$`},
			{[]string{"bandwidth", "--size", "-1"}, 2, `^--size: "-1" is not a size`, `^datamesh bandwidth --size 16M$`},

			{[]string{"config", "set", "ring.probe", "5"}, 2, `"5" is not a duration such as 500ms`, `ring.probe accepts a duration`},
			{[]string{"config", "set", "ring.probe", "0s"}, 2, `^ring.probe cannot be "0s": it must be above 0$`, `ring.probe accepts a duration`},
			{[]string{"metrics", "--watch", "soon"}, 2, `^--watch: "soon" is no number of seconds$`, `^datamesh metrics --watch 5$`},

			{[]string{"put", "no-such-file"}, 4, `^there is no file no-such-file$`, `.`},
			{[]string{"put", "."}, 2, `^\. is a directory$`, `datamesh put -r \.`},

			{[]string{"put", "file", "--code", "0+2"}, 2, `^the code 0\+2 has no data shard`, oneCode},
			{[]string{"put", "file", "--code", "200+100"}, 2, `^the code 200\+100 has 300 shards; at most 256`, oneCode},
			{[]string{"put", "file", "--code", "4+x"}, 2, `^"4\+x" is not a code such as 4\+2$`, oneCode},
			{[]string{"config", "set", "put.code", "0+2"}, 2, `no data shard`, `put.code accepts k\+m`},
			{[]string{"config", "set", "put.code", "200+100"}, 2, `300 shards`, `put.code accepts k\+m`},
			{[]string{"config", "set", "put.code", "4+x"}, 2, `not a code`, `put.code accepts k\+m`},

			{[]string{"put", "file", "--to", "age1xxx"}, 2, `recipient age1xxx… is mistyped`, `datamesh id`},
			{[]string{"put", "file", "--to", "me"}, 2, `that is not a recipient`, `datamesh id`},
			{[]string{"put", "file", "--name", strings.Repeat("n", 4097)}, 2, `^a name is at most 4096 bytes of UTF-8$`, `--name NAME`},
			{[]string{"put", "file", "--name", "caf\xe9"}, 2, `^a name is at most 4096 bytes of UTF-8$`, `--name NAME`},
			{[]string{"get", "caf\xe9", "out"}, 4, `no object`, `datamesh list`},
			{[]string{"get", strings.Repeat("n", 4097), "out"}, 4, `no object`, `datamesh list`},

			{[]string{"get", "kept", "/proc/nothing/out"}, 4, `no directory /proc/nothing`, `mkdir -p`},
			{[]string{"get", "kept", "/proc/out"}, 1, `/proc/out: `, `read and written`},
			{[]string{"keys", "export", "/proc/out"}, 1, `/proc/out: `, `read and written`},
		} {
			g.refused(t, "home", r)
		}
		if g.uid != 0 {
			g.writes(t, "secret", []byte("content"))
			if err := os.Chmod(filepath.Join(g.dir, "secret"), 0); err != nil {
				t.Fatal(err)
			}
			g.refused(t, "home", refusal{[]string{"put", "secret"}, 1, `secret: permission denied$`, `can be read`})
			g.refused(t, "home", refusal{[]string{"keys", "import", "secret"}, 1, `secret: permission denied$`, `can be read`})

			g.makes(t, filepath.Join(g.dir, "unwritable"))
			if err := os.Chmod(filepath.Join(g.dir, "unwritable"), 0o500); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"list"}, {"put", "file"}, {"keys", "import", "file"}, {"id"}, {"service"}} {
				g.refused(t, "unwritable", refusal{args, 1, `^home .*/unwritable: this user may not write there$`, `^give another with --home DIR or DATAMESH_HOME$`})
			}
		}
		for variable, says := range map[string]string{"DATAMESH_PUT_CODE=0+2": `no data shard`, "DATAMESH_STORE_CAPACITY=5X": `not a size`,
			"DATAMESH_PUT_GRACE=5": `not a duration`, "DATAMESH_MESH_PORT=70000": `not a port`, "DATAMESH_NOTHING=1": `DATAMESH_NOTHING`} {
			name, _, _ := strings.Cut(variable, "=")
			bad := *g
			bad.env = []string{variable}
			bad.refused(t, "home", refusal{[]string{"put", "file"}, 10, says, name + `|DATAMESH_HOME`})
		}
		g.refused(t, "file", refusal{[]string{"list"}, 1, `file: not a directory$`, `--home DIR`})
		g.refused(t, "file", refusal{[]string{"put", "file"}, 1, `file: not a directory$`, `--home DIR`})

		if diff := cmp.Diff(string(before), string(g.does(t, "home", "list", "--json").stdout)); diff != "" {
			t.Errorf("the catalog (-before +after):\n%s", diff)
		}
		g.readsKept(t, "home")
	})
}

// Whatever an object is called, it is kept under that name and comes back by
// it, and a get without OUT writes a plain file here or nothing.
func TestStrangeNamesAreKeptAndLeadNowhere(t *testing.T) {
	t.Parallel()
	guests(t, func(t *testing.T, g *guest) {
		content := []byte("content")
		for name, file := range map[string]string{ // "": a get needs OUT
			strings.Repeat("n", 4096):           "",
			strings.Repeat("d/", 2000) + "leaf": "leaf",
			strings.Repeat("é", 2048):           "",
			"../../etc/passwd":                  "passwd",
			"/etc/passwd ":                      "passwd ",
			`..\..\windows`:                     "windows",
			"..":                                "",
			"a/..":                              "",
			"a\nb":                              "",
			"red\x1b[31m":                       "",
			"tab\t":                             "",
			"NUL":                               "",
			"com1.txt":                          "",
			"two words":                         "two words",
			"-":                                 "-",
			"-rf":                               "-rf",
			"\u202egnp.exe":                     "\u202egnp.exe", // which only a terminal must not obey
		} {
			put := g.command("home", "put", "-", "--json", "--name", name)
			put.Stdin = bytes.NewReader(content)
			stored := result[node.Stored](t, start(t, put).wait(t))
			if stored.Name != name {
				t.Errorf("%.50q is stored as %.50q", name, stored.Name)
			}
			if o := g.does(t, "home", "get", "--", name, "-"); !bytes.Equal(o.stdout, content) {
				t.Errorf("%.50q: got %q", name, o.stdout)
			}
			here := filepath.Join(g.dir, "here")
			g.makes(t, here)
			get := g.command("home", "get", "--", name)
			get.Dir = here
			o := start(t, get).wait(t)
			want := map[string]string{}
			if file != "" {
				want[file] = string(content)
				if o.code != 0 {
					t.Errorf("%.50q: exit status %d: %.300s", name, o.code, o.stderr)
				}
			} else {
				checkRefused(t, o, refusal{get.Args, 2, `the stored name `, `^say where to write it: datamesh get (dmobj1\w+|` + regexp.QuoteMeta(quoteWord(name)) + `) OUT$`})
			}
			if diff := cmp.Diff(want, (&user{mesh: g.mesh, home: here}).files(t)); diff != "" {
				t.Errorf("%.50q (-want +got):\n%s", name, diff)
			}
			if bytes.ContainsAny(o.stderr, "\x1b\t\u202e") || bytes.ContainsAny(o.stdout, "\x1b\t\u202e") {
				t.Errorf("%.50q is told to a terminal as it is: %q", name, o.stderr)
			}
			if err := os.RemoveAll(here); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(filepath.Join(g.dir, "passwd")); err == nil {
				t.Errorf("%.50q has led to another directory", name)
			}
		}
		var list node.List
		if err := json.Unmarshal(g.does(t, "home", "list", "--json").stdout, &list); err != nil || len(list.Objects) != 17 {
			t.Errorf("list: %d objects, %v", len(list.Objects), err)
		}
	})
}
