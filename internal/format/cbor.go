// Package format has the bytes of everything that DataMesh keeps or signs:
// the descriptor, the deletion, the envelope of a manifest and the manifest,
// the genesis of a mesh. docs/format.md is its specification, and
// testdata/vectors at the root its test vectors.
//
// Each format has a version, a size limit that is checked before anything is
// decoded, and one encoding: deterministic CBOR (RFC 8949 §4.2.1). What does
// not encode back to the same bytes is refused.
package format

import (
	"bytes"

	"datamesh/internal/errs"

	"github.com/fxamacker/cbor/v2"
)

// Version is the version of the formats in this package.
const Version = 1

var encMode = must(cbor.CoreDetEncOptions().EncMode())

var decMode = must(cbor.DecOptions{
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	IndefLength:       cbor.IndefLengthForbidden,
	TagsMd:            cbor.TagsForbidden,
	MaxNestedLevels:   8,
	MaxArrayElements:  1 << 20,
	MaxMapPairs:       1 << 10,
	ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
}.DecMode())

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // constant options
	}
	return v
}

// Marshal returns the deterministic CBOR of v. It panics if v has a type that
// CBOR cannot express, which is an error of the program.
func Marshal(v any) []byte { return must(encMode.Marshal(v)) }

// Unmarshal decodes exactly one deterministic CBOR item of at most limit
// bytes into v. Fields that v does not have are refused. Kind: Serialization.
func Unmarshal(what string, b []byte, limit int, v any) error {
	if len(b) > limit {
		return errs.New(errs.Serialization, "%s: %d bytes, limit %d", what, len(b), limit)
	}
	if err := decMode.Unmarshal(b, v); err != nil {
		return errs.New(errs.Serialization, "%s: %w", what, err)
	}
	if again, err := encMode.Marshal(v); err != nil || !bytes.Equal(again, b) {
		return errs.New(errs.Serialization, "%s: not in its canonical form", what)
	}
	return nil
}

// checkVersion refuses a version other than ours, and says which side is old.
func checkVersion(what string, v uint64) error {
	if v == Version {
		return nil
	}
	err := errs.New(errs.Serialization, "%s: version %d, this program knows %d", what, v, Version)
	if v > Version {
		return errs.WithHint(err, "update datamesh: this was written by a newer version")
	}
	return err
}
