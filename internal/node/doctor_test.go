package node

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"datamesh/internal/catalog"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
	"datamesh/internal/mesh"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

func wantStatus(t *testing.T, what string, got Check, want string) {
	t.Helper()
	if got.Status != want {
		t.Errorf("%s: got %+v, want %s", what, got, want)
	}
	if bad := want == CheckWarning || want == CheckFailed; bad != (got.Advice != "") {
		t.Errorf("%s: advice %q for one that is %s", what, got.Advice, got.Status)
	}
}

func TestClockIsJudgedByTheMedian(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		offsets []time.Duration
		want    string
		detail  string
	}{
		{nil, CheckSkipped, ""},
		{[]time.Duration{0}, CheckOK, ""},
		{[]time.Duration{5 * time.Second}, CheckOK, ""},
		{[]time.Duration{6 * time.Second}, CheckWarning, "6s behind"},
		{[]time.Duration{-time.Minute}, CheckWarning, "1m0s ahead"},
		{[]time.Duration{time.Hour + time.Second}, CheckFailed, "behind"},
		{[]time.Duration{-day}, CheckFailed, "24h0m0s ahead of"},
		{[]time.Duration{day, 0}, CheckOK, ""}, // of two nobody knows who is right
		{[]time.Duration{-day, 0}, CheckOK, ""},
		{[]time.Duration{day, 0, time.Second}, CheckOK, ""},
		{[]time.Duration{day, 0, day}, CheckFailed, "behind"},
		{[]time.Duration{1<<63 - 1, -1 << 63, 0}, CheckOK, ""},
		{[]time.Duration{-1 << 63}, CheckFailed, "ahead"},
	} {
		got := judgeClock(tt.offsets)
		wantStatus(t, "clock", got, tt.want)
		if !strings.Contains(got.Detail, tt.detail) {
			t.Errorf("%v: got %q, want it to say %q", tt.offsets, got.Detail, tt.detail)
		}
	}
}

func TestReachIsJudgedByWhatMembersHaveTried(t *testing.T) {
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	own := map[netip.Addr]bool{here: true}
	yes := dialBack{seen: here, tried: []mesh.Reached{{Addr: "/ip4/192.0.2.1/tcp/7", Answers: true}}}
	no := dialBack{seen: here, tried: []mesh.Reached{{Addr: "/ip4/192.0.2.1/tcp/7"}}}
	router, busy := dialBack{seen: there}, dialBack{err: errs.New(errs.Unavailable, "busy")}
	for _, tt := range []struct {
		what   string
		asked  []dialBack
		want   string
		advice string
	}{
		{"reached", []dialBack{yes}, CheckOK, ""},
		{"reached by one", []dialBack{no, busy, yes, router}, CheckOK, ""},
		{"reached by nobody", []dialBack{no, busy}, CheckFailed, "port 7 in the firewall"},
		{"behind a router", []dialBack{router, busy}, CheckFailed, "forward TCP and UDP port 7"},
		{"not tried", []dialBack{busy}, CheckWarning, "datamesh doctor"},
	} {
		got := judgeReach(7, own, tt.asked)
		wantStatus(t, tt.what, got, tt.want)
		if !strings.Contains(got.Advice, tt.advice) {
			t.Errorf("%s: advice %q, want %q in it", tt.what, got.Advice, tt.advice)
		}
	}
}

func TestSpaceIsWhatTheStoreHas(t *testing.T) {
	h := home(t)
	if err := h.Make(); err != nil {
		t.Fatal(err)
	}
	free, err := store.FreeSpace(string(h))
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "a capacity of 1 MiB", checkSpace(t.Context(), h, config.Store{Capacity: 1 << 20, Reserve: 1}), CheckOK)
	wantStatus(t, "the disk as the reserve", checkSpace(t.Context(), h, config.Store{Reserve: config.Size(2 * free)}), CheckFailed)
	d, err := store.Open(h.Store(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	storetest.Segment(t, 1, 2, 1, 1<<20).Put(t, d, 0)
	wantStatus(t, "a capacity that is used up", checkSpace(t.Context(), h, config.Store{Capacity: 1 << 19, Reserve: 1}), CheckFailed)
}

func TestFiguresAreJudged(t *testing.T) {
	wantStatus(t, "much space", judgeSpace(200, 100), CheckOK)
	wantStatus(t, "little space", judgeSpace(199, 100), CheckWarning)
	wantStatus(t, "no space", judgeSpace(100, 100), CheckFailed)
	wantStatus(t, "a disk", judgeSync(syncLimit), CheckOK)
	wantStatus(t, "a slow disk", judgeSync(syncLimit+1), CheckWarning)
	wantStatus(t, "many files", checkFiles(leastFiles), CheckOK)
	wantStatus(t, "few files", checkFiles(leastFiles-1), CheckWarning)
	wantStatus(t, "no limit", checkFiles(0), CheckSkipped)
	there, gone := mesh.Presence{Answers: true}, mesh.Presence{}
	service, client := &Node{opt: Options{Role: Storage}}, &Node{opt: Options{Role: Client}}
	wantStatus(t, "alone", service.checkMembers(nil), CheckSkipped)
	wantStatus(t, "nobody known", client.checkMembers(nil), CheckSkipped)
	wantStatus(t, "all", client.checkMembers([]mesh.Presence{there, there}), CheckOK)
	wantStatus(t, "some", client.checkMembers([]mesh.Presence{there, gone}), CheckWarning)
	wantStatus(t, "none", client.checkMembers([]mesh.Presence{gone}), CheckFailed)
}

func TestNewerProgramsAndProtocolsAreTold(t *testing.T) {
	for _, tt := range []struct {
		agent     string
		protocols []string
		want      bool
	}{
		{Agent, []string{"hello/1", "ring/1", "shard/1", "measure/1", "kad/1.0.0"}, false},
		{"datamesh/0.2", nil, true},
		{"datamesh/0.10.3", nil, true},
		{"datamesh/1", nil, true},
		{"datamesh/0.1.1", nil, true},
		{"datamesh/0.0.9", nil, false},
		{"other/9", nil, false},
		{"", nil, false},
		{Agent, []string{"shard/1", "shard/2"}, true},
		{Agent, []string{"hello/2"}, true},
		{Agent, []string{"other/7"}, false},
	} {
		if got := isNewer(tt.agent, tt.protocols); got != tt.want {
			t.Errorf("%q with %q: got %t, want %t", tt.agent, tt.protocols, got, tt.want)
		}
	}
}

// checks returns what is found of a home, by name.
func checks(t *testing.T, h config.Home) map[string]Check {
	t.Helper()
	byName := map[string]Check{}
	for _, c := range CheckHome(t.Context(), h, h.Default(), config.Store{}) {
		byName[c.Name] = c
	}
	return byName
}

func TestHomeThatIsNotThereIsNotMade(t *testing.T) {
	h := config.Home(filepath.Join(t.TempDir(), "none"))
	wantStatus(t, "home", checks(t, h)["home"], CheckSkipped)
	if _, err := os.Stat(string(h)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the home was made: %v", err)
	}
}

func TestDoctorOfAHomeMakesNothing(t *testing.T) {
	h := home(t)
	if err := os.Chmod(string(h), 0o700); err != nil {
		t.Fatal(err)
	}
	got := checks(t, h)
	for name, want := range map[string]string{"home": CheckOK, "keys": CheckOK, "identity": CheckSkipped, "catalog": CheckSkipped,
		"store": CheckSkipped, "mesh": CheckSkipped} {
		wantStatus(t, name, got[name], want)
	}
	d, err := Examine(t.Context(), options(h, Client))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range d.Checks {
		if c.Status == CheckFailed {
			t.Errorf("an empty home: %+v", c)
		}
	}
	if files, err := os.ReadDir(string(h)); err != nil || len(files) != 0 {
		t.Errorf("it left %v, %v", files, err)
	}
}

func TestDamageOfAHomeIsFound(t *testing.T) {
	h := home(t)
	n := bootstrap(t, h)
	n.put([]byte("content"), PutOptions{})
	if err := os.Chmod(string(h), 0o700); err != nil {
		t.Fatal(err)
	}
	running := checks(t, h)
	for name, want := range map[string]string{"home": CheckOK, "keys": CheckOK, "identity": CheckWarning, "catalog": CheckOK, "store": CheckOK, "mesh": CheckOK} {
		wantStatus(t, name+" of a running node", running[name], want)
	}
	n.end()
	for _, tt := range []struct {
		what, want string
		mark       func(*keyring.File, time.Time) error
	}{
		{"an identity whose words were shown", CheckWarning, (*keyring.File).MarkShown},
		{"one whose words somebody has", CheckOK, (*keyring.File).MarkVerified},
		{"one that is in a file too", CheckOK, (*keyring.File).MarkExported},
	} {
		if err := tt.mark(keyring.At(h.Default().Identity()), time.Now()); err != nil {
			t.Fatal(err)
		}
		wantStatus(t, tt.what, checks(t, h)["identity"], tt.want)
	}
	if err := os.Remove(h.Default().Identity() + ".verified"); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "an identity that was exported, and shown", checks(t, h)["identity"], CheckOK)
	junk := func(file string) func() {
		return func() { os.WriteFile(file, []byte(strings.Repeat("junk ", 1000)), 0o600) }
	}
	for _, tt := range []struct {
		name, want string
		damage     func()
	}{
		{"home", CheckWarning, func() { os.Chmod(string(h), 0o755) }},
		{"keys", CheckFailed, func() { os.Chmod(h.NodeKey(), 0o644) }},
		{"identity", CheckFailed, junk(h.Default().Identity())},
		{"catalog", CheckFailed, junk(h.Default().Catalog())},
		{"store", CheckFailed, junk(filepath.Join(h.Store(), "node.db"))},
		{"mesh", CheckFailed, junk(h.Mesh())},
	} {
		tt.damage()
		wantStatus(t, "damaged "+tt.name, checks(t, h)[tt.name], tt.want)
	}
	if _, err := catalog.Open(t.Context(), h.Default().Catalog()); !errors.Is(err, errs.Database) {
		t.Errorf("the damaged catalog: got %v, want that it is left as it was", err)
	}
}

// wantChecks has the doctor look until what it finds is as wanted, by name: whoever takes
// more than some seconds to answer it has not answered.
func (r *running) wantChecks(what string, want map[string]string) {
	r.t.Helper()
	got := map[string]Check{}
	soon(func() bool {
		d, err := r.Doctor(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		for _, c := range d.Checks {
			got[c.Name] = c
		}
		for name, status := range want {
			if got[name].Status != status {
				return false
			}
		}
		return true
	})
	for name, status := range want {
		wantStatus(r.t, what+": "+name, got[name], status)
	}
}

func TestDoctorOfARunningMesh(t *testing.T) {
	first := bootstrap(t, home(t))
	second := open(t, through(t, home(t), Storage, first))
	first.sees(1)
	second.sees(1)
	for what, n := range map[string]*running{"a service": second, "a client": open(t, through(t, home(t), Client, first))} {
		want := map[string]string{"port": CheckOK, "members": CheckOK, "reach": CheckSkipped, "clock": CheckOK, "versions": CheckOK}
		if n.opt.Role == Client {
			want["port"] = CheckSkipped
		}
		n.wantChecks(what, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := second.Doctor(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: got %v", err)
	}
}

// A node that announces the address of a router which does not take it back there
// listens all the same.
func TestDoctorTriesWhereTheNodeListens(t *testing.T) {
	o := options(home(t), Storage)
	o.NewMesh = true
	o.Config.Mesh.Announce = []string{"/ip4/127.0.0.1/tcp/1"}
	open(t, o).wantChecks("a service", map[string]string{"port": CheckOK})
}

func TestDiscoverAndBandwidthOfARunningMesh(t *testing.T) {
	first := bootstrap(t, home(t))
	second := open(t, through(t, home(t), Storage, first))
	third := open(t, through(t, home(t), Storage, first))
	first.sees(2)
	second.sees(2)
	client := open(t, through(t, home(t), Client, first))
	third.end()
	found, err := client.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range found.Members {
		if !m.New || len(m.Addrs) == 0 || m.Answers != (m.LatencyMS > 0) {
			t.Errorf("got %+v of one that is new to the home", m)
		}
	}
	if len(found.Members) != 3 || found.New != 3 {
		t.Errorf("got %d members, %d of which are new, want 3 and 3", len(found.Members), found.New)
	}
	answers := 0
	soon(func() bool { // a member that takes 5 s passes for one that does not answer
		answers = 0
		for _, m := range found.Members {
			if m.Answers {
				answers++
			}
		}
		if answers < 2 {
			found = must(t, func() (*Discovered, error) { return client.Discover(t.Context()) })
		}
		return answers >= 2
	})
	if answers != 2 {
		t.Errorf("%d of 3 members answer, want the 2 that run", answers)
	}
	if m, err := loadMemory(client.home); err != nil || len(m.members) != 3 {
		t.Errorf("a client remembers %d members, %v, want 3", len(m.members), err)
	}
	if again, err := first.Discover(t.Context()); err != nil || again.New != 0 || len(again.Members) != 2 {
		t.Errorf("a service: got %+v, %v, want 2 that are known", again, err)
	}
	id, err := second.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b *Bandwidth
	soon(func() bool {
		b, err = first.Bandwidth(t.Context(), BandwidthOptions{Peer: id.PeerID.String(), Size: 1 << 20})
		return err == nil && len(b.Failed) == 0
	})
	if err != nil || len(b.Peers) != 1 || len(b.Failed) != 0 {
		t.Fatalf("got %+v, %v, want one peer", b, err)
	}
	if p := b.Peers[0]; p.PeerID != id.PeerID || p.Sent != 1<<20 || p.Received != 1<<20 || p.SentPerSecond <= 0 || p.ReceivedPerSecond <= 0 || p.LatencyMS <= 0 {
		t.Errorf("got %+v", p)
	}
	for what, tt := range map[string]struct {
		o    BandwidthOptions
		want errs.Kind
	}{
		"too much":          {BandwidthOptions{Size: 64<<20 + 1}, errs.Invalid},
		"less than nothing": {BandwidthOptions{Size: -1}, errs.Invalid},
		"no id":             {BandwidthOptions{Peer: "peer"}, errs.Invalid},
		"a stranger":        {BandwidthOptions{Peer: "12D3KooWGRUW6A7EwWpWQMNe8uGcSeAYkYrVDdf4TfGLxBeDbwR9"}, errs.FileNotFound},
	} {
		if _, err := second.Bandwidth(t.Context(), tt.o); errs.KindOf(err) != tt.want || errs.HintFor(err) == "" {
			t.Errorf("%s: got %v, want %s and a hint", what, err, tt.want.Name())
		}
	}
	if _, err := second.Bandwidth(t.Context(), BandwidthOptions{Peer: id.PeerID.String()}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("itself: got %v, want Invalid", err)
	}
}

func TestAFullDiskIsNoMatterOfModes(t *testing.T) {
	full := &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	if c := unwritable("home", "/h", full); !strings.HasPrefix(c.Advice, "free some of the disk that has /h, or ") {
		t.Errorf("of a full disk: %q", c.Advice)
	}
	if c := unwritable("home", "/h", os.ErrPermission); !strings.HasPrefix(c.Advice, "chmod 700 /h, or ") {
		t.Errorf("of one that must not be written to: %q", c.Advice)
	}
}

func TestWhatIsUnsaidIsToldInOneLine(t *testing.T) {
	down := errors.Join(errors.New("one"), errors.New("two"))
	if got := unnamed(down); !strings.HasSuffix(got, "will mend: one; two") {
		t.Error(got)
	}
	if got := unsaid(errors.Join(context.Canceled, down)); !strings.HasSuffix(got, "will mend: it was interrupted") {
		t.Error(got)
	}
}
