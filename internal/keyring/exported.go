package keyring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

// exportedFile is where a home notes when its identity was last exported. It
// has no secret.
func exportedFile(identityFile string) string { return identityFile + ".exported" }

// exportedMagic begins the one line of that file: owner and time follow.
const exportedMagic = "datamesh-exported-1"

// MarkExported notes that the identity was exported. Kinds: as [Load].
func MarkExported(identityFile string, at time.Time) error {
	root, err := readRoot(identityFile)
	if err != nil {
		return err
	}
	ring, err := New(root)
	if err != nil {
		return err
	}
	return durable.WriteFile(exportedFile(identityFile), 0o600, true, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s %s %s\n", exportedMagic, ring.OwnerKey(), at.UTC().Format(time.RFC3339))
		return err
	})
}

// Exported returns when the identity was last exported from this home. The
// zero time means that this is not known to have happened. Kinds: as [Load].
func Exported(identityFile string) (time.Time, error) {
	ring, err := Load(identityFile)
	if err != nil {
		return time.Time{}, err
	}
	b, err := os.ReadFile(exportedFile(identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, errs.New(errs.IO, "%w", err)
	}
	words := strings.Fields(string(b))
	if len(words) != 3 || words[0] != exportedMagic || words[1] != ring.OwnerKey().String() {
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
