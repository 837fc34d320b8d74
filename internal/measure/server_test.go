package measure

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/mesh"
)

// An end is one of a stream within this process.
type end struct{ net.Conn }

func (e end) Reset() error { return e.Close() }

// A counted stream counts the bytes that come and go.
type counted struct {
	mesh.Stream
	read, written atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Stream.Write(b)
	c.written.Add(int64(n))
	return n, err
}

// pipe returns the two ends of a stream, which are closed with the test.
func pipe(t *testing.T) (client, server mesh.Stream) {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return end{a}, end{b}
}

// dial opens a stream of a peer to a server.
func dial(t *testing.T, s *Server, from datamesh.PeerID) mesh.Stream {
	client, server := pipe(t)
	go s.Handle(t.Context(), from, server)
	return client
}

var me = datamesh.PeerID{1}

func TestEverythingGoesOverOneStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := netip.MustParseAddr("192.0.2.1")
		s := &Server{Clock: func() time.Time { return time.Now().Add(-24 * time.Hour) },
			DialBack: func(_ context.Context, id datamesh.PeerID, _ mesh.Stream) (netip.Addr, []mesh.Reached, error) {
				if id != me {
					t.Errorf("%s is dialled, want %s", id, me)
				}
				return from, []mesh.Reached{{Addr: "/ip4/192.0.2.1/tcp/1", Answers: true}}, nil
			}}
		client, server := pipe(t)
		c := &counted{Stream: client}
		go s.Handle(t.Context(), me, server)
		const size = 1<<20 + 7
		if _, err := Send(t.Context(), c, size); err != nil || c.written.Load() < size {
			t.Errorf("sent %d bytes, %v, want %d", c.written.Load(), err, size)
		}
		before := c.read.Load()
		if _, err := Receive(t.Context(), c, size); err != nil || c.read.Load()-before < size {
			t.Errorf("received %d bytes, %v, want %d", c.read.Load()-before, err, size)
		}
		ip, all, err := DialBack(t.Context(), c)
		if err != nil || ip != from || len(all) != 1 || !all[0].Answers {
			t.Errorf("dial back: got %v, %v, %v", ip, all, err)
		}
		if r, err := Clock(t.Context(), c); err != nil || r.Offset != -24*time.Hour {
			t.Errorf("clock: got %+v, %v, want a day behind", r, err)
		}
	})
}

func TestWhatIsMovedDoesNotCompress(t *testing.T) {
	var b bytes.Buffer
	if err := fill(&b, 256<<10); err != nil {
		t.Fatal(err)
	}
	seen := map[[8]byte]bool{}
	for b.Len() > 0 {
		seen[[8]byte(b.Next(8))] = true
	}
	if len(seen) != 32<<10 {
		t.Errorf("of %d words %d differ", 32<<10, len(seen))
	}
}

func TestOneMeasurementOfAPeerAndFewInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan bool)
		s := &Server{DialBack: func(context.Context, datamesh.PeerID, mesh.Stream) (netip.Addr, []mesh.Reached, error) {
			<-release
			return netip.MustParseAddr("192.0.2.1"), nil, nil
		}}
		measures := make(chan error, slots)
		begin := func(i byte) {
			stream := dial(t, s, datamesh.PeerID{i})
			go func() {
				_, _, err := DialBack(t.Context(), stream)
				measures <- err
			}()
			synctest.Wait()
		}
		refused := func(i byte, why string) {
			t.Helper()
			stream := dial(t, s, datamesh.PeerID{i})
			if _, err := Send(t.Context(), stream, 1); errs.KindOf(err) != errs.Unavailable {
				t.Errorf("%s: got %v, want Unavailable", why, err)
			}
			if _, err := Clock(t.Context(), stream); err != nil {
				t.Errorf("%s: the clock is not told: %v", why, err)
			}
		}
		begin(1)
		refused(1, "a second one of a peer")
		if _, err := Send(t.Context(), dial(t, s, datamesh.PeerID{2}), 1); err != nil {
			t.Errorf("one of another peer: %v", err)
		}
		for i := byte(2); i <= slots; i++ {
			begin(i)
		}
		refused(99, "more than there are slots")
		close(release)
		for range slots {
			if err := <-measures; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		for _, i := range []byte{1, 99} {
			if _, err := Send(t.Context(), dial(t, s, datamesh.PeerID{i}), 1); err != nil {
				t.Errorf("peer %d, when there is room again: %v", i, err)
			}
		}
	})
}

// In a bubble whoever waits for ever fails the test.
func TestNobodyWaitsForTheSilent(t *testing.T) {
	hangs := &Server{DialBack: func(ctx context.Context, _ datamesh.PeerID, _ mesh.Stream) (netip.Addr, []mesh.Reached, error) {
		<-ctx.Done()
		return netip.Addr{}, nil, errs.New(errs.Unavailable, "no time is left")
	}}
	for name, silent := range map[string]func(context.Context, mesh.Stream){
		"without a request":         func(context.Context, mesh.Stream) {},
		"in a request":              func(ctx context.Context, s mesh.Stream) { s.Write([]byte{0, 0}) },
		"before it takes an answer": func(ctx context.Context, s mesh.Stream) { write(s, request{Version: version, Op: opClock}) },
		"with bytes to come": func(ctx context.Context, s mesh.Stream) {
			if _, err := ask(ctx, s, request{Op: opTake, Bytes: 100}, time.Hour); err != nil {
				t.Error(err)
			}
			s.Write(make([]byte, 99))
		},
		"with bytes to take": func(ctx context.Context, s mesh.Stream) {
			if _, err := ask(ctx, s, request{Op: opSend, Bytes: 1 << 20}, time.Hour); err != nil {
				t.Error(err)
			}
		},
		"while it is dialled": func(ctx context.Context, s mesh.Stream) {
			if _, _, err := DialBack(ctx, s); errs.KindOf(err) != errs.Unavailable || err.Error() != "no time is left" {
				t.Errorf("got %v, want that the server gives up first", err)
			}
		},
	} {
		t.Run("a client "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := pipe(t)
				go silent(t.Context(), client)
				hangs.Handle(t.Context(), me, server)
			})
		})
	}
}

func TestServerRefusesWhatItDoesNotDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := dial(t, &Server{}, me)
		for _, req := range []request{{Op: opTake}, {Op: opTake, Bytes: -1}, {Op: opTake, Bytes: MaxBytes + 1}, {Op: opSend},
			{Op: opSend, Bytes: MaxBytes + 1}, {Op: 0}, {Op: opDialBack + 1, Bytes: 1}} {
			if _, err := ask(t.Context(), stream, req, answerTime); errs.KindOf(err) != errs.Invalid {
				t.Errorf("%+v: got %v, want Invalid", req, err)
			}
		}
		if _, _, err := DialBack(t.Context(), stream); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("dial back: got %v, want Unavailable", err)
		}
		if _, err := Send(t.Context(), stream, 1); err != nil {
			t.Errorf("after refusals: %v", err)
		}
	})
}

func TestServerEndsAStreamThatBreaksTheProtocol(t *testing.T) {
	for name, b := range map[string][]byte{
		"a request beyond the limit": {0, 0, 4, 1},
		"no CBOR":                    {0, 0, 0, 1, 0xff},
		"another version":            {0, 0, 0, 5, 0xa2, 1, 2, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := pipe(t)
				ended := make(chan bool)
				go func() {
					(&Server{}).Handle(t.Context(), me, server)
					close(ended)
				}()
				if _, err := client.Write(b); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // without a step of the clock
				select {
				case <-ended:
				default:
					t.Error("it goes on")
				}
			})
		})
	}
}
