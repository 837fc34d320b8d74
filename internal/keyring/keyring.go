// Package keyring keeps identities on disk: the root of a user, from which
// everything that user can open or sign is derived, and the key of a node,
// which is derived from nothing. The root can be written down as 24 words.
//
// Whoever reads the identity file can read, forge and delete everything of
// its user; whoever loses it has lost all that. Key files are made with mode
// 0600, and one that others may read is refused, as ssh refuses it. The file may
// be sealed under a passphrase, which is asked for when the identity is needed.
package keyring

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"

	"datamesh"
	"datamesh/internal/crypt"
)

// A Root is the one secret of a user: 256 random bits.
type Root [32]byte

// Format prints no root, whatever the verb, so that none gets into a log.
func (Root) Format(f fmt.State, _ rune) { io.WriteString(f, "(root)") }

// The labels that the secrets of a user are derived with, by HKDF-SHA256
// (RFC 5869) from the root and without salt.
const (
	ownerLabel   = "datamesh v1 owner signing key"
	sealingLabel = "datamesh v1 age hybrid identity, epoch %d"
	catalogLabel = "datamesh v1 catalog head key"
)

// A Ring is what a user can do: sign as an owner, and open what is sealed to
// that user.
type Ring struct {
	Owner      ed25519.PrivateKey
	Recipient  crypt.Recipient  // that this user's manifests are sealed to
	Identities []crypt.Identity // that open manifests: the user's own first
	Plugins    []string         // names of those that open some, too, if they may be run
	Catalog    [32]byte         // that the log of the user's catalog is sealed under
	Epoch      int              // of Recipient
	First      crypt.Recipient  // that of epoch 0

	root Root
}

// Format prints no ring, since the owner's private key would be readable.
func (Ring) Format(f fmt.State, _ rune) { io.WriteString(f, "(ring)") }

// NewRoot returns a fresh root.
func NewRoot() (r Root) {
	rand.Read(r[:]) // never fails
	return r
}

// New derives a user's ring from the root.
func New(root Root) (*Ring, error) {
	id, recipient, err := crypt.NewIdentity(root.Sealing(0))
	if err != nil {
		return nil, err
	}
	return &Ring{
		Owner:      root.Owner(),
		Recipient:  recipient,
		First:      recipient,
		root:       root,
		Identities: []crypt.Identity{id},
		Catalog:    root.Catalog(),
	}, nil
}

// Since returns the ring with the recipient of a later epoch. It opens what is
// sealed to that and to all before. Kind: KeyManagement.
func (r *Ring) Since(epoch int) (*Ring, error) {
	if epoch <= r.Epoch {
		return r, nil
	}
	later := *r
	later.Identities = nil
	for e := epoch; e > r.Epoch; e-- {
		id, recipient, err := crypt.NewIdentity(r.root.Sealing(e))
		if err != nil {
			return nil, err
		}
		if e == epoch {
			later.Epoch, later.Recipient = e, recipient
		}
		later.Identities = append(later.Identities, id)
	}
	later.Identities = append(later.Identities, r.Identities...)
	return &later, nil
}

// OwnerKey returns the public key that stands in the user's descriptors.
func (r *Ring) OwnerKey() datamesh.OwnerKey {
	return datamesh.OwnerKey(r.Owner.Public().(ed25519.PublicKey))
}

// Owner returns the key that signs descriptors, deletions and catalog heads.
func (r Root) Owner() ed25519.PrivateKey {
	seed := r.derive(ownerLabel)
	return ed25519.NewKeyFromSeed(seed[:])
}

// ownerKey returns the public half of it.
func (r Root) ownerKey() datamesh.OwnerKey {
	return datamesh.OwnerKey(r.Owner().Public().(ed25519.PublicKey))
}

// Sealing returns the secret of the hybrid identity of an epoch, the first of
// which is 0.
func (r Root) Sealing(epoch int) [32]byte {
	return r.derive(fmt.Sprintf(sealingLabel, epoch))
}

// Catalog returns the secret that the log of the user's catalog is sealed under.
func (r Root) Catalog() [32]byte { return r.derive(catalogLabel) }

func (r Root) derive(label string) (secret [32]byte) {
	b, err := hkdf.Key(sha256.New, r[:], nil, label, len(secret))
	if err != nil {
		panic(err) // 32 bytes are within HKDF's reach
	}
	copy(secret[:], b)
	return secret
}
