// Package measure is the protocol by which the members of a mesh measure what
// lies between them: how long a word takes, how many bytes go through, what
// time it is over there, and whether one can be reached.
//
// A stream carries one request after the other. Whatever is moved or dialled
// is bounded, and a server does it for one peer once, and for few at all, at
// a time. docs/protocol.md is the specification.
package measure

import (
	"io"

	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/mesh"
)

// Protocol is the name of the protocol within a mesh.
const Protocol = "measure/1"

const version = 1

// MaxBytes is the most that one measurement moves one way.
const MaxBytes = 64 << 20

// Limits of a message, in bytes.
const (
	maxRequest  = 1 << 10
	maxResponse = 8 << 10
)

// The operations. Their numbers go over the wire.
const (
	opClock    uint64 = iota + 1
	opTake            // the server takes bytes, and throws them away
	opSend            // the server sends bytes, which do not compress
	opDialBack        // the server tries to reach the client
)

// A request is what a client asks.
type request struct {
	Version uint64 `cbor:"1,keyasint"`
	Op      uint64 `cbor:"2,keyasint"`
	Bytes   int64  `cbor:"3,keyasint,omitempty"` // take and send
}

// A response is an answer. To take there are two: the first lets the client
// begin, and the second says that all has come.
type response struct {
	Version uint64    `cbor:"1,keyasint"`
	Kind    uint8     `cbor:"2,keyasint,omitempty"` // of the error, when Text is set
	Text    string    `cbor:"3,keyasint,omitempty"`
	Clock   int64     `cbor:"4,keyasint,omitempty"` // Unix milliseconds
	Bytes   int64     `cbor:"5,keyasint,omitempty"` // taken, or behind this response
	Seen    string    `cbor:"6,keyasint,omitempty"` // the IP that the client's connection comes from
	Reached []reached `cbor:"7,keyasint,omitempty"`
}

type reached struct {
	_       struct{} `cbor:",toarray"`
	Addr    string
	Answers bool
}

func write(w io.Writer, message any) error { return mesh.WriteFrame(w, format.Marshal(message)) }

func readRequest(r io.Reader) (*request, error) {
	b, err := mesh.ReadFrame(r, maxRequest)
	if err != nil {
		return nil, err
	}
	req := new(request)
	if err := format.Unmarshal("request", b, maxRequest, req); err != nil {
		return nil, err
	}
	if req.Version != version {
		return nil, errs.New(errs.Serialization, "request of version %d, this program knows %d", req.Version, version)
	}
	return req, nil
}

func readResponse(r io.Reader) (*response, error) {
	b, err := mesh.ReadFrame(r, maxResponse)
	if err != nil {
		return nil, err
	}
	resp := new(response)
	if err := format.Unmarshal("response", b, maxResponse, resp); err != nil {
		return nil, err
	}
	if resp.Version != version {
		return nil, errs.New(errs.Serialization, "response of version %d, this program knows %d", resp.Version, version)
	}
	return resp, nil
}

// err is the error that the response tells, or nil.
func (r *response) err() error {
	if r.Text == "" {
		return nil
	}
	return errs.FromWire(r.Kind, r.Text)
}
