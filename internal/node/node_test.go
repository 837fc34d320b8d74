package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/object"
	"datamesh/internal/partial"
	"datamesh/internal/ring"
)

// hang is how long a test waits for what must come.
const hang = 2 * time.Minute

// home returns an empty home.
func home(t *testing.T) config.Home {
	t.Helper()
	return config.Home(t.TempDir())
}

func options(h config.Home, role Role) Options {
	cfg := config.Default()
	cfg.Ring.Probe = time.Second
	cfg.Mesh.Listen = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	cfg.Store.Capacity = 1 << 30
	cfg.Put.Grace = hang
	o := Options{Home: h, Config: cfg, Role: role, Log: slog.New(slog.DiscardHandler)}
	if role == Client {
		o.JoinTimeout = hang
	}
	return o
}

// isFree reports whether a node could have a port: what is remembered and was given up
// another program may have since.
func isFree(port int) bool {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer l.Close()
	p, err := net.ListenPacket("udp", addr)
	if err == nil {
		p.Close()
	}
	return err == nil
}

// A running node ends with the test, if it has not before.
type running struct {
	*Node
	t     *testing.T
	ended bool
}

func open(t *testing.T, o Options) *running {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	n, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Node: n, t: t}
	t.Cleanup(r.end)
	return r
}

func (r *running) end() {
	r.t.Helper()
	if r.ended {
		return
	}
	r.ended = true
	if err := r.Close(context.WithoutCancel(r.t.Context())); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

// bootstrap runs a node that begins a mesh, or goes on with that of its home.
func bootstrap(t *testing.T, h config.Home) *running {
	t.Helper()
	o := options(h, Storage)
	o.NewMesh = true
	return open(t, o)
}

// through are the options of a node that joins through another.
func through(t *testing.T, h config.Home, role Role, door *running) Options {
	t.Helper()
	o := options(h, role)
	id, err := nodeID(door.home)
	if err != nil {
		t.Fatal(err)
	}
	o.Bootstrap = []config.Peer{{ID: id, Addr: door.Addrs()[0]}}
	return o
}

// soon waits until it is so, and reports whether that came in time.
func soon(is func() bool) bool {
	guard := time.After(hang)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-guard:
			return false
		}
	}
	return true
}

// insist asks peers again while they are silent, as anybody may be on a busy machine.
func (r *running) insist(ask func() error) {
	r.t.Helper()
	var err error
	soon(func() bool {
		err = ask()
		return !errs.Retryable(err)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// sees waits until the node sees so many others alive.
func (r *running) sees(others int) {
	r.t.Helper()
	var s *Stats
	if !soon(func() bool {
		s = must(r.t, func() (*Stats, error) { return r.Stats(r.t.Context()) })
		return s.Members.Alive == others+1
	}) {
		r.t.Fatalf("it sees %+v, want %d others alive", s.Members, others)
	}
}

func (r *running) put(content []byte, o PutOptions) *Stored {
	r.t.Helper()
	stored, err := r.Put(r.t.Context(), bytes.NewReader(content), o)
	if err != nil {
		r.t.Fatalf("put: %v", err)
	}
	return stored
}

// get checks that what ref means is content. Only silence is forgiven to those who keep
// it: on a busy machine anybody may be silent for a while.
func (r *running) get(ref string, want []byte) {
	r.t.Helper()
	var got bytes.Buffer
	fetched, err := r.Get(r.t.Context(), ref, GetOptions{}, func(ObjectInfo) (io.Writer, error) { return &got, nil })
	if err != nil {
		r.t.Errorf("get %s: %v", ref, err)
		return
	}
	bad := slices.DeleteFunc(slices.Clone(fetched.Bad), func(b BadShard) bool {
		return slices.ContainsFunc([]string{"silent for", "deadline exceeded"}, func(silence string) bool { return strings.Contains(b.Reason, silence) })
	})
	if !bytes.Equal(got.Bytes(), want) || fetched.Size != int64(len(want)) || len(bad) > 0 {
		r.t.Errorf("get %s: %d of %d bytes, %+v", ref, got.Len(), len(want), fetched)
	}
}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func wantKind(t *testing.T, what string, err error, want errs.Kind) {
	t.Helper()
	if errs.KindOf(err) != want {
		t.Errorf("%s: got %v, of kind %s, want kind %s", what, err, errs.KindOf(err).Name(), want.Name())
	}
}

func TestHomeWithoutAMeshStoresAlone(t *testing.T) {
	h := home(t)
	n := open(t, options(h, Client))
	small, large := noise(1, 1000), noise(2, 300_000)
	a := n.put(small, PutOptions{Name: "small", Tags: []string{"x"}})
	b := n.put(large, PutOptions{Name: "large"})
	for _, s := range []*Stored{a, b} {
		if s.Survives != 0 || s.Peers != 1 || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "datamesh bootstrap") {
			t.Errorf("stored %+v", s)
		}
	}
	n.get("small", small)
	n.get(b.ID.String(), large)
	list, err := listOf(t, n.Node)
	if err != nil || len(list.Objects) != 2 || list.Objects[1].Name != "small" || list.Objects[1].Tags[0] != "x" || list.Objects[0].Size != 300_000 || list.Objects[0].Tags == nil {
		t.Errorf("list: %+v, %v", list, err)
	}
	info, err := n.Info(t.Context(), "large", false)
	if err != nil || info.Survives != 0 || len(info.Segments) != 2 || len(info.Segments[1].Shards) != 6 || !info.Segments[1].Shards[5].Live {
		t.Errorf("info: %+v, %v", info, err)
	}
	peers, err := n.Peers(t.Context())
	if err != nil || len(peers.Peers) != 0 {
		t.Errorf("peers: %+v, %v", peers, err)
	}
	stats, err := n.Stats(t.Context())
	if err != nil || stats.Store == nil || stats.Store.Shards != int64(a.Shards+b.Shards) || stats.Catalog.Objects != 2 || stats.Mesh != (datamesh.MeshID{}) {
		t.Errorf("stats: %+v, %v", stats, err)
	}
	n.end()

	first := bootstrap(t, h)
	first.get("large", large)
	stranger := open(t, through(t, home(t), Storage, first))
	_, err = stranger.Get(t.Context(), a.ID.String(), GetOptions{}, func(ObjectInfo) (io.Writer, error) { return io.Discard, nil })
	wantKind(t, "get with another identity", err, errs.Decryption)
	other := home(t)
	carry(t, h, other)
	friend := open(t, through(t, other, Client, first))
	friend.get(a.ID.String(), small)
	friend.get(b.ID.String(), large)
}

// carry takes the identity of one home to another.
func carry(t *testing.T, from, to config.Home) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "identity")
	if err := keyring.At(from.Default().Identity()).Export(file); err != nil {
		t.Fatal(err)
	}
	if err := keyring.At(to.Default().Identity()).Import(file); err != nil {
		t.Fatal(err)
	}
}

func TestIdentityOpensFromAnyHome(t *testing.T) {
	first := bootstrap(t, home(t))
	h := home(t)
	owner := open(t, through(t, h, Client, first))
	content := noise(1, 100_000)
	stored := owner.put(content, PutOptions{Name: "mine"})
	other := home(t)
	second := open(t, through(t, other, Client, first))
	_, err := second.Get(t.Context(), stored.ID.String(), GetOptions{}, func(ObjectInfo) (io.Writer, error) { return io.Discard, nil })
	wantKind(t, "get before", err, errs.Decryption)
	second.end()
	third := home(t)
	carry(t, h, third)
	n := open(t, through(t, third, Client, first))
	n.get(stored.ID.String(), content)
	if _, err = n.Get(t.Context(), "mine", GetOptions{}, func(ObjectInfo) (io.Writer, error) { return io.Discard, nil }); err != nil {
		t.Errorf("get by a name of another home's catalog: %v", err)
	}
	a, err := LoadIdentity(h, h.Default(), keyring.At(h.Default().Identity()))
	if err != nil {
		t.Fatal(err)
	}
	b, err := n.Identity(t.Context())
	if err != nil || a.Owner != b.Owner || a.Recipient != b.Recipient || a.PeerID == b.PeerID || len(b.Addrs) != 0 {
		t.Errorf("identities %+v, %+v, %v", a, b, err)
	}
}

func TestListHasAnArrayOfTagsWhereThereAreNone(t *testing.T) {
	n := open(t, options(home(t), Client))
	n.put(nil, PutOptions{Name: "x"})
	list, err := listOf(t, n.Node)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := json.Marshal(list); err != nil || !bytes.Contains(b, []byte(`"tags":[]`)) {
		t.Errorf("got %s, %v", b, err)
	}
}

func TestIdentityThatIsGoneIsNotReplaced(t *testing.T) {
	h, kept := home(t), home(t)
	n := open(t, options(h, Client))
	content := noise(1, 1000)
	n.put(content, PutOptions{Name: "mine"})
	carry(t, h, kept)
	if err := os.Remove(h.Default().Identity()); err != nil {
		t.Fatal(err)
	}
	_, err := n.Put(t.Context(), bytes.NewReader(content), PutOptions{Name: "later"})
	wantKind(t, "put", err, errs.KeyManagement)
	_, err = n.Get(t.Context(), "mine", GetOptions{}, func(ObjectInfo) (io.Writer, error) { return io.Discard, nil })
	wantKind(t, "get", err, errs.KeyManagement)
	_, err = LoadIdentity(h, h.Default(), keyring.At(h.Default().Identity()))
	wantKind(t, "identity", err, errs.KeyManagement)
	if !strings.Contains(errs.HintFor(err), "keys import") {
		t.Errorf("hint %q", errs.HintFor(err))
	}
	carry(t, kept, h)
	n.get("mine", content)
}

// Of several puts that find no identity one may have made it, and have stored something,
// before the others look at what there is.
func TestAnIdentityThatWasJustMadeIsNotGone(t *testing.T) {
	user := home(t).Default()
	if err := user.Make(); err != nil {
		t.Fatal(err)
	}
	var made *keyring.Ring
	keys, err := loadKeys(user, keyring.At(user.Identity()), func() (s catalog.Stats, err error) {
		made, _, err = keyring.At(user.Identity()).LoadOrNew()
		return catalog.Stats{Objects: 1}, err
	})
	if err != nil || keys.Recipient.String() != made.Recipient.String() {
		t.Errorf("got %v, %v", keys, err)
	}
}

func TestAHomeWithoutAMeshSaysSoOfWhatItDoesNotHave(t *testing.T) {
	n := open(t, options(home(t), Client))
	id := datamesh.ObjectID{1}.String()
	_, err := n.Get(t.Context(), id, GetOptions{}, func(ObjectInfo) (io.Writer, error) { return io.Discard, nil })
	_, infoErr := n.Info(t.Context(), id, false)
	for what, err := range map[string]error{"get": err, "info": infoErr} {
		wantKind(t, what, err, errs.FileNotFound)
		if !strings.Contains(errs.HintFor(err), "networks use PEER_ID@ADDR") {
			t.Errorf("%s: hint %q", what, errs.HintFor(err))
		}
	}
}

func TestNodeWhoseKeyIsGoneSaysSo(t *testing.T) {
	h := home(t)
	first := bootstrap(t, h)
	first.put(noise(1, 1000), PutOptions{})
	first.end()
	start := func() (peer, said string) {
		var log bytes.Buffer
		o := options(h, Storage)
		o.NewMesh, o.Log = true, slog.New(slog.NewTextHandler(&log, nil))
		n := open(t, o)
		self, err := nodeID(h)
		if err != nil {
			t.Fatal(err)
		}
		n.end()
		return self.String(), log.String()
	}
	const gone = "the key of this node was gone"
	if _, said := start(); strings.Contains(said, gone) {
		t.Errorf("of a node that has its key: %s", said)
	}
	if err := os.Remove(h.NodeKey()); err != nil {
		t.Fatal(err)
	}
	if peer, said := start(); !strings.Contains(said, gone) || !strings.Contains(said, peer) {
		t.Errorf("it said %q, want that it is now %s", said, peer)
	}
	if _, said := start(); strings.Contains(said, gone) {
		t.Errorf("once more: %s", said)
	}
}

func TestHomeRemembersItsMesh(t *testing.T) {
	h1, h2, h3 := home(t), home(t), home(t)
	first := bootstrap(t, h1)
	second := open(t, through(t, h2, Storage, first))
	user := open(t, through(t, h3, Client, first))
	content := noise(1, 100_000)
	stored := user.put(content, PutOptions{Name: "x"})
	first.sees(1)
	second.sees(1)
	before := []int{first.link.net.Port(), second.link.net.Port()}
	mesh, err := first.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*running{user, second, first} {
		n.end()
	}
	second = open(t, options(h2, Storage)) // nobody answers yet
	first = bootstrap(t, h1)               // makes no mesh of its own
	user = open(t, options(h3, Client))
	first.sees(1)
	second.sees(1)
	user.get("x", content)
	user.get(stored.ID.String(), content)
	for i, n := range []*running{first, second} {
		if got := n.link.net.Port(); got != before[i] && isFree(before[i]) {
			t.Errorf("port %d, before %d", got, before[i])
		}
		if s, err := n.Stats(t.Context()); err != nil || s.Mesh != mesh.Mesh {
			t.Errorf("mesh %v, %v, before %v", s.Mesh, err, mesh.Mesh)
		}
	}
}

func TestPortZeroIsTheSameAgainUnlessItIsTaken(t *testing.T) {
	h := home(t)
	zero := options(h, Storage)
	zero.NewMesh = true
	n := open(t, zero)
	port := n.link.net.Port()
	n.end()
	n = open(t, zero)
	again := n.link.net.Port()
	n.end()
	if again != port && isFree(port) {
		t.Errorf("port 0 is %d, was %d", again, port)
	}
	port = again
	if taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil { // else somebody else has it
		defer taken.Close()
	}
	fixed := options(h, Storage)
	fixed.Port = -1 // the one that is remembered, and no other
	_, err := Open(t.Context(), fixed)
	wantKind(t, "a node whose port is taken", err, errs.Configuration)
	if got := open(t, zero).link.net.Port(); got == port || got == 0 {
		t.Errorf("port 0 is %d, which is taken", got)
	}
}

func TestClientKeepsWhatAServiceHasWrittenMeanwhile(t *testing.T) {
	first := bootstrap(t, home(t))
	user := open(t, through(t, home(t), Client, first))
	m, err := loadMemory(user.home)
	if err != nil {
		t.Fatal(err)
	}
	m.port = 40871 // as a service does that starts while the client joins
	if err := m.save(user.home, user.link.view()); err != nil {
		t.Fatal(err)
	}
	if err := user.learn(user.link); err != nil {
		t.Fatal(err)
	}
	if got, err := loadMemory(user.home); err != nil || got.port != 40871 || len(got.members) != 1 {
		t.Errorf("got %+v, %v, want the service's port", got, err)
	}
	if m.genesis, err = format.NewGenesis("another"); err != nil {
		t.Fatal(err)
	}
	m.members = nil
	if err := m.save(user.home, new(ring.View)); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "a mesh that the service began", user.learn(user.link), errs.Authentication)
}

func TestHomeRefusesAnotherMesh(t *testing.T) {
	h := home(t)
	first, foreign := bootstrap(t, home(t)), bootstrap(t, home(t))
	open(t, through(t, h, Client, first)).end()
	_, err := Open(t.Context(), through(t, h, Client, foreign))
	wantKind(t, "open", err, errs.Authentication)
	for _, n := range []*running{first, foreign} {
		s, statsErr := n.Stats(t.Context())
		if statsErr != nil || !strings.Contains(err.Error(), s.Mesh.String()) {
			t.Errorf("%v does not name %s", err, s.Mesh)
		}
	}
	if s, err := open(t, options(h, Client)).Stats(t.Context()); err != nil || s.Members.Alive+s.Members.Suspect != 1 {
		t.Errorf("it has lost its own: %+v, %v", s, err)
	}
}

func TestNodesThatCannotBeOpened(t *testing.T) {
	h := home(t)
	_, err := Open(t.Context(), options(h, Storage))
	wantKind(t, "a service without a mesh", err, errs.Configuration)
	first := bootstrap(t, h)
	o := options(h, Storage)
	o.NewMesh = true
	_, err = Open(t.Context(), o)
	wantKind(t, "a second node of a home", err, errs.Locked)
	o = through(t, home(t), Storage, first)
	o.Port = first.link.net.Port()
	_, err = Open(t.Context(), o)
	wantKind(t, "a node on the port of another", err, errs.Configuration)
	first.end()
	o.Port, o.JoinTimeout = 0, time.Second
	_, err = Open(t.Context(), o)
	wantKind(t, "a node that joins nobody", err, errs.Unavailable)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, o); err == nil {
		t.Error("a node was opened in no time")
	}
	bootstrap(t, h) // nothing is locked by those that failed
}

// A client that has not found its mesh does not look for it again and again while
// it does one thing.
func TestClientLooksForItsMeshOnce(t *testing.T) {
	first, h := bootstrap(t, home(t)), home(t)
	n := open(t, through(t, h, Client, first))
	if _, err := n.Peers(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.end()
	first.end()
	o := options(h, Client)
	o.JoinTimeout = 100 * time.Millisecond
	n = open(t, o)
	_, err := n.Peers(t.Context())
	wantKind(t, "a mesh that is not there", err, errs.Unavailable)
	n.missed.at = n.missed.at.Add(time.Hour) // however slow this machine is, not much later
	if _, again := n.Peers(t.Context()); again != err {
		t.Errorf("it was looked for once more: %v", again)
	}
	n.missed.at = n.missed.at.Add(-time.Hour - missedTime)
	if _, later := n.Peers(t.Context()); later == err {
		t.Error("it is never looked for again")
	}
}

func TestPutsThatMakeNoSense(t *testing.T) {
	n := open(t, options(home(t), Client))
	minus, one := -1, 1
	for what, o := range map[string]PutOptions{
		"no recipient": {To: []string{"nobody"}},
		"no code":      {Code: "4"},
		"no bar":       {MinSurvives: &minus},
		"no name":      {Name: "\xff"},
	} {
		_, err := n.Put(t.Context(), strings.NewReader("x"), o)
		wantKind(t, what, err, errs.Invalid)
	}
	_, err := n.Put(t.Context(), strings.NewReader("x"), PutOptions{MinSurvives: &one})
	wantKind(t, "a bar that is too high", err, errs.Unavailable)
	_, err = n.Get(t.Context(), "no such name", GetOptions{}, nil)
	wantKind(t, "get of no such name", err, errs.FileNotFound)
	_, err = n.Info(t.Context(), "dmobj1qqqq", true)
	wantKind(t, "info of a mistyped id", err, errs.Invalid)
	list, err := listOf(t, n.Node)
	if err != nil || len(list.Objects) > 0 {
		t.Errorf("list: %+v, %v", list, err)
	}
}

func TestNamesThatReadLikeIDsAreRefused(t *testing.T) {
	n := open(t, options(home(t), Client))
	id := n.put(noise(1, 10), PutOptions{Name: "photo.jpg"}).ID.String()
	for _, name := range []string{id, strings.ToUpper(id), id[:len(id)-1], strings.Repeat("0a", 32)} {
		_, err := n.Put(t.Context(), bytes.NewReader(noise(1, 10)), PutOptions{Name: name})
		wantKind(t, "put under "+name, err, errs.Invalid)
		if hint := errs.HintFor(err); !strings.Contains(hint, "--name") {
			t.Errorf("%s: hint %q", name, hint)
		}
	}
	n.put(noise(1, 10), PutOptions{Name: strings.Repeat("0a", 31)})
}

func TestTwoMembersMirror(t *testing.T) {
	first := bootstrap(t, home(t))
	second := open(t, through(t, home(t), Storage, first))
	first.sees(1)
	content := noise(1, 300_000)
	stored := first.put(content, PutOptions{})
	if stored.Survives != 1 || len(stored.Warnings) > 0 {
		t.Errorf("stored %+v", stored)
	}
	carry(t, first.home, second.home)
	first.end()
	var got bytes.Buffer
	_, err := second.Get(t.Context(), stored.ID.String(), GetOptions{}, func(ObjectInfo) (io.Writer, error) { return &got, nil })
	if err != nil || !bytes.Equal(got.Bytes(), content) {
		t.Errorf("get without the first: %d bytes, %v", got.Len(), err)
	}
}

// die leaves a put in the middle, as a crash does.
func (r *running) die(content []byte) {
	r.t.Helper()
	l, err := r.connect(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			r.t.Error("it did not come to the commit")
		}
		r.end()
	}()
	l.objects.Put(r.t.Context(), bytes.NewReader(content), object.PutOptions{K: 4, M: 2, MinSurvives: -1}, func(object.PutResult) error {
		panic("died")
	})
}

func TestLeftoversAreSweptAtTheNextOpen(t *testing.T) {
	h := home(t)
	first := bootstrap(t, home(t))
	kept := noise(1, 100_000)
	user := open(t, through(t, h, Client, first))
	stored := user.put(kept, PutOptions{})
	user.die(noise(2, 300_000))
	shards := func() int64 {
		s, err := first.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Store.Shards
	}
	if shards() <= int64(stored.Shards) {
		t.Fatal("nothing was left behind")
	}
	user = open(t, options(h, Client))
	user.get(stored.ID.String(), kept) // an operation that meets the mesh
	journals := func() []string {
		return must(t, func() ([]string, error) { return filepath.Glob(filepath.Join(h.Default().Puts(), "*")) })
	}
	if !soon(func() bool { return shards() == int64(stored.Shards) && len(journals()) == 0 }) {
		t.Errorf("%d shards are left, want %d, and journals %v", shards(), stored.Shards, journals())
	}
}

// A get that was interrupted and is old leaves nothing, although nobody lists it.
func TestLeftoversOfAGetAreSwept(t *testing.T) {
	for _, resume := range []time.Duration{time.Hour, 0} {
		h, dir := home(t), t.TempDir()
		out := filepath.Join(dir, "out")
		get := partial.Begin(h.Gets(), "film", out)
		if err := get.Open(datamesh.ObjectID{1}, "film", 2*partial.Worth, 0, out, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := get.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if !get.Leave() {
			t.Fatal("it cannot be resumed")
		}
		o := options(h, Client)
		o.Config.Put.Resume = resume
		user := open(t, o)
		user.put([]byte("a"), PutOptions{}) // an operation that meets the mesh
		user.end()                          // waits for the sweep
		for _, d := range []string{h.Gets(), dir} {
			left, err := os.ReadDir(d)
			if err != nil || len(left) > 0 != (resume > 0) {
				t.Errorf("resumable for %v: %v, %v", resume, left, err)
			}
		}
	}
}
