package transfer

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/mesh"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// A counter is how many streams were opened, and how many of them are open.
type counter struct{ opened, open atomic.Int64 }

// dialCounted returns a client like that of dial, which counts its streams.
func dialCounted(t *testing.T, serve func(from datamesh.PeerID, s mesh.Stream)) (*Client, *counter) {
	n := &counter{}
	return dial(t, func(from datamesh.PeerID, s mesh.Stream) {
		n.opened.Add(1)
		n.open.Add(1)
		defer n.open.Add(-1)
		serve(from, s)
	}), n
}

// yes answers every request with success.
func yes(t *testing.T) func(datamesh.PeerID, mesh.Stream) {
	return func(_ datamesh.PeerID, s mesh.Stream) {
		for {
			req, _, ok := asked(t, s)
			if !ok || tell(s, response{Has: make([]bool, len(req.Keys))}, nil) != nil {
				return
			}
		}
	}
}

var oneKey = []datamesh.ShardKey{{}}

func TestStreamIsUsedForTheNextRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storetest.Segment(t, 1, 2, 1, 500_000)
		memory := store.NewMemory(1 << 20)
		server := NewServer(datamesh.PeerID{}, memory, nil, newRegistry())
		c, n := dialCounted(t, func(from datamesh.PeerID, stream mesh.Stream) { server.Handle(t.Context(), from, stream) })
		shards := c.Shards(anybody)
		for index := range s.Bytes {
			s.Put(t, shards, index)
			s.Check(t, shards, index)
		}
		_, _, err := shards.Get(t.Context(), datamesh.ShardKey{}, nil) // an error is an answer too
		wantKind(t, "get", err, errs.FileNotFound)
		if _, err := shards.Has(t.Context(), oneKey); err != nil {
			t.Error(err)
		}
		if got := n.opened.Load(); got != 1 {
			t.Errorf("%d streams were opened, want 1", got)
		}
	})
}

func TestUnusedStreamsAreClosedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c, n := dialCounted(t, func(from datamesh.PeerID, s mesh.Stream) {
			<-release
			yes(t)(from, s)
		})
		var wait sync.WaitGroup
		for range places[question] {
			wait.Go(func() {
				if _, err := c.Shards(anybody).Has(t.Context(), oneKey); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(release)
		wait.Wait()
		synctest.Wait()
		if got := n.open.Load(); int(got) != places[question] {
			t.Errorf("%d streams are kept, want %d", got, places[question])
		}
		pass(keepTime)
		synctest.Wait()
		if got := n.open.Load(); got != 0 {
			t.Errorf("%d streams are kept after %v, want none", got, keepTime)
		}
	})
}

// A stuckStream takes a header, and no shard.
type stuckStream struct{ mesh.Stream }

func (s stuckStream) Write(b []byte) (int, error) {
	if len(b) > leastStep {
		return 0, os.ErrDeadlineExceeded
	}
	return s.Stream.Write(b)
}

// A put that could not send its shard in time waits for no answer, though the peer is heard.
func TestPutThatCannotSendDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sample := storetest.Segment(t, 1, 1, 0, 500_000)
		c, _ := dialCounted(t, yes(t))
		open := c.pool.open
		c.pool.open = func(ctx context.Context, to datamesh.PeerID) (mesh.Stream, error) {
			s, err := open(ctx, to)
			return stuckStream{s}, err
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Shards(anybody).Put(t.Context(), sample.Descriptor, 0, sample.Bytes[0]) }()
		for range 2 * putSilence / time.Second {
			if _, err := c.Shards(anybody).Has(t.Context(), oneKey); err != nil {
				t.Error(err)
			}
			pass(time.Second)
		}
		select {
		case err := <-ended:
			wantKind(t, "put", err, errs.Unavailable)
		default:
			t.Error("it goes on waiting")
			c.Close()
		}
	})
}

func TestSmallRequestsDoNotWaitForShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, n := dialCounted(t, func(from datamesh.PeerID, s mesh.Stream) {
			for {
				req, _, ok := asked(t, s)
				if !ok {
					return
				}
				if req.Op == opHas {
					tell(s, response{Has: []bool{true}}, nil)
				}
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		for range 3 * places[bulk] {
			wait.Go(func() {
				if _, _, err := c.Shards(anybody).Get(ctx, datamesh.ShardKey{}, nil); !errors.Is(err, context.Canceled) {
					t.Errorf("get: got %v, want %v", err, context.Canceled)
				}
			})
		}
		synctest.Wait()
		if got := n.open.Load(); int(got) != places[bulk] {
			t.Errorf("%d streams for shards, want %d", got, places[bulk])
		}
		if has, err := c.Shards(anybody).Has(t.Context(), oneKey); err != nil || !has[0] {
			t.Errorf("has beside them: %v, %v", has, err)
		}
		cancel()
		wait.Wait()
		for range 2 * places[bulk] { // no place was lost
			if _, err := c.Shards(anybody).Has(t.Context(), oneKey); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestPlacesComeBackWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fail atomic.Bool
		good := dial(t, yes(t))
		c := NewClient(func(ctx context.Context, to datamesh.PeerID) (mesh.Stream, error) {
			if fail.Load() {
				return nil, errs.New(errs.Unavailable, "cannot be reached: %w", errTest)
			}
			return good.pool.open(ctx, to)
		})
		fail.Store(true)
		for range 2*places[question] + 1 {
			if _, err := c.Shards(anybody).Has(t.Context(), oneKey); !errors.Is(err, errTest) {
				t.Fatalf("got %v, want %v", err, errTest)
			}
		}
		fail.Store(false)
		if _, err := c.Shards(anybody).Has(t.Context(), oneKey); err != nil {
			t.Errorf("after it is reached again: %v", err)
		}
		c.Close()
		_, err := c.Shards(anybody).Has(t.Context(), oneKey)
		wantKind(t, "has of a closed client", err, errs.Unavailable)
	})
}

func TestOpeningCountsAsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClient(func(ctx context.Context, _ datamesh.PeerID) (mesh.Stream, error) {
			<-ctx.Done()
			return nil, errs.New(errs.Unavailable, "cannot be reached: %w", ctx.Err())
		})
		ctx, cancel := context.WithTimeout(t.Context(), getSilence+1)
		defer cancel()
		_, err := c.Shards(anybody).Has(ctx, oneKey)
		wantKind(t, "has", err, errs.Unavailable)
	})
}

func TestStreamThatDiedWithItsPeerIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, n := dialCounted(t, func(_ datamesh.PeerID, s mesh.Stream) {
			asked(t, s)
			tell(s, response{Has: []bool{true}}, nil)
			s.Close() // after one request
		})
		for range 3 {
			if _, err := c.Shards(anybody).Has(t.Context(), oneKey); err != nil {
				t.Errorf("has: %v", err)
			}
			synctest.Wait()
		}
		if got := n.opened.Load(); got != 3 {
			t.Errorf("%d streams, want 3", got)
		}
	})
}

// Streams that die late, one after the other, have the time of one silence.
func TestKeptStreamsThatDieLateAreNotTriedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := dial(t, func(_ datamesh.PeerID, s mesh.Stream) {
			if _, _, ok := asked(t, s); !ok {
				return
			}
			<-release
			tell(s, response{Has: []bool{true}}, nil)
			if _, _, ok := asked(t, s); ok {
				pass(getSilence - time.Millisecond)
			}
			s.Close()
		})
		var wait sync.WaitGroup
		for range places[question] {
			wait.Go(func() {
				if _, err := c.Shards(anybody).Has(t.Context(), oneKey); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(release)
		wait.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 2*getSilence)
		defer cancel()
		if _, err := c.Shards(anybody).Has(ctx, oneKey); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("has: %v", err)
		}
	})
}

func TestPeerThatAlwaysBreaksIsNotTriedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, n := dialCounted(t, func(_ datamesh.PeerID, s mesh.Stream) { s.Close() })
		_, err := c.Shards(anybody).Has(t.Context(), oneKey)
		wantKind(t, "has", err, errs.Network)
		if got := n.opened.Load(); got != 1 {
			t.Errorf("%d streams, want 1", got)
		}
	})
}

// A reset may wait until its connection is given up.
type stuck struct {
	mesh.Stream
	until <-chan struct{}
}

func (s stuck) Reset() error {
	<-s.until
	return s.Stream.Reset()
}

func TestResetThatIsStuckHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		silent := dial(t, func(_ datamesh.PeerID, s mesh.Stream) { asked(t, s) })
		good := dial(t, yes(t))
		dead := datamesh.PeerID{2}
		c := NewClient(func(ctx context.Context, to datamesh.PeerID) (mesh.Stream, error) {
			if to != dead {
				return good.pool.open(ctx, to)
			}
			s, err := silent.pool.open(ctx, to)
			return stuck{s, until}, err
		})
		defer c.Close()
		defer close(until)
		for range 2 {
			_, _, err := c.Shards(dead).Get(t.Context(), datamesh.ShardKey{}, nil)
			wantKind(t, "get of the silent one", err, errs.Unavailable)
			if _, err := c.Shards(anybody).Has(t.Context(), oneKey); err != nil {
				t.Errorf("has of another: %v", err)
			}
		}
	})
}

// A lagging stream has its deadline put off the second time, which is while
// the bytes of a shard are written, just after it was aborted.
type lagging struct {
	mesh.Stream
	times   *atomic.Int64
	aborted chan struct{}
	once    *sync.Once // guards the closing of aborted
}

func (s lagging) SetDeadline(t time.Time) error {
	if t.After(time.Now()) {
		if s.times.Add(1) == 2 {
			<-s.aborted
		}
		return s.Stream.SetDeadline(t)
	}
	defer s.once.Do(func() { close(s.aborted) })
	return s.Stream.SetDeadline(t)
}

// Whoever is about to write puts the deadline off, and must not undo an abort
// whose reset is still to come.
func TestAbortIsNotPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		full := dial(t, func(_ datamesh.PeerID, s mesh.Stream) {
			readMessage(s, "request", new(request))
			tell(s, failure(errs.New(errs.Full, "no room")), nil)
		})
		c := NewClient(func(ctx context.Context, to datamesh.PeerID) (mesh.Stream, error) {
			s, err := full.pool.open(ctx, to)
			return stuck{lagging{s, new(atomic.Int64), make(chan struct{}), new(sync.Once)}, until}, err
		})
		defer c.Close()
		defer close(until)
		sample := storetest.Segment(t, 1, 1, 0, 500_000)
		began := time.Now()
		wantKind(t, "put", c.Shards(anybody).Put(t.Context(), sample.Descriptor, 0, sample.Bytes[0]), errs.Full)
		if took := time.Since(began); took > 0 {
			t.Errorf("the put went on for %v after its end", took)
		}
	})
}

func TestProbeTellsTheSlowFromTheGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sample := storetest.Segment(t, 1, 1, 0, 500_000)
		sent := make(chan struct{})
		busy := lie(t, func(s mesh.Stream, req request) {
			if req.Op == opHas {
				<-sent // it is behind the shard
				tell(s, response{}, nil)
				return
			}
			tell(s, response{Descriptor: format.EncodeDescriptor(sample.Descriptor), Length: 500_000}, nil)
			for piece := range slices.Chunk(sample.Bytes[0], leastStep) {
				pass(probeSilence / 4)
				s.Write(piece)
			}
			close(sent)
		})
		var wait sync.WaitGroup
		wait.Go(func() { sample.Check(t, busy.Shards(anybody), 0) })
		synctest.Wait()
		if err := busy.Probe(t.Context(), anybody); err != nil {
			t.Errorf("a peer that sends: %v", err)
		}
		wait.Wait()
		gone := lie(t, func(mesh.Stream, request) {})
		wantKind(t, "a silent peer", gone.Probe(t.Context(), anybody), errs.Unavailable)
		broken := dial(t, func(_ datamesh.PeerID, s mesh.Stream) { s.Close() })
		wantKind(t, "a broken peer", broken.Probe(t.Context(), anybody), errs.Network)
	})
}

// A peer that sends and breaks every question is there, and is not asked over
// and over again.
func TestProbeDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sample := storetest.Segment(t, 1, 1, 0, 500_000)
		c, n := dialCounted(t, func(_ datamesh.PeerID, s mesh.Stream) {
			if req, _, ok := asked(t, s); !ok || req.Op == opHas {
				pass(5 * time.Millisecond / 2)
				s.Close()
				return
			}
			tell(s, response{Descriptor: format.EncodeDescriptor(sample.Descriptor), Length: 500_000}, nil)
			for piece := range slices.Chunk(sample.Bytes[0], leastStep) {
				s.Write(piece)
				pass(time.Millisecond)
			}
		})
		var wait sync.WaitGroup
		wait.Go(func() { sample.Check(t, c.Shards(anybody), 0) })
		synctest.Wait()
		if err := c.Probe(t.Context(), anybody); err != nil {
			t.Errorf("probe: %v", err)
		}
		wait.Wait()
		if got := n.opened.Load(); got > 3 {
			t.Errorf("%d streams were opened, want at most 3", got)
		}
	})
}

// On a slow line an answer may be behind much else that comes from the same peer.
func TestPeerThatIsHeardElsewhereIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sample := storetest.Segment(t, 1, 2, 1, 200_000)
		for _, behind := range []bool{true, false} {
			c := dial(t, func(_ datamesh.PeerID, s mesh.Stream) {
				req, _, ok := asked(t, s)
				if !ok {
					return
				}
				if req.Op == opHas {
					pass(5 * getSilence / 2)
					tell(s, response{Has: []bool{true}}, nil)
					return
				}
				for tell(s, response{More: true}, nil) == nil {
					pass(getSilence / 2)
				}
			})
			var other sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			if behind {
				other.Go(func() { c.Shards(anybody).Get(ctx, sample.Key(1), nil) }) // which waits, as it is told to
			}
			began := time.Now()
			_, err := c.Shards(anybody).Has(ctx, []datamesh.ShardKey{sample.Key(1)})
			if took := time.Since(began); behind && err != nil || !behind && (errs.KindOf(err) != errs.Unavailable || took != getSilence) {
				t.Errorf("behind much else %v: after %v: %v", behind, took, err)
			}
			cancel()
			other.Wait()
		}
	})
}
