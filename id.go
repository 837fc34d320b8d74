package datamesh

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/btcsuite/btcd/btcutil/bech32"
	"github.com/mr-tron/base58"
)

// A SegmentID is the hash of a descriptor's body; it names a segment.
type SegmentID [32]byte

// A ShardID is the hash of a shard's bytes.
type ShardID [32]byte

// An ObjectID names an object: it is the SegmentID under which the object's
// sealed manifest is stored.
type ObjectID SegmentID

// A MeshID is the hash of a mesh's genesis.
type MeshID [32]byte

// An OwnerKey is the Ed25519 public key that signs descriptors and deletions.
type OwnerKey [ed25519.PublicKeySize]byte

// A PeerID is the Ed25519 public key of a peer. Its text is libp2p's.
type PeerID [ed25519.PublicKeySize]byte

// The prefixes of the textual forms, in bech32m: a mistyped id is told from
// one that is not known, and one kind of id from another.
const (
	segmentPrefix = "dmseg"
	shardPrefix   = "dmshard"
	objectPrefix  = "dmobj"
	meshPrefix    = "dmmesh"
	ownerPrefix   = "dmowner"
	addressPrefix = "datamesh"
)

func (id SegmentID) String() string { return encode(segmentPrefix, id) }
func (id ShardID) String() string   { return encode(shardPrefix, id) }
func (id ObjectID) String() string  { return encode(objectPrefix, id) }
func (id MeshID) String() string    { return encode(meshPrefix, id) }
func (id OwnerKey) String() string  { return encode(ownerPrefix, id) }

// MarshalText and its like make ids what they are in print wherever Go
// encodes text, JSON above all. What reads them takes 64 hex digits too.
func (id SegmentID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }
func (id ShardID) MarshalText() ([]byte, error)   { return []byte(id.String()), nil }
func (id ObjectID) MarshalText() ([]byte, error)  { return []byte(id.String()), nil }
func (id MeshID) MarshalText() ([]byte, error)    { return []byte(id.String()), nil }
func (id OwnerKey) MarshalText() ([]byte, error)  { return []byte(id.String()), nil }
func (id PeerID) MarshalText() ([]byte, error)    { return []byte(id.String()), nil }

func (id *SegmentID) UnmarshalText(b []byte) error {
	return decode(segmentPrefix, string(b), (*[32]byte)(id))
}
func (id *ShardID) UnmarshalText(b []byte) error {
	return decode(shardPrefix, string(b), (*[32]byte)(id))
}
func (id *ObjectID) UnmarshalText(b []byte) error {
	return decode(objectPrefix, string(b), (*[32]byte)(id))
}
func (id *MeshID) UnmarshalText(b []byte) error {
	return decode(meshPrefix, string(b), (*[32]byte)(id))
}
func (id *OwnerKey) UnmarshalText(b []byte) error {
	return decode(ownerPrefix, string(b), (*[32]byte)(id))
}

// Address returns what an owner gives to others, who share with him: his key,
// in a text that says so.
func (id OwnerKey) Address() string { return encode(addressPrefix, id) }

// ParseAddress reads what Address returns.
func ParseAddress(s string) (owner OwnerKey, err error) {
	if isHex(s) {
		return owner, fmt.Errorf("%q is not an address, which begins with %s1", s, addressPrefix)
	}
	return owner, decode(addressPrefix, s, (*[32]byte)(&owner))
}

// ErrNoID is the error of [ParseObjectID] for a text that was not meant as an
// id at all, such as the name of an object.
var ErrNoID = errors.New("not an id")

// ParseObjectID reads an ObjectID from its bech32m text or from 64 hex
// digits. A text that has the prefix but is mistyped is an error other than
// [ErrNoID].
func ParseObjectID(s string) (ObjectID, error) {
	var id ObjectID
	const head = objectPrefix + "1"
	if !isHex(s) && (len(s) < len(head) || !strings.EqualFold(s[:len(head)], head)) {
		return id, ErrNoID
	}
	return id, id.UnmarshalText([]byte(s))
}

// peerPrefix is what libp2p puts before an Ed25519 key to make a peer id of
// it: an identity multihash of a protobuf of key type and key.
const peerPrefix = "\x00\x24\x08\x01\x12\x20"

// Multihash returns the binary form that libp2p uses for the peer.
func (id PeerID) Multihash() string { return peerPrefix + string(id[:]) }

// PeerFromMultihash reads libp2p's binary form. Only Ed25519 peers are known.
func PeerFromMultihash(s string) (PeerID, error) {
	var id PeerID
	if len(s) != len(peerPrefix)+len(id) || s[:len(peerPrefix)] != peerPrefix {
		return id, errors.New("not an Ed25519 peer id")
	}
	copy(id[:], s[len(peerPrefix):])
	return id, nil
}

func (id PeerID) String() string { return base58.Encode([]byte(id.Multihash())) }

// maxPeerText is more than the 52 characters of an Ed25519 peer id: base58
// takes quadratic time, so that the length comes first.
const maxPeerText = 64

// ParsePeerID reads the textual form of a peer id, such as 12D3KooW….
func ParsePeerID(s string) (PeerID, error) {
	if len(s) > maxPeerText {
		return PeerID{}, fmt.Errorf("%.*q… is too long for a peer id", maxPeerText, s)
	}
	b, err := base58.Decode(s)
	if err != nil {
		return PeerID{}, fmt.Errorf("%q is not a peer id", s)
	}
	id, err := PeerFromMultihash(string(b))
	if err != nil {
		return id, fmt.Errorf("%q: %w", s, err)
	}
	return id, nil
}

func (id *PeerID) UnmarshalText(b []byte) (err error) {
	*id, err = ParsePeerID(string(b))
	return err
}

// charset are the letters of bech32m, 5 bits each, and letters the bits of each.
const charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

var letters, checksums = func() (letters [256]byte, checksums [32]uint32) {
	for i, c := range []byte(charset) {
		letters[c] = byte(i)
		for bit, g := range [...]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if i>>bit&1 != 0 {
				checksums[i] ^= g
			}
		}
	}
	return letters, checksums
}()

const (
	idLetters = (8*32 + 4) / 5
	sumBits   = 30
	sumOfM    = 0x2bc830a3 // what tells bech32m from bech32
)

// encode writes bech32m. Lists have many ids, and the library takes several times as long.
func encode[T ~[32]byte](prefix string, id T) string {
	var text [maxIDText]byte
	out, sum := append(text[:0], prefix...), uint32(1)
	add := func(v byte) { sum = sum&(1<<(sumBits-5)-1)<<5 ^ uint32(v) ^ checksums[sum>>(sumBits-5)] }
	for _, c := range []byte(prefix) {
		add(c >> 5)
	}
	add(0)
	for _, c := range []byte(prefix) {
		add(c & 31)
	}
	out = append(out, '1')
	word := func(v byte) {
		add(v)
		out = append(out, charset[v])
	}
	var bits uint32
	have := 0
	for _, b := range [32]byte(id) {
		bits = bits<<8 | uint32(b)
		for have += 8; have >= 5; have -= 5 {
			word(byte(bits>>(have-5)) & 31)
		}
	}
	word(byte(bits<<(5-have)) & 31)
	for range sumBits / 5 {
		add(0)
	}
	for shift := sumBits - 5; shift >= 0; shift -= 5 {
		out = append(out, charset[(sum^sumOfM)>>shift&31])
	}
	return string(out)
}

// decodeWritten reads what encode has written, and reports whether it is that.
func decodeWritten(prefix, s string, id *[32]byte) bool {
	if len(s) != len(prefix)+1+idLetters+sumBits/5 {
		return false
	}
	var got [32]byte
	var bits uint32
	have, n := 0, 0
	for _, c := range []byte(s[len(prefix)+1:][:idLetters]) {
		bits = bits<<5 | uint32(letters[c])
		if have += 5; have >= 8 && n < len(got) {
			have -= 8
			got[n] = byte(bits >> have)
			n++
		}
	}
	if encode(prefix, got) != s {
		return false
	}
	*id = got
	return true
}

// maxIDText is the length that bech32m is made for.
const maxIDText = 90

func decode(prefix, s string, id *[32]byte) error {
	if isHex(s) {
		_, err := hex.Decode(id[:], []byte(s))
		return err
	}
	if decodeWritten(prefix, s, id) {
		return nil
	}
	if len(s) > maxIDText {
		return fmt.Errorf("%.*q… is too long for an id", maxIDText, s)
	}
	got, words, version, err := bech32.DecodeNoLimitWithVersion(s)
	if err != nil || version != bech32.VersionM {
		return fmt.Errorf("%q is mistyped: its checksum does not fit", s)
	}
	if got != prefix {
		return fmt.Errorf("%q begins with %s, not %s", s, got, prefix)
	}
	b, err := bech32.ConvertBits(words, 5, 8, false)
	if err != nil || len(b) != len(id) {
		return fmt.Errorf("%q does not have the length of an id", s)
	}
	copy(id[:], b)
	return nil
}

// isHex reports whether s is an id in hex digits: no bech32m text is.
func isHex(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
