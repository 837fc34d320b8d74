package keyring

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/step"
)

// MaxPassphrase is the most bytes that a passphrase has.
const MaxPassphrase = 1024

// ReadPassphrase reads the passphrase that a file has on its only line, which
// others may not read. Kinds: FileNotFound, KeyManagement, IO.
func ReadPassphrase(file string) (string, error) {
	b, err := read(file, private)
	if err != nil {
		return "", errs.WithHint(fmt.Errorf("passphrase: %w", err), "%s", hintOr(err, "check the path"))
	}
	passphrase := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if err := CheckPassphrase(passphrase); err != nil {
		return "", errs.WithHint(errs.New(errs.KeyManagement, "%s: %w", file, err), "write the passphrase, and nothing else, to it, on one line")
	}
	return passphrase, nil
}

func hintOr(err error, otherwise string) string {
	if errs.KindOf(err) == errs.FileNotFound {
		return otherwise
	}
	return errs.HintFor(err)
}

// CheckPassphrase tells whether an identity may have that passphrase: one that
// can be typed on a line. Kind: Invalid.
func CheckPassphrase(passphrase string) error {
	switch {
	case passphrase == "":
		return errs.New(errs.Invalid, "the passphrase is empty")
	case len(passphrase) > MaxPassphrase:
		return errs.New(errs.Invalid, "the passphrase has more than %d bytes", MaxPassphrase)
	case strings.ContainsAny(passphrase, "\r\n\x00"):
		return errs.New(errs.Invalid, "the passphrase has more than one line")
	}
	return nil
}

// Protected reports whether the identity has a passphrase.
// Kinds: FileNotFound, KeyManagement, IO.
func (f *File) Protected() (bool, error) {
	b, err := f.read()
	return crypt.IsSealedText(b), err
}

// open opens a file that is sealed under a passphrase. What was tried last is
// not tried again, whether it fitted or not: it takes a second each time.
func (f *File) open(file string, sealed []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := sha256.Sum256(sealed)
	if f.passed.sealed == sum && f.passed.err == nil {
		return f.passed.text, nil
	}
	if f.Ask == nil {
		return nil, errs.WithHint(errs.New(errs.Authentication, "%s has a passphrase, and nobody can be asked for it", file),
			"give --passphrase-file FILE, or set keys.passphrase_file")
	}
	passphrase, err := f.Ask(file)
	if kind := errs.KindOf(err); kind == errs.FileNotFound || kind == errs.KeyManagement {
		// It is not the identity that is not there, or of no use.
		return nil, errs.WithHint(errs.New(errs.Authentication, "%v", err), "%s", errs.HintFor(err))
	}
	if err != nil {
		return nil, err
	}
	if f.passed.sealed != sum || f.passed.passphrase != passphrase {
		f.passed = passed{sealed: sum, passphrase: passphrase}
		f.passed.text, f.passed.err = crypt.OpenText(sealed, passphrase)
	}
	if err := f.passed.err; err != nil {
		err = fmt.Errorf("%s: %w", file, err)
		if errs.KindOf(err) == errs.Authentication {
			return nil, errs.WithHint(err, "try again; a forgotten passphrase cannot be had back, but the 24 words bring the identity into another home: datamesh --home DIR recover")
		}
		return nil, errs.WithHint(err, "bring the identity from a copy or its words into another home: datamesh --home DIR recover")
	}
	return f.passed.text, nil
}

// SetPassphrase seals the identity, and those that were imported, under a
// passphrase, or under none if it is empty. It opens them first, if they have
// one. Whenever the power fails, they open with the passphrase of before, or
// with the new one. Kinds: as [File.Load], and Encryption, Full.
func (f *File) SetPassphrase(passphrase string) error {
	root, err := f.homeRoot()
	if err != nil {
		return err
	}
	ring, err := New(root)
	if err != nil {
		return err
	}
	more, err := f.more(ring)
	if err != nil {
		return err
	}
	text, err := f.text()
	if err != nil {
		return err
	}
	if passphrase == "" {
		return f.unseal(ring, text, more)
	}
	sealed, err := crypt.SealText(text, passphrase)
	if err != nil {
		return err
	}
	if err := f.writePublic(root); err != nil {
		return err
	}
	if more != nil { // sealed to the identity, so that it opens before and after
		if err := f.writeMore(ring, more, true); err != nil {
			return err
		}
		step.At("keyring: passphrase: the imported identities are sealed")
	}
	if err := writeBytes(f.Path, sealed, true); err != nil {
		return err
	}
	step.At("keyring: passphrase: the identity is sealed")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passed = passed{sealed: sha256.Sum256(sealed), passphrase: passphrase, text: text}
	return nil
}

func (f *File) unseal(ring *Ring, text, more []byte) error {
	if err := writeBytes(f.Path, text, true); err != nil {
		return err
	}
	step.At("keyring: passphrase: the identity is open")
	if more != nil {
		if err := f.writeMore(ring, more, false); err != nil {
			return err
		}
	}
	if err := os.Remove(f.publicFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errs.New(errs.IO, "%w", err)
	}
	return nil
}

// A Public is what others may know of an identity.
type Public struct {
	Owner     datamesh.OwnerKey
	Recipient string // that others seal to
}

// publicMagic begins the one line of the file of the public half, which is
// beside that of an identity that is sealed: owner and recipient follow.
const publicMagic = "datamesh-public-1"

func (f *File) publicFile() string { return f.Path + ".public" }

// Public returns the public half of the identity. For one that is sealed it is
// noted beside it, so that nobody has to be asked. Kinds: as [File.Load].
func (f *File) Public() (Public, error) {
	sealed, err := f.Protected()
	if err != nil {
		return Public{}, err
	}
	if sealed {
		if p, ok := f.noted(); ok {
			return p, nil
		}
	}
	root, err := f.root()
	if err != nil {
		return Public{}, err
	}
	return publicOf(root)
}

func publicOf(root Root) (Public, error) {
	ring, err := New(root)
	if err != nil {
		return Public{}, err
	}
	return Public{ring.OwnerKey(), ring.Recipient.String()}, nil
}

func (f *File) noted() (p Public, ok bool) {
	b, err := read(f.publicFile(), anyMode)
	words := strings.Fields(string(b))
	if err != nil || len(words) != 3 || words[0] != publicMagic {
		return p, false
	}
	if err := p.Owner.UnmarshalText([]byte(words[1])); err != nil {
		return p, false
	}
	to, err := crypt.ParseRecipient(words[2])
	p.Recipient = to.String()
	return p, err == nil
}

// Note notes the public half of a ring beside an identity that is sealed, unless
// it is noted already. Kinds: as [File.Protected], Full.
func (f *File) Note(ring *Ring) error {
	sealed, err := f.Protected()
	if err != nil || !sealed {
		return err
	}
	p := Public{ring.OwnerKey(), ring.Recipient.String()}
	if noted, ok := f.noted(); ok && noted == p {
		return nil
	}
	return f.notePublic(p)
}

func (f *File) writePublic(root Root) error {
	p, err := publicOf(root)
	if err != nil {
		return err
	}
	return f.notePublic(p)
}

func (f *File) notePublic(p Public) error {
	return durable.WriteFile(f.publicFile(), 0o600, true, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s %s %s\n", publicMagic, p.Owner, p.Recipient)
		return err
	})
}
