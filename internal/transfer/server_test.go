package transfer

import (
	"bytes"
	"context"
	"errors"
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

// open returns a stream to the client's peer, to write raw messages on.
func (c *Client) openRaw(t *testing.T, to datamesh.PeerID) mesh.Stream {
	t.Helper()
	s, err := c.pool.open(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Reset() })
	return s
}

// exchangeRaw writes a request and reads the answer.
func exchangeRaw(t *testing.T, s mesh.Stream, req request, payload []byte) *response {
	t.Helper()
	req.Version = version
	sent := make(chan error, 1)
	go func() { sent <- writeMessage(s, req, payload, func() error { return nil }) }()
	for {
		resp := new(response)
		if err := readMessage(s, "response", resp); err != nil {
			t.Fatal(err)
		}
		if !resp.More {
			<-sent
			return resp
		}
	}
}

// ended reports whether the server ends the stream.
func ended(s mesh.Stream) bool {
	_, err := s.Read(make([]byte, 1))
	return err != nil
}

// A shard that was refused before it was read must not be taken for requests.
func TestRefusedShardIsNotARequest(t *testing.T) {
	victim := storetest.Segment(t, 1, 2, 1, 1000)
	memory := store.NewMemory(1 << 20)
	victim.Put(t, memory, 0)
	var hidden bytes.Buffer
	if err := writeMessage(&hidden, request{Version: version, Op: opDrop, Deletion: format.EncodeDeletion(victim.Deletion(1))}, nil, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, req := range []request{
		{Op: opPut, Keys: wireKeys(victim.Keys()[:1]), Descriptor: []byte("none")},
		{Op: opPut, Keys: []key{{}}, Descriptor: format.EncodeDescriptor(victim.Descriptor)},
		{Op: opPut, Keys: wireKeys(victim.Keys()[:1]), Descriptor: format.EncodeDescriptor(victim.Descriptor)},
		{Op: opPut, Keys: wireKeys(victim.Keys())},
		{Op: opGet, Keys: wireKeys(victim.Keys()[:1])},
		{Op: opHas},
	} {
		req.Version, req.Length = version, hidden.Len()
		s := dialServer(t, memory).openRaw(t, anybody)
		go writeMessage(s, req, hidden.Bytes(), func() error { return nil })
		var resp response
		if err := readMessage(s, "response", &resp); err == nil {
			wantKind(t, "put", resp.err(), errs.Integrity)
			exchangeRaw(t, s, request{Op: opHas}, nil) // the stream is between two messages
		}
		victim.Check(t, memory, 0)
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	sample := storetest.Segment(t, 1, 2, 1, 1000)
	d := format.EncodeDescriptor(sample.Descriptor)
	one := wireKeys(sample.Keys()[:1])
	for _, tt := range []struct {
		name string
		req  request
		want errs.Kind
	}{
		{"an operation that there is not", request{Op: 99}, errs.Invalid},
		{"has of too many keys", request{Op: opHas, Keys: make([]key, maxKeys+1)}, errs.Invalid},
		{"locate of no segment", request{Op: opLocate}, errs.Invalid},
		{"locate of two segments", request{Op: opLocate, Keys: make([]key, 2)}, errs.Invalid},
		{"drop of nothing", request{Op: opDrop}, errs.Serialization},
		{"a report without a descriptor", request{Op: opReport, Reports: []report{{}}}, errs.Serialization},
		{"a report of a shard that there is not", request{Op: opReport, Reports: []report{{Descriptor: d, Holders: []holding{{Index: 3}}}}}, errs.Serialization},
		{"sums of too many ranges", request{Op: opCompare, Nonce: make([]byte, 32), Bits: maxBits + 1, Sums: make([]byte, 8<<(maxBits+1))}, errs.Serialization},
		{"sums of fewer ranges than one", request{Op: opCompare, Nonce: make([]byte, 32), Bits: -1, Sums: make([]byte, 4)}, errs.Serialization},
		{"sums of 2^(2^40) ranges", request{Op: opCompare, Nonce: make([]byte, 32), Bits: 1 << 40, Sums: make([]byte, 8)}, errs.Serialization},
		{"too few sums", request{Op: opCompare, Nonce: make([]byte, 32), Bits: 1, Sums: make([]byte, 8)}, errs.Serialization},
		{"too many sums", request{Op: opCompare, Nonce: make([]byte, 32), Bits: 1, Sums: make([]byte, 24)}, errs.Serialization},
		{"part of a sum", request{Op: opCompare, Nonce: make([]byte, 32), Sums: make([]byte, 7)}, errs.Serialization},
		{"no sums", request{Op: opCompare, Nonce: make([]byte, 32)}, errs.Serialization},
		{"no nonce", request{Op: opCompare, Sums: make([]byte, 8)}, errs.Serialization},
		{"a short nonce", request{Op: opCompare, Nonce: make([]byte, 31), Sums: make([]byte, 8)}, errs.Serialization},
		{"a long nonce", request{Op: opCompare, Nonce: make([]byte, 33), Sums: make([]byte, 8)}, errs.Serialization},
		{"holds of too many keys", request{Op: opHolds, Keys: make([]key, MaxRange+1), Range: make([]key, 2)}, errs.Invalid},
		{"holds in no range", request{Op: opHolds, Keys: one}, errs.Invalid},
		{"holds in a range of one end", request{Op: opHolds, Keys: one, Range: make([]key, 1)}, errs.Invalid},
		{"holds in a range of three ends", request{Op: opHolds, Keys: one, Range: make([]key, 3)}, errs.Invalid},
		{"a range of nothing", request{Op: opRange, Keys: one}, errs.Invalid},
		{"a range far outside", request{Op: opRange, Keys: one, Offset: 1 << 62, Count: 1 << 62}, errs.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			memory := store.NewMemory(1 << 20)
			sample.Put(t, memory, 0)
			s := dialServer(t, memory).openRaw(t, anybody)
			for range 2 { // the stream is good for more
				wantKind(t, "", exchangeRaw(t, s, tt.req, nil).err(), tt.want)
			}
		})
	}
}

func TestListIsNeverLongerThanAMessage(t *testing.T) {
	memory := store.NewMemory(1 << 20)
	for seed := range uint64(20) {
		storetest.Segment(t, seed, 1, 0, 10).Put(t, memory, 0)
	}
	s := dialServer(t, memory).openRaw(t, anybody)
	for count, want := range map[int]int{-1: 0, 0: 0, 7: 7, 1 << 40: 20} {
		if got := exchangeRaw(t, s, request{Op: opList, Count: count}, nil); len(got.Keys) != want || got.Text != "" {
			t.Errorf("%d asked for: got %d, %s, want %d", count, len(got.Keys), got.Text, want)
		}
	}
	most := make([]datamesh.ShardKey, maxKeys)
	for i := range most {
		most[i].Index = datamesh.MaxShards
	}
	if n := len(format.Marshal(response{Version: version, Keys: wireKeys(most)})); n > maxHeader {
		t.Errorf("%d keys are %d bytes, limit %d", maxKeys, n, maxHeader)
	}
}

func TestServerEndsStreamsThatBreakTheProtocol(t *testing.T) {
	for name, b := range map[string][]byte{
		"a length beyond the limit": {0, 4, 0, 1},
		"no CBOR":                   {0, 0, 0, 1, 0xff},
		"another version":           append([]byte{0, 0, 0, 5}, 0xa2, 1, 2, 2, 4),
		"an unknown field":          append([]byte{0, 0, 0, 8}, 0xa3, 1, 1, 2, 4, 0x18, 0x63, 0),
	} {
		s := dialServer(t, store.NewMemory(1)).openRaw(t, anybody)
		go s.Write(b)
		if !ended(s) {
			t.Errorf("%s: an answer", name)
		}
	}
}

func TestServerEndsStreamsThatStall(t *testing.T) {
	sample := storetest.Segment(t, 1, 1, 0, 500_000)
	put := request{Version: version, Op: opPut, Keys: wireKeys(sample.Keys()), Descriptor: format.EncodeDescriptor(sample.Descriptor), Length: 500_000}
	for name, begin := range map[string]func(mesh.Stream){
		"before a request": func(mesh.Stream) {},
		"within a request": func(s mesh.Stream) { s.Write([]byte{0, 0, 1, 0, 7}) },
		"within a shard":   func(s mesh.Stream) { writeMessage(s, put, make([]byte, 100), func() error { return nil }) },
		"and take no answer": func(s mesh.Stream) {
			writeMessage(s, request{Version: version, Op: opHas}, nil, func() error { return nil })
		},
		"and take half a shard": func(s mesh.Stream) {
			writeMessage(s, request{Version: version, Op: opGet, Keys: put.Keys}, nil, func() error { return nil })
			readMessage(s, "response", new(response))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := store.NewMemory(1 << 20)
				sample.Put(t, memory, 0)
				over := make(chan struct{})
				server := NewServer(datamesh.PeerID{}, memory, nil, newRegistry())
				c := dial(t, func(from datamesh.PeerID, s mesh.Stream) {
					server.Handle(t.Context(), from, s)
					close(over)
				})
				begin(c.openRaw(t, anybody))
				select {
				case <-over:
				case <-time.After(idleTime + stallTime):
					t.Error("the stream is still served")
				}
				if len(server.guests) != 0 {
					t.Errorf("%d guests are left", len(server.guests))
				}
			})
		})
	}
}

func TestOneSlowClientDoesNotKeepOthersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 4 << 20
		slow, honest := datamesh.PeerID{66}, datamesh.PeerID{7}
		sample := storetest.Segment(t, 1, 1, 0, size)
		c := dialServer(t, store.NewMemory(1<<30))
		put := request{Version: version, Op: opPut, Keys: wireKeys(sample.Keys()), Descriptor: format.EncodeDescriptor(sample.Descriptor), Length: size}
		for range 4 * serverBytes / size {
			s := c.openRaw(t, slow)
			go writeMessage(s, put, make([]byte, 100), func() error { return nil }) // and no more of it
		}
		synctest.Wait()
		shards := c.Shards(honest)
		sample.Put(t, shards, 0)
		sample.Check(t, shards, 0)
	})
}

// A gate is a store in which puts wait.
type gate struct {
	datamesh.ShardStore
	open   chan struct{}
	inside atomic.Int64
}

func (g *gate) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	g.inside.Add(1)
	<-g.open
	return g.ShardStore.Put(ctx, d, index, shard)
}

// A lock is a gate whose gets wait too, with their shards.
type lock struct{ *gate }

func (g lock) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	d, shard, err := g.ShardStore.Get(ctx, key, buf)
	g.inside.Add(1)
	<-g.open
	return d, shard, err
}

// A sized is a lock that knows how long its shards are.
type sized struct {
	lock
	size int64
}

func (s sized) Size(context.Context, datamesh.ShardKey) (int64, error) {
	if s.size == 0 {
		return 0, errs.New(errs.FileNotFound, "no such shard")
	}
	return s.size, nil
}

func TestServerBoundsTheShardsThatItReads(t *testing.T) {
	for _, c := range []struct {
		name        string
		size, known int // bytes of a shard, and what the store says
		want        int64
	}{
		{"large", 16 << 20, 16 << 20, serverBytes / (16 << 20)},
		{"common", 4 << 20, 4 << 20, serverBytes / (4 << 20)},
		{"small", 1 << 10, 1 << 10, 24},
		{"of a store that does not say", 16 << 20, -1, serverBytes / maxShard},
		{"none", 1 << 10, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sample := storetest.Segment(t, 1, 1, 0, c.size)
				memory := store.NewMemory(1 << 30)
				sample.Put(t, memory, 0)
				g := &gate{ShardStore: memory, open: make(chan struct{})}
				var shards datamesh.ShardStore = lock{g}
				if c.known >= 0 {
					shards = sized{lock{g}, int64(c.known)}
				}
				client := dialServer(t, shards)
				var wait sync.WaitGroup
				for i := range byte(6) {
					for range 4 {
						wait.Go(func() { client.Shards(datamesh.PeerID{i}).Get(t.Context(), sample.Key(0), nil) })
					}
				}
				synctest.Wait()
				if got := g.inside.Load(); got != c.want {
					t.Errorf("%d shards are in memory, want %d", got, c.want)
				}
				close(g.open)
				wait.Wait()
			})
		})
	}
}

func TestFreeMemoryIsReservedAtOnce(t *testing.T) {
	s := NewServer(datamesh.PeerID{}, store.NewMemory(1), nil, newRegistry())
	g := s.enter(anybody)
	allocs := testing.AllocsPerRun(100, func() {
		release, err := s.reserve(t.Context(), g, nil, maxShard)
		if err != nil {
			t.Fatal(err)
		}
		release()
	})
	if allocs > 1 { // for what is returned
		t.Errorf("%v allocations, want 1: nobody has to wait", allocs)
	}
}

func TestServerBoundsTheShardsInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 4 << 20
		g := &gate{ShardStore: store.NewMemory(1 << 30), open: make(chan struct{})}
		c := dialServer(t, g)
		var wait sync.WaitGroup
		for i := range byte(6) {
			for range 4 {
				wait.Go(func() {
					s := storetest.Segment(t, uint64(i), 1, 0, size)
					err := c.Shards(datamesh.PeerID{i}).Put(t.Context(), s.Descriptor, 0, s.Bytes[0])
					if err != nil && errs.KindOf(err) != errs.Unavailable { // there was no room in time
						t.Errorf("put: %v", err)
					}
				})
			}
		}
		synctest.Wait()
		if got := g.inside.Load(); got != serverBytes/size {
			t.Errorf("%d shards are in memory, want %d", got, serverBytes/size)
		}
		close(g.open)
		wait.Wait()
	})
}

// Clients of a server that has no memory left are told to wait, and those that
// give up leave the queue.
func TestBusyServerIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 16 << 20
		sample := storetest.Segment(t, 1, 1, 0, size)
		memory := store.NewMemory(1 << 30)
		sample.Put(t, memory, 0)
		g := &gate{ShardStore: memory, open: make(chan struct{})}
		c := dialServer(t, g)
		put := func(ctx context.Context, from byte) error {
			return c.Shards(datamesh.PeerID{from}).Put(ctx, sample.Descriptor, 0, sample.Bytes[0])
		}
		var wait sync.WaitGroup
		for from := range byte(4) { // fill the memory
			wait.Go(func() { wantKind(t, "put that the store keeps", put(t.Context(), from), errs.Unavailable) })
		}
		synctest.Wait()
		wait.Go(func() {
			if err := put(t.Context(), 4); err != nil {
				t.Errorf("put that was told to wait: %v", err)
			}
		})
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), getSilence)
			defer cancel()
			if err := put(ctx, 5); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("put that gives up: %v", err)
			}
		})
		synctest.Wait()
		wait.Go(func() {
			if _, _, err := c.Shards(datamesh.PeerID{6}).Get(t.Context(), sample.Key(0), nil); err != nil {
				t.Errorf("get that was told to wait: %v", err)
			}
		})
		pass(2 * putSilence)
		close(g.open)
		wait.Wait()
		synctest.Wait()
		if got := g.inside.Load(); got != 5 {
			t.Errorf("%d shards came to the store, want 5", got)
		}
	})
}

func TestReportsGoToTheRegistryInBatches(t *testing.T) {
	registry := newRegistry()
	server := NewServer(datamesh.PeerID{}, store.NewMemory(0), nil, registry)
	var batches atomic.Int64
	c := dial(t, func(_ datamesh.PeerID, s mesh.Stream) {
		for {
			req, _, ok := asked(t, s)
			if req.Op == opReport {
				batches.Add(1)
			}
			if !ok || server.answer(t.Context(), anybody, nil, s, &req) != nil {
				return
			}
		}
	})
	var reports []store.Report
	for seed := range uint64(300) {
		s := storetest.Segment(t, seed, 4, 2, 100)
		reports = append(reports, store.Report{Descriptor: s.Descriptor, Holdings: []store.Holding{{Index: 5, Peer: anybody}, {Index: 0, Peer: datamesh.PeerID{9}}}})
	}
	registry.answer(errs.New(errs.Deleted, "one of them"))
	wantKind(t, "report", c.Report(t.Context(), anybody, reports), errs.Deleted)
	if len(registry.reports) != len(reports) {
		t.Errorf("%d reports arrived, want %d, even when some are of what was deleted", len(registry.reports), len(reports))
	}
	if batches.Load() < 2 {
		t.Error("all reports came in one request")
	}
	for _, r := range reports {
		d, holders, err := c.Locate(t.Context(), anybody, r.Descriptor.Segment)
		if err != nil || d.Segment != r.Descriptor.Segment || len(holders) != 2 || holders[0] != r.Holdings[0] {
			t.Fatalf("locate: %v, %v, %v", d, holders, err)
		}
	}
	_, _, err := c.Locate(t.Context(), anybody, datamesh.SegmentID{})
	wantKind(t, "locate of what nobody reported", err, errs.FileNotFound)
	registry.answer(errTest)
	if err := c.Report(t.Context(), anybody, reports); err == nil || errors.Is(err, errs.Deleted) {
		t.Errorf("report: %v", err)
	}
}
