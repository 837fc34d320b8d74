package format

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
)

// read returns a golden file of version 1. They were written once, by the
// program as it was when the formats were fixed, and are never written again.
func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "v1", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// seed is 32 times the same byte.
func seed(b byte) [32]byte { return [32]byte(bytes.Repeat([]byte{b}, 32)) }

// The owner of all that is golden.
var owner = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))

func goldenDescriptor(t testing.TB) *datamesh.Descriptor {
	t.Helper()
	var shards []datamesh.ShardID
	for i := range byte(6) {
		shards = append(shards, seed(0x10+i))
	}
	d, err := NewDescriptor(owner, 4, 2, 1_000_016, shards)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func goldenDeletion(t testing.TB) *datamesh.Deletion {
	return NewDeletion(owner, goldenDescriptor(t), 1<<40)
}

func goldenReceipt(t testing.TB) *datamesh.Receipt {
	t.Helper()
	d := goldenDescriptor(t)
	r, err := SignReceipt(owner, datamesh.Receipt{Mesh: goldenGenesis().MeshID(), Segment: d.Segment, Index: 3, Shard: d.Shards[3],
		Placer: seed(0x40), Time: 1_800_000_000})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func goldenRecord(t testing.TB) *datamesh.Record {
	t.Helper()
	r, err := NewRecord(owner, goldenGenesis().MeshID(), [16]byte(bytes.Repeat([]byte{0x50}, 16)), 1<<40, 1_000_000, []byte("an owner's secret"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func goldenGenesis() *Genesis {
	return &Genesis{Version: 1, Random: seed(2), Name: "Zuhause ✓", Founders: [][32]byte{seed(3), seed(4)}}
}

// refs are references to segments of all shapes.
func refs() []SegmentRef {
	return []SegmentRef{
		{ID: seed(0x20), Key: seed(0x30), Length: datamesh.MaxContent, K: 4, M: 2, Hints: []uint32{0, 1, 2, NoHint, 300, 70_000}},
		{ID: seed(0x21), Key: seed(0x31), Length: 1, K: 1, M: 0},
		{ID: seed(0x22), Key: seed(0x32), Length: 70_000, K: 200, M: 56, Hints: []uint32{0}},
	}
}

func peers() []datamesh.PeerID { return []datamesh.PeerID{seed(0x40), seed(0x41), seed(0x42)} }

// manifest has every field but those that exclude it.
func goldenManifest() *Manifest {
	return &Manifest{Version: 1, Size: Content(refs()), Name: "Ferien/Málaga 2026.tar", Mode: 0o640,
		ModTime: -1_000_000_001, Created: 1_767_225_600_000_000_000, Type: "application/x-tar",
		Tags: []string{"fotos", "2026"}, Segments: refs(), Peers: peers()}
}

func inlined() *Manifest {
	return &Manifest{Version: 1, Size: 5, Name: "hello.txt", Inline: []byte("hello")}
}

func listed() *Manifest {
	return &Manifest{Version: 1, Size: 1 << 40, Name: "large", List: refs()[:1], Peers: peers()}
}

// packed has segments that are compressed, beside one that is not.
func packed() *Manifest {
	m := &Manifest{Version: 1, Name: "src.tar", Segments: refs(), Peers: peers()}
	m.Segments[0].Codec, m.Segments[0].Packed = Zstd, 4<<20
	m.Segments[2].Codec, m.Segments[2].Packed = Zstd, 1
	m.Size = Content(m.Segments)
	return m
}

func goldenList() *SegmentList { return &SegmentList{Version: 1, Segments: refs(), Peers: peers()} }

// identity is the hybrid one of a seed.
func identity(t testing.TB, b byte) (crypt.Identity, crypt.Recipient) {
	t.Helper()
	id, to, err := crypt.NewIdentity(seed(b))
	if err != nil {
		t.Fatal(err)
	}
	return id, to
}

// classic is the X25519 identity that a golden manifest is sealed to.
func classic(t testing.TB) crypt.Identity {
	t.Helper()
	ids, err := crypt.ParseIdentities(bytes.NewReader(read(t, "classic.age-identity")))
	if err != nil {
		t.Fatal(err)
	}
	return ids[0]
}

// A reader reads one of the formats.
type reader func([]byte) error

var readers = map[string]reader{
	"descriptor": func(b []byte) error { _, err := DecodeDescriptor(b); return err },
	"deletion":   func(b []byte) error { _, err := DecodeDeletion(b); return err },
	"receipt":    func(b []byte) error { _, err := DecodeReceipt(b); return err },
	"record":     func(b []byte) error { _, err := DecodeRecord(b); return err },
	"genesis":    func(b []byte) error { _, err := DecodeGenesis(b); return err },
	"manifest":   func(b []byte) error { _, err := decodeManifest(b); return err },
	"list":       func(b []byte) error { _, err := DecodeList(b); return err },
}

// refuse fails the test unless b is refused with an error of that kind.
func refuse(t *testing.T, what string, read reader, b []byte, kind errs.Kind) {
	t.Helper()
	err := read(b)
	if errs.KindOf(err) != kind || err == nil {
		t.Errorf("%s: got %v (%s), want %s", what, err, errs.KindOf(err).Name(), kind.Name())
	}
}

// refuseVersions checks what is said of other versions. set returns the good
// one with another version.
func refuseVersions(t *testing.T, read reader, set func(version []byte) []byte) {
	t.Helper()
	for what, tt := range map[string]struct {
		version []byte
		update  bool
	}{
		"version 0":      {[]byte{0}, false},
		"version 2":      {[]byte{2}, true},
		"version 2^64-1": {Marshal(uint64(1<<64 - 1)), true},
		"no version":     {nil, false},
		"a text":         {[]byte{0x61, '1'}, false},
	} {
		b := set(tt.version)
		refuse(t, what, read, b, errs.Serialization)
		if hint := errs.HintFor(read(b)); strings.Contains(hint, "update") != tt.update {
			t.Errorf("%s: hint %q", what, hint)
		}
	}
}
