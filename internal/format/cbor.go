// Package format has the bytes of everything that DataMesh keeps or signs:
// the descriptor, the deletion, the receipt, the record of an owner, the
// envelope of a manifest and the manifest, the genesis of a mesh. docs/format.md is its specification, and
// testdata/vectors at the root its test vectors.
//
// Each format has a version, a size limit that is checked before anything is
// decoded, and one encoding: deterministic CBOR (RFC 8949 §4.2.1) without
// null. What does not encode back to the same bytes is refused.
package format

import (
	"bytes"

	"datamesh/internal/errs"

	"github.com/fxamacker/cbor/v2"
)

// Version is the version of the formats in this package.
const Version = 1

var encMode = must(encOptions().EncMode())

func encOptions() cbor.EncOptions {
	opt := cbor.CoreDetEncOptions()
	opt.NilContainers = cbor.NilContainerAsEmpty
	return opt
}

// strict is what all our CBOR has in common.
var strict = cbor.DecOptions{
	DupMapKey:        cbor.DupMapKeyEnforcedAPF,
	IndefLength:      cbor.IndefLengthForbidden,
	TagsMd:           cbor.TagsForbidden,
	MaxNestedLevels:  8,
	MaxArrayElements: 1 << 20,
	MaxMapPairs:      1 << 10,
}

var decMode = must(closed(strict).DecMode())

// closed refuses fields that are not known.
func closed(opt cbor.DecOptions) cbor.DecOptions {
	opt.ExtraReturnErrors = cbor.ExtraDecErrorUnknownField
	return opt
}

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
	if err := checkLimit(what, b, limit); err != nil {
		return err
	}
	if err := decMode.Unmarshal(b, v); err != nil {
		return errs.New(errs.Serialization, "%s: %w", what, err)
	}
	if again, err := encMode.Marshal(v); err != nil || !bytes.Equal(again, b) {
		return notCanonical(what)
	}
	return nil
}

func checkLimit(what string, b []byte, limit int) error {
	if len(b) > limit {
		return errs.New(errs.Serialization, "%s: %d bytes, limit %d", what, len(b), limit)
	}
	return nil
}

func notCanonical(what string) error {
	return errs.New(errs.Serialization, "%s: not in its canonical form", what)
}

// unmarshalVersion is Unmarshal for what has its version under key 1.
func unmarshalVersion(what string, b []byte, limit int, v any) error {
	return checkVersion(what, b, limit, Unmarshal(what, b, limit, v))
}

// checkVersion returns err, which decoding b gave, unless b is of another
// version: its fields may be others, and only that is worth telling.
func checkVersion(what string, b []byte, limit int, err error) error {
	if len(b) > limit {
		return err
	}
	switch v, ok := versionIn(b); {
	case ok && v != Version:
		return wrongVersion(what, v)
	case err == nil && !ok:
		return errs.New(errs.Serialization, "%s: without a version", what)
	}
	return err
}

var looseMode = must(strict.DecMode())

// Newer returns an error if b is a map whose version, under key 1, is greater
// than the one that is known; its fields are not looked at. Kind: Serialization.
func Newer(what string, b []byte, known uint64) error {
	if v, ok := versionIn(b); ok && v > known {
		return errs.WithHint(errs.New(errs.Serialization, "%s: version %d, this program knows %d", what, v, known), newer)
	}
	return nil
}

// versionIn returns the version in a map whose other fields are not looked at.
func versionIn(b []byte) (version uint64, ok bool) {
	var v struct {
		Version *uint64 `cbor:"1,keyasint"`
	}
	if looseMode.Unmarshal(b, &v) != nil || v.Version == nil {
		return 0, false
	}
	return *v.Version, true
}

// wrongVersion says which side is old.
func wrongVersion(what string, v uint64) error {
	err := errs.New(errs.Serialization, "%s: version %d, this program knows %d", what, v, Version)
	if v > Version {
		return errs.WithHint(err, newer)
	}
	return err
}

const newer = "update datamesh: this was written by a newer version"
