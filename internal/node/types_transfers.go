package node

import (
	"fmt"
	"io"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

// GetOptions says how an object is read. The zero value is the default.
type GetOptions struct {
	Transfer string  `json:"transfer,omitempty"` // the id that it is listed under
	Resume   *Resume `json:"resume,omitempty"`   // nil: from the beginning
	Range    *Range  `json:"range,omitempty"`    // nil: all of it; else nothing is resumed
	Link     *Secret `json:"link,omitempty"`     // that opens the object of a link; nil: the user's identities do
}

// A Secret is that of the identity that the object of a link is sealed to.
type Secret [32]byte

// Format prints no secret, whatever the verb, so that none gets into a log.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "(secret)") }

// Resume is the beginning of an object that is here already.
type Resume struct {
	ID   datamesh.ObjectID `json:"id"`
	From int64             `json:"from"` // bytes
}

// A Range is n bytes of an object's content from an offset on, or as many of them as
// there are.
type Range struct {
	Offset int64 `json:"offset"` // bytes before it
	Length int64 `json:"length"` // bytes of it
}

// Within returns what of the range an object of a size has. Kind: Invalid.
func (r Range) Within(size int64) (Range, error) {
	switch {
	case r.Offset < 0 || r.Length < 0:
		return r, errs.New(errs.Invalid, "there is no range of %d bytes from byte %d on", r.Length, r.Offset)
	case r.Offset > size:
		return r, errs.New(errs.Invalid, "there is no byte %d: it has %d bytes", r.Offset, size)
	}
	r.Length = min(r.Length, size-r.Offset)
	return r, nil
}

// Planned is what a put would come to: nothing was stored.
type Planned struct {
	Name        string `json:"name"`
	Size        int64  `json:"size"`
	StoredBytes int64  `json:"stored_bytes"` // an estimate
	Segments    int    `json:"segments"`
	Shards      int    `json:"shards"`
	Peers       int    `json:"peers"`
	Survives    int    `json:"survives"`
	DryRun      bool   `json:"dry_run"`
}

// Transfers is the answer of transfers.
type Transfers struct {
	Transfers []Transfer `json:"transfers"` // running ones first, the oldest first
}

// The kinds and states of a transfer.
const (
	PutTransfer    = "put"
	GetTransfer    = "get"
	ScrubTransfer  = "scrub" // which moves nothing, but takes as long
	RepairTransfer = "repair"
	Running        = "running"
	Interrupted    = "interrupted" // the same command goes on with it
)

// A Transfer is a put, a get, a scrub or a repair that has not ended.
type Transfer struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"`
	Name      string    `json:"name"`
	Size      int64     `json:"size"`      // bytes of content, or of the store; -1: not known
	Sealed    int64     `json:"sealed"`    // put: bytes of content that are sealed
	Sent      int64     `json:"sent"`      // put: bytes sent to peers, all shards together
	Confirmed int64     `json:"confirmed"` // put: bytes of shards that peers have acknowledged
	Total     int64     `json:"total"`     // put: bytes of shards there will be, as far as is known
	Received  int64     `json:"received"`  // get: bytes of content that are verified and written; scrub: bytes that are read; repair: bytes of shards that were given to members
	State     string    `json:"state"`
	Began     time.Time `json:"began"` // of an interrupted one: when it last went on
}
