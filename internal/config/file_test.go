package config

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"datamesh/internal/errs"
)

// badFiles are files that are refused, and what is said of them.
var badFiles = []struct{ name, file, message, hint string }{
	{"truncated in a string", "[store]\ncapacity = \"50", "config.toml:2: ", ""},
	{"truncated in a list", "[mesh]\nlisten = [\"::\",\n", "config.toml:2: ", ""},
	{"truncated in a header", "[mesh]\nport = 1\n[sto", "config.toml:3: ", ""},
	{"corrupt", "[mesh]\nport = 1\n\x00\x01\x02", "config.toml:3: ", ""},
	{"another program's", "{\"mesh\": {\"port\": 1}}", "config.toml:1: ", ""},
	{"no UTF-8", "[mesh]\n# caf\xe9\nport = 1\n", "config.toml:2: it is not UTF-8", ""},
	{"a key twice", "[mesh]\nport = 1\nport = 2\n", "config.toml:3: ", ""},
	{"unknown key", "[ring]\nprob = \"1s\"\n", "config.toml:2: there is no setting ring.prob", "did you mean ring.probe?"},
	{"unknown key at the top", "verson = 1\n", "config.toml:1: there is no setting verson", "did you mean version?"},
	{"unknown section", "\n[rings]\nprobe = \"1s\"\n", "config.toml:2: there is no section [rings]", "did you mean [ring]?"},
	{"unknown section, empty", "[stor]\n", "config.toml:1: there is no section [stor]", "did you mean [store]?"},
	{"unknown section, dotted", "rings.probe = \"1s\"\n", "config.toml:1: there is no section [rings]", "did you mean [ring]?"},
	{"section of a section", "[mesh.more]\nport = 1\n", "config.toml:1: there is no section [mesh.more]", "did you mean [mesh]?"},
	{"list of sections", "[[mesh]]\nport = 1\n", "config.toml:1: [[mesh]] is a list of sections", "write [mesh]"},
	{"string for a number", "[mesh]\nport = \"40871\"\n", `config.toml:2: mesh.port is "40871": it is not a whole number`, "write it like port = 0"},
	{"number for a duration", "[ring]\nprobe = 5\n", "config.toml:2: ring.probe is 5: it is not a string in quotes", `write it like probe = "5s"`},
	{"string for a list", "[mesh]\nlisten = \"::\"\n", `config.toml:2: mesh.listen is "::": it is not a list of strings`, `listen = ["0.0.0.0", "::"]`},
	{"list of numbers", "[mesh]\nlisten = [1]\n", "config.toml:2: mesh.listen is [1]", ""},
	{"number for true or false", "[mesh]\nmdns = 1\n", "config.toml:2: mesh.mdns is 1: it is not true or false", ""},
	{"braces for a number", "[mesh]\nport = {}\n", "config.toml:2: mesh.port is {}", ""},
	{"a value that makes no sense", "[put]\ncode = \"0+2\"\n", `config.toml:2: put.code is "0+2"`, "put.code accepts k+m"},
	{"a port too high", "mesh.port = 65536\n", "config.toml:1: mesh.port is 65536", ""},
	{"settings that do not fit", "[store]\ncapacity = \"1M\"\n", "config.toml:2: a capacity of 1.0 MiB leaves no room", "store.reserve"},
	{"newer", "version = 2\nall = \"is different\"\n", "config.toml:1: it is of version 2; this program knows version 1", "newer"},
	{"no version", "version = \"1\"\n", `config.toml:1: it is of version "1"`, ""},
	{"network without peers", "[networks]\nhome = []\n", "config.toml:2: network home: ", "PEER_ID@ADDR"},
	{"network of a string", "[networks]\nhome = \"x\"\n", "config.toml:2: network home: ", `write it like home = ["PEER_ID@ADDR"]`},
	{"network of no peers", "[networks]\nhome = [\"me\"]\n", `config.toml:2: network home: "me" is no peer`, "PEER_ID@ADDR"},
	{"network called local", "[networks]\nlocal = [\"" + testPeer + "\"]\n", "config.toml:2: network local: ", "choose another"},
	{"network of an odd name", "[networks]\n\"a b\" = [\"" + testPeer + "\"]\n", "config.toml:2: network a b: ", "letters"},
	{"bootstrap of no network", "[mesh]\nbootstrap = [\"hom\"]\n[networks]\nhome = [\"" + testPeer + "\"]\n", `config.toml:2: mesh.bootstrap: there is no network "hom"`, "did you mean home?"},
	{"a line of braces", "mesh = { mdns = true,\n listen = [\"::\",\n\"::\"],\n port = -1 }\n", "config.toml:4: mesh.port is -1", ""},
	{"10 MiB", strings.Repeat("# 16 bytes long\n", 10<<20/16), "config.toml: it has more than 1.0 MiB", ""},
}

func TestBadFilesAreRefusedAndLeftAlone(t *testing.T) {
	for _, tt := range badFiles {
		h := testHome(t, tt.file)
		_, err := Load(h, nil, nil)
		wants(t, tt.name, err, errs.Configuration, tt.message, tt.hint)

		f, err := ReadFile(h.Config())
		if err == nil {
			if f.Init() == nil {
				t.Errorf("%s: init succeeds", tt.name)
			}
			if err = f.Set("log.level", "debug"); err == nil {
				err = f.Save()
			}
		}
		wants(t, tt.name+": set", err, errs.Configuration, "config.toml", "")
		if b, err := os.ReadFile(h.Config()); err != nil || string(b) != tt.file {
			t.Errorf("%s: the file has changed: %v", tt.name, err)
		}
	}
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	h := testHome(t, "")
	if err := os.Mkdir(h.Config(), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Load(h, nil, nil)
	wants(t, "a directory", err, errs.Configuration, "config.toml: it is no regular file", "move it away")

	h = testHome(t, "")
	if err := os.Symlink("nowhere", h.Config()); err != nil {
		t.Fatal(err)
	}
	_, err = Load(h, nil, nil)
	wants(t, "a link to nothing", err, errs.Configuration, "config.toml: it is a symbolic link to nothing", "")
	if runtime.GOOS == "linux" {
		_, err = ReadFile("/dev/zero")
		wants(t, "a device", err, errs.Configuration, "no regular file", "")
	}
}

// A file may stop making sense in one place and be mended there.
func TestSetMendsABadValue(t *testing.T) {
	f := readText(t, "[ring]\nprobe = 5\n")
	if err := f.Set("ring.probe", "5s"); err != nil || string(f.Bytes()) != "[ring]\nprobe = \"5s\"\n" {
		t.Errorf("got %q, %v", f.Bytes(), err)
	}
}

func TestFilesMayBeWrittenInAnyWayOfTOML(t *testing.T) {
	for _, file := range []string{
		"[mesh]\nport = 5\n",
		"version = 1\nmesh.port = 5\n",
		"mesh = { port = 5 }\n",
		"mesh = {\n port = 5, # five\n}\n",
		"[ \"mesh\" ] # quoted\r\n 'port' =\t5 # five\r\n",
		"[log]\n[mesh]\nport = 5",
	} {
		c, err := Load(testHome(t, file), nil, nil)
		if err != nil || c.Mesh.Port != 5 {
			t.Errorf("%q: port %d, %v", file, c.Mesh.Port, err)
		}
	}
}

func readText(t testing.TB, text string) *File {
	t.Helper()
	f, err := ReadFile(testHome(t, text).Config())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNetworksAndDoors(t *testing.T) {
	other := strings.Replace(testPeer, "192.0.2.7", "192.0.2.8", 1)
	c, err := Load(testHome(t, "[mesh]\nbootstrap = [\"home\", \"local\"]\n[networks]\nhome = [\""+testPeer+"\", # one\n\""+other+"\"]\nwork = [\""+other+"\"]\n"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var doors []string
	for _, p := range c.Doors() {
		doors = append(doors, p.String())
	}
	if got, want := strings.Join(doors, " "), testPeer+" "+other+" /ip4/127.0.0.1/tcp/40871"; got != want {
		t.Errorf("doors %q, want %q", got, want)
	}
	for ref, want := range map[string]string{
		"work": other, testPeer: testPeer, "local": "/ip4/127.0.0.1/tcp/40871", "local:9": "/ip4/127.0.0.1/tcp/9",
	} {
		if got, err := c.Peers(ref); err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("Peers(%q) = %v, %v, want %s", ref, got, err, want)
		}
	}
	for ref, kind := range map[string]errs.Kind{
		"wrok": errs.FileNotFound, "local:0": errs.FileNotFound, "local:x": errs.FileNotFound, "": errs.FileNotFound,
		"me@/ip4/192.0.2.7/tcp/1": errs.Invalid, testPeer + ",": errs.Invalid,
	} {
		if got, err := c.Peers(ref); errs.KindOf(err) != kind {
			t.Errorf("Peers(%q) = %v, %v, want %s", ref, got, err, kind.Name())
		}
	}
}

func TestParsePeer(t *testing.T) {
	id, _, _ := strings.Cut(testPeer, "@")
	for _, addr := range []string{"/ip4/192.0.2.7/tcp/1", "/ip6/2001:db8::1/udp/65535/quic-v1", "/dns4/example.com/tcp/40871"} {
		if p, err := ParsePeer(id + "@" + addr); err != nil || p.Addr != addr {
			t.Errorf("%s: %v, %v", addr, p, err)
		}
	}
	for _, s := range []string{"", "@", id, id + "@", "@/ip4/192.0.2.7/tcp/1", id + "@192.0.2.7:40871", id + "@/ip4/192.0.2.7", id + "@/ip4/192.0.2.777/tcp/1",
		id + "@/ip6/192.0.2.7/tcp/1", id + "@/ip4/192.0.2.7/tcp/0", id + "@/ip4/192.0.2.7/tcp/x", id + "@/dns4//tcp/1", id + "@/ip4/192.0.2.7/sctp/1",
		id + "@/dns4/a\"b/tcp/1", id + "@/dns4/a\x07b/tcp/1", id[1:] + "@/ip4/192.0.2.7/tcp/1"} {
		if p, err := ParsePeer(s); errs.KindOf(err) != errs.Invalid || errs.HintFor(err) == "" {
			t.Errorf("ParsePeer(%q) = %v, %v, want Invalid with a hint", s, p, err)
		}
	}
}

func TestConfigOfTheDefaultHomeIsWithTheUsersOtherConfigurations(t *testing.T) {
	if got, want := Home("/srv/mesh").Config(), filepath.FromSlash("/srv/mesh/config.toml"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	h := Home(defaultHome())
	if got := h.Config(); filepath.Base(filepath.Dir(got)) != "datamesh" || runtime.GOOS == "linux" && got == h.path("config.toml") {
		t.Errorf("got %s", got)
	}
}

func TestExampleFitsInAFile(t *testing.T) {
	if n := len(Example()); n > maxFile || bytes.Contains([]byte(Example()), []byte("\t")) {
		t.Errorf("it has %d bytes, or tabs", n)
	}
}
