package object

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
	"datamesh/internal/transfer"
)

// A world is a mesh in memory, as one node sees it.
type world struct {
	t       testing.TB
	mesh    datamesh.MeshID
	members []*member
	client  *transfer.Client // of records; nil: there are none

	along atomic.Int64 // shards that came along

	mu   sync.Mutex // guards view
	view *ring.View
}

// A member is a storage member of a world, with its store and its registry.
type member struct {
	id     datamesh.PeerID
	record *ring.Record
	store  *store.Memory
	inner  datamesh.ShardStore // that answers calls; nil: store
	deaf   bool                // it takes no reports
	slow   time.Duration       // that it takes to say who holds what
	finds  atomic.Int64        // times that it was asked for a shard with who holds what
	opened sync.Once
	disk   *store.Disk       // with records, once opened
	served transfer.Registry // of disk

	mu       sync.Mutex // guards the rest
	fault    storetest.Fault
	plan     func(storetest.Method, datamesh.ShardKey) storetest.Fault // nil: fault, of every call
	registry map[datamesh.SegmentID]store.Report
	locate   func(datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) // nil: what was reported
	calls    map[storetest.Method]int
}

// How long a peer may be silent, as package transfer has it.
const (
	putSilence   = 5 * time.Second
	getSilence   = 3 * time.Second
	probeSilence = 2 * time.Second
)

// newWorld makes a mesh of so many members, each with room for 1 GiB. A seed
// of its own makes each the same every time.
func newWorld(t testing.TB, members int) *world {
	t.Helper()
	w := &world{t: t, mesh: datamesh.MeshID{1}}
	w.see(nil)
	for i := range members {
		w.add(byte(i), 1<<30)
	}
	return w
}

// add adds a member with so much room.
func (w *world) add(seed byte, capacity int64) *member {
	w.t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	r, err := ring.Sign(key, ring.Record{Mesh: w.mesh, Seq: 1, Role: ring.Storage, Capacity: capacity})
	if err != nil {
		w.t.Fatal(err)
	}
	m := &member{id: r.Peer, record: r, store: store.NewMemory(capacity),
		registry: map[datamesh.SegmentID]store.Report{}, calls: map[storetest.Method]int{}}
	w.members = append(w.members, m)
	w.see(nil)
	return m
}

// see gives the node a new view, in which those members are dead.
func (w *world) see(dead []*member) {
	w.t.Helper()
	machine, err := ring.New(ring.Config{Mesh: w.mesh}, nil, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	machine.Step(now, ring.Tick{})
	for _, m := range w.members {
		learned := ring.Learned{Record: m.record}
		if slices.Contains(dead, m) {
			learned.State, learned.Since = ring.Dead, now.Add(-time.Minute)
		}
		machine.Step(now, learned)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view = machine.View()
}

// kill makes members fail every call; the node sees that they are dead.
func (w *world) kill(dead ...*member) {
	w.t.Helper()
	for _, m := range dead {
		m.set(storetest.Fail)
	}
	w.see(dead)
}

// set makes a member go wrong in all that it does.
func (m *member) set(f storetest.Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault, m.plan = f, nil
}

// do makes the calls of a member's store go wrong by a plan.
func (m *member) do(plan func(storetest.Method, datamesh.ShardKey) storetest.Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault, m.plan = storetest.None, plan
}

func (m *member) faultOf(method storetest.Method, key datamesh.ShardKey) storetest.Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[method]++
	if m.plan != nil {
		return m.plan(method, key)
	}
	return m.fault
}

func (m *member) called(method storetest.Method) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[method]
}

func (w *world) View() *ring.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view
}

// member returns the member of that id, or nil.
func (w *world) member(id datamesh.PeerID) *member {
	i := slices.IndexFunc(w.members, func(m *member) bool { return m.id == id })
	if i < 0 {
		return nil
	}
	return w.members[i]
}

func (w *world) Probe(ctx context.Context, peer datamesh.PeerID) error {
	return w.reach(ctx, peer, probeSilence)
}

// reach finds out how a member takes a call that has nothing to do with shards.
func (w *world) reach(ctx context.Context, peer datamesh.PeerID, silence time.Duration) error {
	m := w.member(peer)
	if m == nil {
		return errs.New(errs.Unavailable, "cannot be reached: no address")
	}
	m.mu.Lock()
	fault := m.fault
	m.mu.Unlock()
	switch fault {
	case storetest.Fail:
		return errs.New(errs.Unavailable, "cannot be reached: refused")
	case storetest.Stall:
		select {
		case <-time.After(silence):
			return errs.New(errs.Unavailable, "silent for %v", silence)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// Shards returns a member's store as the network gives it: what is wrong is
// found out, and silence ends.
func (w *world) Shards(peer datamesh.PeerID) datamesh.ShardStore {
	m := w.member(peer)
	if m == nil {
		return unreachable{}
	}
	faulty := &storetest.Faulty{ShardStore: m.store, Plan: m.faultOf}
	if m.inner != nil {
		faulty.ShardStore = m.inner
	}
	return patient{store.Verify(faulty)}
}

func (w *world) Report(ctx context.Context, peer datamesh.PeerID, reports []store.Report) error {
	if err := w.reach(ctx, peer, putSilence); err != nil {
		return err
	}
	m := w.member(peer)
	if m.deaf {
		return errs.New(errs.Full, "no room for reports")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range reports {
		m.registry[r.Descriptor.Segment] = r
	}
	return nil
}

func (w *world) Locate(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	if err := w.reach(ctx, peer, getSilence); err != nil {
		return nil, nil, err
	}
	m := w.member(peer)
	if m.slow > 0 {
		pass(m.slow)
	}
	m.mu.Lock()
	locate := m.locate
	m.mu.Unlock()
	if locate != nil {
		return locate(segment) // which may take its time
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if del, err := m.store.Deletion(ctx, segment); err == nil && del.Gone() {
		return nil, nil, errs.New(errs.Deleted, "its owner has deleted it")
	}
	if r, ok := m.registry[segment]; ok {
		return r.Descriptor, r.Holdings, nil
	}
	if keys, err := m.store.List(ctx, datamesh.ShardKey{Segment: segment, Index: -1}, 1); err == nil && len(keys) > 0 && keys[0].Segment == segment {
		d, _, err := m.store.Get(ctx, keys[0], nil)
		return d, nil, err
	}
	return nil, nil, errs.New(errs.FileNotFound, "no holder was reported")
}

// Find brings a shard along as the network does: what is wrong with it is found out.
func (w *world) Find(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (found store.Found, err error) {
	if m := w.member(peer); m != nil {
		m.finds.Add(1)
	}
	if found.Descriptor, found.Holdings, err = w.Locate(ctx, peer, segment); err != nil {
		return found, err
	}
	if err := ctx.Err(); err != nil {
		return found, err
	}
	m := w.member(peer)
	keys, err := m.store.List(ctx, datamesh.ShardKey{Segment: segment, Index: -1}, 1)
	if err != nil || len(keys) == 0 || keys[0].Segment != segment || found.Descriptor.ShardLen() > 64<<10 || found.Descriptor.K == 1 && keys[0].Index > 0 {
		return found, nil
	}
	found.Index = keys[0].Index
	if _, found.Shard, err = w.Shards(peer).Get(ctx, keys[0], make([]byte, found.Descriptor.ShardLen())); errs.KindOf(err) == errs.Integrity {
		found.Wrong = err
	}
	if err != nil {
		found.Shard = nil
		return found, nil
	}
	w.along.Add(1)
	return found, nil
}

func (w *world) Words(ctx context.Context, peer datamesh.PeerID, words transfer.Words) (wanted []datamesh.SegmentID, newer []*datamesh.Deletion, err error) {
	if err := w.reach(ctx, peer, getSilence); err != nil {
		return nil, nil, err
	}
	m := w.member(peer)
	for _, x := range words.List {
		if del, err := m.store.Deletion(ctx, x.Segment); err == nil && del.Generation > x.Generation {
			newer = append(newer, del)
		}
	}
	return nil, newer, nil
}

// unreachable is the store of a peer that is not a member.
type unreachable struct{ datamesh.ShardStore }

func (unreachable) Get(context.Context, datamesh.ShardKey, []byte) (*datamesh.Descriptor, []byte, error) {
	return nil, nil, errs.New(errs.Unavailable, "cannot be reached: no address")
}

// patient ends calls of a store that is silent.
type patient struct{ datamesh.ShardStore }

func (p patient) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	waiting, cancel := context.WithTimeout(ctx, putSilence)
	defer cancel()
	return cmp.Or(ctx.Err(), p.ShardStore.Put(waiting, d, index, shard))
}

func (p patient) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	waiting, cancel := context.WithTimeout(ctx, getSilence)
	defer cancel()
	return p.ShardStore.Get(waiting, key, buf)
}

func (p patient) Has(ctx context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	waiting, cancel := context.WithTimeout(ctx, getSilence)
	defer cancel()
	return p.ShardStore.Has(waiting, keys)
}

func (p patient) Drop(ctx context.Context, del *datamesh.Deletion) error {
	waiting, cancel := context.WithTimeout(ctx, putSilence)
	defer cancel()
	return p.ShardStore.Drop(waiting, del)
}

// A user is somebody who stores in a world.
type user struct {
	*Objects
	t       testing.TB
	w       *world
	dir     string // of the journals
	journal *Journal
	ring    *keyring.Ring
}

// testGrace is the grace of puts.
const testGrace = 3 * time.Second

// testResume is for how long an interrupted put can be resumed.
const testResume = time.Hour

func newUser(t testing.TB, w *world) *user {
	t.Helper()
	keys, err := keyring.New(keyring.Root{7})
	if err != nil {
		t.Fatal(err)
	}
	u := &user{t: t, w: w, dir: t.TempDir(), ring: keys}
	u.begin()
	t.Cleanup(func() { u.journal.Close() })
	return u
}

// begin gives the user a journal and objects of a new process, with segments
// as large as before.
func (u *user) begin() {
	before := u.Objects
	u.journal = NewJournal(u.dir, testResume)
	u.Objects = New(u.w, func() (*keyring.Ring, error) { return u.ring, nil }, u.journal, testGrace)
	u.t.Cleanup(u.Objects.Close)
	if before != nil {
		u.content = before.content
	}
}

// commit takes every object.
func commit(PutResult) error { return nil }

// options are those of a put with the default code.
var options = PutOptions{K: 4, M: 2, MinSurvives: -1}

// put stores content, which must work.
func (u *user) put(content []byte, opt PutOptions) PutResult {
	u.t.Helper()
	result, err := u.Put(u.t.Context(), bytes.NewReader(content), opt, commit)
	if err != nil {
		u.t.Fatalf("put of %d bytes: %v", len(content), err)
	}
	return result
}

// get reads an object and compares it.
func (u *user) get(id datamesh.ObjectID, want []byte) []BadShard {
	u.t.Helper()
	var got bytes.Buffer
	bad, err := u.Get(u.t.Context(), id, to(&got))
	if err != nil {
		u.t.Errorf("get of %d bytes: %v", len(want), err)
	} else if !bytes.Equal(got.Bytes(), want) {
		u.t.Errorf("get: other bytes than were put, %d of %d", got.Len(), len(want))
	}
	return bad
}

// to opens w for any object.
func to(w io.Writer) func(*format.Manifest) (io.Writer, int64, error) {
	return func(*format.Manifest) (io.Writer, int64, error) { return w, 0, nil }
}

// noise returns n bytes that belong to a seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	var chacha [32]byte
	chacha[0] = byte(seed)
	rand.NewChaCha8(chacha).Read(b)
	return b
}

// holds returns the keys of all shards that a member has.
func (m *member) holds(t testing.TB) []datamesh.ShardKey {
	t.Helper()
	keys, err := m.store.List(t.Context(), datamesh.First, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// clean checks that no member has a shard, and that no journal is left once
// the user's process has ended.
func (u *user) clean() {
	u.t.Helper()
	for i, m := range u.w.members {
		if keys := m.holds(u.t); len(keys) > 0 {
			u.t.Errorf("member %d has %d shards, want none", i, len(keys))
		}
	}
	if err := u.journal.Close(); err != nil {
		u.t.Errorf("close the journal: %v", err)
	}
	files, err := os.ReadDir(u.dir)
	if err != nil || len(files) > 0 {
		u.t.Errorf("the journal has left %v, %v", files, err)
	}
}

// crash ends the user's process in the middle of everything, and begins
// another one.
func (u *user) crash() {
	u.t.Helper()
	for _, f := range u.journal.files {
		if f.lock == nil {
			continue
		}
		if err := f.lock.Close(); err != nil {
			u.t.Fatal(err)
		}
	}
	u.begin()
}

// names reports whether bad names the member, and nobody else.
func names(bad []BadShard, members ...*member) bool {
	for _, b := range bad {
		if !slices.ContainsFunc(members, func(m *member) bool { return m.id == b.Peer }) {
			return false
		}
	}
	for _, m := range members {
		if !slices.ContainsFunc(bad, func(b BadShard) bool { return b.Peer == m.id }) {
			return false
		}
	}
	return true
}

func wantKind(t *testing.T, what string, err error, want errs.Kind) {
	t.Helper()
	if errs.KindOf(err) != want {
		t.Errorf("%s: got %v, of kind %s, want kind %s", what, err, errs.KindOf(err).Name(), want.Name())
	}
}
