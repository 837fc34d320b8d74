package repair

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/erasure"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
	"datamesh/internal/transfer"
)

const testGrace = 30 * time.Second

// A world is a mesh whose members have real disks, and no network between them.
type world struct {
	t       *testing.T
	mesh    datamesh.MeshID
	members []*member

	mu    sync.Mutex   // guards the rest
	views []*ring.View // by side
}

// A member has a disk and a keeper.
type member struct {
	w               *world
	id              datamesh.PeerID
	key             ed25519.PrivateKey
	record          *ring.Record
	dir             string // of the disk
	disk            *store.Disk
	store           datamesh.ShardStore // that others reach
	registry        *Registry
	changed         chan struct{}
	stop            func() // ends the keeper
	down            bool
	promisesNothing bool
	side            int // of a partition; 0 or 1
	moved           struct {
		sync.Mutex
		gets, puts int
	}
}

func newWorld(t *testing.T, n int) *world {
	w := &world{t: t, mesh: datamesh.MeshID{1}}
	for range n {
		w.add(1 << 40)
	}
	return w
}

// add adds a member with so much room. Its keeper does not run yet.
func (w *world) add(capacity int64) *member {
	w.t.Helper()
	m := w.make(capacity)
	m.open(capacity)
	w.t.Cleanup(func() { m.disk.Close() })
	w.join(m)
	return m
}

// meet adds a member without a disk.
func (w *world) meet(capacity int64) *member {
	w.t.Helper()
	m := w.make(capacity)
	w.join(m)
	return m
}

// make makes a member that nobody knows of.
func (w *world) make(capacity int64) *member {
	w.t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(len(w.members) + 1)}, ed25519.SeedSize))
	record, err := ring.Sign(key, ring.Record{Mesh: w.mesh, Seq: 1, Role: ring.Storage, Capacity: capacity})
	if err != nil {
		w.t.Fatal(err)
	}
	return &member{w: w, id: record.Peer, key: key, record: record, changed: make(chan struct{}, 1), stop: func() {}}
}

// renew shows everybody that a member begins anew.
func (w *world) renew(m *member) {
	w.t.Helper()
	next := *m.record
	next.Seq += 1000
	m.sign(next)
	w.see()
}

// sign has the member say something else of itself.
func (m *member) sign(r ring.Record) {
	m.w.t.Helper()
	record, err := ring.Sign(m.key, r)
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.record = record
}

// join lets all know of a member.
func (w *world) join(m *member) {
	w.t.Helper()
	w.mu.Lock()
	w.members = append(w.members, m)
	w.mu.Unlock()
	w.see()
}

// open gives the member a disk, with nothing on it.
func (m *member) open(capacity int64) {
	m.w.t.Helper()
	var err error
	m.dir = m.w.t.TempDir()
	if m.disk, err = store.Open(m.dir, store.Options{Capacity: capacity, Reserve: 1}); err != nil {
		m.w.t.Fatal(err)
	}
	m.registry = &Registry{Index: m.disk, Self: m.id, View: m.View}
	m.store = Signed(m.disk, m.key, func() (datamesh.MeshID, bool) { return m.w.mesh, true })
}

// run runs the keepers of members until the test, or stop, ends them.
func (w *world) run(members ...*member) {
	for _, m := range members {
		w.keep(m)
	}
}

// keep runs the keeper of a member, and returns it.
func (w *world) keep(m *member) (k *Keeper) {
	ctx, cancel := context.WithCancel(w.t.Context())
	k = NewKeeper(&seen{w, m.id}, m.registry, Config{Self: m.id, Grace: testGrace, Interval: time.Hour, Seed: uint64(m.id[0])}, 0,
		Events{Failed: func(what string, err error) {
			if !errors.Is(err, errPromise) && !errors.Is(err, errTooFew) && !errors.Is(err, errUnproven) {
				w.t.Errorf("%s: %v", what, err)
			}
		}})
	done := make(chan struct{})
	m.stop = func() { cancel(); <-done }
	go func() {
		defer close(done)
		k.Run(ctx, m.changed)
	}()
	return k
}

// end ends all keepers.
func (w *world) end() {
	for _, m := range w.members {
		m.stop()
		m.stop = func() {}
	}
}

// see shows everybody who is there.
func (w *world) see() {
	w.t.Helper()
	views := []*ring.View{w.viewFrom(0), w.viewFrom(1)}
	w.mu.Lock()
	w.views = views
	w.mu.Unlock()
	for _, m := range w.members {
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
}

// viewFrom is what the members on a side see.
func (w *world) viewFrom(side int) *ring.View {
	var members []ring.Member
	for _, m := range w.members {
		x := ring.Member{Record: m.record, Placement: m.record.Placement(), State: ring.Alive}
		if m.down || m.side != side {
			x.State = ring.Dead
		}
		members = append(members, x)
	}
	return ring.NewView(members)
}

// part puts members on the other side of a partition; none ends it.
func (w *world) part(away ...*member) {
	w.mu.Lock()
	for _, m := range w.members {
		m.side = 0
		if slices.Contains(away, m) {
			m.side = 1
		}
	}
	w.mu.Unlock()
	w.see()
}

// kill takes members away.
func (w *world) kill(members ...*member) {
	for _, m := range members {
		m.setDown(true)
		m.stop()
		m.stop = func() {}
	}
	w.see()
}

// back has members return as they were.
func (w *world) back(members ...*member) {
	for _, m := range members {
		m.setDown(false)
	}
	w.see()
	w.run(members...)
}

// View is that of the first side.
func (w *world) View() *ring.View { return w.viewOf(0) }

func (m *member) setDown(down bool) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.down = down
}

func (w *world) viewOf(side int) *ring.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.views[side]
}

// View is that of the member.
func (m *member) View() *ring.View {
	m.w.mu.Lock()
	side := m.side
	m.w.mu.Unlock()
	return m.w.viewOf(side)
}

func (w *world) member(id datamesh.PeerID) *member {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.members[slices.IndexFunc(w.members, func(m *member) bool { return m.id == id })]
}

// seen is the mesh as one member sees it.
type seen struct {
	*world
	self datamesh.PeerID
}

func (s *seen) View() *ring.View { return s.member(s.self).View() }

var errPromise = errs.New(errs.Unavailable, "no promise is made")

var errAway = errs.New(errs.Unavailable, "cannot be reached")

func (s *seen) to(peer datamesh.PeerID) (*member, error) {
	m, self := s.member(peer), s.member(s.self)
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.down || m.side != self.side {
		return nil, errAway
	}
	return m, nil
}

func (s *seen) Shards(peer datamesh.PeerID) datamesh.ShardStore {
	m, err := s.to(peer)
	if err != nil {
		return &storetest.Faulty{Plan: func(storetest.Method, datamesh.ShardKey) storetest.Fault { return storetest.Fail }}
	}
	if peer == s.self {
		return store.Verify(&counted{m.store, m})
	}
	return store.Verify(m.registry.Guard(&counted{m.store, m}))
}

func (s *seen) Report(ctx context.Context, peer datamesh.PeerID, reports []store.Report) error {
	m, err := s.to(peer)
	if err != nil {
		return err
	}
	return m.registry.Report(ctx, s.self, reports)
}

func (s *seen) Locate(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	m, err := s.to(peer)
	if err != nil {
		return nil, nil, err
	}
	return m.registry.Locate(ctx, segment)
}

func (s *seen) Compare(ctx context.Context, peer datamesh.PeerID, sums transfer.Sums) ([]int, error) {
	m, err := s.to(peer)
	if err != nil {
		return nil, err
	}
	return m.registry.Compare(ctx, s.self, sums)
}

func (s *seen) Holds(ctx context.Context, peer datamesh.PeerID, r transfer.Range) ([]datamesh.SegmentID, []*datamesh.Deletion, error) {
	m, err := s.to(peer)
	if err != nil {
		return nil, nil, err
	}
	return m.registry.Holds(ctx, s.self, r)
}

func (s *seen) Words(ctx context.Context, peer datamesh.PeerID, words transfer.Words) ([]datamesh.SegmentID, []*datamesh.Deletion, error) {
	m, err := s.to(peer)
	if err != nil {
		return nil, nil, err
	}
	return m.registry.Words(ctx, s.self, words)
}

func (s *seen) PutRecord(ctx context.Context, peer datamesh.PeerID, r *datamesh.Record) error {
	m, err := s.to(peer)
	if err != nil {
		return err
	}
	return m.registry.PutRecord(ctx, s.self, r)
}

// perAnswer is how many records one answer has room for.
const perAnswer = 3

func (s *seen) CompareRecords(ctx context.Context, peer datamesh.PeerID, l transfer.RecordList) (wanted []datamesh.RecordKey, missing []*datamesh.Record, err error) {
	m, err := s.to(peer)
	if err != nil {
		return nil, nil, err
	}
	wanted, others, err := m.registry.CompareRecords(ctx, s.self, l)
	if err != nil {
		return nil, nil, err
	}
	for r, err := range others {
		if err != nil {
			return nil, nil, err
		}
		if missing = append(missing, r); len(missing) == perAnswer {
			break
		}
	}
	return wanted, missing, nil
}

func (s *seen) Spare(ctx context.Context, peer datamesh.PeerID, key datamesh.ShardKey) error {
	m, err := s.to(peer)
	if err != nil {
		return err
	}
	m.registry.Spare(s.self, key)
	return nil
}

func (s *seen) Pledge(ctx context.Context, peer datamesh.PeerID, key datamesh.ShardKey) error {
	m, err := s.to(peer)
	if err != nil {
		return err
	}
	if m.promisesNothing {
		return errPromise
	}
	return m.registry.Pledge(ctx, s.self, key)
}

// counted counts the shards that go over the network.
type counted struct {
	datamesh.ShardStore
	m *member
}

func (c *counted) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	c.m.moved.Lock()
	c.m.moved.puts++
	c.m.moved.Unlock()
	return c.ShardStore.Put(ctx, d, index, shard)
}

func (c *counted) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	c.m.moved.Lock()
	c.m.moved.gets++
	c.m.moved.Unlock()
	return c.ShardStore.Get(ctx, key, buf)
}

// moved returns how many shards were read and written so far.
func (w *world) moved() (gets, puts int) {
	for _, m := range w.members {
		m.moved.Lock()
		gets, puts = gets+m.moved.gets, puts+m.moved.puts
		m.moved.Unlock()
	}
	return gets, puts
}

// coded makes a segment whose shards are a code, the same for each seed.
func coded(t *testing.T, seed, k, m int) *storetest.Sample {
	t.Helper()
	code, err := erasure.New(k, m)
	if err != nil {
		t.Fatal(err)
	}
	const n = 5000
	buf := make([]byte, code.BufferLen(n))
	chacha := rand.NewChaCha8(key(4, seed))
	chacha.Read(buf[:n])
	shards, err := code.Encode(buf, n)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]datamesh.ShardID, len(shards))
	for i, shard := range shards {
		ids[i] = hash.Shard(shard)
	}
	owner := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))
	d, err := format.NewDescriptor(owner, k, m, n, ids)
	if err != nil {
		t.Fatal(err)
	}
	return &storetest.Sample{Descriptor: d, Bytes: shards, Owner: owner}
}

// put stores n segments as puts do, over those of the members that are there,
// and tells the registrars.
func (w *world) put(n, k, m int) []*storetest.Sample { return w.putFrom(0, 0, n, k, m) }

// putFrom puts n segments, of the seeds from first on, on a side.
func (w *world) putFrom(side, first, n, k, m int) (all []*storetest.Sample) {
	w.t.Helper()
	view := w.viewOf(side)
	for i := range n {
		s := coded(w.t, first+i, k, m)
		order := placement.Holders(ring.Candidates(view), s.Segment, k+m, m, s.ShardLen())
		report := store.Report{Descriptor: s.Descriptor}
		for index := range s.Bytes {
			peer := order[index%len(order)].Peer
			s.Put(w.t, w.member(peer).disk, index)
			report.Holdings = append(report.Holdings, store.Holding{Index: index, Peer: peer})
		}
		for _, peer := range registrars(view, s.Descriptor) {
			if err := w.member(peer).disk.Report(w.t.Context(), []store.Report{report}); err != nil {
				w.t.Fatal(err)
			}
		}
		all = append(all, s)
	}
	return all
}

// held returns who of those that are there holds a segment, by index.
func (w *world) held(s *storetest.Sample) [][]datamesh.PeerID {
	w.t.Helper()
	holders := make([][]datamesh.PeerID, len(s.Bytes))
	for _, m := range w.members {
		if m.down {
			continue
		}
		has, err := m.disk.Has(w.t.Context(), s.Keys())
		if err != nil {
			w.t.Fatal(err)
		}
		for i, ok := range has {
			if ok {
				holders[i] = append(holders[i], m.id)
			}
		}
	}
	return holders
}

func resign(t *testing.T, s *storetest.Sample) *storetest.Sample {
	ids := make([]datamesh.ShardID, len(s.Bytes))
	for i, b := range s.Bytes {
		ids[i] = hash.Shard(b)
	}
	d, err := format.NewDescriptor(s.Owner, s.K, s.M, s.Length, ids)
	if err != nil {
		t.Fatal(err)
	}
	return &storetest.Sample{Descriptor: d, Bytes: s.Bytes, Owner: s.Owner}
}
