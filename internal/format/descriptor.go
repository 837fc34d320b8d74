package format

import (
	"crypto/ed25519"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// MaxDescriptor is the limit of an encoded descriptor in bytes.
const MaxDescriptor = 16 << 10

const (
	segmentContext   = "datamesh v1 segment id"
	signatureContext = "datamesh v1 segment signature"
	deletionContext  = "datamesh v1 segment deletion"
)

// descriptorBody is what a SegmentID is the hash of.
type descriptorBody struct {
	Version uint64             `cbor:"1,keyasint"`
	K       int                `cbor:"2,keyasint"`
	M       int                `cbor:"3,keyasint"`
	Length  int                `cbor:"4,keyasint"`
	Shards  []datamesh.ShardID `cbor:"5,keyasint"`
	Owner   datamesh.OwnerKey  `cbor:"6,keyasint"`
}

// signedDescriptor is a descriptor as it is stored and sent.
type signedDescriptor struct {
	Body      []byte                      `cbor:"1,keyasint"`
	Signature [ed25519.SignatureSize]byte `cbor:"2,keyasint"`
}

func body(d *datamesh.Descriptor) []byte {
	return Marshal(descriptorBody{Version, d.K, d.M, d.Length, d.Shards, d.Owner})
}

// NewDescriptor makes and signs the descriptor of a segment: its code, the
// length of the sealed bytes, and the ids of its k+m shards. Kind:
// Serialization, for what no descriptor may say.
func NewDescriptor(owner ed25519.PrivateKey, k, m, sealed int, shards []datamesh.ShardID) (*datamesh.Descriptor, error) {
	d := &datamesh.Descriptor{K: k, M: m, Length: sealed, Shards: shards,
		Owner: datamesh.OwnerKey(owner.Public().(ed25519.PublicKey))}
	if err := checkDescriptor(d); err != nil {
		return nil, err
	}
	d.Segment = hash.Derive(segmentContext, body(d))
	digest := hash.Derive(signatureContext, d.Segment[:])
	d.Signature = [ed25519.SignatureSize]byte(ed25519.Sign(owner, digest[:]))
	return d, nil
}

// EncodeDescriptor returns the bytes of a descriptor and its signature.
func EncodeDescriptor(d *datamesh.Descriptor) []byte {
	return Marshal(signedDescriptor{body(d), d.Signature})
}

// DecodeDescriptor reads a descriptor, and checks that its owner has signed
// it. Others may have been given the same one: nobody may change it. Kinds:
// Serialization, Authentication.
func DecodeDescriptor(b []byte) (*datamesh.Descriptor, error) {
	if d := goodDescriptors.get(b); d != nil {
		return d, nil
	}
	d, err := ReadDescriptor(b)
	if err != nil {
		return nil, err
	}
	digest := hash.Derive(signatureContext, d.Segment[:])
	if !ed25519.Verify(d.Owner[:], digest[:], d.Signature[:]) {
		return nil, errs.New(errs.Authentication, "descriptor %s: not signed by its owner", d.Segment)
	}
	goodDescriptors.add(b, d)
	return d, nil
}

// goodDescriptors are those that were read, and found signed, lately: a node meets
// each with a shard, with a report and with an answer, and to read and check it
// takes a hundred times what it takes to look here.
var goodDescriptors memo

// A memo has the last of what was added to it: memoBytes of it at least, or all,
// and at most twice as many.
type memo struct {
	mu         sync.Mutex // guards the rest
	young, old map[string]*datamesh.Descriptor
	size       int // bytes of what is young
}

const memoBytes = 1 << 20

func (m *memo) get(b []byte) *datamesh.Descriptor {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.young[string(b)]; d != nil {
		return d
	}
	return m.old[string(b)]
}

func (m *memo) add(b []byte, d *datamesh.Descriptor) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.young == nil || m.size >= memoBytes {
		m.young, m.old, m.size = map[string]*datamesh.Descriptor{}, m.young, 0
	}
	m.young[string(b)] = d
	m.size += len(b)
}

// ReadDescriptorOf reads the descriptor of a segment for somebody who knows which one he
// wants: the segment is the hash of all that its descriptor says. The signature, by which
// the owner wants it to be kept, is not checked. Kinds: Serialization, Integrity.
func ReadDescriptorOf(b []byte, segment datamesh.SegmentID) (*datamesh.Descriptor, error) {
	d := goodDescriptors.get(b)
	if d == nil {
		var err error
		if d, err = ReadDescriptor(b); err != nil {
			return nil, err
		}
	}
	if d.Segment != segment {
		return nil, errs.New(errs.Integrity, "descriptor of another segment")
	}
	return d, nil
}

// ReadDescriptor reads a descriptor whose signature was checked before, and
// does not check it again. Its segment is still the hash of what it says.
// Kind: Serialization.
func ReadDescriptor(b []byte) (*datamesh.Descriptor, error) {
	const what = "descriptor"
	var s signedDescriptor
	var v descriptorBody
	if err := Unmarshal(what, b, MaxDescriptor, &s); err != nil {
		return nil, newerSigned(what, b, MaxDescriptor, err)
	}
	if err := unmarshalVersion(what, s.Body, MaxDescriptor, &v); err != nil {
		return nil, err
	}
	d := &datamesh.Descriptor{Segment: hash.Derive(segmentContext, s.Body),
		K: v.K, M: v.M, Length: v.Length, Shards: v.Shards, Owner: v.Owner, Signature: s.Signature}
	if err := checkDescriptor(d); err != nil {
		return nil, err
	}
	return d, nil
}

// newerSigned returns err, unless what could not be decoded has a body of
// another version: the signature beside it may be of another kind then.
func newerSigned(what string, b []byte, limit int, err error) error {
	var s struct {
		Body []byte `cbor:"1,keyasint"`
	}
	if len(b) > limit || looseMode.Unmarshal(b, &s) != nil {
		return err
	}
	return checkVersion(what, s.Body, limit, err)
}

func checkDescriptor(d *datamesh.Descriptor) error {
	switch {
	case !datamesh.ValidCode(d.K, d.M):
		return errs.New(errs.Serialization, "descriptor: no code %d+%d", d.K, d.M)
	case d.Length < 1 || d.Length > datamesh.MaxSealed:
		return errs.New(errs.Serialization, "descriptor: length %d", d.Length)
	case len(d.Shards) != d.K+d.M:
		return errs.New(errs.Serialization, "descriptor: %d shards for %d+%d", len(d.Shards), d.K, d.M)
	}
	return nil
}

// deletion is a Deletion as it is stored and sent.
type deletion struct {
	Version    uint64                      `cbor:"1,keyasint"`
	Descriptor []byte                      `cbor:"2,keyasint"`
	Generation uint64                      `cbor:"3,keyasint"`
	Signature  [ed25519.SignatureSize]byte `cbor:"4,keyasint"`
}

// MaxDeletion is the limit of an encoded deletion in bytes.
const MaxDeletion = MaxDescriptor + 256

func deletionDigest(d *datamesh.Deletion) []byte {
	gen := Marshal(d.Generation)
	digest := hash.Derive(deletionContext, d.Descriptor.Segment[:], gen)
	return digest[:]
}

// NewDeletion makes and signs the deletion of a segment by its owner.
func NewDeletion(owner ed25519.PrivateKey, d *datamesh.Descriptor, generation uint64) *datamesh.Deletion {
	del := &datamesh.Deletion{Descriptor: d, Generation: generation}
	del.Signature = [ed25519.SignatureSize]byte(ed25519.Sign(owner, deletionDigest(del)))
	return del
}

// EncodeDeletion returns the bytes of a deletion.
func EncodeDeletion(d *datamesh.Deletion) []byte {
	return Marshal(deletion{Version, EncodeDescriptor(d.Descriptor), d.Generation, d.Signature})
}

// DecodeDeletion reads a deletion and checks that the segment's owner signed
// it. Kinds: Serialization, Authentication.
func DecodeDeletion(b []byte) (*datamesh.Deletion, error) {
	del, err := readDeletion(b, DecodeDescriptor)
	if err != nil {
		return nil, err
	}
	if err := VerifyDeletion(del); err != nil {
		return nil, err
	}
	return del, nil
}

// ReadDeletion reads a deletion whose signatures were checked before. Kind:
// Serialization.
func ReadDeletion(b []byte) (*datamesh.Deletion, error) { return readDeletion(b, ReadDescriptor) }

func readDeletion(b []byte, read func([]byte) (*datamesh.Descriptor, error)) (*datamesh.Deletion, error) {
	var v deletion
	if err := unmarshalVersion("deletion", b, MaxDeletion, &v); err != nil {
		return nil, err
	}
	d, err := read(v.Descriptor)
	if err != nil {
		return nil, err
	}
	return &datamesh.Deletion{Descriptor: d, Generation: v.Generation, Signature: v.Signature}, nil
}

// VerifyDeletion reports with an error of kind Authentication that a deletion
// was not signed by the owner of its segment.
func VerifyDeletion(d *datamesh.Deletion) error {
	if !ed25519.Verify(d.Descriptor.Owner[:], deletionDigest(d), d.Signature[:]) {
		return errs.New(errs.Authentication, "deletion of %s: not signed by its owner", d.Descriptor.Segment)
	}
	return nil
}
