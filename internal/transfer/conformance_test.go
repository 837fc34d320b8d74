package transfer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/mesh"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// A serve function serves a stream of a peer.
type serve func(ctx context.Context, from datamesh.PeerID, s mesh.Stream)

// A pair is a member of a mesh and a client of it, over real connections.
type pair struct {
	member, client *mesh.Net
	serve          atomic.Pointer[serve] // what the member serves
}

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{}
	genesis, err := format.NewGenesis("test")
	if err != nil {
		t.Fatal(err)
	}
	start := func(cfg mesh.Config) *mesh.Net {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Key = key
		n, err := mesh.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return n
	}
	p.member = start(mesh.Config{Role: ring.Storage, Listen: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Genesis: genesis,
		Usage: func() (int64, int64) { return 1 << 30, 0 },
		Serve: map[string]func(context.Context, datamesh.PeerID, mesh.Stream){
			Protocol: func(ctx context.Context, from datamesh.PeerID, s mesh.Stream) { (*p.serve.Load())(ctx, from, s) },
		}})
	p.client = start(mesh.Config{Role: ring.Client, Join: []mesh.Peer{{ID: p.member.ID(), Addr: p.member.Addrs()[0]}}})
	if err := p.client.Met(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// dial returns a new client of what the member now serves.
func (p *pair) dial(t testing.TB, s serve) *Client {
	t.Helper()
	p.serve.Store(&s)
	c := NewClient(func(ctx context.Context, peer datamesh.PeerID) (mesh.Stream, error) {
		s, err := p.client.Open(ctx, peer, Protocol)
		if err != nil {
			return nil, err
		}
		return patient{s}, nil
	})
	t.Cleanup(c.Close)
	return c
}

// A patient stream lets a peer on a busy machine be silent for longer than it may be.
type patient struct{ mesh.Stream }

func (p patient) SetDeadline(t time.Time) error {
	if t.After(time.Now()) {
		t = t.Add(time.Minute)
	}
	return p.Stream.SetDeadline(t)
}

func (p *pair) dialServer(t testing.TB, shards datamesh.ShardStore, r Registry) *Client {
	return p.dial(t, NewServer(p.member.ID(), shards, nil, r).Handle)
}

func TestMemoryOfAPeerConforms(t *testing.T) {
	p := newPair(t)
	storetest.Run(t, func(t *testing.T) datamesh.ShardStore {
		return p.dialServer(t, store.NewMemory(128<<20), newRegistry()).Shards(p.member.ID())
	})
}

func TestDiskOfAPeerConforms(t *testing.T) {
	p := newPair(t)
	storetest.Run(t, func(t *testing.T) datamesh.ShardStore {
		disk, err := store.Open(t.TempDir(), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := disk.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return p.dialServer(t, disk, onDisk{disk}).Shards(p.member.ID())
	})
}

// What has rotted is found by whoever reads it, and then its holder knows, too.
func TestHolderHearsOfRotFromWhoReads(t *testing.T) {
	p := newPair(t)
	dir := t.TempDir()
	disk, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	s := storetest.Segment(t, 1, 2, 1, 600_000)
	shards := p.dialServer(t, disk, onDisk{disk}).Shards(p.member.ID())
	s.Put(t, shards, 0)
	rotten := 0
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at := bytes.Index(b, s.Bytes[0])
		if at < 0 {
			return nil
		}
		rotten++
		b[at+len(s.Bytes[0])/2] ^= 1
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil || rotten != 1 {
		t.Fatalf("%d files have the shard: %v", rotten, err)
	}
	_, _, err = shards.Get(t.Context(), s.Key(0), nil)
	wantKind(t, "get", err, errs.Integrity)
	if has, err := disk.Has(t.Context(), []datamesh.ShardKey{s.Key(0)}); err != nil || has[0] {
		t.Errorf("the holder has it: %v, %v", has, err)
	}
	s.Put(t, shards, 0)
	s.Check(t, shards, 0)
}

func TestLargestShardPasses(t *testing.T) {
	p := newPair(t)
	s := storetest.Segment(t, 1, 1, 1, datamesh.MaxSealed)
	shards := p.dialServer(t, store.NewMemory(64<<20), newRegistry()).Shards(p.member.ID())
	s.Put(t, shards, 1)
	s.Check(t, shards, 1)
}

// A peer that does not read fills the window of the stream, and then the
// writer waits.
func TestPutToAPeerThatDoesNotReadEndsWithItsContext(t *testing.T) {
	p := newPair(t)
	began := make(chan struct{})
	c := p.dial(t, func(ctx context.Context, _ datamesh.PeerID, s mesh.Stream) {
		readMessage(s, "request", new(request))
		close(began)
		<-ctx.Done()
	})
	s := storetest.Segment(t, 1, 1, 1, datamesh.MaxSealed)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if err := c.Shards(p.member.ID()).Put(ctx, s.Descriptor, 0, s.Bytes[0]); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestGetFromAPeerThatDoesNotAnswerEndsWithItsContext(t *testing.T) {
	p := newPair(t)
	began := make(chan struct{})
	c := p.dial(t, func(ctx context.Context, _ datamesh.PeerID, s mesh.Stream) {
		readMessage(s, "request", new(request))
		close(began)
		<-ctx.Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if _, _, err := c.Shards(p.member.ID()).Get(ctx, datamesh.ShardKey{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestManyTransfersAtOnceShareTheStreams(t *testing.T) {
	p := newPair(t)
	var mu sync.Mutex // guards now, most
	now, most := 0, 0
	server := NewServer(p.member.ID(), store.NewMemory(64<<20), nil, newRegistry())
	c := p.dial(t, func(ctx context.Context, from datamesh.PeerID, s mesh.Stream) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		server.Handle(ctx, from, s)
		mu.Lock()
		now--
		mu.Unlock()
	})
	shards := c.Shards(p.member.ID())
	var wait sync.WaitGroup
	for seed := range uint64(100) {
		wait.Go(func() {
			s := storetest.Segment(t, seed, 2, 1, 100_000)
			for index, shard := range s.Bytes {
				if err := shards.Put(t.Context(), s.Descriptor, index, shard); err != nil {
					t.Errorf("put: %v", err)
				}
				s.Check(t, shards, index)
			}
		})
	}
	wait.Wait()
	if limit := places[bulk] + places[small] + places[question] + 16; most > limit { // some are being reset
		t.Errorf("%d streams at once, want at most %d", most, limit)
	}
}
