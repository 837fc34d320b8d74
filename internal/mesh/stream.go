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
