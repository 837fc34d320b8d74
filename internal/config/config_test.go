package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"datamesh/internal/errs"
)

const testPeer = "12D3KooWFA12p4eY7kF3VLeKJwwaRFFTDKNrvR9zyvNMyoYBbbYv@/ip4/192.0.2.7/tcp/40871"

// alike compares two configurations, without where they were made.
func alike(want, got Config) string {
	return cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty())
}

// testHome returns a home with this configuration file, or without one.
func testHome(t testing.TB, file string) Home {
	t.Helper()
	h := Home(t.TempDir())
	if file != "" {
		if err := os.WriteFile(h.Config(), []byte(file), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// Every setting, with a value other than its default in the environment and
// in the file.
var everySetting = []struct{ key, env, file string }{
	{"mesh.port", "4001", "4001"},
	{"mesh.listen", "127.0.0.1, ::1", `["127.0.0.1", "::1"]`},
	{"mesh.announce", "/ip4/192.0.2.7/tcp/4001, /dns/a.example/udp/4001/quic-v1", `["/ip4/192.0.2.7/tcp/4001", "/dns/a.example/udp/4001/quic-v1"]`},
	{"mesh.bootstrap", "local:4002," + testPeer, `["local:4002", "` + testPeer + `"]`},
	{"mesh.mdns", "true", "true"},
	{"ring.probe", "250ms", `"250ms"`},
	{"store.capacity", "500G", `"500G"`},
	{"store.reserve", "1GB", "1000000000"},
	{"store.trash", "24h", `"24h"`},
	{"put.code", "10+4", `"10+4"`},
	{"put.compress", "max", `"max"`},
	{"put.grace", "0s", `'0s'`},
	{"put.resume", "90m", `"90m"`},
	{"repair.grace", "0s", `"0s"`},
	{"repair.interval", "10m", `"10m"`},
	{"repair.rate", "0", "0"},
	{"scrub.rate", "5M", `"5M"`},
	{"scrub.interval", "36h", `"36h"`},
	{"audit.interval", "720h", `"720h"`},
	{"cache.memory", "64M", `"64M"`},
	{"cache.disk", "0", "0"},
	{"cache.ttl", "10m", `"10m"`},
	{"member.site", "Zürich", `"Z\u00fcrich"`},
	{"member.host", "rack 4", `"rack 4"`},
	{"member.owner", "ann", `"""ann"""`},
	{"keys.passphrase_file", "/run/p", `"/run/p"`},
	{"log.level", "debug", `"debug"`},
	{"log.format", "json", `"json"`},
}

func everyConfig() Config {
	p, err := ParsePeer(testPeer)
	if err != nil {
		panic(err)
	}
	return Config{
		Mesh: Mesh{Port: 4001, Listen: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")},
			Announce:  []string{"/ip4/192.0.2.7/tcp/4001", "/dns/a.example/udp/4001/quic-v1"},
			Bootstrap: []string{"local:4002", p.String()}, MDNS: true},
		Ring:   Ring{Probe: 250 * time.Millisecond},
		Store:  Store{Capacity: 500 << 30, Reserve: 1e9, Trash: 24 * time.Hour},
		Put:    Put{Code: Code{10, 4}, Compress: "max", Resume: 90 * time.Minute},
		Repair: Repair{Interval: 10 * time.Minute},
		Scrub:  Scrub{Rate: 5 << 20, Interval: 36 * time.Hour},
		Audit:  Audit{Interval: 720 * time.Hour},
		Cache:  Cache{Memory: 64 << 20, TTL: 10 * time.Minute},
		Member: Member{Site: "Zürich", Host: "rack 4", Owner: "ann"},
		Keys:   Keys{PassphraseFile: "/run/p"},
		Log:    Log{Level: slog.LevelDebug, Format: "json"},
	}
}

func TestEverySettingHasADefault(t *testing.T) {
	got, err := Load(testHome(t, ""), []string{"PATH=/bin", "DATAMESH_HOME=/home"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := alike(Default(), got); diff != "" {
		t.Errorf("(-default +got):\n%s", diff)
	}
	for _, s := range got.Settings() {
		if s.Origin != "default" {
			t.Errorf("%s is of origin %q", s.Key, s.Origin)
		}
	}
}

func TestEverySettingIsMadeByEnvironmentAndByFile(t *testing.T) {
	var env []string
	var file string
	for _, s := range everySetting {
		env = append(env, Variable(s.key)+"="+s.env)
		file += s.key + " = " + s.file + "\n"
	}
	for name, load := range map[string]func() (Config, error){
		"env":  func() (Config, error) { return Load(testHome(t, ""), env, nil) },
		"file": func() (Config, error) { return Load(testHome(t, file), nil, nil) },
	} {
		got, err := load()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := alike(everyConfig(), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for _, s := range got.Settings() {
			if !strings.HasPrefix(s.Origin, name+" ") {
				t.Errorf("%s: %s is of origin %q", name, s.Key, s.Origin)
			}
		}
	}
	if n := len(new(Config).settings()); n != len(everySetting) {
		t.Errorf("there are %d settings; this test knows %d", n, len(everySetting))
	}
}

func TestFlagGoesBeforeEnvironmentBeforeFileBeforeDefault(t *testing.T) {
	file, env, flags := "[mesh]\nport = 1\n", []string{"DATAMESH_MESH_PORT=2"}, map[string]string{"mesh.port": "3"}
	with, without := testHome(t, file), testHome(t, "")
	for _, tt := range []struct {
		home  Home
		env   []string
		flags map[string]string
		want  Setting
	}{
		{without, nil, nil, Setting{"mesh.port", "0", "default"}},
		{with, nil, nil, Setting{"mesh.port", "1", "file " + with.Config() + ":2"}},
		{with, env, nil, Setting{"mesh.port", "2", "env DATAMESH_MESH_PORT"}},
		{without, env, nil, Setting{"mesh.port", "2", "env DATAMESH_MESH_PORT"}},
		{with, env, flags, Setting{"mesh.port", "3", "flag --port"}},
		{with, nil, flags, Setting{"mesh.port", "3", "flag --port"}},
	} {
		c, err := Load(tt.home, tt.env, tt.flags)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Setting("mesh.port"); got != tt.want || err != nil {
			t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
		}
	}
}

func TestBadVariablesSayNameValueAndWhatIsAccepted(t *testing.T) {
	for _, tt := range []struct{ entry, message, hint string }{
		{"DATAMESH_MESH_PORT=65536", `DATAMESH_MESH_PORT is "65536"`, "a port"},
		{"DATAMESH_MESH_PORT=-1", `DATAMESH_MESH_PORT is "-1"`, "a port"},
		{"DATAMESH_MESH_MDNS=yes", `DATAMESH_MESH_MDNS is "yes"`, "true or false"},
		{"DATAMESH_MESH_BOOTSTRAP=me@here", `peer "me@here"`, "PEER_ID@ADDR"},
		{"DATAMESH_MESH_BOOTSTRAP=hoem", `DATAMESH_MESH_BOOTSTRAP: mesh.bootstrap: there is no network "hoem"`, "networks add hoem"},
		{"DATAMESH_RING_PROBE=0s", `DATAMESH_RING_PROBE is "0s"`, "a duration above 0"},
		{"DATAMESH_RING_PROBE=5", `DATAMESH_RING_PROBE is "5"`, "a duration above 0"},
		{"DATAMESH_STORE_CAPACITY=big", `DATAMESH_STORE_CAPACITY is "big"`, "500G"},
		{"DATAMESH_STORE_CAPACITY=1M", "DATAMESH_STORE_CAPACITY: a capacity of 1.0 MiB leaves no room beside a reserve", "store.reserve"},
		{"DATAMESH_PUT_CODE=4", `DATAMESH_PUT_CODE is "4"`, "4+2"},
		{"DATAMESH_PUT_GRACE=-1s", `DATAMESH_PUT_GRACE is "-1s"`, "3s"},
		{"DATAMESH_MESH_LISTEN=localhost", `DATAMESH_MESH_LISTEN is "localhost"`, "0.0.0.0,::"},
		{"DATAMESH_MEMBER_SITE=a\nb", `DATAMESH_MEMBER_SITE is "a\nb"`, "64 bytes"},
		{"DATAMESH_MEMBER_HOST=" + strings.Repeat("x", 65), "it has 65 bytes", "64 bytes"},
		{"DATAMESH_MESH_ANNOUNCE=/ip4/0.0.0.0/tcp/4001", "no address that others can reach", "at most 8"},
		{"DATAMESH_MESH_ANNOUNCE=/ip6/ff02::1/udp/4001/quic-v1", "no address that others can reach", "at most 8"},
		{"DATAMESH_MESH_ANNOUNCE=/ip4/192.0.2.7/tcp/4001/p2p-circuit", "no address that others can reach", "at most 8"},
		{"DATAMESH_MESH_ANNOUNCE=/ip4/192.0.2.7/udp/4001", "no address that others can reach", "at most 8"},
		{"DATAMESH_MESH_ANNOUNCE=/ip4/127.0.0.1/tcp/4001", "others cannot reach a loopback address", "the local network"},
		{"DATAMESH_LOG_LEVEL=loud", `DATAMESH_LOG_LEVEL is "loud"`, "debug, info"},
		{"DATAMESH_LOG_FORMAT=xml", `DATAMESH_LOG_FORMAT is "xml"`, "text or json"},
		{"DATAMESH_RING_PROB=1s", "there is no setting DATAMESH_RING_PROB", "did you mean DATAMESH_RING_PROBE?"},
		{"DATAMESH_HOMES=/x", "there is no setting DATAMESH_HOMES", "did you mean DATAMESH_HOME?"},
		{"DATAMESH_NETWORKS_HOME=x", "there is no setting DATAMESH_NETWORKS_HOME", "did you mean"},
	} {
		_, err := Load(testHome(t, ""), []string{tt.entry}, nil)
		wants(t, tt.entry, err, errs.Configuration, tt.message, tt.hint)
	}
	_, err := Load(testHome(t, ""), nil, map[string]string{"put.code": "4"})
	wants(t, "a flag", err, errs.Invalid, `--code is "4"`, "--code accepts k+m")
}

// wants compares an error with its kind, and parts of its text and its hint.
func wants(t testing.TB, what string, err error, kind errs.Kind, message, hint string) {
	t.Helper()
	if !errors.Is(err, kind) || errs.KindOf(err) != kind {
		t.Errorf("%s: got %v, of kind %s, want %s", what, err, errs.KindOf(err).Name(), kind.Name())
		return
	}
	if !strings.Contains(err.Error(), message) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: message %q, want one line with %q", what, err, message)
	}
	if got := errs.HintFor(err); !strings.Contains(got, hint) {
		t.Errorf("%s: hint %q, want %q in it", what, got, hint)
	}
}

func TestExampleIsTheDefault(t *testing.T) {
	uncommented := strings.Split(Example(), "\n")
	for i, line := range uncommented {
		if before, _, ok := strings.Cut(strings.TrimPrefix(line, "# "), " = "); ok && !strings.ContainsAny(before, " :") && before != "home" {
			uncommented[i] = strings.TrimPrefix(line, "# ")
		}
	}
	for name, text := range map[string]string{"as it is": Example(), "without its comment signs": strings.Join(uncommented, "\n")} {
		c, err := Load(testHome(t, text), nil, nil)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		if diff := alike(Default(), c); diff != "" {
			t.Errorf("%s (-default +got):\n%s", name, diff)
		}
		made := 0
		for _, s := range c.Settings() {
			if s.Origin != "default" {
				made++
			}
		}
		if want := len(everySetting) * strings.Count(name, "without"); made != want {
			t.Errorf("%s: the file makes %d settings, want %d", name, made, want)
		}
	}
}

// The table of the documentation is that of the code.
func TestDocumentationHasEverySetting(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "| key | variable | default |")
	table, _, _ := strings.Cut(rest, "\n\n")
	var want strings.Builder
	want.WriteString(" flag | what it is | accepts |\n|---|---|---|---|---|---|")
	c := Default()
	for _, s := range c.settings() {
		value, flag := s.get(), ""
		if s.key == "member.host" {
			value = "the host name"
		} else if value != "" {
			value = "`" + value + "`"
		}
		if s.flag != "" {
			flag = "`" + s.flag + "`"
		}
		fmt.Fprintf(&want, "\n| `%s` | `%s` | %s | %s | %s | %s |", s.key, Variable(s.key), value, flag, s.about, s.accept)
	}
	if diff := cmp.Diff(want.String(), table); diff != "" {
		t.Errorf("docs/configuration.md (-code +docs):\n%s\nthe rows are:\n%s", diff, want.String())
	}
}
