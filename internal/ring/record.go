package ring

import (
	"cmp"
	"crypto/ed25519"
	"fmt"
	"math"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
)

// Version is the version of records and messages.
const Version = 1

// Limits of a record, in bytes and numbers.
const (
	MaxRecord      = 8 << 10
	MaxLabel       = 64
	MaxAddrs       = 16
	MaxAddr        = 256
	MaxNonce       = 32
	MaxCertificate = 1 << 10
)

const recordContext = "datamesh v1 member record"

// A Role is what a peer is to its mesh.
type Role uint8

const (
	Storage Role = 1 // it keeps shards, and is a member
	Client  Role = 2 // it holds nothing, and is never in a table
)

func (r Role) String() string {
	switch r {
	case Storage:
		return "storage"
	case Client:
		return "client"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// Labels say where a member stands, so that shards can be kept apart.
type Labels struct {
	Site  string `cbor:"1,keyasint,omitempty"`
	Host  string `cbor:"2,keyasint,omitempty"`
	Owner string `cbor:"3,keyasint,omitempty"`
}

// A Record is what a member says of itself, under its own signature. Of two
// records of a peer the one with the greater Seq holds. A Record is not
// changed once it is signed.
type Record struct {
	Version     uint64          `cbor:"1,keyasint"`
	Mesh        datamesh.MeshID `cbor:"2,keyasint"`
	Peer        datamesh.PeerID `cbor:"3,keyasint"`
	Seq         uint64          `cbor:"4,keyasint"` // the incarnation: it only grows, over restarts too
	Role        Role            `cbor:"5,keyasint"`
	Labels      Labels          `cbor:"6,keyasint"`
	Addrs       []string        `cbor:"7,keyasint,omitempty"` // multiaddrs
	Capacity    int64           `cbor:"8,keyasint"`           // bytes
	Used        int64           `cbor:"9,keyasint"`           // bytes
	Nonce       []byte          `cbor:"10,keyasint,omitempty"`
	Certificate []byte          `cbor:"11,keyasint,omitempty"` // of a closed mesh

	Signature [ed25519.SignatureSize]byte `cbor:"-"`
}

// signedRecord is a record as it is kept and sent.
type signedRecord struct {
	Body      []byte                      `cbor:"1,keyasint"`
	Signature [ed25519.SignatureSize]byte `cbor:"2,keyasint"`
}

// Sign returns a copy of r that is signed with the peer's key, with its
// version and its peer id filled in. Kind: Invalid, for a field that is too
// long or has no such value.
func Sign(key ed25519.PrivateKey, r Record) (*Record, error) {
	r.Version = Version
	r.Peer = datamesh.PeerID(key.Public().(ed25519.PublicKey))
	if err := r.check(); err != nil {
		return nil, errs.New(errs.Invalid, "member record: %w", err)
	}
	digest := hash.Derive(recordContext, format.Marshal(r))
	r.Signature = [ed25519.SignatureSize]byte(ed25519.Sign(key, digest[:]))
	return &r, nil
}

// Encode returns the record's bytes.
func (r *Record) Encode() []byte {
	return format.Marshal(signedRecord{format.Marshal(r), r.Signature})
}

// DecodeRecord reads a record of a member of the mesh and checks that it
// signed it itself. Kinds: Serialization, Authentication.
func DecodeRecord(b []byte, mesh datamesh.MeshID) (*Record, error) {
	r, body, err := parseRecord(b)
	if err != nil {
		return nil, err
	}
	return r, r.verify(body, mesh)
}

// parseRecord reads a record without a look at its mesh and signature, which
// is enough to see that it is old. It also returns what is signed.
func parseRecord(b []byte) (*Record, []byte, error) {
	var s signedRecord
	var r Record
	if err := format.Unmarshal("member record", b, MaxRecord, &s); err != nil {
		return nil, nil, err
	}
	err := format.Unmarshal("member record", s.Body, MaxRecord, &r)
	if err == nil {
		if wrong := r.check(); wrong != nil {
			err = errs.New(errs.Serialization, "member record: %w", wrong)
		}
	}
	if err != nil { // whose reason may be that it is of a newer version
		return nil, nil, cmp.Or(format.Newer("member record", s.Body, Version), err)
	}
	r.Signature = s.Signature
	return &r, s.Body, nil
}

func (r *Record) verify(body []byte, mesh datamesh.MeshID) error {
	if r.Mesh != mesh {
		return errs.New(errs.Authentication, "member record: peer %s is of another mesh, %s", r.Peer, r.Mesh)
	}
	digest := hash.Derive(recordContext, body)
	if !ed25519.Verify(r.Peer[:], digest[:], r.Signature[:]) {
		return errs.New(errs.Authentication, "member record: not signed by peer %s", r.Peer)
	}
	return nil
}

func (r *Record) check() error {
	switch {
	case r.Version != Version:
		return fmt.Errorf("version %d, this program knows %d", r.Version, Version)
	case r.Role != Storage && r.Role != Client:
		return fmt.Errorf("unknown %s", r.Role)
	case r.Seq == 0 || r.Seq > math.MaxInt64:
		return fmt.Errorf("incarnation %d", r.Seq)
	case r.Capacity < 0 || r.Used < 0:
		return fmt.Errorf("%d of %d bytes used", r.Used, r.Capacity)
	case len(r.Nonce) > MaxNonce:
		return fmt.Errorf("a nonce of %d bytes", len(r.Nonce))
	case len(r.Certificate) > MaxCertificate:
		return fmt.Errorf("a certificate of %d bytes", len(r.Certificate))
	case len(r.Addrs) > MaxAddrs:
		return fmt.Errorf("%d addresses", len(r.Addrs))
	}
	for _, s := range []string{r.Labels.Site, r.Labels.Host, r.Labels.Owner} {
		if len(s) > MaxLabel || !utf8.ValidString(s) {
			return fmt.Errorf("label %.80q", s)
		}
	}
	for _, s := range r.Addrs {
		if !fits(s) {
			return fmt.Errorf("address %.80q", s)
		}
	}
	return nil
}

func fits(addr string) bool {
	return addr != "" && len(addr) <= MaxAddr && utf8.ValidString(addr)
}

// Placement returns the member's place among the keys: BLAKE3 keyed by the
// mesh, of its peer id and the nonce in its record.
func (r *Record) Placement() [32]byte {
	return hash.Keyed(r.Mesh, r.Peer[:], r.Nonce)
}
