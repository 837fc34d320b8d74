package format

import (
	"crypto/ed25519"
	"math"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

const (
	consentContext      = "datamesh v1 an owner is the successor of another"
	successionIDContext = "datamesh v1 succession in a catalog"
)

// A Successor is the owner who another goes on as. That one's signature is of the
// record that it is in, and Consent is the successor's own: nobody is made one
// against his will.
type Successor struct {
	Owner   datamesh.OwnerKey           `cbor:"1,keyasint"`
	Consent [ed25519.SignatureSize]byte `cbor:"2,keyasint"`
}

func consentDigest(from, to datamesh.OwnerKey) [32]byte {
	return hash.Derive(consentContext, from[:], to[:])
}

// Succeed returns the owner of a key as the successor of another, with his
// signature.
func Succeed(from datamesh.OwnerKey, to ed25519.PrivateKey) Successor {
	s := Successor{Owner: datamesh.OwnerKey(to.Public().(ed25519.PublicKey))}
	digest := consentDigest(from, s.Owner)
	s.Consent = [ed25519.SignatureSize]byte(ed25519.Sign(to, digest[:]))
	return s
}

// Verify reports with an error of kind Authentication that the successor has not
// signed that he is one of that owner, or is himself that owner.
func (s *Successor) Verify(from datamesh.OwnerKey) error {
	digest := consentDigest(from, s.Owner)
	if s.Owner == from || !ed25519.Verify(s.Owner[:], digest[:], s.Consent[:]) {
		return errs.New(errs.Authentication, "%s has not signed that he is the successor of %s", s.Owner, from)
	}
	return nil
}

// A Succession is what a [Change] says of the successor of an owner, who is the
// one whose catalog it is, or somebody with whom he shares. The object of the
// change is [SuccessionID]. Of all that is said of one, the least Learnt holds,
// and what is from the latest card.
type Succession struct {
	From      datamesh.OwnerKey `cbor:"1,keyasint"`
	To        Successor         `cbor:"2,keyasint"`
	Learnt    uint64            `cbor:"3,keyasint"`           // the clock when it was first known: see [ClockOf]
	Recipient string            `cbor:"4,keyasint,omitempty"` // of the successor, in age's text; "": not known yet
	Card      uint64            `cbor:"5,keyasint,omitempty"` // the clock of the card that it is from
}

// SuccessionID is by what a change names a succession.
func SuccessionID(from, to datamesh.OwnerKey) datamesh.ObjectID {
	return datamesh.ObjectID(hash.Derive(successionIDContext, from[:], to[:]))
}

func (c *Change) checkSuccession() error {
	s := c.Succession
	switch {
	case c.State != Listed || c.Name != "" || c.Object != SuccessionID(s.From, s.To.Owner) || s.From == s.To.Owner:
		return errs.New(errs.Serialization, "change: it is of no succession")
	case s.To.Verify(s.From) != nil:
		return errs.New(errs.Serialization, "change: the successor has not agreed")
	case s.Learnt == 0 || s.Learnt > math.MaxInt64 || (s.Recipient == "") != (s.Card == 0):
		return errs.New(errs.Serialization, "change: a succession learnt at %d, from the card %d", s.Learnt, s.Card)
	case s.Recipient == "":
		return nil
	}
	return checkRecipient(s.Recipient)
}
