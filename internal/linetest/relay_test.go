package linetest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// echo serves connections that give back what they are sent, and returns its port.
func echo(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer c.Close()
				io.Copy(c, c) // its error is that the other end is gone
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		served.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port
}

func relayTo(t *testing.T, port int, there, back Path) net.Conn {
	t.Helper()
	r, err := NewRelay(there, back)
	if err != nil {
		t.Fatal(err)
	}
	r.To(port)
	t.Cleanup(func() { r.Close() })
	c, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// What goes through a relay comes out as it was, and never sooner than the line
// lets it.
func TestRelayCarriesAllInItsTime(t *testing.T) {
	const n, delay = 1 << 20, 30 * time.Millisecond
	there, back := NewLine(8<<20, delay), NewLine(0, delay)
	began := time.Now()
	c := relayTo(t, echo(t), Path{there}, Path{back})
	sent := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(sent)
	go func() {
		c.Write(sent) // what is missing is missed below
		c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes came back of %d, %v", len(got), n, err)
	}
	// A round trip of TCP's own, one of ours, and an eighth of a second.
	if least := 4*delay + time.Second/8; time.Since(began) < least {
		t.Errorf("it took %v, want at least %v", time.Since(began), least)
	}
	if there.Carried() != n || back.Carried() != n {
		t.Errorf("the lines have carried %d and %d bytes, want %d", there.Carried(), back.Carried(), n)
	}
}

// Lines that relays share carry all that goes through any of them.
func TestRelaysShareALine(t *testing.T) {
	shared := NewLine(4<<20, 0)
	port := echo(t)
	began := time.Now()
	var all sync.WaitGroup
	for range 4 {
		c := relayTo(t, port, Path{NewLine(0, 0), shared}, nil)
		all.Go(func() {
			c.Write(make([]byte, 256<<10)) // what is missing is missed below
			if _, err := io.ReadFull(c, make([]byte, 256<<10)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if least := time.Second / 4; time.Since(began) < least {
		t.Errorf("1 MiB took %v on a line that carries 4 MiB a second", time.Since(began))
	}
}

// A relay that is stalled keeps its connections, and what is on its way.
func TestStalledRelayGoesOn(t *testing.T) {
	r, err := NewRelay(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r.Stall()
	r.To(echo(t))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	came := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(c, make([]byte, 1))
		came <- err
	}()
	select {
	case err := <-came:
		t.Fatalf("something came through: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	r.Resume()
	if err := <-came; err != nil {
		t.Error(err)
	}
}
