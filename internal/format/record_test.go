package format

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// signedRecordBody is a record with that body, which its owner has signed.
func signedRecordBody(body recordBody) []byte {
	b := Marshal(body)
	digest := hash.Derive(recordContext, b)
	return Marshal(signedRecord{b, [ed25519.SignatureSize]byte(ed25519.Sign(owner, digest[:]))})
}

func TestRecordsThatTheOwnerDidNotSignAreRefused(t *testing.T) {
	for what, change := range map[string]func(*datamesh.Record){
		"another mesh":      func(r *datamesh.Record) { r.Mesh[0]++ },
		"another owner":     func(r *datamesh.Record) { r.Owner[0]++ },
		"another device":    func(r *datamesh.Record) { r.Device[15]++ },
		"another number":    func(r *datamesh.Record) { r.Seq++ },
		"another base":      func(r *datamesh.Record) { r.Base-- },
		"another payload":   func(r *datamesh.Record) { r.Payload = []byte("another") },
		"another signature": func(r *datamesh.Record) { r.Signature[0]++ },
	} {
		r := *goldenRecord(t)
		change(&r)
		refuse(t, what, readers["record"], EncodeRecord(&r), errs.Authentication)
		if got, err := ReadRecord(EncodeRecord(&r)); err != nil || !bytes.Equal(EncodeRecord(got), EncodeRecord(&r)) {
			t.Errorf("%s, read without a look at the signature: %v", what, err)
		}
		if RecordKey(&r) == RecordKey(goldenRecord(t)) {
			t.Errorf("%s: the key is the same", what)
		}
	}
}

func TestRecordsThatMakeNoSenseAreRefused(t *testing.T) {
	good := recordBody{Version: 1, Owner: goldenRecord(t).Owner, Seq: 1, Payload: []byte{1}}
	if _, err := DecodeRecord(signedRecordBody(good)); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*recordBody){
		"version 0":          func(b *recordBody) { b.Version = 0 },
		"version 2":          func(b *recordBody) { b.Version = 2 },
		"number 0":           func(b *recordBody) { b.Seq = 0 },
		"itself removed":     func(b *recordBody) { b.Base = 1 },
		"a base beyond it":   func(b *recordBody) { b.Base = 2 },
		"no payload":         func(b *recordBody) { b.Payload = nil },
		"too long a payload": func(b *recordBody) { b.Payload = make([]byte, datamesh.MaxRecordPayload+1) },
	} {
		body := good
		change(&body)
		refuse(t, what, readers["record"], signedRecordBody(body), errs.Serialization)
	}
	if err := readers["record"](signedRecordBody(recordBody{Version: 2, Seq: 1})); errs.HintFor(err) == "" {
		t.Errorf("of a newer version: got %v without a hint", err)
	}
	for _, r := range []recordBody{{}, {Seq: 1}, {Payload: []byte{1}}, {Seq: 1, Base: 1, Payload: []byte{1}}, {Seq: 1, Payload: make([]byte, datamesh.MaxRecordPayload+1)}} {
		if _, err := NewRecord(owner, r.Mesh, r.Device, r.Seq, r.Base, r.Payload); !errors.Is(err, errs.Invalid) {
			t.Errorf("%d after %d with %d bytes was signed: %v", r.Seq, r.Base, len(r.Payload), err)
		}
	}
}

func TestTheLargestRecordHasRoom(t *testing.T) {
	r, err := NewRecord(owner, seed(1), [16]byte{1}, 1<<64-1, 1<<64-2, make([]byte, datamesh.MaxRecordPayload))
	if err != nil {
		t.Fatal(err)
	}
	b := EncodeRecord(r)
	if _, err := DecodeRecord(b); err != nil || len(b) > MaxRecord {
		t.Errorf("%d bytes: %v", len(b), err)
	}
}

func TestEveryOtherFormOfARecordsBodyIsRefused(t *testing.T) {
	good := recordBytes(goldenRecord(t))
	sign := func(body []byte) []byte {
		digest := hash.Derive(recordContext, body)
		return Marshal(signedRecord{body, [ed25519.SignatureSize]byte(ed25519.Sign(owner, digest[:]))})
	}
	if err := readers["record"](sign(good)); err != nil {
		t.Fatal(err)
	}
	for what, bad := range mutations(good) {
		if what != ".5: 2^64-1" { // a number like others
			refuse(t, "body"+what, readers["record"], sign(bad), errs.Serialization)
		}
	}
}
