package format

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"

	"github.com/google/go-cmp/cmp"
)

// What version 1 has written is read for ever, and written the same way for
// as long as there is no version 2.

func TestV1Descriptor(t *testing.T) {
	file := read(t, "descriptor.cbor")
	want := goldenDescriptor(t)
	got, err := DecodeDescriptor(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(EncodeDescriptor(want), file) {
		t.Error("it is written otherwise")
	}
	if id := got.Segment.String(); id != "dmseg199d3kt958sq28rf6xeywt0mjcea88tq6rygzq522ulukugfgu7usgsha8p" {
		t.Errorf("its id is %s", id)
	}
}

func TestV1Deletion(t *testing.T) {
	file := read(t, "deletion.cbor")
	want := goldenDeletion(t)
	got, err := DecodeDeletion(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(EncodeDeletion(want), file) {
		t.Error("it is written otherwise")
	}
}

func TestV1Receipt(t *testing.T) {
	file := read(t, "receipt.cbor")
	want := goldenReceipt(t)
	got, err := DecodeReceipt(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(EncodeReceipt(want), file) {
		t.Error("it is written otherwise")
	}
	if err := CheckReceipt(got, goldenGenesis().MeshID(), goldenDescriptor(t)); err != nil {
		t.Error(err)
	}
}

func TestV1Record(t *testing.T) {
	file := read(t, "record.cbor")
	want := goldenRecord(t)
	got, err := DecodeRecord(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(EncodeRecord(want), file) {
		t.Error("it is written otherwise")
	}
	key := RecordKey(got)
	if got := fmt.Sprintf("%x %x", key.Place, key.Digest); got != "7a38837989e4e6730222fbe9de186b7c2ada9f7c7e198b2fa8c314aa6a33884d e1b311a3f51485f5dc024a989c03065edcf9d1229b0e6deb737497b7703c4dcb" {
		t.Errorf("its place and digest are %s", got)
	}
	if key.Device != want.Device || key.Seq != want.Seq || key.Place != RecordPlace(want.Owner) {
		t.Errorf("its key is %v", key)
	}
}

func TestV1Genesis(t *testing.T) {
	file := read(t, "genesis.cbor")
	want := goldenGenesis()
	got, err := DecodeGenesis(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(want.Encode(), file) {
		t.Error("it is written otherwise")
	}
	if id := got.MeshID().String(); id != "dmmesh177eu3z56ck07ejlvpez3sjn5fp86cg6tmfhug86gn3jjvwgkvf7qvafcnu" {
		t.Errorf("the mesh is %s", id)
	}
}

func TestV1Manifests(t *testing.T) {
	for name, want := range map[string]*Manifest{
		"manifest.cbor":        goldenManifest(),
		"manifest-inline.cbor": inlined(),
		"manifest-list.cbor":   listed(),
		"manifest-packed.cbor": packed(),
	} {
		file := read(t, name)
		got, err := decodeManifest(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, got, keys); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if !bytes.Equal(Marshal(want), file) {
			t.Errorf("%s: it is written otherwise", name)
		}
	}
}

// keys compares keys, which do not print.
var keys = cmp.Comparer(func(a, b crypt.Key) bool { return a == b })

func TestV1List(t *testing.T) {
	file := read(t, "list.cbor")
	got, err := DecodeList(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(goldenList(), got, keys); d != "" {
		t.Error(d)
	}
	if again, err := EncodeList(goldenList()); err != nil || !bytes.Equal(again, file) {
		t.Errorf("it is written otherwise, %v", err)
	}
}

func TestV1SealedManifestOpensForItsRecipientsAlone(t *testing.T) {
	file := read(t, "sealed-manifest.cbor")
	owner, _ := identity(t, 5)
	friend, _ := identity(t, 6)
	for what, id := range map[string]crypt.Identity{"owner": owner, "friend": friend, "classic": classic(t)} {
		got, err := OpenManifest(file, []crypt.Identity{id})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if d := cmp.Diff(goldenManifest(), got, keys); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	stranger, _ := identity(t, 7)
	if _, err := OpenManifest(file, []crypt.Identity{stranger}); errs.KindOf(err) != errs.Decryption {
		t.Errorf("a stranger: got %v, want Decryption", err)
	}
}

// What a later program of the same version may add, and this one passes over.
func TestV1OptionalFieldsArePassedOver(t *testing.T) {
	for _, value := range [][]byte{{0}, {0x60}, {0x80}, {0xa0}, Marshal([]byte("more")), Marshal(strings.Repeat("x", 1000)),
		Marshal(map[uint64]any{1: []int{1, 2, 3}, 2: map[string]int{"a": -1}}), {0xf5}, {0xf9, 0x3c, 0}, Marshal(uint64(1 << 63))} {
		for _, field := range []uint64{65, 66, 1000, 1 << 30} {
			for name, decode := range map[string]func([]byte) (any, error){
				"manifest.cbor":        func(b []byte) (any, error) { return decodeManifest(b) },
				"manifest-inline.cbor": func(b []byte) (any, error) { return decodeManifest(b) },
				"list.cbor":            func(b []byte) (any, error) { return DecodeList(b) },
			} {
				file := read(t, name)
				want, err := decode(file)
				if err != nil {
					t.Fatal(err)
				}
				for where, b := range map[string][]byte{
					"outermost":      with(file, field, value),
					"in a reference": withInRefs(file, field, value),
				} {
					got, err := decode(b)
					if err != nil {
						t.Errorf("%s, %s, field %d is %x: %v", name, where, field, value, err)
					} else if d := cmp.Diff(want, got, keys); d != "" {
						t.Errorf("%s, %s, field %d is %x: %s", name, where, field, value, d)
					}
				}
			}
		}
	}
}

// withInRefs sets a field in all references of a manifest or a list.
func withInRefs(good []byte, field uint64, value []byte) []byte {
	root, _ := parse(good)
	for _, item := range root.items {
		if item.major != majorArray {
			continue
		}
		for _, ref := range item.items {
			if ref.major == majorMap {
				ref.raw = with(ref.encode(nil), field, value)
			}
		}
	}
	return root.encode(nil)
}

func TestV1TheFirstOptionalFieldIs64(t *testing.T) {
	m := goldenManifest()
	m.Peers = nil // so that 64 is free
	for i := range m.Segments {
		m.Segments[i].Hints = nil
	}
	file := Marshal(m)
	for field := range uint64(64) {
		if field >= 1 && field <= 11 {
			continue
		}
		b := with(file, field, []byte{0})
		refuse(t, "a field of the manifest", readers["manifest"], b, errs.Serialization)
		if hint := errs.HintFor(readers["manifest"](b)); hint != newer {
			t.Errorf("field %d: hint %q", field, hint)
		}
		if field > 7 {
			b := withInRefs(file, field, []byte{0})
			refuse(t, "a field of a reference", readers["manifest"], b, errs.Serialization)
			if hint := errs.HintFor(readers["manifest"](b)); hint != newer {
				t.Errorf("field %d of a reference: hint %q", field, hint)
			}
		}
	}
}

func TestV1DescriptorsOfEveryShapeAreReadBack(t *testing.T) {
	for _, tt := range []struct{ k, m, length int }{
		{1, 0, 1}, {1, 2, 16}, {4, 2, datamesh.MaxSealed}, {256, 0, 1}, {1, 255, 4096}, {128, 128, 1 << 20},
	} {
		want, err := NewDescriptor(owner, tt.k, tt.m, tt.length, make([]datamesh.ShardID, tt.k+tt.m))
		if err != nil {
			t.Fatal(err)
		}
		b := EncodeDescriptor(want)
		got, err := DecodeDescriptor(b)
		if err != nil || len(b) > MaxDescriptor {
			t.Fatalf("%v: %d bytes, %v", tt, len(b), err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if _, err := DecodeDeletion(EncodeDeletion(NewDeletion(owner, want, 1<<63))); err != nil {
			t.Errorf("%v: deletion: %v", tt, err)
		}
	}
}
