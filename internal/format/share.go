package format

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// Limits of what has to do with sharing.
const (
	MaxContactName = 64       // bytes of the name that an owner gives to another
	MaxLetter      = 29 << 10 // bytes of a letter, before it is sealed
	MaxGone        = 256      // ids that a letter takes back

	maxCard       = 16 << 10
	maxRecipients = 4       // of a card
	maxRecipient  = 4 << 10 // bytes of the text of one
)

// A Share is what a [Change] says of a second manifest, whose id is that of the
// change: of which object it is, and for whom. Name and size are those of the
// object when it was shared; the change is [DeletedFinal] when the share was
// taken back.
type Share struct {
	Of      datamesh.ObjectID  `cbor:"1,keyasint"`
	To      *datamesh.OwnerKey `cbor:"2,keyasint,omitempty"` // nil: for whoever has the link
	Expires int64              `cbor:"3,keyasint,omitempty"` // nanoseconds since 1970; 0: never
}

// A Contact is what a [Change] says of somebody with whom its owner shares. The
// object of the change is [ContactID], and its name the contact's.
type Contact struct {
	Owner     datamesh.OwnerKey `cbor:"1,keyasint"`
	Recipient string            `cbor:"2,keyasint"` // that is sealed to, in age's text
	Card      uint64            `cbor:"3,keyasint"` // the clock of the card that it is from
}

// ContactID is by what a change names a contact.
func ContactID(owner datamesh.OwnerKey) datamesh.ObjectID {
	return datamesh.ObjectID(hash.Derive("datamesh v1 contact in a catalog", owner[:]))
}

// checkShared sees that a change is of an object, of a share, of a contact, or of
// a succession, and of one alone.
func (c *Change) checkShared() error {
	switch {
	case c.Share == nil && c.Contact == nil && c.Succession == nil:
		return nil
	case c.Share != nil && c.Contact != nil, c.Succession != nil && (c.Share != nil || c.Contact != nil), len(c.Tags) > 0, c.State == Forgotten:
		return errs.New(errs.Serialization, "change: it is of two things")
	case c.Share != nil && (c.State == Deleted || c.Share.Expires < 0):
		return errs.New(errs.Serialization, "change: a share of state %d until %d", c.State, c.Share.Expires)
	case c.Share != nil:
		return nil
	case c.Succession != nil:
		return c.checkSuccession()
	case c.State != Listed, c.Object != ContactID(c.Contact.Owner):
		return errs.New(errs.Serialization, "change: it is of no contact")
	}
	if err := CheckContactName(c.Name); err != nil {
		return errs.New(errs.Serialization, "change: %w", err)
	}
	return checkRecipient(c.Contact.Recipient)
}

// CheckContactName refuses what cannot be the name of a contact. Kind: Invalid.
func CheckContactName(name string) error {
	bad := func(r rune) bool { return !unicode.IsPrint(r) || r == '/' || r == unicode.ReplacementChar }
	if name == "" || len(name) > MaxContactName || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) || strings.TrimSpace(name) != name {
		return errs.New(errs.Invalid, "the name of a contact is 1 to %d bytes of printable UTF-8 without /", MaxContactName)
	}
	return nil
}

func checkRecipient(text string) error {
	if text == "" || len(text) > maxRecipient || !utf8.ValidString(text) {
		return errs.New(errs.Serialization, "recipient: 1 to %d bytes of text", maxRecipient)
	}
	return nil
}

// The first byte of a payload of a record tells what it is. A sealed block of
// the catalog's log begins with a byte of its own, that of a map.
const (
	cardTag   = 1
	letterTag = 2
)

// IsPost reports whether the payload of a record is a card or a letter, and no
// part of the log of a catalog.
func IsPost(payload []byte) bool {
	return len(payload) > 0 && (payload[0] == cardTag || payload[0] == letterTag)
}

// A Card says what others seal to who share with an owner. He signs the record
// that it is in, and of several the one with the greatest clock holds.
type Card struct {
	Version    uint64   `cbor:"1,keyasint"`
	Clock      uint64   `cbor:"2,keyasint"` // see [ClockOf]
	Recipients []string `cbor:"3,keyasint"` // in age's text; the first that a program knows is used

	// Successor is who the owner goes on as; nil: as himself. Programs that do not
	// know it pass it over.
	Successor *Successor `cbor:"65,keyasint,omitempty"`
}

// EncodeCard returns the payload of a record that is a card. Kind: Invalid.
func EncodeCard(c *Card) ([]byte, error) {
	c.Version = Version
	if err := c.check(); err != nil {
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	return append([]byte{cardTag}, Marshal(c)...), nil
}

// DecodeCard reads the payload of a record. It returns nil if that is no card.
// Kind: Serialization.
func DecodeCard(payload []byte) (*Card, error) {
	if len(payload) == 0 || payload[0] != cardTag {
		return nil, nil
	}
	c := new(Card)
	if err := unmarshalOpen("card", payload[1:], maxCard, c); err != nil {
		return nil, err
	}
	return c, c.check()
}

func (c *Card) check() error {
	if n := len(c.Recipients); n < 1 || n > maxRecipients || c.Clock == 0 {
		return errs.New(errs.Serialization, "card: %d recipients, clock %d", n, c.Clock)
	}
	for _, r := range c.Recipients {
		if err := checkRecipient(r); err != nil {
			return err
		}
	}
	return nil
}

// A Letter lists what an owner's home shares with one other: all of it, in as
// many letters of one clock as it takes. Of two lists of a home the one with the
// greater clock holds.
type Letter struct {
	Version uint64              `cbor:"1,keyasint"`
	From    datamesh.OwnerKey   `cbor:"2,keyasint"` // who has signed the record: a copy is of no use to others
	Clock   uint64              `cbor:"3,keyasint"` // see [ClockOf]
	Of      int                 `cbor:"4,keyasint"` // letters of that clock
	Shares  []Shared            `cbor:"5,keyasint,omitempty"`
	Gone    []datamesh.ObjectID `cbor:"6,keyasint,omitempty"` // that letters of another home list, and are taken back
}

// A Shared is what a letter says of an object.
type Shared struct {
	Object  datamesh.ObjectID `cbor:"1,keyasint"` // the id of the receiver's manifest
	Name    string            `cbor:"2,keyasint,omitempty"`
	Size    int64             `cbor:"3,keyasint"`
	Created int64             `cbor:"4,keyasint"`           // when it was shared, nanoseconds since 1970
	Expires int64             `cbor:"5,keyasint,omitempty"` // likewise; 0: never
}

// MaxLetters is how many letters list what one home shares with another.
const MaxLetters = 64

// Letters returns what is shared with somebody as few letters as it takes. Kinds: Invalid,
// Full (there are too many).
func Letters(from datamesh.OwnerKey, clock uint64, shares []Shared, gone []datamesh.ObjectID) ([]*Letter, error) {
	last := &Letter{Version: Version, From: from, Clock: clock, Of: MaxLetters, Gone: gone[:min(len(gone), MaxGone)]}
	all, size := []*Letter{last}, len(Marshal(last))
	for _, s := range shares {
		n := len(Marshal(s))
		if size += n; size+8 > MaxLetter {
			last = &Letter{Version: Version, From: from, Clock: clock, Of: MaxLetters}
			all, size = append(all, last), len(Marshal(last))+n
		}
		last.Shares = append(last.Shares, s)
	}
	if len(all) > MaxLetters {
		return nil, errs.New(errs.Full, "%d files are more than can be shared with one person", len(shares))
	}
	for _, l := range all {
		l.Of = len(all)
	}
	return all, nil
}

// SealLetter returns the payload of a record that is a letter, which only the
// recipient can open. Kinds: Invalid, Encryption.
func SealLetter(l *Letter, to crypt.Recipient) ([]byte, error) {
	l.Version = Version
	if err := l.check(); err != nil {
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	text := Marshal(l)
	if len(text) > MaxLetter {
		return nil, errs.New(errs.Invalid, "letter of %d bytes, limit %d", len(text), MaxLetter)
	}
	sealed, err := sealText(text, []crypt.Recipient{to})
	return append([]byte{letterTag}, sealed...), err
}

// OpenLetter opens the payload of a record of an owner. It returns nil if that is
// no letter, or one to somebody else. Kinds: Serialization, Integrity,
// Authentication (it was copied from a record of another owner).
func OpenLetter(payload []byte, from datamesh.OwnerKey, ids []crypt.Identity) (*Letter, error) {
	if len(payload) == 0 || payload[0] != letterTag {
		return nil, nil
	}
	text, err := openText("letter", payload[1:], datamesh.MaxRecordPayload, ids)
	if errs.KindOf(err) == errs.Decryption {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l, err := decodeLetter(text)
	if err == nil && l.From != from {
		return nil, errs.New(errs.Authentication, "letter: it is from another owner than its record")
	}
	return l, err
}

func decodeLetter(text []byte) (*Letter, error) {
	l := new(Letter)
	if err := unmarshalOpen("letter", text, MaxLetter, l); err != nil {
		return nil, err
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Letter) check() error {
	if l.Clock == 0 || l.Of < 1 || l.Of > MaxLetters || len(l.Gone) > MaxGone {
		return errs.New(errs.Serialization, "letter: clock %d, one of %d, %d taken back", l.Clock, l.Of, len(l.Gone))
	}
	for _, s := range l.Shares {
		if len(s.Name) > MaxName || !utf8.ValidString(s.Name) || s.Size < 0 || s.Expires < 0 {
			return errs.New(errs.Serialization, "letter: a name of %d bytes, %d bytes until %d", len(s.Name), s.Size, s.Expires)
		}
	}
	return nil
}
