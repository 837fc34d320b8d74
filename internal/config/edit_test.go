package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"datamesh/internal/errs"
)

func TestEditsKeepAllElse(t *testing.T) {
	for _, tt := range []struct{ name, before, key, value, after string }{
		{"the value alone", "# mine\n[mesh] # net\n  port=1   # five\nmdns = true\n", "mesh.port", "5",
			"# mine\n[mesh] # net\n  port=5   # five\nmdns = true\n"},
		{"a list of several lines", "mesh.listen = [\n \"::\", # all\n] # so\n", "mesh.listen", "127.0.0.1, ::1",
			"mesh.listen = [\"127.0.0.1\", \"::1\"] # so\n"},
		{"within braces", "mesh = { port = 1, mdns = true }\n", "mesh.port", "5", "mesh = { port = 5, mdns = true }\n"},
		{"below the commented default", "[ring]\n# the probe\n# probe = \"5s\"\n\n[put]\n#grace = 1\n", "ring.probe", "1s",
			"[ring]\n# the probe\n# probe = \"5s\"\nprobe = \"1s\"\n\n[put]\n#grace = 1\n"},
		{"not below that of another section", "[ring]\n[put]\n# probe = \"5s\"\n", "ring.probe", "1s",
			"[ring]\nprobe = \"1s\"\n[put]\n# probe = \"5s\"\n"},
		{"after the last of its section", "[mesh]\nport = 1\n\n# next\n[put]\n", "mesh.mdns", "true",
			"[mesh]\nport = 1\nmdns = true\n\n# next\n[put]\n"},
		{"beside dotted keys", "mesh.port = 1\n[put]\n", "mesh.mdns", "true", "mesh.port = 1\nmesh.mdns = true\n[put]\n"},
		{"a new section", "[put]\ngrace = \"1s\"", "mesh.mdns", "true", "[put]\ngrace = \"1s\"\n\n[mesh]\nmdns = true\n"},
		{"a new file", "", "mesh.mdns", "true", "[mesh]\nmdns = true\n"},
		{"with the line ends of DOS", "[mesh]\r\nport = 1\r\n", "mesh.mdns", "true", "[mesh]\r\nport = 1\r\nmdns = true\r\n"},
		{"a new section with them", "[put]\r\n", "mesh.mdns", "true", "[put]\r\n\r\n[mesh]\r\nmdns = true\r\n"},
		{"a canonical number", "", "mesh.port", "0040", "[mesh]\nport = 40\n"},
		{"a size as it was given", "", "store.capacity", "500GB", "[store]\ncapacity = \"500GB\"\n"},
		{"with quotes", "", "member.site", `a"b\c`, "[member]\nsite = \"a\\\"b\\\\c\"\n"},
		{"no element", "mesh.bootstrap = [\"local\"]\n", "mesh.bootstrap", "", "mesh.bootstrap = []\n"},
	} {
		f := readText(t, tt.before)
		if err := f.Set(tt.key, tt.value); err != nil || string(f.Bytes()) != tt.after {
			t.Errorf("%s: got %v\n%s\nwant\n%s", tt.name, err, f.Bytes(), tt.after)
		}
	}
}

func TestUnsetRemovesItsLinesAlone(t *testing.T) {
	for _, tt := range []struct{ before, after string }{
		{"# mine\n[mesh]\n# port = 0\nport = 1 # five\nmdns = true\n", "# mine\n[mesh]\n# port = 0\nmdns = true\n"},
		{"[mesh]\nport =\t1", "[mesh]\n"},
		{"mesh.port = 1\r\nmesh.mdns = true\r\n", "mesh.mdns = true\r\n"},
		{"[mesh]\n# port = 0\n", "[mesh]\n# port = 0\n"},
		{"", ""},
	} {
		f := readText(t, tt.before)
		if err := f.Unset("mesh.port"); err != nil || string(f.Bytes()) != tt.after {
			t.Errorf("%q: got %q, %v, want %q", tt.before, f.Bytes(), err, tt.after)
		}
	}
}

func TestEditsThatAreRefusedChangeNothing(t *testing.T) {
	network := "[networks]\nhome = [\"" + testPeer + "\"]\n"
	for _, tt := range []struct {
		name, file    string
		edit          func(*File) error
		kind          errs.Kind
		message, hint string
	}{
		{"unknown key", "", func(f *File) error { return f.Set("mesh.prot", "1") }, errs.Invalid, "there is no setting", "mesh.port"},
		{"unknown key", "", func(f *File) error { return f.Unset("mesh.prot") }, errs.Invalid, "there is no setting", "mesh.port"},
		{"version", "", func(f *File) error { return f.Set("version", "1") }, errs.Invalid, "there is no setting", ""},
		{"bad value", "", func(f *File) error { return f.Set("mesh.port", "x") }, errs.Invalid, `mesh.port cannot be "x"`, "mesh.port accepts a port"},
		{"unknown network", "", func(f *File) error { return f.Set("mesh.bootstrap", "home") }, errs.Invalid, "no network", "networks add home"},
		{"no room", "", func(f *File) error { return f.Set("store.capacity", "1M") }, errs.Invalid, "no room", ""},
		{"new key in braces", "mesh = { mdns = true }\n", func(f *File) error { return f.Set("mesh.port", "1") }, errs.Invalid, "config.toml:1: ", "by hand"},
		{"key in braces", "mesh = { port = 1 }\n", func(f *File) error { return f.Unset("mesh.port") }, errs.Invalid, "config.toml:1: ", "by hand"},
		{"network there", network, func(f *File) error { return f.AddNetwork("home", []string{testPeer}) }, errs.Exists, "exists", "networks remove home"},
		{"built-in network", network, func(f *File) error { return f.AddNetwork("local", []string{testPeer}) }, errs.Invalid, "built in", "another name"},
		{"bad name", network, func(f *File) error { return f.AddNetwork("a.b", []string{testPeer}) }, errs.Invalid, "no name", "letters"},
		{"bad peer", network, func(f *File) error { return f.AddNetwork("work", []string{"me"}) }, errs.Invalid, "no peer", "PEER_ID@ADDR"},
		{"no such network", network, func(f *File) error { return f.RemoveNetwork("hom") }, errs.FileNotFound, "no network", "did you mean home?"},
		{"built-in network", network, func(f *File) error { return f.RemoveNetwork("local") }, errs.Invalid, "built in", ""},
		{"a peer", network, func(f *File) error { return f.RemoveNetwork(testPeer) }, errs.Invalid, "a peer", ""},
		{"used network", "mesh.bootstrap = [\"home\"]\n" + network, func(f *File) error { return f.RemoveNetwork("home") }, errs.Invalid, "mesh.bootstrap", "config unset mesh.bootstrap"},
	} {
		f := readText(t, tt.file)
		wants(t, tt.name, tt.edit(f), tt.kind, tt.message, tt.hint)
		if string(f.Bytes()) != tt.file {
			t.Errorf("%s: got %q", tt.name, f.Bytes())
		}
	}
}

func TestNetworksAreAddedAndRemoved(t *testing.T) {
	f := readText(t, Example())
	before := string(f.Bytes())
	if err := f.AddNetwork("home", []string{testPeer, testPeer}); err != nil {
		t.Fatal(err)
	}
	c, err := f.Config()
	if err != nil || len(c.Networks) != 1 || len(c.Networks[0].Peers) != 2 || c.Networks[0].Peers[0].String() != testPeer {
		t.Errorf("got %v, %v", c.Networks, err)
	}
	if err := f.RemoveNetwork("home"); err != nil || string(f.Bytes()) != before {
		t.Errorf("%v: add and remove leave\n%s", err, f.Bytes())
	}
}

func TestSaveKeepsModeAndLinks(t *testing.T) {
	h := testHome(t, "[mesh]\nport = 1\n")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(h.Config(), link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.Config(), 0o666); err != nil { // beyond the umask
		t.Fatal(err)
	}
	f, err := ReadFile(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Set("mesh.port", "2"); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Lstat(link); err != nil || fi.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is %v, %v", fi.Mode(), err)
	}
	fi, err := os.Lstat(h.Config())
	if err != nil || fi.Mode() != 0o666 {
		t.Errorf("the file is %v, %v", fi.Mode(), err)
	}
	if b, _ := os.ReadFile(h.Config()); string(b) != "[mesh]\nport = 2\n" {
		t.Errorf("the file has %q", b)
	}
	if err := f.Set("mesh.port", "3"); err != nil || f.Save() != nil {
		t.Errorf("a second edit: %v", err)
	}
	if names, _ := filepath.Glob(filepath.Join(string(h), ".*")); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestNewFilesArePrivate(t *testing.T) {
	h := Home(filepath.Join(t.TempDir(), "a", "b"))
	f, err := ReadFile(h.Config())
	if err != nil || f.Exists() {
		t.Fatalf("%v, %v", f, err)
	}
	if err := f.Init(); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(h.Config())
	if err != nil || fi.Mode() != 0o600 {
		t.Errorf("the file is %v, %v", fi.Mode(), err)
	}
	wants(t, "init again", f.Init(), errs.Exists, "exists", "config set KEY VALUE")
}

func TestSaveRefusesWhatChangedMeanwhile(t *testing.T) {
	for name, tt := range map[string]struct {
		before string
		change func(path string) error
	}{
		"edited":  {"[mesh]\nport = 1\n", func(path string) error { return os.WriteFile(path, []byte("[mesh]\nport = 7\n"), 0o600) }},
		"removed": {"[mesh]\nport = 1\n", os.Remove},
		"made":    {"", func(path string) error { return os.WriteFile(path, nil, 0o600) }},
	} {
		f := readText(t, tt.before)
		if err := f.Set("mesh.port", "2"); err != nil {
			t.Fatal(err)
		}
		if err := tt.change(f.Path()); err != nil {
			t.Fatal(err)
		}
		theirs, _ := os.ReadFile(f.Path())
		wants(t, name, f.Save(), errs.Locked, "changed it meanwhile", "try again")
		if b, _ := os.ReadFile(f.Path()); string(b) != string(theirs) {
			t.Errorf("%s: the file has %q, want %q", name, b, theirs)
		}
	}
}

// FuzzSet edits whatever makes sense: the new value is read back, and neither
// another setting nor a comment is lost.
func FuzzSet(f *testing.F) {
	for _, s := range everySetting {
		f.Add(Example(), s.key, s.env)
		f.Add("# c\n"+s.key+" = "+s.file+" # d\r\n[networks]\nhome = [\""+testPeer+"\"]", "mesh.bootstrap", "home")
	}
	for _, b := range badFiles {
		if len(b.file) < 1000 {
			f.Add(b.file, "mesh.port", "5")
		}
	}
	f.Add("mesh = {\n port = 1, # c\n}\n", "mesh.mdns", "true")
	f.Add("[member]\nsite = \"\"\"# port = 1\n\"\"\"\n", "mesh.port", "1")
	f.Fuzz(func(t *testing.T, text, key, value string) {
		file := &File{path: "config.toml", data: []byte(text)}
		before, bad := file.Config()
		if err := file.Set(key, value); err != nil {
			if string(file.data) != text {
				t.Errorf("refused (%v), and changed to %q", err, file.data)
			}
			if kind := errs.KindOf(err); kind != errs.Invalid && kind != errs.Configuration {
				t.Errorf("%v is of kind %s", err, kind.Name())
			}
			return
		}
		after, err := file.Config()
		if err != nil || !utf8.Valid(file.data) {
			t.Fatalf("it makes no sense any more: %v\n%q", err, file.data)
		}
		scratch := Default()
		s, err := scratch.setting(key)
		if err != nil || s.set(value) != nil {
			t.Fatalf("%q was accepted for %q", value, key)
		}
		for _, got := range after.Settings() {
			want := s.get()
			if got.Key != key {
				if bad != nil {
					continue // it was mended
				}
				old, _ := before.Setting(got.Key)
				want = old.Value
			}
			if got.Value != want {
				t.Errorf("%s is %q, want %q\n%q", got.Key, got.Value, want, file.data)
			}
		}
		if was, is := commentsOf(t, []byte(text)), commentsOf(t, file.data); !slices.Equal(was, is) {
			t.Errorf("comments were %q, are %q", was, is)
		}
		if !strings.Contains(text, "\r\n") && strings.Contains(string(file.data), "\r\n") {
			t.Errorf("a line end of DOS in %q", file.data)
		}
	})
}

// commentsOf returns the comments that have a line of their own.
func commentsOf(t *testing.T, b []byte) (all []string) {
	d, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range d.comments {
		all = append(all, string(b[c.start:c.end]))
	}
	return all
}
