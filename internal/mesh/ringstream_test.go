package mesh

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/protocol"
)

func pingTo(n *Net) ring.Call {
	return ring.Call{To: n.ID(), Addrs: n.Addrs(), Message: &ring.Message{Version: ring.Version, Kind: ring.KindPing}, Timeout: hang}
}

// pingRing asks n on a call's own account, beside what n's machine asks.
func pingRing(t *testing.T, n, to *Net) {
	t.Helper()
	answer, _, err := n.ask(pingTo(to))
	if err != nil || answer.Kind != ring.KindPong {
		t.Fatalf("got %v, %v, want a pong", answer, err)
	}
}

// serveRingBy has another server answer ring messages from now on.
func (n *Net) serveRingBy(serve func(context.Context, datamesh.PeerID, Stream)) {
	n.handle(n.prefix+ringProtocol, serve)
	for _, c := range n.host.Network().Conns() {
		for _, s := range c.GetStreams() {
			if s.Protocol() == protocol.ID(n.prefix+ringProtocol) {
				s.Reset() // or it may be used for ever
			}
		}
	}
}

func TestRingMessagesShareAStream(t *testing.T) {
	a := start(t, still(first(t)))
	b := start(t, still(through(t, a)))
	var streams atomic.Int64
	b.serveRingBy(func(ctx context.Context, from datamesh.PeerID, s Stream) {
		streams.Add(1)
		b.serveRing(ctx, from, s)
	})
	for streams.Load() == 0 { // the first messages may be on a stream from before
		pingRing(t, a, b)
	}
	for range 50 {
		pingRing(t, a, b)
	}
	if n := streams.Load(); n > 5 { // some are opened while the machine asks too
		t.Errorf("50 messages took %d streams", n)
	}
}

func TestRingMessagesOutliveTheirStream(t *testing.T) {
	for name, end := range map[string]func(Stream) error{"closes": Stream.Close, "resets": Stream.Reset} {
		t.Run(name, func(t *testing.T) {
			a := start(t, first(t))
			b := start(t, through(t, a))
			var streams atomic.Int64
			b.serveRingBy(func(ctx context.Context, from datamesh.PeerID, s Stream) {
				streams.Add(1)
				question, _, err := nextRing(s, hang)
				if err == nil {
					_, err = b.answerRing(ctx, from, s, question)
				}
				if err == nil && name == "resets" {
					_, err = s.Read(make([]byte, 1)) // the answer has arrived when there is another request
				}
				if err != nil {
					s.Reset()
					return
				}
				end(s)
			})
			for streams.Load() < 5 { // the first messages may be on a stream from before
				pingRing(t, a, b)
			}
		})
	}
}

// A message that waits for its answer does not hold up another.
func TestRingMessagesDoNotWaitForEachOther(t *testing.T) {
	cfg := first(t)
	cfg.Probe = 10 * time.Hour // an answer is not late
	a := start(t, cfg)
	cfg = through(t, a)
	cfg.Probe = 10 * time.Hour
	b := start(t, cfg)
	pingRing(t, a, b)
	arrived := make(chan struct{}, 16)
	both := make(chan struct{})
	b.serveRingBy(func(ctx context.Context, from datamesh.PeerID, s Stream) {
		for question, _, err := nextRing(s, hang); err == nil; question, _, err = nextRing(s, hang) {
			arrived <- struct{}{}
			<-both
			if _, err := b.answerRing(ctx, from, s, question); err != nil {
				break
			}
		}
		s.Reset()
	})
	var asked sync.WaitGroup
	for waiting := 0; waiting < 2; {
		answered := make(chan struct{})
		asked.Go(func() {
			defer close(answered)
			if _, _, err := a.ask(pingTo(b)); err != nil {
				t.Error(err)
			}
		})
		select {
		case <-arrived:
			waiting++
		case <-answered: // on a stream from before
		case <-time.After(hang):
			t.Fatal("the second message waits for the first")
		}
	}
	close(both)
	asked.Wait()
}

// An answer that comes too late is not taken for that to the next message.
func TestLateRingAnswersAreLost(t *testing.T) {
	cfg := first(t)
	cfg.Probe = 10 * time.Hour // nothing is asked again
	a := start(t, cfg)
	cfg = through(t, a)
	cfg.Probe = 10 * time.Hour
	b := start(t, cfg)
	tooLate := make(chan struct{})
	b.serveRingBy(func(ctx context.Context, from datamesh.PeerID, s Stream) {
		for question, _, err := nextRing(s, hang); err == nil; question, _, err = nextRing(s, hang) {
			if question.Kind == ring.KindPing {
				<-tooLate
			}
			if _, err := b.answerRing(ctx, from, s, question); err != nil {
				break
			}
		}
		s.Reset()
	})
	call := pingTo(b)
	call.Timeout = 100 * time.Millisecond
	for err := error(nil); err == nil; _, _, err = a.ask(call) { // the first messages may be on a stream from before
	}
	close(tooLate)
	call = pingTo(b)
	call.Message = &ring.Message{Version: ring.Version, Kind: ring.KindDigest, Sums: make([]byte, 8)}
	if answer, _, err := a.ask(call); err != nil || answer.Kind != ring.KindDiffer {
		t.Errorf("got %v, %v, want the answer to a digest", answer, err)
	}
}

// pipe is a stream within this process.
type pipe struct{ net.Conn }

func (p pipe) Reset() error { return p.Close() }

// ringServer returns a Net that answers ring messages and has no host.
func ringServer(t *testing.T) *Net {
	n := &Net{genesis: newGenesis(t, "test"), met: make(chan struct{}), changed: make(chan struct{}, 1),
		do: make(chan func(*state)), resting: map[datamesh.PeerID]int{}}
	n.ctx, n.cancel = context.WithCancel(t.Context())
	st, err := n.newState(Config{Role: ring.Client})
	if err != nil {
		t.Fatal(err)
	}
	n.view.Store(st.machine.View())
	n.wg.Go(func() { n.run(st) })
	return n
}

// stream opens a stream from a peer.
func (n *Net) stream(from datamesh.PeerID) Stream {
	here, there := net.Pipe()
	n.wg.Go(func() { n.serveRing(n.ctx, from, pipe{there}) })
	return pipe{here}
}

func TestRingServerBoundsStreams(t *testing.T) {
	ping := &ring.Message{Version: ring.Version, Kind: ring.KindPing}
	ask := func(t *testing.T, s Stream) {
		t.Helper()
		if answer, err := askRing(s, ping, new(ringBytes)); err != nil || answer.Kind != ring.KindPong {
			t.Errorf("got %v, %v, want a pong", answer, err)
		}
		synctest.Wait()
	}
	ended := func(t *testing.T, s Stream, after time.Duration) {
		t.Helper()
		began := time.Now()
		if _, err := s.Read(make([]byte, 1)); err != io.EOF || time.Since(began) != after {
			t.Errorf("%v after %v, want the end after %v", err, time.Since(began), after)
		}
	}
	for name, check := range map[string]func(t *testing.T, n *Net){
		"without any request": func(t *testing.T, n *Net) {
			ended(t, n.stream(datamesh.PeerID{1}), ringTime)
		},
		"without another request": func(t *testing.T, n *Net) {
			s := n.stream(datamesh.PeerID{1})
			for range 3 {
				ask(t, s)
				<-time.After(ringIdle - 1)
			}
			ended(t, s, 1)
		},
		"with too many requests": func(t *testing.T, n *Net) {
			s := n.stream(datamesh.PeerID{1})
			for range ringRequests {
				ask(t, s)
			}
			ended(t, s, 0)
		},
		"with too many others": func(t *testing.T, n *Net) {
			var kept []Stream
			for range ringResting {
				kept = append(kept, n.stream(datamesh.PeerID{1}))
				ask(t, kept[len(kept)-1])
			}
			more := n.stream(datamesh.PeerID{1})
			ask(t, more)
			ended(t, more, 0)
			kept = append(kept, n.stream(datamesh.PeerID{2}))
			for range 2 {
				for _, s := range kept {
					ask(t, s)
				}
			}
			kept[0].Close()
			synctest.Wait()
			again := n.stream(datamesh.PeerID{1})
			ask(t, again)
			ask(t, again)
		},
		"that break the protocol": func(t *testing.T, n *Net) {
			s := n.stream(datamesh.PeerID{1})
			if _, err := askRing(s, &ring.Message{Version: ring.Version, Kind: ring.KindPong}, new(ringBytes)); err == nil {
				t.Error("an answer is answered")
			}
			s = n.stream(datamesh.PeerID{1})
			if err := WriteFrame(s, []byte("nonsense")); err != nil {
				t.Fatal(err)
			}
			ended(t, s, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := ringServer(t)
				check(t, n)
				<-time.After(2 * ringIdle)
				synctest.Wait()
				if len(n.resting) != 0 {
					t.Errorf("%v streams wait for requests in the end", n.resting)
				}
				n.cancel()
				n.wg.Wait()
			})
		})
	}
}

func TestKeptStreamsEnd(t *testing.T) {
	open := func() (Stream, func() bool) {
		here, there := net.Pipe()
		over := make(chan struct{})
		go func() {
			there.Read(make([]byte, 1))
			close(over)
		}()
		return pipe{here}, func() bool {
			synctest.Wait()
			select {
			case <-over:
				return true
			default:
				return false
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var k keptStreams
		peer := datamesh.PeerID{1}
		s, over := open()
		second, secondOver := open()
		k.give(peer, s)
		k.give(peer, second)
		if !secondOver() || over() {
			t.Error("more than one stream to a peer is kept")
		}
		if k.take(datamesh.PeerID{2}) != nil || k.take(peer) != s || k.take(peer) != nil {
			t.Error("not the one stream, once")
		}
		k.give(peer, s)
		<-time.After(ringKeep - 1)
		if over() {
			t.Error("it has ended early")
		}
		<-time.After(time.Nanosecond)
		if !over() || k.take(peer) != nil {
			t.Error("it is kept for ever")
		}
		s, over = open()
		k.give(peer, s)
		k.close()
		late, lateOver := open()
		k.give(peer, late)
		if !over() || !lateOver() || k.take(peer) != nil {
			t.Error("it outlives its node")
		}
	})
}
