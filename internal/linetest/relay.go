package linetest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	piece        = 16 << 10  // bytes that are let in at once
	waitingBytes = 128 << 10 // in the kernel, before the relay has read them
	underway     = 6 << 20   // bytes of a connection on a line at most, as Linux's windows have it
)

// A Relay listens, and connects whoever comes with a node over a path there and
// one back.
type Relay struct {
	there, back Path
	listener    net.Listener
	known       chan struct{} // closed once target is
	target      string
	closing     chan struct{}
	connections sync.WaitGroup

	mu     sync.Mutex    // guards the rest
	passes chan struct{} // closed while anything passes
	open   map[net.Conn]bool
	closed bool
}

// NewRelay returns a relay on a port of the loopback. Whom it connects with is for
// [Relay.To] to say: those who come before that wait.
func NewRelay(there, back Path) (*Relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{there: there, back: back, listener: l, known: make(chan struct{}), closing: make(chan struct{}),
		passes: make(chan struct{}), open: map[net.Conn]bool{}}
	close(r.passes)
	r.connections.Go(r.accept)
	return r, nil
}

// Addr returns the relay's multiaddr.
func (r *Relay) Addr() string {
	return fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", r.listener.Addr().(*net.TCPAddr).Port)
}

// To has the relay connect with a port of the loopback. It is called once.
func (r *Relay) To(port int) {
	r.target = fmt.Sprintf("127.0.0.1:%d", port)
	close(r.known)
}

// Stall has nothing pass any more, in either direction, though all connections
// stay.
func (r *Relay) Stall() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passes = make(chan struct{})
}

// Resume ends a stall.
func (r *Relay) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.passes)
}

// Close ends all connections, and returns when they have ended.
func (r *Relay) Close() error {
	err := r.listener.Close()
	r.mu.Lock()
	r.closed = true
	close(r.closing)
	for c := range r.open {
		c.Close()
	}
	r.mu.Unlock()
	r.connections.Wait()
	return err
}

func (r *Relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.connections.Go(func() {
			defer near.Close()
			if r.keep(near) != nil {
				return
			}
			defer r.forget(near)
			r.serve(near)
		})
	}
}

// serve relays one connection. That there is one takes a round trip.
func (r *Relay) serve(near net.Conn) {
	begin := time.Now().Add(r.there.length() + r.back.length())
	select {
	case <-r.known:
	case <-r.closing:
		return
	}
	far, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer far.Close()
	if r.keep(far) != nil {
		return
	}
	defer r.forget(far)
	for _, c := range []net.Conn{near, far} {
		// What stands before the line stands in the sender's buffer, as it would.
		if err := c.(*net.TCPConn).SetReadBuffer(waitingBytes); err != nil {
			return
		}
	}
	var ways sync.WaitGroup
	ways.Go(func() { r.carry(far, near, r.there, begin) })
	ways.Go(func() { r.carry(near, far, r.back, begin) })
	ways.Wait()
}

func (r *Relay) keep(c net.Conn) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("the relay is closed")
	}
	r.open[c] = true
	return nil
}

func (r *Relay) forget(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
}

// A load is bytes on their way, or, if there are none, the end of them.
type load struct {
	bytes []byte
	out   time.Time
}

// carry takes what comes from one end to the other, nothing before begin, until
// there is no more.
func (r *Relay) carry(to, from net.Conn, path Path, begin time.Time) {
	loads := make(chan load, underway/piece)
	var writer sync.WaitGroup
	writer.Go(func() {
		for x := range loads {
			if err := r.deliver(to, x); err != nil {
				from.Close() // so that no more comes
			}
		}
	})
	defer writer.Wait()
	defer close(loads)
	for {
		buf := make([]byte, piece)
		n, err := from.Read(buf)
		if n > 0 {
			now := time.Now()
			if now.Before(begin) {
				now = begin
			}
			out, room := path.enter(now, n)
			loads <- load{buf[:n], out}
			r.wait(time.Until(room))
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				loads <- load{}
			}
			return
		}
	}
}

// deliver writes a load when it comes out of the line.
func (r *Relay) deliver(to net.Conn, x load) error {
	r.wait(time.Until(x.out))
	r.mu.Lock()
	passes := r.passes
	r.mu.Unlock()
	select {
	case <-passes:
	case <-r.closing:
	}
	if x.bytes == nil {
		return to.(*net.TCPConn).CloseWrite()
	}
	_, err := to.Write(x.bytes)
	return err
}

func (r *Relay) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.closing:
	}
}
