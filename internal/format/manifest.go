package format

import (
	"bytes"
	"time"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"

	"github.com/fxamacker/cbor/v2"
)

// Limits of a manifest.
const (
	MaxManifest = 4 << 20   // bytes of the encoded manifest before sealing
	MaxInline   = 64 << 10  // bytes of content inside the manifest
	MaxList     = 1 << 20   // bytes of a segment list inside the manifest
	MaxName     = 4096      // bytes of a name
	MaxTags     = 64        // tags of an object
	MaxTag      = 256       // bytes of a tag
	maxWrap     = 256 << 10 // bytes of one key envelope
)

// A Manifest is the private record of one object: everything that is needed
// to read it, and everything about it that is nobody else's business.
//
// Fields with CBOR keys below 64 must be understood: a reader refuses those
// that it does not know. Fields from 64 on may be passed over.
type Manifest struct {
	Version  uint64            `cbor:"1,keyasint"`
	Size     int64             `cbor:"2,keyasint"`           // bytes of content
	Name     string            `cbor:"3,keyasint,omitempty"` // valid UTF-8
	Mode     uint32            `cbor:"4,keyasint,omitempty"` // permission bits
	ModTime  int64             `cbor:"5,keyasint,omitempty"` // of the file, Unix nanoseconds
	Created  int64             `cbor:"6,keyasint,omitempty"` // of the object, Unix nanoseconds
	Type     string            `cbor:"7,keyasint,omitempty"` // media type
	Tags     []string          `cbor:"8,keyasint,omitempty"`
	Inline   []byte            `cbor:"9,keyasint,omitempty"`  // the content, when it is small
	Segments []SegmentRef      `cbor:"10,keyasint,omitempty"` // of the content
	List     []SegmentRef      `cbor:"11,keyasint,omitempty"` // of the encoded SegmentList, when it is long
	Peers    []datamesh.PeerID `cbor:"64,keyasint,omitempty"` // that the hints of the refs point into
}

// A SegmentRef is what a manifest says of one segment.
type SegmentRef struct {
	ID     datamesh.SegmentID `cbor:"1,keyasint"`
	Key    crypt.Key          `cbor:"2,keyasint"`
	Length int                `cbor:"3,keyasint"`           // bytes of content
	Codec  uint64             `cbor:"4,keyasint,omitempty"` // 0: the content as it is; no other is defined
	K      int                `cbor:"5,keyasint"`           // the code
	M      int                `cbor:"6,keyasint"`
	Hints  []uint32           `cbor:"64,keyasint,omitempty"` // who took shard 0, 1, …: places in Peers, or NoHint
}

// NoHint stands for a shard that nobody took.
const NoHint = 1<<32 - 1

// A SegmentList is a list of segments that is too long for a manifest. It is
// stored like content.
type SegmentList struct {
	Version  uint64            `cbor:"1,keyasint"`
	Segments []SegmentRef      `cbor:"2,keyasint"`
	Peers    []datamesh.PeerID `cbor:"64,keyasint,omitempty"`
}

// envelope is a sealed manifest: what is stored as a segment of its own.
type envelope struct {
	Version    uint64   `cbor:"1,keyasint"`
	Commitment [32]byte `cbor:"2,keyasint"` // to the key: all recipients open the same body
	Wraps      [][]byte `cbor:"3,keyasint"` // the key in age envelopes, one a class
	Body       []byte   `cbor:"4,keyasint"` // the manifest in sealed frames
}

// SealManifest returns the manifest as the sealed bytes of a segment that
// only the recipients can open. Kinds: Invalid, Encryption.
func SealManifest(m *Manifest, to []crypt.Recipient) ([]byte, error) {
	m.Version = Version
	if err := m.check(); err != nil {
		return nil, &errs.Error{Kind: errs.Invalid, Err: err}
	}
	text := Marshal(m)
	if len(text) > MaxManifest {
		return nil, errs.New(errs.Invalid, "manifest of %d bytes, limit %d", len(text), MaxManifest)
	}
	buf := make([]byte, crypt.SealedLen(len(text)))
	if _, err := crypt.Fill(buf, bytes.NewReader(text), len(text)); err != nil {
		return nil, err
	}
	key, sealed := crypt.Seal(buf, len(text))
	wraps, err := crypt.Wrap(key, to)
	if err != nil {
		return nil, err
	}
	return Marshal(envelope{Version, crypt.Commit(key), wraps, sealed}), nil
}

// OpenManifest opens a sealed manifest with one of the identities. Kinds:
// Serialization, Decryption (no identity fits), Integrity.
func OpenManifest(b []byte, ids []crypt.Identity) (*Manifest, error) {
	var e envelope
	if err := Unmarshal("sealed manifest", b, datamesh.MaxSealed, &e); err != nil {
		return nil, err
	}
	if err := checkVersion("sealed manifest", e.Version); err != nil {
		return nil, err
	}
	if len(e.Wraps) > 2 {
		return nil, errs.New(errs.Serialization, "sealed manifest: %d key envelopes", len(e.Wraps))
	}
	for _, w := range e.Wraps {
		if len(w) > maxWrap {
			return nil, errs.New(errs.Serialization, "sealed manifest: key envelope of %d bytes", len(w))
		}
	}
	key, err := crypt.Unwrap(e.Wraps, ids)
	if err != nil {
		return nil, err
	}
	if crypt.Commit(key) != e.Commitment {
		return nil, errs.New(errs.Integrity, "sealed manifest: its key is not the one committed to")
	}
	n, err := crypt.Open(key, e.Body)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := crypt.Drain(&text, e.Body, n); err != nil {
		return nil, err
	}
	return decodeManifest(text.Bytes())
}

func decodeManifest(b []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := unmarshalOpen("manifest", b, MaxManifest, 11, m); err != nil {
		return nil, err
	}
	return m, m.check()
}

// EncodeList returns the bytes of a segment list.
func EncodeList(l *SegmentList) []byte {
	l.Version = Version
	return Marshal(l)
}

// MaxSegmentList is the limit of an encoded segment list in bytes: that of an
// object of about 30 TB.
const MaxSegmentList = 256 << 20

// DecodeList reads a segment list.
func DecodeList(b []byte) (*SegmentList, error) {
	l := new(SegmentList)
	if err := unmarshalOpen("segment list", b, MaxSegmentList, 2, l); err != nil {
		return nil, err
	}
	if err := checkVersion("segment list", l.Version); err != nil {
		return nil, err
	}
	return l, checkRefs(l.Segments)
}

func (m *Manifest) check() error {
	if err := checkVersion("manifest", m.Version); err != nil {
		return err
	}
	if len(m.Name) > MaxName || !utf8.ValidString(m.Name) {
		return errs.New(errs.Serialization, "name: at most %d bytes of valid UTF-8", MaxName)
	}
	if len(m.Tags) > MaxTags {
		return errs.New(errs.Serialization, "%d tags, limit %d", len(m.Tags), MaxTags)
	}
	for _, t := range m.Tags {
		if t == "" || len(t) > MaxTag || !utf8.ValidString(t) {
			return errs.New(errs.Serialization, "tag: 1 to %d bytes of valid UTF-8", MaxTag)
		}
	}
	if len(m.Inline) > MaxInline {
		return errs.New(errs.Serialization, "manifest: %d bytes inline, limit %d", len(m.Inline), MaxInline)
	}
	if err := checkRefs(m.List); err != nil {
		return err
	}
	if err := checkRefs(m.Segments); err != nil {
		return err
	}
	if m.List == nil && m.Size != int64(len(m.Inline))+Content(m.Segments) {
		return errs.New(errs.Serialization, "manifest: its parts do not add up to %d bytes", m.Size)
	}
	return nil
}

// Content returns the bytes of content in the segments.
func Content(refs []SegmentRef) (n int64) {
	for _, r := range refs {
		n += int64(r.Length)
	}
	return n
}

func checkRefs(refs []SegmentRef) error {
	for i, r := range refs {
		if r.Length < 1 || r.Length > datamesh.MaxContent {
			return errs.New(errs.Serialization, "segment %d: %d bytes of content", i, r.Length)
		}
		if r.Codec != 0 {
			return errs.WithHint(errs.New(errs.Serialization, "segment %d: codec %d is not known", i, r.Codec),
				"update datamesh: this was written by a newer version")
		}
		if r.K < 1 || r.M < 0 || r.K+r.M > datamesh.MaxShards || len(r.Hints) > r.K+r.M {
			return errs.New(errs.Serialization, "segment %d: code %d+%d, %d hints", i, r.K, r.M, len(r.Hints))
		}
	}
	return nil
}

// UnixNano returns a time as a manifest has it, the zero time as 0.
func UnixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// Time returns the time of Unix nanoseconds, and the zero time for 0.
func Time(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// openMode decodes what later versions may add fields to.
var openMode = must(cbor.DecOptions{
	DupMapKey:        cbor.DupMapKeyEnforcedAPF,
	IndefLength:      cbor.IndefLengthForbidden,
	TagsMd:           cbor.TagsForbidden,
	MaxNestedLevels:  8,
	MaxArrayElements: 1 << 22,
	MaxMapPairs:      1 << 10,
}.DecMode())

// unmarshalOpen decodes a sealed record. Its author is known, so it need not
// be canonical, and later versions may add to it: of the fields that v does
// not have, those with keys from 64 on are passed over, others refused. known
// is the highest key below 64 that v has.
func unmarshalOpen(what string, b []byte, limit int, known uint64, v any) error {
	if len(b) > limit {
		return errs.New(errs.Serialization, "%s: %d bytes, limit %d", what, len(b), limit)
	}
	var fields map[uint64]cbor.RawMessage
	if err := openMode.Unmarshal(b, &fields); err != nil {
		return errs.New(errs.Serialization, "%s: %w", what, err)
	}
	for key := range fields {
		if key > known && key < 64 {
			return errs.WithHint(errs.New(errs.Serialization, "%s: field %d is not known", what, key),
				"update datamesh: this was written by a newer version")
		}
	}
	if err := openMode.Unmarshal(b, v); err != nil {
		return errs.New(errs.Serialization, "%s: %w", what, err)
	}
	return nil
}
