package format

import (
	"crypto/ed25519"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// MaxRecord is the limit of an encoded record in bytes.
const MaxRecord = datamesh.MaxRecordPayload + 512

const (
	recordContext       = "datamesh v1 owner record"
	recordDigestContext = "datamesh v1 owner record digest"
	recordPlaceContext  = "datamesh v1 place of an owner's records"
)

type recordBody struct {
	Version uint64            `cbor:"1,keyasint"`
	Mesh    datamesh.MeshID   `cbor:"2,keyasint"`
	Owner   datamesh.OwnerKey `cbor:"3,keyasint"`
	Device  [16]byte          `cbor:"4,keyasint"`
	Seq     uint64            `cbor:"5,keyasint"`
	Base    uint64            `cbor:"6,keyasint"`
	Payload []byte            `cbor:"7,keyasint"`
}

type signedRecord struct {
	Body      []byte                      `cbor:"1,keyasint"`
	Signature [ed25519.SignatureSize]byte `cbor:"2,keyasint"`
}

func recordBytes(r *datamesh.Record) []byte {
	return Marshal(recordBody{Version, r.Mesh, r.Owner, r.Device, r.Seq, r.Base, r.Payload})
}

// NewRecord makes a record of these fields, and signs it as its owner. It keeps
// hold of the payload. Kind: Invalid, for what no record may have.
func NewRecord(owner ed25519.PrivateKey, mesh datamesh.MeshID, device [16]byte, seq, base uint64, payload []byte) (*datamesh.Record, error) {
	r := &datamesh.Record{Mesh: mesh, Owner: datamesh.OwnerKey(owner.Public().(ed25519.PublicKey)),
		Device: device, Seq: seq, Base: base, Payload: payload}
	if !sensibleRecord(r) {
		return nil, errs.New(errs.Invalid, "record %d after %d with %d bytes", seq, base, len(payload))
	}
	digest := hash.Derive(recordContext, recordBytes(r))
	r.Signature = [ed25519.SignatureSize]byte(ed25519.Sign(owner, digest[:]))
	return r, nil
}

func sensibleRecord(r *datamesh.Record) bool {
	return r.Seq > r.Base && len(r.Payload) > 0 && len(r.Payload) <= datamesh.MaxRecordPayload
}

// EncodeRecord returns the bytes of a record.
func EncodeRecord(r *datamesh.Record) []byte {
	return Marshal(signedRecord{recordBytes(r), r.Signature})
}

// DecodeRecord reads a record, and checks that the owner whom it names has
// signed it. Kinds: Serialization, Authentication.
func DecodeRecord(b []byte) (*datamesh.Record, error) {
	r, err := ReadRecord(b)
	if err != nil {
		return nil, err
	}
	digest := hash.Derive(recordContext, recordBytes(r))
	if !ed25519.Verify(r.Owner[:], digest[:], r.Signature[:]) {
		return nil, errs.New(errs.Authentication, "record %d of %s: not signed by its owner", r.Seq, r.Owner)
	}
	return r, nil
}

// ReadRecord reads a record whose signature was checked before. Kind:
// Serialization.
func ReadRecord(b []byte) (*datamesh.Record, error) {
	const what = "record"
	var s signedRecord
	var v recordBody
	if err := Unmarshal(what, b, MaxRecord, &s); err != nil {
		return nil, newerSigned(what, b, MaxRecord, err)
	}
	if err := unmarshalVersion(what, s.Body, MaxRecord, &v); err != nil {
		return nil, err
	}
	r := &datamesh.Record{Mesh: v.Mesh, Owner: v.Owner, Device: v.Device, Seq: v.Seq, Base: v.Base, Payload: v.Payload, Signature: s.Signature}
	if !sensibleRecord(r) {
		return nil, errs.New(errs.Serialization, "record: %d after %d with %d bytes", r.Seq, r.Base, len(r.Payload))
	}
	return r, nil
}

// RecordKey returns the key of a record.
func RecordKey(r *datamesh.Record) datamesh.RecordKey {
	return datamesh.RecordKey{Place: RecordPlace(r.Owner), Device: r.Device, Seq: r.Seq, Digest: hash.Derive(recordDigestContext, EncodeRecord(r))}
}

// RecordPlace returns where in the mesh an owner's records are kept: by the
// members nearest to it.
func RecordPlace(owner datamesh.OwnerKey) [32]byte { return hash.Derive(recordPlaceContext, owner[:]) }
