package format

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"

	"github.com/google/go-cmp/cmp"
)

func goldenSharedBlock() *LogBlock {
	owner := datamesh.OwnerKey(seed(0x31))
	return &LogBlock{Version: 1, Changes: []Change{
		{Object: seed(0x50), Clock: 5, Name: "a name", Size: 7, Created: 1_800_000_000_000_000_000, Stored: 9,
			Share: &Share{Of: seed(0x51), To: &owner, Expires: 1_900_000_000_000_000_000}},
		{Object: seed(0x52), Clock: 6, Size: 7, Created: 1, State: DeletedFinal, At: 2, Done: true, Share: &Share{Of: seed(0x51)}},
		{Object: ContactID(owner), Clock: 7, Name: "Bob", Created: 3, Contact: &Contact{Owner: owner, Recipient: "age1pq1…", Card: 8}},
	}}
}

func goldenCard() *Card {
	return &Card{Version: 1, Clock: 9, Recipients: []string{"age1pq1…", "age1newer"}}
}

// goldenSuccessor is a key of its own, so that its signature is always the same.
func goldenSuccessor() Successor {
	from := seed(0x61)
	return Succeed(seed(0x31), ed25519.NewKeyFromSeed(from[:]))
}

func goldenSuccession() *LogBlock {
	to := goldenSuccessor()
	id := SuccessionID(seed(0x31), to.Owner)
	return &LogBlock{Version: 1, Changes: []Change{
		{Object: id, Clock: 5, Created: 6, Succession: &Succession{From: seed(0x31), To: to, Learnt: 4}},
		{Object: id, Clock: 7, Created: 6, Succession: &Succession{From: seed(0x31), To: to, Learnt: 4, Recipient: "age1pq1…", Card: 8}},
	}}
}

func goldenCardOfSuccessor() *Card {
	c, to := goldenCard(), goldenSuccessor()
	c.Successor = &to
	return c
}

func goldenLetter() *Letter {
	return &Letter{Version: 1, From: seed(0x31), Clock: 10, Of: 1, Gone: []datamesh.ObjectID{seed(0x53)}, Shares: []Shared{
		{Object: seed(0x50), Name: "a name/ÿ", Size: 7, Created: 1_800_000_000_000_000_000, Expires: 1_900_000_000_000_000_000},
		{Object: seed(0x54), Created: 4},
	}}
}

func letterIdentity(t testing.TB) (crypt.Identity, crypt.Recipient) {
	t.Helper()
	id, to, err := crypt.NewIdentity(seed(0x71))
	if err != nil {
		t.Fatal(err)
	}
	return id, to
}

func TestV1Sharing(t *testing.T) {
	file := read(t, "log-block-shared.cbor")
	block, err := DecodeBlock(file)
	if diff := cmp.Diff(goldenSharedBlock(), block); diff != "" || err != nil {
		t.Errorf("block: %v (-want +got):\n%s", err, diff)
	}
	if b, err := EncodeBlock(goldenSharedBlock()); !bytes.Equal(b, file) || err != nil {
		t.Errorf("the block is written otherwise: %v", err)
	}
	file = read(t, "card.bin")
	card, err := DecodeCard(file)
	if diff := cmp.Diff(goldenCard(), card); diff != "" || err != nil {
		t.Errorf("card: %v (-want +got):\n%s", err, diff)
	}
	if b, err := EncodeCard(goldenCard()); !bytes.Equal(b, file) || err != nil {
		t.Errorf("the card is written otherwise: %v", err)
	}
	file = read(t, "card-successor.bin")
	card, err = DecodeCard(file)
	if diff := cmp.Diff(goldenCardOfSuccessor(), card); diff != "" || err != nil {
		t.Errorf("card with a successor: %v (-want +got):\n%s", err, diff)
	}
	if err := card.Successor.Verify(seed(0x31)); err != nil {
		t.Error(err)
	}
	if b, err := EncodeCard(goldenCardOfSuccessor()); !bytes.Equal(b, file) || err != nil {
		t.Errorf("the card with a successor is written otherwise: %v", err)
	}
	file = read(t, "log-block-succession.cbor")
	block, err = DecodeBlock(file)
	if diff := cmp.Diff(goldenSuccession(), block); diff != "" || err != nil {
		t.Errorf("block with a succession: %v (-want +got):\n%s", err, diff)
	}
	if b, err := EncodeBlock(goldenSuccession()); !bytes.Equal(b, file) || err != nil {
		t.Errorf("the block with a succession is written otherwise: %v", err)
	}
	file = read(t, "letter.cbor")
	letter, err := decodeLetter(file)
	if diff := cmp.Diff(goldenLetter(), letter); diff != "" || err != nil {
		t.Errorf("letter: %v (-want +got):\n%s", err, diff)
	}
	if b := Marshal(goldenLetter()); !bytes.Equal(b, file) {
		t.Error("the letter is written otherwise")
	}
	id, _ := letterIdentity(t)
	letter, err = OpenLetter(read(t, "sealed-letter.bin"), seed(0x31), []crypt.Identity{id})
	if diff := cmp.Diff(goldenLetter(), letter); diff != "" || err != nil {
		t.Errorf("sealed letter: %v (-want +got):\n%s", err, diff)
	}
}

// A letter is read by its receiver, from the record of its sender, and by nobody
// else, and from no other.
func TestLettersAreTheirReceivers(t *testing.T) {
	id, to := letterIdentity(t)
	other, _, err := crypt.NewIdentity(seed(0x72))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := SealLetter(goldenLetter(), to)
	if err != nil || !IsPost(sealed) || len(sealed) > datamesh.MaxRecordPayload {
		t.Fatal(err)
	}
	if l, err := OpenLetter(sealed, seed(0x31), []crypt.Identity{other}); l != nil || err != nil {
		t.Errorf("another reads %v, %v", l, err)
	}
	if _, err := OpenLetter(sealed, seed(0x32), []crypt.Identity{id}); !errors.Is(err, errs.Authentication) {
		t.Errorf("copied to another owner's record: %v", err)
	}
	for _, i := range []int{1, 5, 40, len(sealed) / 2, len(sealed) - 1} {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if l, err := OpenLetter(bad, seed(0x31), []crypt.Identity{id}); l != nil {
			t.Errorf("it opens with byte %d changed: %v", i, err)
		}
	}
	block, err := SealBlock(goldenBlock(), seed(1))
	if err != nil || IsPost(block) {
		t.Errorf("a block of the log is taken for a letter: %v", err)
	}
}

// However much is shared, it has room in letters, which have room in records, and
// none is lost.
func TestManySharesTakeSeveralLetters(t *testing.T) {
	_, to := letterIdentity(t)
	var shares []Shared
	for i := range 1000 {
		shares = append(shares, Shared{Object: seed(byte(i)), Name: strings.Repeat("n", i*4%MaxName), Size: int64(i), Created: int64(i)})
	}
	letters, err := Letters(seed(0x31), 5, shares[:300], make([]datamesh.ObjectID, 1000))
	if err != nil {
		t.Fatal(err)
	}
	var got []Shared
	for _, l := range letters {
		if l.Of != len(letters) {
			t.Errorf("one of %d letters says %d", len(letters), l.Of)
		}
		payload, err := SealLetter(l, to)
		if err != nil || len(payload) > datamesh.MaxRecordPayload {
			t.Fatalf("%d bytes, %v", len(payload), err)
		}
		got = append(got, l.Shares...)
	}
	if !slices.Equal(got, shares[:300]) || len(letters) < 2 {
		t.Errorf("%d letters have %d of 300", len(letters), len(got))
	}
	if _, err := Letters(seed(0x31), 5, shares, nil); !errors.Is(err, errs.Full) {
		t.Errorf("too many: %v", err)
	}
}

func TestSharingThatMakesNoSenseIsRefused(t *testing.T) {
	for what, change := range map[string]func(*LogBlock){
		"two things":      func(b *LogBlock) { b.Changes[0].Contact = b.Changes[2].Contact },
		"deleted":         func(b *LogBlock) { b.Changes[0].State = Deleted },
		"forgotten":       func(b *LogBlock) { b.Changes[0].State = Forgotten },
		"tags":            func(b *LogBlock) { b.Changes[0].Tags = []string{"a"} },
		"expires":         func(b *LogBlock) { b.Changes[0].Share.Expires = -1 },
		"contact's id":    func(b *LogBlock) { b.Changes[2].Object = seed(1) },
		"contact's name":  func(b *LogBlock) { b.Changes[2].Name = "a/b" },
		"control":         func(b *LogBlock) { b.Changes[2].Name = "a\x1b[1m" },
		"no name":         func(b *LogBlock) { b.Changes[2].Name = "" },
		"recipient":       func(b *LogBlock) { b.Changes[2].Contact.Recipient = strings.Repeat("r", 5000) },
		"contact's state": func(b *LogBlock) { b.Changes[2].State = DeletedFinal },
	} {
		b := goldenSharedBlock()
		change(b)
		if _, err := DecodeBlock(Marshal(b)); err == nil {
			t.Errorf("%s: it is read", what)
		}
	}
	for what, change := range map[string]func(*Change){
		"a contact, too":       func(c *Change) { c.Contact = goldenSharedBlock().Changes[2].Contact },
		"a share, too":         func(c *Change) { c.Share = &Share{Of: seed(1)} },
		"forgotten":            func(c *Change) { c.State = Forgotten },
		"a succession's name":  func(c *Change) { c.Name = "x" },
		"a succession's id":    func(c *Change) { c.Object = seed(1) },
		"of himself":           func(c *Change) { c.Succession.To.Owner, c.Object = seed(0x31), SuccessionID(seed(0x31), seed(0x31)) },
		"not agreed":           func(c *Change) { c.Succession.To.Consent[5] ^= 1 },
		"never learnt":         func(c *Change) { c.Succession.Learnt = 0 },
		"learnt too late":      func(c *Change) { c.Succession.Learnt = 1 << 63 },
		"no card":              func(c *Change) { c.Succession.Card = 0 },
		"card of no recipient": func(c *Change) { c.Succession.Recipient = "" },
		"long recipient":       func(c *Change) { c.Succession.Recipient = strings.Repeat("r", 5000) },
	} {
		b := goldenSuccession()
		change(&b.Changes[1])
		if _, err := DecodeBlock(Marshal(b)); !errors.Is(err, errs.Serialization) {
			t.Errorf("succession, %s: %v", what, err)
		}
	}
	for what, change := range map[string]func(*Letter){
		"clock": func(l *Letter) { l.Clock = 0 }, "none": func(l *Letter) { l.Of = 0 }, "of many": func(l *Letter) { l.Of = MaxLetters + 1 },
		"name": func(l *Letter) { l.Shares[0].Name = "\xff" }, "size": func(l *Letter) { l.Shares[0].Size = -1 },
		"gone": func(l *Letter) { l.Gone = make([]datamesh.ObjectID, MaxGone+1) }, "version": func(l *Letter) { l.Version = 2 },
	} {
		l := goldenLetter()
		change(l)
		if _, err := decodeLetter(Marshal(l)); !errors.Is(err, errs.Serialization) {
			t.Errorf("letter, %s: %v", what, err)
		}
	}
	for _, c := range []*Card{{Clock: 1}, {Recipients: []string{"x"}}, {Clock: 1, Recipients: make([]string, 5)}, {Clock: 1, Recipients: []string{strings.Repeat("r", 5000)}}} {
		if _, err := EncodeCard(c); err == nil {
			t.Errorf("card %+v is written", c)
		}
		c.Version = 1
		if got, err := DecodeCard(append([]byte{cardTag}, Marshal(c)...)); err == nil {
			t.Errorf("card %+v is read", got)
		}
	}
}

// Nobody is a successor who has not signed that he is the one of that owner.
func TestSuccessorsHaveAgreed(t *testing.T) {
	from := datamesh.OwnerKey(seed(0x31))
	for what, change := range map[string]func(*Successor){
		"consent": func(s *Successor) { s.Consent[3] ^= 1 },
		"none":    func(s *Successor) { s.Consent = [ed25519.SignatureSize]byte{} },
		"another": func(s *Successor) { s.Owner[3] ^= 1 },
		"himself": func(s *Successor) { s.Owner = from },
	} {
		s := goldenSuccessor()
		if err := s.Verify(from); err != nil {
			t.Fatal(err)
		}
		change(&s)
		if err := s.Verify(from); !errors.Is(err, errs.Authentication) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s, mine := goldenSuccessor(), seed(0x61)
	if err := s.Verify(seed(0x32)); !errors.Is(err, errs.Authentication) {
		t.Errorf("of another owner: %v", err)
	}
	own := Succeed(s.Owner, ed25519.NewKeyFromSeed(mine[:]))
	if err := own.Verify(s.Owner); !errors.Is(err, errs.Authentication) {
		t.Errorf("of himself, signed: %v", err)
	}
}

// A program of before passes the successor over, and reads the rest of the card.
func TestCardsOfBeforeAndOfNow(t *testing.T) {
	type before struct {
		Version    uint64   `cbor:"1,keyasint"`
		Clock      uint64   `cbor:"2,keyasint"`
		Recipients []string `cbor:"3,keyasint"`
	}
	var old before
	if err := unmarshalOpen("card", read(t, "card-successor.bin")[1:], maxCard, &old); err != nil || old.Clock != goldenCard().Clock {
		t.Errorf("got %+v, %v", old, err)
	}
	card, err := DecodeCard(read(t, "card.bin"))
	if err != nil || card.Successor != nil {
		t.Errorf("got %+v, %v", card, err)
	}
}

func FuzzDecodeCard(f *testing.F) {
	f.Add(read(f, "card.bin"))
	f.Add(read(f, "card-successor.bin"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCard(b)
		if err != nil || c == nil {
			return
		}
		if _, err := EncodeCard(c); err != nil {
			t.Error(err)
		}
	})
}

func FuzzDecodeLetter(f *testing.F) {
	f.Add(read(f, "letter.cbor"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := decodeLetter(b); err == nil {
			if again, err := decodeLetter(Marshal(l)); err != nil || !cmp.Equal(l, again) {
				t.Errorf("it is read otherwise: %v", err)
			}
		}
	})
}

func FuzzOpenLetter(f *testing.F) {
	f.Add(read(f, "sealed-letter.bin"))
	id, _ := letterIdentity(f)
	f.Fuzz(func(t *testing.T, b []byte) { OpenLetter(bytes.Clone(b), seed(0x31), []crypt.Identity{id}) })
}
