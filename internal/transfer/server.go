package transfer

import (
	"context"
	"iter"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/mesh"
	"datamesh/internal/store"

	"golang.org/x/sync/semaphore"
)

// A Registry is what a registrar keeps: who holds which shards, and the records
// of owners.
type Registry interface {
	// Report takes down who holds what, durably. Kinds: Deleted, Full.
	Report(ctx context.Context, from datamesh.PeerID, reports []store.Report) error
	// Locate returns what was reported of a segment, or its descriptor alone
	// when shards of it are here. Kind: FileNotFound.
	Locate(ctx context.Context, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error)
	// Compare returns the ranges in which what is known of a peer's shards is
	// not what it sums up.
	Compare(ctx context.Context, from datamesh.PeerID, sums Sums) ([]int, error)
	// Holds takes down which shards of a range a peer holds, and forgets all
	// others there. It returns the segments that it does not know, and the
	// deletions of those that are deleted.
	Holds(ctx context.Context, from datamesh.PeerID, r Range) ([]datamesh.SegmentID, []*datamesh.Deletion, error)
	// Words returns on which segments a peer's words are wanted, because they
	// are newer than what is known here, and the words that are newer here.
	Words(ctx context.Context, from datamesh.PeerID, w Words) ([]datamesh.SegmentID, []*datamesh.Deletion, error)
	// Spare is told that a shard that is here may be one too many. It does
	// not wait.
	Spare(from datamesh.PeerID, key datamesh.ShardKey)
	// Pledge promises to keep a shard for some time. Kinds: FileNotFound,
	// Integrity, Unavailable (no such promise can be made).
	Pledge(ctx context.Context, from datamesh.PeerID, key datamesh.ShardKey) error
	// Proofs returns what holders of the segments have last proven.
	Proofs(ctx context.Context, segments []datamesh.SegmentID) ([]store.Proof, error)
	// Receipts returns the receipts that came with reports of a segment.
	Receipts(ctx context.Context, segment datamesh.SegmentID) ([]*datamesh.Receipt, error)
	// Owned returns an owner's segments of which something is known here, to a
	// peer that he has signed may ask for him: of at most limit segments of
	// whomever, and the last of these; more reports whether others follow. Kind:
	// Authentication.
	Owned(ctx context.Context, from datamesh.PeerID, ask OwnedAsk, limit int) (list []*datamesh.Descriptor, last datamesh.SegmentID, more bool, err error)
	// PutRecord keeps an owner's record, durably. Kinds: Authentication, Exists
	// (it is kept, as is another of its number), Full.
	PutRecord(ctx context.Context, from datamesh.PeerID, r *datamesh.Record) error
	// Records yields the records of one owner that are greater than a key, which
	// has his place, in their order. It ends after an error.
	Records(ctx context.Context, after datamesh.RecordKey) iter.Seq2[*datamesh.Record, error]
	// CompareRecords returns which of a peer's records are wanted here, and
	// yields those that are here and not among them.
	CompareRecords(ctx context.Context, from datamesh.PeerID, list RecordList) ([]datamesh.RecordKey, iter.Seq2[*datamesh.Record, error], error)
}

// A Sizer tells how many bytes a shard takes, at least its length, before it is
// read. Kind: FileNotFound.
type Sizer interface {
	Size(ctx context.Context, key datamesh.ShardKey) (int64, error)
}

var _ Sizer = (*store.Disk)(nil)

const (
	idleTime     = 2 * time.Minute  // after which a server closes an unused stream
	stallTime    = 20 * time.Second // for each piece of a shard, whichever way it goes
	progressStep = 64 << 10         // bytes of a shard between two words of progress
	waitStep     = time.Second      // between two words that say to wait
	serverBytes  = 72 << 20         // of shards in memory at once
	guestBytes   = serverBytes / 2  // and of one peer's: enough for the streams of a client
)

// A Server serves a store, and a registry, to peers.
type Server struct {
	self     datamesh.PeerID
	shards   datamesh.ShardStore
	sizes    Sizer
	registry Registry
	memory   *semaphore.Weighted
	buffers  buffers

	mu     sync.Mutex // guards guests
	guests map[datamesh.PeerID]*guest
}

// A guest is a peer that has streams open. What it may take of the memory is
// limited, so that one who is slow, or wants to be, does not keep others out.
type guest struct {
	streams int
	memory  *semaphore.Weighted
}

// NewServer returns the server of a peer's shards and registry. With no sizes, which those
// of the shards are, each shard is taken for one of the largest.
func NewServer(self datamesh.PeerID, shards datamesh.ShardStore, sizes Sizer, registry Registry) *Server {
	return &Server{self: self, shards: shards, sizes: sizes, registry: registry, memory: semaphore.NewWeighted(serverBytes),
		guests: map[datamesh.PeerID]*guest{}}
}

// Handle serves one stream until the peer closes it, is silent for too long,
// or breaks the protocol.
func (s *Server) Handle(ctx context.Context, from datamesh.PeerID, stream mesh.Stream) {
	defer stream.Reset()
	g := s.enter(from)
	defer s.leave(from)
	for {
		var req request
		if stream.SetDeadline(time.Now().Add(idleTime)) != nil ||
			readMessage(stream, "request", &req) != nil || req.Version != version ||
			s.answer(ctx, from, g, stream, &req) != nil {
			return
		}
	}
}

func (s *Server) enter(from datamesh.PeerID) *guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.guests[from]
	if g == nil {
		g = &guest{memory: semaphore.NewWeighted(guestBytes)}
		s.guests[from] = g
	}
	g.streams++
	return g
}

func (s *Server) leave(from datamesh.PeerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.guests[from]; g.streams > 1 {
		g.streams--
	} else {
		delete(s.guests, from)
	}
}

// reserve waits until n bytes of the memory are free for a guest. Meanwhile it
// tells the peer to wait, and waits no longer when that has gone.
func (s *Server) reserve(ctx context.Context, g *guest, stream mesh.Stream, n int64) (release func(), err error) {
	release = func() { s.memory.Release(n); g.memory.Release(n) }
	if g.memory.TryAcquire(n) {
		if s.memory.TryAcquire(n) {
			return release, nil
		}
		g.memory.Release(n)
	}
	ctx, cancel := context.WithCancel(ctx)
	var words sync.WaitGroup
	defer words.Wait() // before others write
	defer cancel()
	words.Go(func() {
		tick := time.NewTicker(waitStep)
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-tick.C:
				if respond(stream, response{More: true}, nil) != nil {
					cancel()
				}
			case <-ctx.Done():
			}
		}
	})
	if err := g.memory.Acquire(ctx, n); err != nil {
		return nil, err
	}
	if err := s.memory.Acquire(ctx, n); err != nil {
		g.memory.Release(n)
		return nil, err
	}
	return release, nil
}

// answer carries out a request and writes its response. An error means that
// the stream is of no more use.
func (s *Server) answer(ctx context.Context, from datamesh.PeerID, g *guest, stream mesh.Stream, req *request) error {
	if req.Op == opPut {
		return s.put(ctx, from, g, stream, req)
	}
	if req.Length != 0 {
		return errs.New(errs.Serialization, "request %d with a shard", req.Op)
	}
	if req.Op == opGet || req.Op == opRange {
		return s.get(ctx, g, stream, req)
	}
	if req.Op == opLocate {
		return s.locate(ctx, g, stream, req)
	}
	resp, err := s.small(ctx, from, req)
	if err != nil {
		resp = failure(err)
	}
	return respond(stream, resp, nil)
}

// respond writes an answer for as long as the peer takes some of it.
func respond(stream mesh.Stream, resp response, payload []byte) error {
	resp.Version = version
	moved := func() error { return stream.SetDeadline(time.Now().Add(stallTime)) }
	if err := moved(); err != nil {
		return err
	}
	return writeMessage(stream, resp, payload, moved)
}
