package datamesh_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"datamesh"

	"github.com/btcsuite/btcd/btcutil/bech32"
)

// sample is the id whose bytes are 0, 1, 2, … 31.
var sample = func() (b [32]byte) {
	for i := range b {
		b[i] = byte(i)
	}
	return b
}()

const sampleHex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func TestIDsAreReadBackFromTheirText(t *testing.T) {
	type ids struct {
		Segment datamesh.SegmentID
		Shard   datamesh.ShardID
		Object  datamesh.ObjectID
		Mesh    datamesh.MeshID
		Owner   datamesh.OwnerKey
		Peer    datamesh.PeerID
	}
	for _, b := range [][32]byte{{}, sample, [32]byte(bytes.Repeat([]byte{0xff}, 32))} {
		want := ids{b, b, b, b, b, b}
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got ids
		if err := json.Unmarshal(text, &got); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}

func TestKindsOfIDsAreToldApart(t *testing.T) {
	segment := datamesh.SegmentID(sample)
	for what, read := range map[string]interface{ UnmarshalText([]byte) error }{
		"shard": new(datamesh.ShardID), "object": new(datamesh.ObjectID),
		"mesh": new(datamesh.MeshID), "owner": new(datamesh.OwnerKey), "peer": new(datamesh.PeerID),
	} {
		if err := read.UnmarshalText([]byte(segment.String())); err == nil {
			t.Errorf("%s was read as the id of a %s", segment, what)
		}
	}
}

func TestParseObjectID(t *testing.T) {
	text := datamesh.ObjectID(sample).String()
	for _, good := range []string{text, strings.ToUpper(text), sampleHex, strings.ToUpper(sampleHex)} {
		if id, err := datamesh.ParseObjectID(good); err != nil || id != sample {
			t.Errorf("%s: got %x, %v", good, id[:], err)
		}
	}
	for _, name := range []string{"", "photo.jpg", "dmobj", "dmobject", "dmobj2", "DMOBJ", text[1:],
		sampleHex[1:], sampleHex + "00", "g" + sampleHex[1:], datamesh.SegmentID(sample).String()} {
		if _, err := datamesh.ParseObjectID(name); !errors.Is(err, datamesh.ErrNoID) {
			t.Errorf("%q: got %v, want ErrNoID: it may be a name", name, err)
		}
	}
	for _, typo := range []string{"dmobj1", text[:len(text)-1], text + "q", "Dm" + text[2:], text + strings.Repeat("q", 1<<20)} {
		if _, err := datamesh.ParseObjectID(typo); err == nil || errors.Is(err, datamesh.ErrNoID) || len(err.Error()) > 200 {
			t.Errorf("%.80q: got %.300v, want a short error that says it is mistyped", typo, err)
		}
	}
}

// What encode writes is what the library writes.
func TestIDsAreWrittenAsTheLibraryDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		var id datamesh.OwnerKey
		for j := range id {
			id[j] = byte(r.Uint32())
		}
		if i < 2 { // no bits, and all
			id = datamesh.OwnerKey(bytes.Repeat([]byte{byte(-i)}, len(id)))
		}
		words, err := bech32.ConvertBits(id[:], 8, 5, true)
		if err != nil {
			t.Fatal(err)
		}
		for prefix, got := range map[string]string{"dmowner": id.String(), "datamesh": id.Address(), "dmobj": datamesh.ObjectID(id).String(), "dmmesh": datamesh.MeshID(id).String()} {
			if want, err := bech32.EncodeM(prefix, words); err != nil || got != want {
				t.Errorf("%x: %s, want %s (%v)", id, got, want, err)
			}
		}
		var back datamesh.OwnerKey
		if err := back.UnmarshalText([]byte(id.String())); err != nil || back != id {
			t.Errorf("%x is read as %x: %v", id, back, err)
		}
		words[len(words)-1] |= 1 // a bit that is of no byte
		odd, err := bech32.EncodeM("dmowner", words)
		if err != nil || back.UnmarshalText([]byte(odd)) == nil || back != id {
			t.Errorf("%s is read as %x", odd, back)
		}
	}
}

// Bech32m finds every substitution of up to four characters.
func TestEveryMistypedCharacterIsFound(t *testing.T) {
	text := datamesh.ObjectID(sample).String()
	for i := len("dmobj1"); i < len(text); i++ {
		for _, c := range "qpzry9x8gf2tvdw0s3jn54khce6mua7l" {
			typo := text[:i] + string(c) + text[i+1:]
			if _, err := datamesh.ParseObjectID(typo); typo != text && (err == nil || errors.Is(err, datamesh.ErrNoID)) {
				t.Errorf("%s: got %v", typo, err)
			}
		}
	}
}

func TestOldBech32IsRefused(t *testing.T) {
	// The sample with the checksum of BIP 173 instead of BIP 350.
	const old = "dmobj1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0sp0xvca"
	if id, err := datamesh.ParseObjectID(old); err == nil {
		t.Errorf("%s was read as %x", old, id[:])
	}
}

func TestParsePeerID(t *testing.T) {
	id := datamesh.PeerID(sample)
	text := id.String()
	if got, err := datamesh.ParsePeerID(text); err != nil || got != id {
		t.Errorf("%s: got %v, %v", text, got, err)
	}
	for _, bad := range []string{"", "1", "12D3KooW", text[1:], text + "1", "1" + text, strings.Replace(text, "2", "0", 1),
		"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", // an RSA peer
		strings.Repeat("z", 1<<20), sampleHex} {
		if got, err := datamesh.ParsePeerID(bad); err == nil || len(err.Error()) > 200 {
			t.Errorf("%.80q: got %v, %.300v", bad, got, err)
		}
	}
}

func TestPeerFromMultihashTakesEd25519Alone(t *testing.T) {
	good := datamesh.PeerID(sample).Multihash()
	if id, err := datamesh.PeerFromMultihash(good); err != nil || id != sample {
		t.Errorf("got %v, %v", id, err)
	}
	for i := range good {
		if _, err := datamesh.PeerFromMultihash(good[:i]); err == nil {
			t.Errorf("cut to %d bytes it was read", i)
		}
	}
	for i := range len(good) - 32 {
		bad := []byte(good)
		bad[i]++
		if _, err := datamesh.PeerFromMultihash(string(bad)); err == nil {
			t.Errorf("with byte %d changed it was read", i)
		}
	}
}

func FuzzParseObjectID(f *testing.F) {
	f.Add(datamesh.ObjectID(sample).String())
	f.Add(sampleHex)
	f.Add("dmobj1")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := datamesh.ParseObjectID(s)
		if err == nil && !strings.EqualFold(s, id.String()) && !strings.EqualFold(s, hex.EncodeToString(id[:])) {
			t.Errorf("%q was read as %s", s, id)
		}
	})
}

func FuzzParsePeerID(f *testing.F) {
	f.Add(datamesh.PeerID(sample).String())
	f.Add("1")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := datamesh.ParsePeerID(s); err == nil && id.String() != s {
			t.Errorf("%q was read as %s", s, id)
		}
	})
}
