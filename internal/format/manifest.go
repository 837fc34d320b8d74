package format

import (
	"bytes"
	"crypto/subtle"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// Limits of a manifest.
const (
	MaxManifest = 4 << 20  // bytes of the encoded manifest before sealing
	MaxInline   = 64 << 10 // bytes of content inside the manifest
	MaxList     = 1 << 20  // bytes of a segment list inside the manifest
	MaxName     = 4096     // bytes of a name
	MaxType     = 256      // bytes of a media type
	MaxTags     = 64       // tags of an object
	MaxTag      = 256      // bytes of a tag

	maxWraps    = 2 // envelopes of the key, one a class
	maxEnvelope = MaxManifest + MaxManifest/datamesh.FrameContent*datamesh.FrameTag + maxWraps*crypt.MaxWrap + 256
)

// MaxSegmentList is the limit of an encoded segment list in bytes: that of an
// object of about 10 TB.
const MaxSegmentList = 64 << 20

// A Manifest is the private record of one object: everything that is needed
// to read it, and everything about it that is nobody else's business.
//
// The content is in Inline, in Segments or in List, and in one of them alone.
//
// Fields with CBOR keys below 64 must be understood: a reader refuses those
// that it does not know. Fields from 64 on may be passed over. So it is in
// all maps of a manifest and of a segment list.
type Manifest struct {
	Version  uint64            `cbor:"1,keyasint"`
	Size     int64             `cbor:"2,keyasint"`           // bytes of content
	Name     string            `cbor:"3,keyasint,omitempty"` // valid UTF-8
	Mode     uint32            `cbor:"4,keyasint,omitempty"` // permission bits, or datamesh.NoPermissions
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
	Codec  uint64             `cbor:"4,keyasint,omitempty"` // 0: the content as it is; see [Zstd]
	K      int                `cbor:"5,keyasint"`           // the code
	M      int                `cbor:"6,keyasint"`
	Packed int                `cbor:"7,keyasint,omitempty"`  // bytes that were sealed in the stead of the content, by a codec
	Hints  []uint32           `cbor:"64,keyasint,omitempty"` // who took shard 0, 1, …: places in Peers, or NoHint
}

// Zstd is the codec of content that was compressed into one frame of zstd, RFC 8878,
// which says how much it is, before it was sealed. No other is defined.
const Zstd = 1

// Text returns how many bytes were sealed: those of the content, or of what it was
// compressed into.
func (r *SegmentRef) Text() int {
	if r.Codec != 0 {
		return r.Packed
	}
	return r.Length
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

// envelope is a sealed manifest: what is stored as a segment of its own. Its
// fields are closed.
type envelope struct {
	Version    uint64   `cbor:"1,keyasint"`
	Commitment [32]byte `cbor:"2,keyasint"` // to the key: all recipients open the same body
	Wraps      [][]byte `cbor:"3,keyasint"` // the key in age envelopes, one a class, masked
	Body       []byte   `cbor:"4,keyasint"` // the manifest in sealed frames
}

// SealManifest returns the manifest as the sealed bytes of a segment that
// only the recipients can open. Kinds: Invalid, Encryption.
func SealManifest(m *Manifest, to []crypt.Recipient) ([]byte, error) {
	m.Version = Version
	if err := m.check(); err != nil {
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	text := Marshal(m)
	if len(text) > MaxManifest {
		return nil, errs.New(errs.Invalid, "manifest of %d bytes, limit %d", len(text), MaxManifest)
	}
	return sealText(text, to)
}

// sealText returns text in an envelope that only the recipients can open.
func sealText(text []byte, to []crypt.Recipient) ([]byte, error) {
	buf := make([]byte, crypt.SealedLen(len(text)))
	if _, err := crypt.Fill(buf, bytes.NewReader(text), len(text)); err != nil {
		return nil, err
	}
	key, sealed := crypt.Seal(buf, len(text))
	wraps, err := crypt.Wrap(key, to)
	if err != nil {
		return nil, err
	}
	e := envelope{Version, crypt.Commit(key), wraps, sealed}
	for i, w := range wraps {
		e.mask(i, w)
	}
	return Marshal(e), nil
}

// maskContext separates the masks of age envelopes.
const maskContext = "datamesh v1 mask of a key envelope"

// mask puts the mask on wrap i, or takes it off. It hides nothing: all age
// files begin alike, and whatever is stored of two objects shall have nothing
// in common.
func (e *envelope) mask(i int, wrap []byte) {
	mask := make([]byte, len(wrap))
	hash.Stream(mask, maskContext, []byte{byte(i)}, e.Commitment[:])
	subtle.XORBytes(wrap, wrap, mask)
}

// OpenManifest opens a sealed manifest with one of the identities. Kinds:
// Serialization, Decryption (no identity fits), Integrity.
func OpenManifest(b []byte, ids []crypt.Identity) (*Manifest, error) {
	text, err := openText("sealed manifest", b, maxEnvelope, ids)
	if err != nil {
		return nil, err
	}
	return decodeManifest(text)
}

// openText opens an envelope of at most limit bytes with one of the identities.
func openText(what string, b []byte, limit int, ids []crypt.Identity) ([]byte, error) {
	var e envelope
	if err := unmarshalVersion(what, b, limit, &e); err != nil {
		return nil, err
	}
	if n := len(e.Wraps); n < 1 || n > maxWraps {
		return nil, errs.New(errs.Serialization, "%s: %d key envelopes", what, n)
	}
	for i, w := range e.Wraps {
		if len(w) > crypt.MaxWrap {
			return nil, errs.New(errs.Serialization, "%s: key envelope of %d bytes", what, len(w))
		}
		e.mask(i, w) // a copy of what came
	}
	key, err := crypt.Unwrap(e.Wraps, ids)
	if err != nil {
		return nil, err
	}
	if crypt.Commit(key) != e.Commitment {
		return nil, errs.New(errs.Integrity, "%s: its key is not the one committed to", what)
	}
	n, err := crypt.Open(key, e.Body)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := crypt.Drain(&text, e.Body, n); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// ForOwnerAlone reports whether a sealed manifest has one recipient: whoever can
// open it, if anybody. Kind: Serialization.
func ForOwnerAlone(b []byte) (bool, error) {
	var e envelope
	if err := unmarshalVersion("sealed manifest", b, maxEnvelope, &e); err != nil {
		return false, err
	}
	if len(e.Wraps) != 1 {
		return false, nil
	}
	e.mask(0, e.Wraps[0]) // a copy of what came
	n, err := crypt.Recipients(e.Wraps[0])
	return n == 1, err
}

func decodeManifest(b []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := unmarshalOpen("manifest", b, MaxManifest, m); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// EncodeList returns the bytes of a segment list. Kind: Invalid, for one that
// could not be read back.
func EncodeList(l *SegmentList) ([]byte, error) {
	l.Version = Version
	if err := checkRefs(l.Segments); err != nil {
		return nil, errs.New(errs.Invalid, "segment list: %w", err)
	}
	b := Marshal(l)
	if len(b) > MaxSegmentList {
		return nil, errs.New(errs.Invalid, "segment list of %d bytes, limit %d", len(b), MaxSegmentList)
	}
	return b, nil
}

// DecodeList reads a segment list. Kind: Serialization.
func DecodeList(b []byte) (*SegmentList, error) {
	l := new(SegmentList)
	if err := unmarshalOpen("segment list", b, MaxSegmentList, l); err != nil {
		return nil, err
	}
	if err := checkRefs(l.Segments); err != nil {
		return nil, err
	}
	return l, nil
}

func (m *Manifest) check() error {
	if len(m.Name) > MaxName || !utf8.ValidString(m.Name) {
		return errs.New(errs.Serialization, "name: at most %d bytes of valid UTF-8", MaxName)
	}
	if len(m.Type) > MaxType || !utf8.ValidString(m.Type) {
		return errs.New(errs.Serialization, "type: at most %d bytes of valid UTF-8", MaxType)
	}
	if !datamesh.ValidMode(m.Mode) {
		return errs.New(errs.Serialization, "mode %#o has more than permission bits", m.Mode)
	}
	if err := checkTags(m.Tags); err != nil {
		return err
	}
	return m.checkContent()
}

// Internal reports whether objects of a media type are parts of something else,
// such as packs of many files, which a user's list does not show: the type
// begins with application/vnd.datamesh. and its last word is pack.
func Internal(mediaType string) bool {
	return strings.HasPrefix(mediaType, internalPrefix) && (strings.HasSuffix(mediaType, ".pack") || strings.HasSuffix(mediaType, "+pack"))
}

const internalPrefix = "application/vnd.datamesh."

func checkTags(tags []string) error {
	if len(tags) > MaxTags {
		return errs.New(errs.Serialization, "%d tags, limit %d", len(tags), MaxTags)
	}
	for _, t := range tags {
		if t == "" || len(t) > MaxTag || !utf8.ValidString(t) {
			return errs.New(errs.Serialization, "tag: 1 to %d bytes of valid UTF-8", MaxTag)
		}
	}
	return nil
}

// checkContent sees that the content is in one place and has its size.
func (m *Manifest) checkContent() error {
	if len(m.Inline) > MaxInline {
		return errs.New(errs.Serialization, "manifest: %d bytes inline, limit %d", len(m.Inline), MaxInline)
	}
	if err := checkRefs(m.Segments); err != nil {
		return err
	}
	if err := checkRefs(m.List); err != nil {
		return err
	}
	places := 0
	for _, n := range []int{len(m.Inline), len(m.Segments), len(m.List)} {
		if n > 0 {
			places++
		}
	}
	if slices.ContainsFunc(m.List, func(r SegmentRef) bool { return r.Codec != 0 }) {
		return errs.New(errs.Serialization, "manifest: a segment list is not compressed")
	}
	switch size := int64(len(m.Inline)) + Content(m.Segments); {
	case places > 1:
		return errs.New(errs.Serialization, "manifest: content in %d places", places)
	case len(m.List) == 0 && m.Size != size:
		return errs.New(errs.Serialization, "manifest: its parts have %d bytes, not %d", size, m.Size)
	case len(m.List) > 0 && (m.Size < 1 || Content(m.List) > MaxSegmentList):
		return errs.New(errs.Serialization, "manifest: %d bytes in a segment list of %d", m.Size, Content(m.List))
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
		if r.Codec > Zstd {
			return errs.WithHint(errs.New(errs.Serialization, "segment %d: codec %d is not known", i, r.Codec), newer)
		}
		if r.Codec == 0 && r.Packed != 0 || r.Codec != 0 && (r.Packed < 1 || r.Packed >= r.Length) {
			return errs.New(errs.Serialization, "segment %d: %d bytes of content, %d compressed by codec %d", i, r.Length, r.Packed, r.Codec)
		}
		if !datamesh.ValidCode(r.K, r.M) || len(r.Hints) > r.K+r.M {
			return errs.New(errs.Serialization, "segment %d: code %d+%d, %d hints", i, r.K, r.M, len(r.Hints))
		}
	}
	return nil
}

// UnixNano returns a time as a manifest has it, the zero time as 0. The beginning of
// 1970 is a nanosecond later, since 0 says that there is no time, and what 64 bits do
// not reach is the nearest that they do.
func UnixNano(t time.Time) int64 {
	switch ns := t.UnixNano(); {
	case t.IsZero():
		return 0
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	case ns == 0:
		return 1
	default:
		return ns
	}
}

// Time returns the time of Unix nanoseconds, and the zero time for 0.
func Time(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
