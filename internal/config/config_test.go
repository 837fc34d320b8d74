package config

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"datamesh/internal/errs"
)

func TestDefaultsNeedNoEnvironment(t *testing.T) {
	got, err := FromEnv([]string{"PATH=/bin", "DATAMESH_HOME=/home"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-default +got):\n%s", diff)
	}
}

func TestEverySettingIsOverridden(t *testing.T) {
	got, err := FromEnv([]string{
		"DATAMESH_RING_PROBE=250ms",
		"DATAMESH_STORE_CAPACITY=500G",
		"DATAMESH_STORE_RESERVE=1GB",
		"DATAMESH_PUT_CODE=10+4",
		"DATAMESH_PUT_GRACE=0s",
		"DATAMESH_PUT_RESUME=1h",
		"DATAMESH_MESH_LISTEN=127.0.0.1, ::1",
		"DATAMESH_MEMBER_SITE=Zürich",
		"DATAMESH_MEMBER_HOST=rack 4",
		"DATAMESH_MEMBER_OWNER=",
		"DATAMESH_LOG_LEVEL=debug",
		"DATAMESH_LOG_FORMAT=json",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Ring:   Ring{Probe: 250 * time.Millisecond},
		Store:  Store{Capacity: 500 << 30, Reserve: 1e9},
		Put:    Put{Code: Code{10, 4}, Resume: time.Hour},
		Mesh:   Mesh{Listen: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}},
		Member: Member{Site: "Zürich", Host: "rack 4"},
		Log:    Log{Level: slog.LevelDebug, Format: "json"},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(new(Config).settings()); n != 12 {
		t.Errorf("there are %d settings; this test knows 12", n)
	}
}

func TestBadSettingsSayVariableValueAndWhatIsAccepted(t *testing.T) {
	for _, tt := range []struct{ entry, message, hint string }{
		{"DATAMESH_RING_PROBE=0s", `DATAMESH_RING_PROBE is "0s"`, "a duration above 0"},
		{"DATAMESH_RING_PROBE=5", `DATAMESH_RING_PROBE is "5"`, "a duration above 0"},
		{"DATAMESH_STORE_CAPACITY=big", `DATAMESH_STORE_CAPACITY is "big"`, "500G"},
		{"DATAMESH_STORE_CAPACITY=1M", "no room beside a reserve", "DATAMESH_STORE_RESERVE"},
		{"DATAMESH_PUT_CODE=4", `DATAMESH_PUT_CODE is "4"`, "4+2"},
		{"DATAMESH_PUT_GRACE=-1s", `DATAMESH_PUT_GRACE is "-1s"`, "3s"},
		{"DATAMESH_MESH_LISTEN=localhost", `DATAMESH_MESH_LISTEN is "localhost"`, "0.0.0.0,::"},
		{"DATAMESH_MEMBER_SITE=a\nb", `DATAMESH_MEMBER_SITE is "a\nb"`, "64 bytes"},
		{"DATAMESH_MEMBER_HOST=" + strings.Repeat("x", 65), "it has 65 bytes", "64 bytes"},
		{"DATAMESH_LOG_LEVEL=loud", `DATAMESH_LOG_LEVEL is "loud"`, "debug, info"},
		{"DATAMESH_LOG_FORMAT=xml", `DATAMESH_LOG_FORMAT is "xml"`, "text or json"},
		{"DATAMESH_RING_PROB=1s", "there is no setting DATAMESH_RING_PROB", "did you mean DATAMESH_RING_PROBE?"},
		{"DATAMESH_HOMES=/x", "there is no setting DATAMESH_HOMES", "did you mean DATAMESH_HOME?"},
	} {
		_, err := FromEnv([]string{tt.entry})
		if !errors.Is(err, errs.Configuration) {
			t.Errorf("%s: got %v, want Configuration", tt.entry, err)
			continue
		}
		if !strings.Contains(err.Error(), tt.message) {
			t.Errorf("%s: message %q does not contain %q", tt.entry, err, tt.message)
		}
		if hint := errs.HintFor(err); !strings.Contains(hint, tt.hint) {
			t.Errorf("%s: hint %q does not contain %q", tt.entry, hint, tt.hint)
		}
	}
}

func TestDistanceCountsEdits(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"abc", "abc", 0}, {"ab", "ba", 2}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
