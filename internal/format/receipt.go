package format

import (
	"crypto/ed25519"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// MaxReceipt is the limit of an encoded receipt in bytes.
const MaxReceipt = 512

const (
	receiptContext = "datamesh v1 shard receipt"
	lastSecond     = 1 << 40 // of a receipt
)

type receiptBody struct {
	Version uint64             `cbor:"1,keyasint"`
	Mesh    datamesh.MeshID    `cbor:"2,keyasint"`
	Segment datamesh.SegmentID `cbor:"3,keyasint"`
	Index   int                `cbor:"4,keyasint"`
	Shard   datamesh.ShardID   `cbor:"5,keyasint"`
	Holder  datamesh.PeerID    `cbor:"6,keyasint"`
	Placer  datamesh.PeerID    `cbor:"7,keyasint"`
	Time    int64              `cbor:"8,keyasint"`
}

type signedReceipt struct {
	Body      []byte                      `cbor:"1,keyasint"`
	Signature [ed25519.SignatureSize]byte `cbor:"2,keyasint"`
}

func receiptBytes(r *datamesh.Receipt) []byte {
	return Marshal(receiptBody{Version, r.Mesh, r.Segment, r.Index, r.Shard, r.Holder, r.Placer, r.Time})
}

// SignReceipt returns a copy of r that the holder has signed, whose peer id is
// filled in. Kind: Invalid, for what no receipt may say.
func SignReceipt(holder ed25519.PrivateKey, r datamesh.Receipt) (*datamesh.Receipt, error) {
	r.Holder = datamesh.PeerID(holder.Public().(ed25519.PublicKey))
	if !sensibleReceipt(&r) {
		return nil, errs.New(errs.Invalid, "receipt of %s/%d at %d", r.Segment, r.Index, r.Time)
	}
	digest := hash.Derive(receiptContext, receiptBytes(&r))
	r.Signature = [ed25519.SignatureSize]byte(ed25519.Sign(holder, digest[:]))
	return &r, nil
}

func sensibleReceipt(r *datamesh.Receipt) bool {
	return r.Index >= 0 && r.Index < datamesh.MaxShards && r.Time > 0 && r.Time <= lastSecond
}

// EncodeReceipt returns the bytes of a receipt.
func EncodeReceipt(r *datamesh.Receipt) []byte {
	return Marshal(signedReceipt{receiptBytes(r), r.Signature})
}

// DecodeReceipt reads a receipt, and checks that the holder that it names has
// signed it. Whether it is of a shard that there is, [CheckReceipt] tells.
// Kinds: Serialization, Authentication.
func DecodeReceipt(b []byte) (*datamesh.Receipt, error) {
	const what = "receipt"
	var s signedReceipt
	var v receiptBody
	if err := Unmarshal(what, b, MaxReceipt, &s); err != nil {
		return nil, newerSigned(what, b, MaxReceipt, err)
	}
	if err := unmarshalVersion(what, s.Body, MaxReceipt, &v); err != nil {
		return nil, err
	}
	r := &datamesh.Receipt{Mesh: v.Mesh, Segment: v.Segment, Index: v.Index, Shard: v.Shard,
		Holder: v.Holder, Placer: v.Placer, Time: v.Time, Signature: s.Signature}
	if !sensibleReceipt(r) {
		return nil, errs.New(errs.Serialization, "receipt: of shard %d at %d", r.Index, r.Time)
	}
	if err := verifyReceipt(r); err != nil {
		return nil, err
	}
	return r, nil
}

func verifyReceipt(r *datamesh.Receipt) error {
	digest := hash.Derive(receiptContext, receiptBytes(r))
	if !ed25519.Verify(r.Holder[:], digest[:], r.Signature[:]) {
		return errs.New(errs.Authentication, "receipt of %s/%d: not signed by peer %s", r.Segment, r.Index, r.Holder)
	}
	return nil
}

// CheckReceipt reports with an error of kind Authentication that a receipt is
// not one of a shard of this segment in this mesh, or that its holder has not
// signed it.
func CheckReceipt(r *datamesh.Receipt, mesh datamesh.MeshID, d *datamesh.Descriptor) error {
	switch {
	case r.Mesh != mesh:
		return errs.New(errs.Authentication, "receipt of %s/%d: of another mesh, %s", r.Segment, r.Index, r.Mesh)
	case r.Segment != d.Segment || r.Index < 0 || r.Index >= len(d.Shards):
		return errs.New(errs.Authentication, "receipt of %s/%d: not of %s", r.Segment, r.Index, d.Segment)
	case r.Shard != d.Shards[r.Index]:
		return errs.New(errs.Authentication, "receipt of %s/%d: of other bytes", r.Segment, r.Index)
	}
	return verifyReceipt(r)
}
