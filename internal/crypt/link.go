package crypt

import (
	"crypto/hkdf"
	"crypto/sha256"

	"datamesh/internal/errs"

	"golang.org/x/crypto/scrypt"
)

// The work that a password of a link takes to try: about half a second, and 128 MiB.
const (
	linkN = 1 << 17
	linkR = 8
	linkP = 1
)

const (
	linkSaltLabel = "datamesh v1 salt of a link's password"
	linkSeedLabel = "datamesh v1 age hybrid identity of a link"
)

// LinkSeed returns the secret of the identity that the object of a link is sealed
// to, made of the key in the link, and of a password if it takes one. The key is
// random, so that its salt is its own. Whoever has the key must try passwords one
// by one, with all of the work, against what is stored. Kind: KeyManagement.
func LinkSeed(key [32]byte, password []byte, locked bool) (seed [32]byte, err error) {
	var salt []byte
	if locked {
		own, err := hkdf.Key(sha256.New, key[:], nil, linkSaltLabel, 32)
		if err == nil {
			salt, err = scrypt.Key(password, own, linkN, linkR, linkP, 32)
		}
		if err != nil {
			return seed, errs.New(errs.KeyManagement, "password of a link: %w", err)
		}
	}
	b, err := hkdf.Key(sha256.New, key[:], salt, linkSeedLabel, len(seed))
	if err != nil {
		return seed, errs.New(errs.KeyManagement, "key of a link: %w", err)
	}
	copy(seed[:], b)
	return seed, nil
}
