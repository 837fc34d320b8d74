// Package linetest gives tests, and measurements, lines as they are between
// homes: a relay of TCP connections on the loopback, through which bytes take
// their time, and no more pass in a second than the line carries.
//
// A relay stands before a node whose announced address is the relay's. Several
// relays may share a line, as all connections of one home share its access. What
// is not there is loss, and that TCP begins slowly: the kernel's connections are
// those to the relay.
package linetest

import (
	"sync"
	"time"
)

// Mbit is a million bits a second, in bytes a second.
const Mbit = 1_000_000 / 8

// backlog is how long what stands before a busy line takes to go through.
const backlog = 50 * time.Millisecond

// A Line carries bytes one way. It is safe for concurrent use.
type Line struct {
	mu      sync.Mutex // guards the rest
	rate    int64
	delay   time.Duration
	free    time.Time // when all is through that was let in
	carried int64
}

// NewLine returns a line that carries so many bytes a second, or any number if
// that is 0, each of which comes out after delay.
func NewLine(rate int64, delay time.Duration) *Line { return &Line{rate: rate, delay: delay} }

// Set changes the line for what is let in from now on.
func (l *Line) Set(rate int64, delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate, l.delay = rate, delay
}

// Carried returns how many bytes were let in so far.
func (l *Line) Carried() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.carried
}

// enter lets n bytes in at a time, and returns when they come out, and when the
// line has room for more.
func (l *Line) enter(at time.Time, n int) (out, room time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.carried += int64(n)
	if l.free.Before(at) {
		l.free = at
	}
	if l.rate > 0 {
		l.free = l.free.Add(time.Duration(int64(n) * int64(time.Second) / l.rate))
	}
	return l.free.Add(l.delay), l.free.Add(-backlog)
}

// length returns how long a byte is on a free line.
func (l *Line) length() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.delay
}

// A Path is lines one after the other.
type Path []*Line

// enter is that of all lines.
func (p Path) enter(at time.Time, n int) (out, room time.Time) {
	for _, l := range p {
		var full time.Time
		if at, full = l.enter(at, n); full.After(room) {
			room = full
		}
	}
	return at, room
}

func (p Path) length() (all time.Duration) {
	for _, l := range p {
		all += l.length()
	}
	return all
}
