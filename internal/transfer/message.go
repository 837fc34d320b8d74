// Package transfer is the shard protocol: a server of a ShardStore, and a
// client that is one. Beside shards it carries what registrars are told and
// asked: who holds what.
//
// A stream carries one request after the other, each answered before the
// next: a length, a CBOR header, and for shards the bytes behind it. Streams
// are kept open and used again. docs/protocol.md is the specification.
package transfer

import (
	"encoding/binary"
	"io"
	"slices"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// Protocol is the name of the protocol within a mesh.
const Protocol = "shard/1"

const version = 1

// Limits of a message.
const (
	maxHeader = 256 << 10 // bytes of a header
	maxKeys   = 4096      // keys in one has, list or holds
	maxPiece  = 64 << 10  // bytes of a shard that are written at once
	fewBehind = 16 << 10  // up to which they are written with the header
	maxShard  = datamesh.MaxSealed
	maxBits   = 12 // of a comparison, which has a sum for each of 2^bits ranges
)

// The operations. Their numbers go over the wire.
const (
	opPut uint64 = iota + 1
	opGet
	opRange
	opHas
	opList
	opDrop
	opReport
	opLocate
	opCompare
	opHolds
	opSpare
	opPledge
	opWords
	opProofs
	opReceipts
	opPutRecord
	opRecords
	opCompareRecords
	opOwned
)

// A request is the header of what a client asks.
type request struct {
	Version    uint64   `cbor:"1,keyasint"`
	Op         uint64   `cbor:"2,keyasint"`
	Keys       []key    `cbor:"3,keyasint,omitempty"`  // one for get and range, more for has and holds; list: after this one
	Offset     int      `cbor:"4,keyasint,omitempty"`  // range
	Count      int      `cbor:"5,keyasint,omitempty"`  // range: bytes; list: keys; put: 1 if a receipt is wanted; get: 1 if the server is to check the shard
	Descriptor []byte   `cbor:"6,keyasint,omitempty"`  // put
	Deletion   []byte   `cbor:"7,keyasint,omitempty"`  // drop
	Reports    []report `cbor:"8,keyasint,omitempty"`  // report
	Length     int      `cbor:"9,keyasint,omitempty"`  // bytes of shard behind the header
	Nonce      []byte   `cbor:"10,keyasint,omitempty"` // compare: the key of the sums
	Bits       int      `cbor:"11,keyasint,omitempty"` // compare
	Sums       []byte   `cbor:"12,keyasint,omitempty"` // compare: 8 bytes for each range
	Range      []key    `cbor:"13,keyasint,omitempty"` // holds: after the first, up to the second; words: from the first to the second
	Words      []Word   `cbor:"14,keyasint,omitempty"` // words

	Record     []byte      `cbor:"15,keyasint,omitempty"` // put-record
	RecordKeys []recordKey `cbor:"16,keyasint,omitempty"` // records: one, after which to begin; compare-records
	Ends       []recordKey `cbor:"17,keyasint,omitempty"` // compare-records: after the first, up to the second

	Owner     []byte `cbor:"18,keyasint,omitempty"` // owned: 32 bytes
	Signature []byte `cbor:"19,keyasint,omitempty"` // owned: the owner's, 64 bytes

	Digest []byte `cbor:"20,keyasint,omitempty"` // records: of those that the client knows
}

// A response is the header of an answer. One in which More is set is not the
// answer yet, but lets the client tell a slow line or a busy server from a
// dead one: while the shard of a put is on its way, one for each progressStep,
// in which Received counts its bytes; while the server has no memory for a
// shard, one each waitStep, without Received.
type response struct {
	Version    uint64    `cbor:"1,keyasint"`
	Kind       uint8     `cbor:"2,keyasint,omitempty"` // of the error, when Text is set
	Text       string    `cbor:"3,keyasint,omitempty"`
	More       bool      `cbor:"4,keyasint,omitempty"`
	Received   int       `cbor:"5,keyasint,omitempty"`
	Descriptor []byte    `cbor:"6,keyasint,omitempty"`
	Has        []bool    `cbor:"7,keyasint,omitempty"` // has; records: there are no others than those that the client knows
	Keys       []key     `cbor:"8,keyasint,omitempty"`
	Holders    []holding `cbor:"9,keyasint,omitempty"`
	Length     int       `cbor:"10,keyasint,omitempty"` // bytes of shard or slice behind the header

	Differ  []int                `cbor:"11,keyasint,omitempty"` // compare: the ranges whose sums differ
	Unknown []datamesh.SegmentID `cbor:"12,keyasint,omitempty"` // holds: segments whose descriptor is wanted; words: on which a word is
	Deleted [][]byte             `cbor:"13,keyasint,omitempty"` // holds, words: deletions of segments
	Proofs  []proof              `cbor:"14,keyasint,omitempty"` // proofs

	Receipts [][]byte `cbor:"15,keyasint,omitempty"` // receipts; put: one, if it was wanted

	Records    [][]byte    `cbor:"16,keyasint,omitempty"` // records, compare-records
	RecordKeys []recordKey `cbor:"17,keyasint,omitempty"` // compare-records: those that are wanted

	Owned [][]byte `cbor:"18,keyasint,omitempty"` // owned: descriptors
	Next  []byte   `cbor:"19,keyasint,omitempty"` // owned: a segment, after which to go on; none: these are the last
}

type key struct {
	_       struct{} `cbor:",toarray"`
	Segment datamesh.SegmentID
	Index   int
}

type holding struct {
	_     struct{} `cbor:",toarray"`
	Index int
	Peer  datamesh.PeerID
}

type proof struct {
	_       struct{} `cbor:",toarray"`
	Segment datamesh.SegmentID
	Index   int
	Peer    datamesh.PeerID
	Age     int64 // seconds
}

type recordKey struct {
	_      struct{} `cbor:",toarray"`
	Place  [32]byte
	Device [16]byte
	Seq    uint64
	Digest [32]byte
}

type report struct {
	Descriptor []byte    `cbor:"1,keyasint"`
	Holders    []holding `cbor:"2,keyasint"`
	Receipts   [][]byte  `cbor:"3,keyasint,omitempty"`
}

// writeMessage writes a header in one piece with its length, and with the payload
// if that is short. A longer one follows in several, so that other streams get
// their turn. It calls moved before each piece and at the end.
func writeMessage(w io.Writer, header any, payload []byte, moved func() error) error {
	body := format.Marshal(header)
	if len(body) > maxHeader {
		return errs.New(errs.Invalid, "message of %d bytes, limit %d", len(body), maxHeader)
	}
	var few []byte // each write is a record of TLS, and a system call
	if len(payload) <= fewBehind {
		few, payload = payload, nil
	}
	msg := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)+len(few)), uint32(len(body)))
	msg = append(append(msg, body...), few...)
	if _, err := w.Write(msg); err != nil {
		return err
	}
	for piece := range slices.Chunk(payload, maxPiece) {
		if err := moved(); err != nil {
			return err
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return moved()
}

func readMessage(r io.Reader, what string, header any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxHeader {
		return errs.New(errs.Serialization, "%s of %d bytes, limit %d", what, n, maxHeader)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return format.Unmarshal(what, body, maxHeader, header)
}

// failure is the response that tells an error, whose text is never empty.
func failure(err error) response {
	kind, text := errs.ToWire(err)
	return response{Kind: kind, Text: text}
}

// err is the error that the response tells, or nil. The text is a stranger's.
func (r *response) err() error {
	if r.Text == "" {
		return nil
	}
	return errs.FromWire(r.Kind, r.Text)
}
