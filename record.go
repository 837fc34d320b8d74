package datamesh

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
)

// MaxRecordPayload is how many bytes of its owner's a record has at most.
const MaxRecordPayload = 32 << 10

// A Record is an entry of an owner's log, which the mesh keeps for him and
// cannot read. Each of his devices numbers its own from 1 on.
//
// A record takes the place of all earlier ones of its device up to Base. So
// records are a set that merges by union, in whatever order they come: those of
// a device count whose Seq is greater than the highest Base among them.
type Record struct {
	Mesh      MeshID
	Owner     OwnerKey
	Device    [16]byte // which of the owner's, drawn at random
	Seq       uint64   // at least 1
	Base      uint64   // less than Seq
	Payload   []byte   // 1 to MaxRecordPayload bytes, which the owner has encrypted
	Signature [ed25519.SignatureSize]byte
}

// A RecordKey names a record: where in the mesh its owner's records are, its
// device and number, and the hash of all of it, since two records may have one
// number when an old image of a disk was restored.
type RecordKey struct {
	Place  [32]byte
	Device [16]byte
	Seq    uint64
	Digest [32]byte
}

// Compare orders keys by place, then by device, number and digest.
func (k RecordKey) Compare(o RecordKey) int {
	return cmp.Or(bytes.Compare(k.Place[:], o.Place[:]), bytes.Compare(k.Device[:], o.Device[:]),
		cmp.Compare(k.Seq, o.Seq), bytes.Compare(k.Digest[:], o.Digest[:]))
}
