package format

import (
	"bytes"
	"testing"
)

// What is read encodes again to the bytes that were read.

func FuzzDecodeDescriptor(f *testing.F) {
	good := read(f, "descriptor.cbor")
	f.Add(good)
	f.Add(append(bytes.Clone(good[:len(good)-1]), 0)) // another signature
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := readAsDecoded(b); err != nil {
			t.Error(err)
		}
		if d, err := ReadDescriptor(b); err == nil && !bytes.Equal(EncodeDescriptor(d), b) {
			t.Error("it has another form")
		}
	})
}

// Nothing signs what a fuzzer makes up, so that it makes up the body alone.
func FuzzDecodeSignedBody(f *testing.F) {
	f.Add(body(goldenDescriptor(f)))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeDescriptor(signed(b))
		if err == nil && !bytes.Equal(body(d), b) {
			t.Error("it has another form")
		}
		if err := readAsDecoded(signed(b)); err != nil {
			t.Error(err)
		}
	})
}

func FuzzDecodeDeletion(f *testing.F) {
	f.Add(read(f, "deletion.cbor"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := DecodeDeletion(b); err == nil && !bytes.Equal(EncodeDeletion(d), b) {
			t.Error("it has another form")
		}
	})
}

func FuzzDecodeReceipt(f *testing.F) {
	f.Add(read(f, "receipt.cbor"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeReceipt(b); err == nil && !bytes.Equal(EncodeReceipt(r), b) {
			t.Error("it has another form")
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(read(f, "record.cbor"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ReadRecord(b); err == nil && !bytes.Equal(EncodeRecord(r), b) {
			t.Error("it has another form")
		}
		if r, err := DecodeRecord(b); err == nil && !bytes.Equal(EncodeRecord(r), b) {
			t.Error("it has another form")
		}
	})
}

func FuzzDecodeGenesis(f *testing.F) {
	f.Add(read(f, "genesis.cbor"))
	g, err := NewGenesis("")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(g.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := DecodeGenesis(b); err == nil && !bytes.Equal(g.Encode(), b) {
			t.Error("it has another form")
		}
	})
}

// Manifests and lists may have fields that are passed over, so that what is
// read is at least as long, and encodes to something that is read the same.

func FuzzDecodeManifest(f *testing.F) {
	for _, name := range []string{"manifest.cbor", "manifest-inline.cbor", "manifest-list.cbor", "manifest-packed.cbor"} {
		f.Add(read(f, name))
		f.Add(with(read(f, name), 65, []byte{0x81, 0x61, 'x'}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeManifest(b)
		if err != nil {
			return
		}
		again, err := decodeManifest(Marshal(m))
		if err != nil || !bytes.Equal(Marshal(again), Marshal(m)) || len(Marshal(m)) > len(b) {
			t.Errorf("it is read otherwise the second time, %v", err)
		}
	})
}

func FuzzDecodeList(f *testing.F) {
	f.Add(read(f, "list.cbor"))
	f.Add(withInRefs(read(f, "list.cbor"), 65, []byte{0x81, 0x61, 'x'}))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeList(b)
		if err != nil {
			return
		}
		text, err := EncodeList(l)
		if err != nil || len(text) > len(b) {
			t.Fatal(err)
		}
		if again, err := DecodeList(text); err != nil || !bytes.Equal(Marshal(again), text) {
			t.Errorf("it is read otherwise the second time, %v", err)
		}
	})
}
