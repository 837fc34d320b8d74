package keyring

import (
	"fmt"
	"io"
	"strings"
	"time"

	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

// A mark is something that was done with an identity in its home, which notes
// when it was done last, in a file beside that of the identity. It has no
// secret.
type mark string

const (
	made     mark = "made"     // here, and not brought
	exported mark = "exported" // to a file, or imported from one
	shown    mark = "shown"    // its words
	verified mark = "verified" // its words, as somebody has them
)

func (m mark) file(identityFile string) string { return identityFile + "." + string(m) }

// magic begins the one line of the file: owner and time follow.
func (m mark) magic() string { return "datamesh-" + string(m) + "-1" }

// MarkMade notes that the identity was made. Kinds: as [File.OwnerKey].
func (f *File) MarkMade(at time.Time) error { return made.set(f, at) }

// Made returns when the identity was made in this home. The zero time means that
// it was not, or that this is not known. Kinds: as [File.OwnerKey].
func (f *File) Made() (time.Time, error) { return made.time(f) }

// MarkExported notes that the identity was exported. Kinds: as [File.OwnerKey].
func (f *File) MarkExported(at time.Time) error { return exported.set(f, at) }

// MarkShown notes that the words of the identity were shown. Kinds: as [File.OwnerKey].
func (f *File) MarkShown(at time.Time) error { return shown.set(f, at) }

// MarkVerified notes that somebody has the words of the identity. Kinds: as
// [File.OwnerKey].
func (f *File) MarkVerified(at time.Time) error { return verified.set(f, at) }

// Exported returns when the identity was last exported from this home. The
// zero time means that this is not known to have happened. Kinds: as [File.OwnerKey].
func (f *File) Exported() (time.Time, error) { return exported.time(f) }

// Shown returns when the words of the identity were last shown in this home,
// or the zero time. Kinds: as [File.OwnerKey].
func (f *File) Shown() (time.Time, error) { return shown.time(f) }

// Verified returns when the words of the identity were last verified in this
// home, or the zero time. Kinds: as [File.OwnerKey].
func (f *File) Verified() (time.Time, error) { return verified.time(f) }

func (m mark) set(f *File, at time.Time) error {
	owner, err := f.OwnerKey()
	if err != nil {
		return err
	}
	return durable.WriteFile(m.file(f.Path), 0o600, true, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s %s %s\n", m.magic(), owner, at.UTC().Format(time.RFC3339))
		return err
	})
}

func (m mark) time(f *File) (time.Time, error) {
	owner, err := f.OwnerKey()
	if err != nil {
		return time.Time{}, err
	}
	b, err := read(m.file(f.Path), anyMode)
	if errs.KindOf(err) == errs.FileNotFound {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	words := strings.Fields(string(b))
	if len(words) != 3 || words[0] != m.magic() || words[1] != owner.String() {
		return time.Time{}, nil // of another version, or of the identity that was here before
	}
	at, err := time.Parse(time.RFC3339, words[2])
	if err != nil {
		return time.Time{}, nil
	}
	return at, nil
}

// Private checks that others may not read the key files of a home, as far as
// they are there. Kinds: KeyManagement, IO.
func Private(identityFile, nodeKeyFile string) error {
	for _, file := range []string{identityFile, moreFile(identityFile), nodeKeyFile} {
		if _, err := read(file, private); err != nil && errs.KindOf(err) != errs.FileNotFound {
			return err
		}
	}
	return nil
}
