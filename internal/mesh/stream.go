package mesh

import (
	"io"
	"time"
)

// A Stream is a two-way stream of bytes to a peer. It knows deadlines, not
// contexts; Reset may be called at any time and ends all reads and writes.
type Stream interface {
	io.ReadWriter
	Close() error // says that no more will be written or read
	Reset() error
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
}

// Abort ends all reads and writes on a stream, and resets it. It does not
// wait: to a peer that takes no more bytes a reset can take until the
// connection is given up, and a write does not even notice that one is
// pending, but for the deadline.
func Abort(s Stream) {
	s.SetDeadline(time.Unix(1, 0))
	go s.Reset()
}
