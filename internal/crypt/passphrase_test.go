package crypt

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"datamesh/internal/errs"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// cheap makes passphrases cost little while a test runs.
func cheap(t *testing.T) {
	was := WorkFactor
	WorkFactor = 2
	t.Cleanup(func() { WorkFactor = was })
}

func TestThePassphraseOfAFileCostsWhatAgesDoes(t *testing.T) {
	sealed, err := SealText([]byte("text"), "secret")
	if err != nil {
		t.Fatal(err)
	}
	if stanza, err := firstStanza(sealed); err != nil || !strings.HasSuffix(stanza, " 18\n") {
		t.Errorf("got %q, %v, want a work factor of 18", stanza, err)
	}
}

func TestWhatAPassphraseSealsAgeOpens(t *testing.T) {
	cheap(t)
	for _, text := range []string{"", "one line\n", strings.Repeat("many lines\n", 20000)} {
		sealed, err := SealText([]byte(text), "secret")
		if err != nil {
			t.Fatal(err)
		}
		id, err := age.NewScryptIdentity("secret")
		if err != nil {
			t.Fatal(err)
		}
		r, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), id)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != text {
			t.Errorf("age reads %d bytes, %v, want %d", len(got), err, len(text))
		}
		if got, err := OpenText(sealed, "secret"); err != nil || string(got) != text {
			t.Errorf("got %d bytes, %v, want %d", len(got), err, len(text))
		}
		if !IsSealedText(sealed) || IsSealedText([]byte(text)) {
			t.Error("sealed and open text are not told apart")
		}
	}
}

// ofAge seals as age's own tool does, armored or not.
func ofAge(t *testing.T, armored bool, to ...age.Recipient) []byte {
	t.Helper()
	var out bytes.Buffer
	var dst io.WriteCloser = struct {
		io.Writer
		io.Closer
	}{&out, io.NopCloser(nil)}
	if armored {
		dst = armor.NewWriter(&out)
	}
	w, err := age.Encrypt(dst, to...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "text\n"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), dst.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func byPassphrase(t *testing.T, work int) age.Recipient {
	t.Helper()
	r, err := age.NewScryptRecipient("secret")
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(work)
	return r
}

func TestWhatAgeSealsUnderAPassphraseOpens(t *testing.T) {
	for _, armored := range []bool{true, false} {
		sealed := ofAge(t, armored, byPassphrase(t, 3))
		if got, err := OpenText(sealed, "secret"); err != nil || string(got) != "text\n" || !IsSealedText(sealed) {
			t.Errorf("armored %t: %q, %v", armored, got, err)
		}
	}
}

func TestAWrongPassphraseIsSaidToBeWrong(t *testing.T) {
	cheap(t)
	sealed, err := SealText([]byte("text"), "secret")
	if err != nil {
		t.Fatal(err)
	}
	for _, passphrase := range []string{"", "Secret", "secret "} {
		if got, err := OpenText(sealed, passphrase); errs.KindOf(err) != errs.Authentication || !errors.Is(err, ErrPassphrase) || got != nil {
			t.Errorf("%q: got %q, %v", passphrase, got, err)
		}
	}
}

func TestFilesThatNoPassphraseOpens(t *testing.T) {
	cheap(t)
	x, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := SealText([]byte("text"), "secret")
	if err != nil {
		t.Fatal(err)
	}
	// The work is in the header, so that it is refused before it is done: what
	// is asked for here would take 128 GiB.
	greedy := bytes.Replace(ofAge(t, false, byPassphrase(t, 1)), []byte(" 1\n"), []byte(" 27\n"), 1)
	flipped := bytes.Clone(ofAge(t, false, byPassphrase(t, 1)))
	flipped[len(flipped)-1] ^= 1
	for what, file := range map[string][]byte{
		"of a recipient":   ofAge(t, true, x.Recipient()),
		"of too much work": greedy,
		"cut off":          sealed[:len(sealed)/2],
		"flipped":          flipped,
		"nothing":          nil,
		"its first line":   []byte(armor.Header + "\n"),
	} {
		if got, err := OpenText(file, "secret"); errs.KindOf(err) != errs.KeyManagement || got != nil {
			t.Errorf("%s: got %q, %v", what, got, err)
		}
	}
	if !bytes.Contains(greedy, []byte(" 27\n")) {
		t.Error("the greedy file asks for little")
	}
}

func TestTextSealedToARecipient(t *testing.T) {
	id, to, err := NewIdentity([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := NewIdentity([32]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := SealTextTo([]byte("text"), to)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenTextOf(sealed, []Identity{other, id}); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := OpenTextOf(sealed, []Identity{other}); errs.KindOf(err) != errs.Decryption {
		t.Errorf("another identity: got %v", err)
	}
	if _, err := OpenTextOf(sealed[:len(sealed)-60], []Identity{id}); errs.KindOf(err) != errs.KeyManagement {
		t.Errorf("cut off: got %v", err)
	}
}
