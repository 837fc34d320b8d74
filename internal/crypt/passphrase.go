package crypt

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"datamesh/internal/errs"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// WorkFactor is the work of a passphrase that is set, as the logarithm of
// scrypt's N: age's default, about a second and 256 MiB. Only the main function
// of a test lowers it, before anything else runs.
var WorkFactor = 18

// MaxWorkFactor is the most that is done for a file: 1 GiB of memory, and some
// seconds.
const MaxWorkFactor = 20

// ErrPassphrase is the cause of the errors of a passphrase that does not fit.
var ErrPassphrase = errors.New("the passphrase is wrong")

// IsSealedText reports whether a file is one of age, armored or not.
func IsSealedText(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(b), []byte(armor.Header)) || bytes.HasPrefix(b, []byte("age-encryption.org/"))
}

// SealText seals a text under a passphrase: a file of age, armored, that its own
// tool opens, too. The passphrase must not be empty. Kind: Encryption.
func SealText(text []byte, passphrase string) ([]byte, error) {
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, errs.New(errs.Encryption, "passphrase: %w", err)
	}
	r.SetWorkFactor(WorkFactor)
	return sealText(text, r)
}

// SealTextTo seals a text to a recipient, in the form of [SealText].
// Kind: Encryption.
func SealTextTo(text []byte, to Recipient) ([]byte, error) { return sealText(text, to.age) }

func sealText(text []byte, to age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, to)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = armored.Close()
	}
	if err != nil {
		return nil, errs.New(errs.Encryption, "seal: %w", err)
	}
	return out.Bytes(), nil
}

// OpenText opens what [SealText], or age itself, has sealed under a passphrase.
// What it returns is no longer than the file. Kinds: Authentication
// ([ErrPassphrase]), KeyManagement (it is not sealed under a passphrase, takes
// more than [MaxWorkFactor], or is damaged).
func OpenText(sealed []byte, passphrase string) ([]byte, error) {
	stanza, err := firstStanza(sealed)
	if err != nil {
		return nil, errs.New(errs.KeyManagement, "a damaged file of age: %w", err)
	}
	if !strings.HasPrefix(stanza, "-> scrypt ") {
		return nil, errs.New(errs.KeyManagement, "a file of age that is not sealed under a passphrase")
	}
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, errs.New(errs.Authentication, "%w: it is empty", ErrPassphrase)
	}
	id.SetMaxWorkFactor(MaxWorkFactor)
	text, err := openText(sealed, id)
	if noMatch := new(age.NoIdentityMatchError); errors.As(err, &noMatch) {
		return nil, errs.New(errs.Authentication, "%w", ErrPassphrase)
	}
	if err != nil {
		return nil, errs.New(errs.KeyManagement, "a file of age that cannot be opened: %w", err)
	}
	return text, nil
}

// OpenTextOf opens what [SealTextTo] has sealed to the recipient of one of the
// identities. Kinds: Decryption (to none of them), KeyManagement (it is damaged).
func OpenTextOf(sealed []byte, ids []Identity) ([]byte, error) {
	all := make([]age.Identity, len(ids))
	for i, id := range ids {
		all[i] = id.age
	}
	text, err := openText(sealed, all...)
	if noMatch := new(age.NoIdentityMatchError); errors.As(err, &noMatch) {
		return nil, errs.New(errs.Decryption, "sealed for another identity")
	}
	if err != nil {
		return nil, errs.New(errs.KeyManagement, "a file of age that cannot be opened: %w", err)
	}
	return text, nil
}

func openText(sealed []byte, ids ...age.Identity) ([]byte, error) {
	r, err := age.Decrypt(unarmored(sealed), ids...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r) // of at most len(sealed) bytes
}

func unarmored(sealed []byte) io.Reader {
	if bytes.HasPrefix(bytes.TrimSpace(sealed), []byte(armor.Header)) {
		return armor.NewReader(bytes.NewReader(sealed))
	}
	return bytes.NewReader(sealed)
}

// firstStanza returns the line that begins the first recipient of a file.
func firstStanza(sealed []byte) (string, error) {
	lines := bufio.NewReader(unarmored(sealed))
	if _, err := lines.ReadString('\n'); err != nil {
		return "", err
	}
	return lines.ReadString('\n')
}
