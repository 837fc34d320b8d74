package object

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/mesh"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// A wire is a world whose members are talked to in the protocol, over streams
// whose bytes are counted, and on which every answer takes a round trip.
type wire struct {
	*world
	client *transfer.Client
	bytes  atomic.Int64 // both ways
}

// roundTrip is what an answer takes, of the time in a bubble, in which computing takes none.
const roundTrip = 10 * time.Millisecond

func newWire(w *world) *wire {
	x := &wire{world: w}
	x.client = transfer.NewClient(func(_ context.Context, peer datamesh.PeerID) (mesh.Stream, error) {
		here, there := net.Pipe()
		m := w.member(peer)
		go transfer.NewServer(m.id, m.store, nil, located{w: w, m: m}).Handle(w.t.Context(), datamesh.PeerID{0xff}, pipe{there})
		return &metered{pipe: pipe{here}, bytes: &x.bytes}, nil
	})
	w.t.Cleanup(x.client.Close)
	return x
}

func (x *wire) Shards(peer datamesh.PeerID) datamesh.ShardStore { return x.client.Shards(peer) }

func (x *wire) Locate(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	return x.client.Locate(ctx, peer, segment)
}

func (x *wire) Find(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (store.Found, error) {
	return x.client.Find(ctx, peer, segment)
}

// located is the registry of a member, which answers from memory.
type located struct {
	transfer.Registry
	w *world
	m *member
}

func (l located) Locate(ctx context.Context, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	return l.w.Locate(ctx, l.m.id, segment)
}

// A metered stream counts its bytes, and has each answer take its time.
type metered struct {
	pipe
	bytes *atomic.Int64
	asked bool
}

func (m *metered) Write(p []byte) (int, error) {
	n, err := m.pipe.Write(p)
	m.bytes.Add(int64(n))
	m.asked = true
	return n, err
}

func (m *metered) Read(p []byte) (int, error) {
	if m.asked {
		m.asked = false
		pass(roundTrip)
	}
	n, err := m.pipe.Read(p)
	m.bytes.Add(int64(n))
	return n, err
}

// measured returns the bytes, and the round trips one after the other, that
// something takes.
func (x *wire) measured(do func()) (n, trips int64) {
	before, began := x.bytes.Load(), time.Now()
	do()
	return x.bytes.Load() - before, int64(time.Since(began) / roundTrip)
}

// over returns the user as it is with a new process, and the wire.
func (u *user) over(x *wire) *user {
	other := *u
	other.Objects = New(x, func() (*keyring.Ring, error) { return u.ring, nil }, u.journal, testGrace)
	return &other
}

// A range of one frame's length out of an object of 64 segments, as one of 1 GiB has,
// takes two round trips: where the manifest is, with its shards, and the slices.
func TestWhatARangeTakesOfTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u, content := newUser(t, w), noise(5, 64<<20)
		u.content = 1 << 20
		id := u.put(content, options).ID
		x := newWire(w)
		o := u.over(x)
		o.partIs(id, content, 0, 1) // connects
		const shard = 1<<18 + 64
		for what, from := range map[string]int{
			"within a frame": 0, "over two frames": 100_000, "over two shards": 3<<20 + shard - 30_000, "over two segments": 7<<20 - 30_000, "at the end": 64<<20 - 64<<10,
		} {
			n, trips := x.measured(func() { o.partIs(id, content, from, 64<<10) })
			t.Logf("%s: %d bytes in %d round trips", what, n, trips)
			if n > 192<<10 {
				t.Errorf("%s: %d bytes", what, n)
			}
			if trips > 2 {
				t.Errorf("%s: %d round trips", what, trips)
			}
		}
	})
}

// The list of the segments of an object that is so large that it does not fit into
// the manifest takes a round trip of its own.
func TestARangeOfAListedObjectTakesARoundTripMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u, content := newUser(t, w), noise(5, 3<<20)
		u.content = 1 << 20
		opt := options
		opt.MaxList = 1
		id := u.put(content, opt).ID
		if m, err := u.Manifest(t.Context(), id); err != nil || len(m.List) == 0 {
			t.Fatalf("got %v, %v, want a list", m, err)
		}
		x := newWire(w)
		o := u.over(x)
		o.partIs(id, content, 0, 1)
		if _, trips := x.measured(func() { o.partIs(id, content, 100_000, format.MaxInline) }); trips > 4 {
			t.Errorf("%d round trips", trips)
		}
	})
}
