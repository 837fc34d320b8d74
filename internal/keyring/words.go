package keyring

import (
	"fmt"
	"io"

	"datamesh/internal/errs"
)

// Words returns the words of the identity. Kinds: as [File.Load].
func (f *File) Words() (Phrase, error) {
	root, err := f.homeRoot()
	if err != nil {
		return Phrase{}, err
	}
	return root.Phrase(), nil
}

// WriteWords writes the words of the identity to a new file of mode 0600,
// which [ParsePhrase] reads, in a directory that is there.
// Kinds: Exists, Full, and those of [File.Load].
func (f *File) WriteWords(dst string) error {
	root, err := f.homeRoot()
	if err != nil {
		return err
	}
	if err := inDir(dst); err != nil {
		return err
	}
	return writeNew(dst, func(w io.Writer) error {
		text := fmt.Appendf(nil, `# The %d words of the DataMesh identity of %s.
# Whoever has them can read and delete what is stored with it.
`, PhraseWords, root.ownerKey())
		for i, word := range root.Phrase() {
			text = fmt.Appendf(text, "%2d. %s\n", i+1, word)
		}
		_, err := w.Write(text)
		return err
	})
}

// CheckWords finds out whether a text has the words of the identity, as
// [ParsePhrase] reads them. Kinds: KeyManagement (they are of no identity),
// Authentication (they are of another), and those of [File.Load].
func (f *File) CheckWords(text string) error {
	root, err := f.homeRoot()
	if err != nil {
		return err
	}
	typed, err := ParsePhrase(text)
	if err != nil {
		return err
	}
	if typed != root {
		return errs.WithHint(errs.New(errs.Authentication, "these are the words of another identity, %s", typed.ownerKey()),
			"that of this home is %s: look for its words, or give the home of the other one with --home DIR", root.ownerKey())
	}
	return nil
}
