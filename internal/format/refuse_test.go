package format

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// goldens are the files of the formats that readers know.
func goldens(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"descriptor": read(t, "descriptor.cbor"),
		"deletion":   read(t, "deletion.cbor"),
		"receipt":    read(t, "receipt.cbor"),
		"record":     read(t, "record.cbor"),
		"genesis":    read(t, "genesis.cbor"),
		"manifest":   read(t, "manifest.cbor"),
		"list":       read(t, "list.cbor"),
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	for name, good := range goldens(t) {
		for n := range good {
			refuse(t, name, readers[name], good[:n], errs.Serialization)
		}
	}
}

func TestEveryOtherFormIsRefused(t *testing.T) {
	for name, good := range goldens(t) {
		tried := 0
		for what, bad := range mutations(good) {
			switch name + what {
			case "manifest.5: a negative number", "manifest.6: a negative number":
				continue // a time before 1970
			case "deletion.3: 2^64-1":
				refuse(t, name+what, readers[name], bad, errs.Authentication)
				continue
			}
			refuse(t, name+what, readers[name], bad, errs.Serialization)
			tried++
		}
		if tried < 50 {
			t.Errorf("%s: only %d forms were tried", name, tried)
		}
	}
}

// signed signs whatever body as the owner's descriptor.
func signed(body []byte) []byte {
	id := hash.Derive(segmentContext, body)
	digest := hash.Derive(signatureContext, id[:])
	return Marshal(signedDescriptor{body, [64]byte(ed25519.Sign(owner, digest[:]))})
}

func TestEveryOtherFormOfASignedBodyIsRefused(t *testing.T) {
	good := body(goldenDescriptor(t))
	if err := readers["descriptor"](signed(good)); err != nil {
		t.Fatal(err)
	}
	for what, bad := range mutations(good) {
		refuse(t, "body"+what, readers["descriptor"], signed(bad), errs.Serialization)
	}
	for n := range good {
		refuse(t, "a body cut off", readers["descriptor"], signed(good[:n]), errs.Serialization)
	}
}

// readAsDecoded reports with an error that ReadDescriptor differs from
// DecodeDescriptor in more than that it takes any signature.
func readAsDecoded(b []byte) error {
	want, decodeErr := DecodeDescriptor(b)
	got, readErr := ReadDescriptor(b)
	switch {
	case decodeErr == nil && (readErr != nil || !reflect.DeepEqual(got, want)):
		return fmt.Errorf("read as %v, %v, decoded as %v", got, readErr, want)
	case errs.KindOf(decodeErr) == errs.Authentication && readErr != nil:
		return fmt.Errorf("with a signature that is none it is not read: %w", readErr)
	case errs.KindOf(decodeErr) == errs.Serialization && (readErr == nil || readErr.Error() != decodeErr.Error()):
		return fmt.Errorf("read: %v, decoded: %w", readErr, decodeErr)
	}
	return nil
}

func TestReadDescriptorDiffersInTheSignatureAlone(t *testing.T) {
	good := read(t, "descriptor.cbor")
	largest, err := NewDescriptor(owner, 200, 56, datamesh.MaxSealed, make([]datamesh.ShardID, 256))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string][]byte{"good": good, "the largest": EncodeDescriptor(largest), "too long": append(bytes.Clone(good), make([]byte, MaxDescriptor)...)}
	for what, b := range mutations(good) {
		cases["another form: "+what] = b
	}
	for what, b := range mutations(body(goldenDescriptor(t))) {
		cases["another form of the body: "+what] = signed(b)
	}
	for n := range good {
		cases[fmt.Sprintf("%d bytes of it", n)] = good[:n]
	}
	for i := range 8 * len(good) {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		cases[fmt.Sprintf("bit %d flipped", i)] = b
	}
	kinds := map[errs.Kind]int{}
	for what, b := range cases {
		if err := readAsDecoded(b); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		_, err := DecodeDescriptor(b)
		kinds[errs.KindOf(err)]++
	}
	if kinds[errs.Authentication] < 512 || kinds[errs.Serialization] < 100 {
		t.Errorf("tried were %v by kind, want many of each", kinds)
	}

	// The segment is still that of the body, whoever has signed it.
	d := goldenDescriptor(t)
	forged := *d
	forged.Signature = [64]byte{1}
	if got, err := ReadDescriptor(EncodeDescriptor(&forged)); err != nil || got.Segment != d.Segment {
		t.Errorf("another signature: got %v, %v, want segment %s", got, err, d.Segment)
	}
	if got, err := ReadDescriptorOf(EncodeDescriptor(&forged), d.Segment); err != nil || !slices.Equal(got.Shards, d.Shards) {
		t.Errorf("another signature, of the segment: got %v, %v", got, err)
	}
	forged.Length--
	if got, err := ReadDescriptor(EncodeDescriptor(&forged)); err != nil || got.Segment == d.Segment {
		t.Errorf("another body: got %v, %v, want another segment than %s", got, err, d.Segment)
	}
	if _, err := ReadDescriptorOf(EncodeDescriptor(&forged), d.Segment); !errors.Is(err, errs.Integrity) {
		t.Errorf("another body, of the segment: got %v, want kind Integrity", err)
	}
	if _, err := DecodeDescriptor(good); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDescriptorOf(good, datamesh.SegmentID{1}); !errors.Is(err, errs.Integrity) { // which is known to be good
		t.Errorf("the descriptor of another segment: got %v, want kind Integrity", err)
	}
	if _, err := ReadDescriptorOf(good[1:], d.Segment); !errors.Is(err, errs.Serialization) {
		t.Errorf("no descriptor: got %v, want kind Serialization", err)
	}
}

func TestFlippedBitsOfWhatIsSignedAreRefused(t *testing.T) {
	for _, name := range []string{"descriptor", "deletion", "record"} {
		good := goldens(t)[name]
		for i := 0; i < 8*len(good); i += 3 { // each byte, and each bit of some
			bad := bytes.Clone(good)
			bad[i/8] ^= 1 << (i % 8)
			err := readers[name](bad)
			if kind := errs.KindOf(err); kind != errs.Serialization && kind != errs.Authentication {
				t.Errorf("%s, bit %d: got %v", name, i, err)
			}
		}
	}
}

func TestVersionsOtherThanOursAreRefused(t *testing.T) {
	for _, name := range []string{"deletion", "genesis", "manifest", "list"} {
		good := goldens(t)[name]
		refuseVersions(t, readers[name], func(v []byte) []byte { return with(good, 1, v) })
		// What a new version looks like otherwise is not known.
		refuseVersions(t, readers[name], func(v []byte) []byte { return with(with(good, 1, v), 2, []byte{0x60}) })
		if hint := errs.HintFor(readers[name](with(with(good, 1, []byte{2}), 40, []byte{0}))); hint != newer {
			t.Errorf("%s of version 2 with a new field: hint %q", name, hint)
		}
	}
	good := body(goldenDescriptor(t))
	refuseVersions(t, readers["descriptor"], func(v []byte) []byte { return signed(with(good, 1, v)) })
	refuseVersions(t, readers["descriptor"], func(v []byte) []byte { return signed(with(with(good, 1, v), 30, []byte{0})) })
	// A new version may sign otherwise.
	refuseVersions(t, readers["descriptor"], func(v []byte) []byte {
		return with(with(signed(with(good, 1, v)), 2, Marshal([]byte("longer"))), 3, []byte{0})
	})
}

func TestWhatIsTooLongIsRefusedUnread(t *testing.T) {
	for name, limit := range map[string]int{
		"descriptor": MaxDescriptor, "deletion": MaxDeletion, "genesis": MaxGenesis, "record": MaxRecord,
		"manifest": MaxManifest, "list": MaxSegmentList,
	} {
		b := append(goldens(t)[name], make([]byte, limit)...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		refuse(t, name, readers[name], b[:limit+1], errs.Serialization)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<16 {
			t.Errorf("%s: %d bytes were allocated", name, n)
		}
	}
}

// An array says how long it is before its elements come, and an element takes
// more room decoded than encoded.
func TestNothingAllocatesOutOfProportion(t *testing.T) {
	manyEmpty := func(n int) []byte {
		return append(appendHead(nil, majorArray, uint64(n)), bytes.Repeat([]byte{0xa0}, n)...)
	}
	for what, tt := range map[string]struct {
		read reader
		b    []byte
	}{
		"a manifest of empty references": {readers["manifest"], with(read(t, "manifest.cbor"), 10, manyEmpty(MaxManifest-1000))},
		"a list of empty references":     {readers["list"], with(read(t, "list.cbor"), 2, manyEmpty(MaxManifest))},
		"an array that is not there":     {readers["list"], with(read(t, "list.cbor"), 2, appendHead(nil, majorArray, 1<<40))},
		"a name that is not there":       {readers["manifest"], with(read(t, "manifest.cbor"), 3, appendHead(nil, majorText, 1<<40))},
		"shards that are not there":      {readers["descriptor"], signed(with(body(goldenDescriptor(t)), 5, appendHead(nil, majorArray, 1<<19)))},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		refuse(t, what, tt.read, tt.b, errs.Serialization)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 4*uint64(len(tt.b))+1<<20 {
			t.Errorf("%s: %d bytes were allocated for %d", what, n, len(tt.b))
		}
	}
}

func TestDescriptorsThatMakeNoSenseAreNeitherMadeNorRead(t *testing.T) {
	six := make([]datamesh.ShardID, 6)
	const most = int(^uint(0) >> 1)
	for what, d := range map[string]datamesh.Descriptor{
		"no data":          {K: 0, M: 6, Length: 100, Shards: six},
		"negative parity":  {K: 7, M: -1, Length: 100, Shards: six},
		"negative data":    {K: -1, M: 7, Length: 100, Shards: six},
		"too many":         {K: 200, M: 57, Length: 100, Shards: make([]datamesh.ShardID, 257)},
		"a sum too large":  {K: most, M: 1, Length: 100, Shards: six},
		"no length":        {K: 4, M: 2, Length: 0, Shards: six},
		"negative length":  {K: 4, M: 2, Length: -1, Shards: six},
		"too long":         {K: 4, M: 2, Length: datamesh.MaxSealed + 1, Shards: six},
		"a shard too few":  {K: 4, M: 2, Length: 100, Shards: six[:5]},
		"a shard too many": {K: 4, M: 1, Length: 100, Shards: six},
		"no shards":        {K: 4, M: 2, Length: 100},
	} {
		if _, err := NewDescriptor(owner, d.K, d.M, d.Length, d.Shards); errs.KindOf(err) != errs.Serialization {
			t.Errorf("%s: made, %v", what, err)
		}
		d.Owner = datamesh.OwnerKey(owner.Public().(ed25519.PublicKey))
		refuse(t, what, readers["descriptor"], signed(body(&d)), errs.Serialization)
	}
}

func TestOnlyTheOwnersSignatureCounts(t *testing.T) {
	good := goldenDescriptor(t)
	stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))

	forged := *good
	forged.Length++ // the signature is of another id
	refuse(t, "another length", readers["descriptor"], EncodeDescriptor(&forged), errs.Authentication)

	digest := hash.Derive(signatureContext, good.Segment[:])
	forged = *good
	forged.Signature = [64]byte(ed25519.Sign(stranger, digest[:]))
	refuse(t, "a stranger's", readers["descriptor"], EncodeDescriptor(&forged), errs.Authentication)

	forged.Signature = [64]byte(ed25519.Sign(owner, good.Segment[:]))
	refuse(t, "of the id itself", readers["descriptor"], EncodeDescriptor(&forged), errs.Authentication)

	forged.Signature = goldenDeletion(t).Signature
	refuse(t, "that of the deletion", readers["descriptor"], EncodeDescriptor(&forged), errs.Authentication)

	del := goldenDeletion(t)
	refuse(t, "a stranger's deletion", readers["deletion"], EncodeDeletion(NewDeletion(stranger, good, 1)), errs.Authentication)
	del.Signature = good.Signature
	refuse(t, "the descriptor's signature", readers["deletion"], EncodeDeletion(del), errs.Authentication)
	del = goldenDeletion(t)
	del.Generation++
	refuse(t, "another generation", readers["deletion"], EncodeDeletion(del), errs.Authentication)
	if errs.KindOf(VerifyDeletion(del)) != errs.Authentication || VerifyDeletion(goldenDeletion(t)) != nil {
		t.Error("VerifyDeletion does not tell them apart")
	}
	other, err := NewDescriptor(stranger, 1, 0, 16, make([]datamesh.ShardID, 1))
	if err != nil {
		t.Fatal(err)
	}
	del = goldenDeletion(t)
	del.Descriptor = other
	refuse(t, "another segment", readers["deletion"], EncodeDeletion(del), errs.Authentication)
}

func TestGenesesThatMakeNoSenseAreNeitherMadeNorRead(t *testing.T) {
	for what, change := range map[string]func(*Genesis){
		"a long name":       func(g *Genesis) { g.Name = strings.Repeat("x", maxMeshName+1) },
		"no UTF-8":          func(g *Genesis) { g.Name = "\xff" },
		"too many founders": func(g *Genesis) { g.Founders = make([][32]byte, maxFounders+1) },
	} {
		g := goldenGenesis()
		change(g)
		refuse(t, what, readers["genesis"], g.Encode(), errs.Serialization)
		if g.Founders == nil {
			if _, err := NewGenesis(g.Name); errs.KindOf(err) != errs.Invalid {
				t.Errorf("%s: made, %v", what, err)
			}
		}
	}
	for _, name := range []string{"\xff", strings.Repeat("x", maxMeshName+1)} {
		if _, err := NewGenesis(name); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%.10q: made, %v", name, err)
		}
	}
	a, err := NewGenesis("home")
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewGenesis("home")
	if err != nil || a.MeshID() == b.MeshID() {
		t.Errorf("two meshes of one name have one id, %v", err)
	}
}

func TestManifestsThatMakeNoSenseAreNeitherSealedNorRead(t *testing.T) {
	_, to := identity(t, 5)
	long := func(n int) string { return strings.Repeat("x", n) }
	for what, change := range map[string]func(*Manifest){
		"a long name":           func(m *Manifest) { m.Name = long(MaxName + 1) },
		"a name not UTF-8":      func(m *Manifest) { m.Name = "\xff" },
		"a long type":           func(m *Manifest) { m.Type = long(MaxType + 1) },
		"a type not UTF-8":      func(m *Manifest) { m.Type = "a\xff" },
		"more than permissions": func(m *Manifest) { m.Mode = 0o1000 },
		"too many tags":         func(m *Manifest) { m.Tags = strings.Split(long(MaxTags+1), "") },
		"an empty tag":          func(m *Manifest) { m.Tags[0] = "" },
		"a long tag":            func(m *Manifest) { m.Tags[0] = long(MaxTag + 1) },
		"a tag not UTF-8":       func(m *Manifest) { m.Tags[0] = "\xff" },
		"another size":          func(m *Manifest) { m.Size++ },
		"a negative size":       func(m *Manifest) { m.Size = -1 },
		"too much inline": func(m *Manifest) {
			m.Segments, m.Inline, m.Size = nil, make([]byte, MaxInline+1), MaxInline+1
		},
		"inline and segments":     func(m *Manifest) { m.Inline, m.Size = []byte("x"), m.Size+1 },
		"segments and a list":     func(m *Manifest) { m.List = m.Segments },
		"a list of nothing":       func(m *Manifest) { m.Segments, m.List, m.Size = nil, refs(), 0 },
		"an empty segment":        func(m *Manifest) { m.Size--; m.Segments[1].Length = 0 },
		"a negative segment":      func(m *Manifest) { m.Size -= 2; m.Segments[1].Length = -1 },
		"a segment too long":      func(m *Manifest) { m.Size++; m.Segments[0].Length++ },
		"an unknown codec":        func(m *Manifest) { m.Segments[0].Codec, m.Segments[0].Packed = 2, 5 },
		"a codec of no length":    func(m *Manifest) { m.Segments[0].Codec = Zstd },
		"a length of no codec":    func(m *Manifest) { m.Segments[0].Packed = 5 },
		"a negative length":       func(m *Manifest) { m.Segments[0].Codec, m.Segments[0].Packed = Zstd, -1 },
		"a codec that saves none": func(m *Manifest) { m.Segments[0].Codec, m.Segments[0].Packed = Zstd, m.Segments[0].Length },
		"a packed list":           func(m *Manifest) { m.Size, m.List, m.Segments = 1<<40, packed().Segments[:1], nil },
		"no code":                 func(m *Manifest) { m.Segments[0].K = 0 },
		"a negative code":         func(m *Manifest) { m.Segments[0].M = -1 },
		"a code too large":        func(m *Manifest) { m.Segments[0].M = 253 },
		"a sum that is negative":  func(m *Manifest) { m.Segments[1].K, m.Segments[1].M = 1<<63-1, 1 },
		"more hints than shards":  func(m *Manifest) { m.Segments[1].Hints = []uint32{0, 0} },
		"a list beyond the limit": func(m *Manifest) { m.Size, m.List, m.Segments = 1<<50, manyRefs(5), nil },
	} {
		m := goldenManifest()
		change(m)
		refuse(t, what, readers["manifest"], Marshal(m), errs.Serialization)
		if _, err := SealManifest(m, []crypt.Recipient{to}); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: sealed, %v", what, err)
		}
	}
	m := goldenManifest()
	m.Segments[0].Codec = 2
	if hint := errs.HintFor(readers["manifest"](Marshal(m))); hint != newer {
		t.Errorf("an unknown codec: hint %q", hint)
	}
}

// manyRefs returns n references to the largest segments.
func manyRefs(n int) []SegmentRef {
	all := make([]SegmentRef, n)
	for i := range all {
		all[i] = SegmentRef{Length: datamesh.MaxContent, K: 4, M: 2, Hints: make([]uint32, 6)}
	}
	return all
}

func TestAManifestHasRoomForTheLongestListInside(t *testing.T) {
	owner, to := identity(t, 5)
	m := goldenManifest()
	m.Name = strings.Repeat("x", MaxName)
	m.Segments = manyRefs(MaxList / 100)
	m.Size = Content(m.Segments)
	m.Peers = make([]datamesh.PeerID, 10_000)
	b, err := SealManifest(m, []crypt.Recipient{to})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenManifest(b, []crypt.Identity{owner}); err != nil {
		t.Error(err)
	}
	m.Peers = make([]datamesh.PeerID, MaxManifest/34)
	if _, err := SealManifest(m, []crypt.Recipient{to}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("beyond the limit: got %v", err)
	}
}

func TestListsThatCannotBeReadAreNotWritten(t *testing.T) {
	bad := goldenList()
	bad.Segments[0].Length = 0
	if _, err := EncodeList(bad); errs.KindOf(err) != errs.Invalid {
		t.Errorf("an empty segment: got %v", err)
	}
	if _, err := EncodeList(&SegmentList{Peers: make([]datamesh.PeerID, MaxSegmentList/34)}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("too long: got %v", err)
	}
	large := &SegmentList{Segments: manyRefs(20_000), Peers: make([]datamesh.PeerID, 10_000)}
	b, err := EncodeList(large)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeList(b); err != nil || len(got.Segments) != 20_000 {
		t.Errorf("an object of 300 GB: %v", err)
	}
}

func TestMarshalAndUnmarshalKnowNoNull(t *testing.T) {
	type v struct {
		Bytes []byte   `cbor:"1,keyasint"`
		List  []uint32 `cbor:"2,keyasint"`
	}
	if got := Marshal(v{}); !bytes.Equal(got, []byte{0xa2, 1, 0x40, 2, 0x80}) {
		t.Errorf("got %x", got)
	}
	var got v
	for _, b := range [][]byte{{0xa2, 1, 0xf6, 2, 0x80}, {0xa2, 1, 0x40, 2, 0xf6}, {0xf6}, {}} {
		if err := Unmarshal("test", b, 100, &got); errs.KindOf(err) != errs.Serialization {
			t.Errorf("%x: got %v", b, err)
		}
	}
	if err := Unmarshal("test", []byte{0xa2, 1, 0x40, 2, 0x80}, 5, &got); err != nil {
		t.Error(err)
	}
	if err := Unmarshal("test", []byte{0xa2, 1, 0x40, 2, 0x80}, 4, &got); errs.KindOf(err) != errs.Serialization {
		t.Errorf("beyond the limit: got %v", err)
	}
}
