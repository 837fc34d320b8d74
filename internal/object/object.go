// Package object is the two pipelines: put cuts a stream into segments, seals
// and codes them, spreads their shards and tells the registrars; get finds
// the shards, checks them, rebuilds what is missing, opens and writes.
//
// A put that returns without an error has been acknowledged by enough peers
// to survive what the mesh can survive; one that returns an error leaves
// nothing behind, or a journal by which [Journal.Sweep] removes it later. A
// get writes only bytes that were authenticated.
package object

import (
	"context"
	"crypto/ed25519"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/cache"
	"datamesh/internal/compress"
	"datamesh/internal/crypt"
	"datamesh/internal/erasure"
	"datamesh/internal/keyring"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/transfer"

	"golang.org/x/sync/semaphore"
)

// A Net is the mesh as the pipelines see it: a table of members, and each
// member's store and registry, this node's own included.
type Net interface {
	View() *ring.View
	// Probe reports with an error that a peer is not there: nothing at all
	// comes from it, for two seconds at most. Kinds: Unavailable, Network.
	Probe(ctx context.Context, peer datamesh.PeerID) error
	Shards(peer datamesh.PeerID) datamesh.ShardStore
	Report(ctx context.Context, peer datamesh.PeerID, reports []store.Report) error
	Locate(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error)
	// Find is as Locate, and brings a small shard along that the peer holds itself. The
	// descriptor's signature is not checked.
	Find(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (store.Found, error)
	// Owned asks a peer for segments of an owner, greater than after, as [transfer.Client.Owned].
	Owned(ctx context.Context, peer datamesh.PeerID, owner ed25519.PrivateKey, after datamesh.SegmentID) (list []*datamesh.Descriptor, next datamesh.SegmentID, more bool, err error)
	Words(ctx context.Context, peer datamesh.PeerID, w transfer.Words) ([]datamesh.SegmentID, []*datamesh.Deletion, error)
	PutRecord(ctx context.Context, peer datamesh.PeerID, r *datamesh.Record) error
	Records(ctx context.Context, peer datamesh.PeerID, owner datamesh.OwnerKey) (list []*datamesh.Record, err error)
}

const (
	inFlight  = 3                                // segments of one put or get at once
	maxMemory = 4 * (datamesh.MaxSealed * 3 / 2) // bytes of all puts at once, and of all gets
)

// Events tells what happens on the way. Any of its functions may be nil. They
// are called by many goroutines at once, and must not block.
type Events struct {
	// Late tells of a peer that kept a get waiting, so that another was asked
	// in its stead.
	Late func(peer datamesh.PeerID)

	// Along tells of the bytes of a shard that came along with where the others are.
	Along func(bytes int)

	// Bad tells of a shard that a peer should have served and did not.
	Bad func(BadShard)
}

// Objects puts and gets objects for one user. It is safe for concurrent use.
type Objects struct {
	Events Events       // not to be changed once a put or get has begun, nor is Parity
	Parity int          // m of the code that puts use: so many members may vanish
	Cache  *cache.Cache // of what gets read; nil: none. As Events

	net     Net
	keys    func() (*keyring.Ring, error)
	journal *Journal
	grace   time.Duration
	long    time.Duration // longPut; tests have less
	content int           // bytes of content that go into a segment at most; tests want little

	codec     *compress.Codec
	putMemory *semaphore.Weighted
	getMemory *semaphore.Weighted
	buffers   sync.Pool // of *[]byte
	pace      pace

	ctx     context.Context // until Close
	stop    context.CancelFunc
	asides  sync.WaitGroup // what may go on after a get
	probing sync.Mutex     // guards probes
	probes  map[datamesh.PeerID]*probe
}

// New returns the objects in net of the user whose keys are asked for by each
// put and get: a node that only stores needs none, and keys may be added while
// it runs. They end with Close. A put waits at most grace for its last shards once it could succeed
// without them.
func New(net Net, keys func() (*keyring.Ring, error), journal *Journal, grace time.Duration) *Objects {
	ctx, stop := context.WithCancel(context.Background())
	return &Objects{net: net, keys: keys, journal: journal, grace: grace, long: longPut, content: datamesh.MaxContent, codec: compress.New(),
		putMemory: semaphore.NewWeighted(maxMemory), getMemory: semaphore.NewWeighted(maxMemory),
		ctx: ctx, stop: stop, probes: map[datamesh.PeerID]*probe{}}
}

// A loan is a buffer that counts against the memory that is allowed.
type loan struct {
	buf    []byte
	o      *Objects
	memory *semaphore.Weighted
	weight int64
}

// take waits until n bytes fit into the memory that is allowed, and lends a
// buffer of that length.
func (o *Objects) take(ctx context.Context, memory *semaphore.Weighted, n int) (*loan, error) {
	l := &loan{o: o, memory: memory, weight: int64(min(n, maxMemory))} // more than all goes alone
	if err := memory.Acquire(ctx, l.weight); err != nil {
		return nil, err
	}
	if n > minReused {
		if p, ok := o.buffers.Get().(*[]byte); ok && cap(*p) >= n {
			l.buf = (*p)[:n]
			return l, nil
		}
	}
	l.buf = make([]byte, n)
	return l, nil
}

// minReused is the length of the buffers that are used again: those of whole
// segments, which a small segment must not keep from them.
const minReused = datamesh.MaxContent

// end gives the loan back. The buffer is used again if nobody else can still
// be writing to it.
func (l *loan) end(reuse bool) {
	if reuse && cap(l.buf) > minReused {
		l.o.buffers.Put(&l.buf)
	}
	l.memory.Release(l.weight)
}

// smallSealed is the length up to which a sealed segment is copied rather
// than coded: cutting 4 KiB into pieces saves nothing.
const smallSealed = 4 << 10

// codeFor returns the code of a segment of n sealed bytes.
func codeFor(n, k, m int) (*erasure.Code, error) {
	if n <= smallSealed {
		k = 1
	}
	return erasure.New(k, m)
}

// segmentLen returns how many bytes of content go into a segment under a k+m
// code: fewer than could, where the parity would take too much memory.
func (o *Objects) segmentLen(k, m int) int {
	n := o.content
	for bufferLen(n, k, m) > maxMemory/inFlight && n > datamesh.FrameContent {
		n /= 2
	}
	return n
}

// bufferLen returns the length of a buffer for any segment with n bytes of
// content under a k+m code.
func bufferLen(n, k, m int) int {
	sealed := crypt.SealedLen(n)
	most := datamesh.ShardLen(sealed, k) * (k + m)
	return max(most, min(sealed, smallSealed)*(1+m))
}
