package format

import (
	"crypto/ed25519"
	"errors"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// signedBody is a receipt with that body, which its holder has signed.
func signedBody(body receiptBody) []byte {
	b := Marshal(body)
	digest := hash.Derive(receiptContext, b)
	return Marshal(signedReceipt{b, [ed25519.SignatureSize]byte(ed25519.Sign(owner, digest[:]))})
}

func TestReceiptsOfOthersAndOfOtherThingsAreRefused(t *testing.T) {
	mesh, d := goldenGenesis().MeshID(), goldenDescriptor(t)
	for what, change := range map[string]func(*datamesh.Receipt){
		"another mesh":      func(r *datamesh.Receipt) { r.Mesh[0]++ },
		"another segment":   func(r *datamesh.Receipt) { r.Segment[0]++ },
		"another index":     func(r *datamesh.Receipt) { r.Index = 2 },
		"no index of it":    func(r *datamesh.Receipt) { r.Index = 6 },
		"a negative index":  func(r *datamesh.Receipt) { r.Index = -1 },
		"other bytes":       func(r *datamesh.Receipt) { r.Shard[0]++ },
		"another holder":    func(r *datamesh.Receipt) { r.Holder[0]++ },
		"another placer":    func(r *datamesh.Receipt) { r.Placer[0]++ },
		"another time":      func(r *datamesh.Receipt) { r.Time++ },
		"another signature": func(r *datamesh.Receipt) { r.Signature[0]++ },
	} {
		r := *goldenReceipt(t)
		change(&r)
		if err := CheckReceipt(&r, mesh, d); !errors.Is(err, errs.Authentication) {
			t.Errorf("%s: got %v, want kind Authentication", what, err)
		}
		if _, err := DecodeReceipt(EncodeReceipt(&r)); !errors.Is(err, errs.Authentication) && !errors.Is(err, errs.Serialization) {
			t.Errorf("%s, decoded: got %v", what, err)
		}
	}
	// What another has signed for a shard that is not there is a receipt all the same, of something else.
	r, err := SignReceipt(owner, datamesh.Receipt{Mesh: mesh, Segment: datamesh.SegmentID{1}, Time: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeReceipt(EncodeReceipt(r)); err != nil {
		t.Error(err)
	}
	if err := CheckReceipt(r, mesh, d); !errors.Is(err, errs.Authentication) {
		t.Errorf("of another segment: got %v", err)
	}
}

func TestReceiptsThatMakeNoSenseAreRefused(t *testing.T) {
	good := receiptBody{Version: 1, Holder: goldenReceipt(t).Holder, Time: 1}
	if _, err := DecodeReceipt(signedBody(good)); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*receiptBody){
		"version 0":          func(b *receiptBody) { b.Version = 0 },
		"version 2":          func(b *receiptBody) { b.Version = 2 },
		"a negative index":   func(b *receiptBody) { b.Index = -1 },
		"too great an index": func(b *receiptBody) { b.Index = datamesh.MaxShards },
		"no time":            func(b *receiptBody) { b.Time = 0 },
		"a time far away":    func(b *receiptBody) { b.Time = lastSecond + 1 },
	} {
		body := good
		change(&body)
		refuse(t, what, readers["receipt"], signedBody(body), errs.Serialization)
	}
	if err := readers["receipt"](signedBody(receiptBody{Version: 2, Time: 1})); errs.HintFor(err) == "" {
		t.Errorf("of a newer version: got %v without a hint", err)
	}
	for _, r := range []datamesh.Receipt{{Index: -1, Time: 1}, {Index: datamesh.MaxShards, Time: 1}, {}} {
		if _, err := SignReceipt(owner, r); !errors.Is(err, errs.Invalid) {
			t.Errorf("%+v was signed: %v", r, err)
		}
	}
	if n := len(EncodeReceipt(goldenReceipt(t))); n > MaxReceipt {
		t.Errorf("a receipt has %d bytes", n)
	}
}
