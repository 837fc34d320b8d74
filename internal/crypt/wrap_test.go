package crypt

import (
	"bytes"
	"strings"
	"testing"

	"datamesh/internal/errs"

	"filippo.io/age"
)

// hybrid returns the identity of a seed.
func hybrid(t testing.TB, seed byte) (Identity, Recipient) {
	t.Helper()
	id, to, err := NewIdentity([32]byte{seed})
	if err != nil {
		t.Fatal(err)
	}
	return id, to
}

// classic returns a new X25519 identity, read from age's texts.
func classic(t testing.TB) (Identity, Recipient) {
	t.Helper()
	secret, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	ids, err := ParseIdentities(strings.NewReader("# a comment\n\n" + secret.String() + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	to, err := ParseRecipient(secret.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	return ids[0], to
}

func TestOnlyNamedRecipientsUnwrap(t *testing.T) {
	owner, toOwner := hybrid(t, 1)
	friend, toFriend := hybrid(t, 2)
	old, toOld := classic(t)
	other, toOther := classic(t)
	stranger, _ := hybrid(t, 3)
	for _, tt := range []struct {
		what      string
		to        []Recipient
		envelopes int
		may       []Identity
		mayNot    []Identity
	}{
		{"hybrid", []Recipient{toOwner}, 1, []Identity{owner}, []Identity{friend, old, other, stranger}},
		{"two hybrid", []Recipient{toOwner, toFriend}, 1, []Identity{owner, friend}, []Identity{old, other, stranger}},
		{"classic", []Recipient{toOld}, 1, []Identity{old}, []Identity{owner, friend, other, stranger}},
		{"two classic", []Recipient{toOld, toOther}, 1, []Identity{old, other}, []Identity{owner, friend, stranger}},
		{"both classes", []Recipient{toOld, toOwner, toOther, toFriend}, 2, []Identity{owner, friend, old, other}, []Identity{stranger}},
		{"one twice", []Recipient{toOwner, toOwner}, 1, []Identity{owner}, []Identity{friend, old}},
	} {
		key := Key(random(32))
		wraps, err := Wrap(key, tt.to)
		if err != nil || len(wraps) != tt.envelopes {
			t.Errorf("%s: %d envelopes, want %d, %v", tt.what, len(wraps), tt.envelopes, err)
			continue
		}
		for i, id := range tt.may {
			if got, err := Unwrap(wraps, []Identity{id}); got != key || err != nil {
				t.Errorf("%s: recipient %d: %v", tt.what, i, err)
			}
			if got, err := Unwrap(wraps, []Identity{stranger, id}); got != key || err != nil {
				t.Errorf("%s: recipient %d with two identities: %v", tt.what, i, err)
			}
		}
		if _, err := Unwrap(wraps, tt.mayNot); errs.KindOf(err) != errs.Decryption {
			t.Errorf("%s: for all others: got %v, want Decryption", tt.what, err)
		}
		for i, id := range tt.mayNot {
			if _, err := Unwrap(wraps, []Identity{id}); errs.KindOf(err) != errs.Decryption {
				t.Errorf("%s: other %d: got %v, want Decryption", tt.what, i, err)
			}
		}
	}
}

func TestNobodyIsNoRecipientAndNoIdentity(t *testing.T) {
	if _, err := Wrap(Key{}, nil); errs.KindOf(err) != errs.Encryption {
		t.Errorf("no recipient: got %v", err)
	}
	_, to := hybrid(t, 1)
	wraps, err := Wrap(Key{}, []Recipient{to})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Unwrap(wraps, nil); errs.KindOf(err) != errs.Decryption {
		t.Errorf("no identity: got %v", err)
	}
	id, _ := hybrid(t, 1)
	if _, err := Unwrap(nil, []Identity{id}); errs.KindOf(err) != errs.Decryption {
		t.Errorf("no envelope: got %v", err)
	}
}

func TestTheMostRecipientsFitIntoAnEnvelope(t *testing.T) {
	owner, toOwner := hybrid(t, 1)
	_, toFriend := hybrid(t, 2)
	to := []Recipient{toOwner}
	for len(to) < MaxRecipients {
		to = append(to, toFriend)
	}
	wraps, err := Wrap(Key{1}, to)
	if err != nil || len(wraps[0]) > MaxWrap {
		t.Fatalf("%d bytes, limit %d, %v", len(wraps[0]), MaxWrap, err)
	}
	if key, err := Unwrap(wraps, []Identity{owner}); key != (Key{1}) || err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := Wrap(Key{1}, append(to, toFriend)); errs.KindOf(err) != errs.Invalid {
		t.Errorf("one more: got %v", err)
	}
}

func TestADamagedEnvelopeGivesNoKey(t *testing.T) {
	old, toOld := classic(t)
	owner, toOwner := hybrid(t, 1)
	key := Key(random(32))
	wraps, err := Wrap(key, []Recipient{toOwner, toOld})
	if err != nil {
		t.Fatal(err)
	}
	for which, id := range []Identity{owner, old} {
		good := wraps[which]
		step := 1 + len(good)/200
		for i := 0; i < len(good); i += step {
			bad := bytes.Clone(good)
			bad[i] ^= 4
			_, err := Unwrap([][]byte{bad}, []Identity{id})
			if kind := errs.KindOf(err); kind != errs.Integrity && kind != errs.Decryption {
				t.Errorf("envelope %d, byte %d: got %v", which, i, err)
			}
			if _, err := Unwrap([][]byte{good[:i]}, []Identity{id}); errs.KindOf(err) != errs.Integrity {
				t.Errorf("envelope %d cut to %d bytes: got %v", which, i, err)
			}
		}
	}
	damaged := [][]byte{wraps[0][:100], wraps[1]}
	if got, err := Unwrap(damaged, []Identity{owner, old}); got != key || err != nil {
		t.Errorf("the other envelope is whole: got %v", err)
	}
}

func TestAnEnvelopeHoldsAKeyAndNothingElse(t *testing.T) {
	id, to := hybrid(t, 1)
	for _, n := range []int{0, 31, 33, 1 << 20} {
		var out bytes.Buffer
		w, err := age.Encrypt(&out, to.age)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Unwrap([][]byte{out.Bytes()}, []Identity{id}); errs.KindOf(err) != errs.Integrity {
			t.Errorf("%d bytes: got %v", n, err)
		}
	}
}

func TestRecipientsAreReadBackFromTheirText(t *testing.T) {
	_, h := hybrid(t, 1)
	_, c := classic(t)
	if h.Classic() || !c.Classic() {
		t.Error("hybrid and classic are mixed up")
	}
	for _, r := range []Recipient{h, c} {
		got, err := ParseRecipient(r.String())
		if err != nil || got.String() != r.String() || got.Classic() != r.Classic() {
			t.Errorf("%.20s…: got %.20s…, %v", r, got, err)
		}
	}
	if !strings.HasPrefix(h.String(), "age1pq1") || !strings.HasPrefix(c.String(), "age1") {
		t.Errorf("got %.20s… and %.20s…", h, c)
	}
}

func TestWhatIsNoRecipientIsInvalidAndNotRepeated(t *testing.T) {
	_, h := hybrid(t, 1)
	_, c := classic(t)
	secret, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "age1", "age1pq1", "bob@example.org", c.String()[:40], c.String() + "q", h.String()[:1000],
		strings.Replace(c.String(), "age1", "age1yubikey1", 1), secret.String(), pq.String(), strings.ToLower(secret.String()),
		"ssh-ed25519 AAAA"} {
		r, err := ParseRecipient(bad)
		if errs.KindOf(err) != errs.Invalid || r.age != nil {
			t.Errorf("%.20q: got %v", bad, err)
			continue
		}
		if len(bad) > 20 && strings.Contains(err.Error(), bad[:20]) || len(err.Error()) > 200 {
			t.Errorf("%.20q: its error repeats it: %v", bad, err)
		}
	}
}

func TestIdentitiesThatCannotBeReadAreKeyErrorsWithoutTheSecret(t *testing.T) {
	secret, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	text := secret.String()
	for _, bad := range []string{"", "# nothing\n", text[:len(text)-1], text + "\n" + text[:30], "DATAMESH-ROOT-1QQQ", "AGE-PLUGIN-YUBIKEY-1QQQ"} {
		_, err := ParseIdentities(strings.NewReader(bad))
		if errs.KindOf(err) != errs.KeyManagement {
			t.Errorf("%.20q…: got %v", bad, err)
		} else if strings.Contains(err.Error(), text[16:22]) || strings.Contains(err.Error(), "QQQ") {
			t.Errorf("the error has the secret: %v", err)
		}
	}
}

func TestAnIdentityIsThatOfItsSeed(t *testing.T) {
	_, a := hybrid(t, 1)
	_, again := hybrid(t, 1)
	_, b := hybrid(t, 2)
	if a.String() != again.String() || a.String() == b.String() {
		t.Error("a seed and its recipient do not belong together")
	}
}

func TestCommitmentsTellKeysApart(t *testing.T) {
	key := Key(random(32))
	if Commit(key) == [32]byte(key) {
		t.Error("a commitment tells the key")
	}
	for i := range 256 {
		other := key
		other[i/8] ^= 1 << (i % 8)
		if Commit(other) == Commit(key) {
			t.Errorf("bit %d does not count", i)
		}
	}
}
