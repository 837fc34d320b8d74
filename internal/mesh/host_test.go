package mesh

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A counted connection counts what is written to it.
type counted struct {
	net.Conn
	writes *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// A connection on which both ends hear each other carries little else.
func TestConnectionsThatAreUsedCarryLittleElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		var writes atomic.Int64
		a, err := newMuxer().NewConn(counted{here, &writes}, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := newMuxer().NewConn(there, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if s, err := b.AcceptStream(); err == nil {
				io.Copy(s, s)
			}
		}()
		s, err := a.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const messages, other = 60, 10
		for range messages {
			<-time.After(10 * time.Second)
			if _, err := s.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if n := writes.Load(); n > messages+other {
			t.Errorf("%d messages took %d writes", messages, n)
		}
		a.Close()
		b.Close()
	})
}
