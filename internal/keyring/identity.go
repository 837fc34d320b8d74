package keyring

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

// A File is the identity file of a user, with those beside it, which may be
// sealed under a passphrase. Once it was opened it stays open for this File, as
// long as what is on the disk stays the same. It is safe for concurrent use, but
// for its fields, which are not changed once it is used.
type File struct {
	Path string
	Ask  func(file string) (passphrase string, err error) // is called when that of a file is needed; nil: nobody can be asked

	Plugins *crypt.UI // through which the programs of plugins talk; nil: none is run, and what they open stays closed

	mu      sync.Mutex
	passed  passed
	derived *Ring // of the root that was read last; is not changed
}

// passed is what came of the last passphrase that was tried.
type passed struct {
	sealed     [sha256.Size]byte // the hash of the file that it was for
	passphrase string
	text       []byte // of the file
	err        error
}

// At returns the identity file at a path, for whose passphrase nobody is asked.
func At(path string) *File { return &File{Path: path} }

// Load reads the ring of the identity, with the further identities that were
// imported beside it. Kinds: FileNotFound, KeyManagement (also for a file that
// others may read), Authentication (it has a passphrase, which is wrong or which
// nobody can be asked for), IO.
func (f *File) Load() (*Ring, error) {
	root, err := f.root()
	if err != nil {
		return nil, err
	}
	ring, err := f.ringOf(root)
	if err != nil {
		return nil, err
	}
	more, err := f.more(ring)
	if err != nil {
		return nil, err
	}
	ids, err := parseMore(moreFile(f.Path), more)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if id.Plugin() != "" {
			ring.Plugins = append(ring.Plugins, id.Plugin())
			if f.Plugins == nil {
				continue
			}
			if id, err = id.Through(f.Plugins); err != nil {
				return nil, err
			}
		}
		ring.Identities = append(ring.Identities, id)
	}
	return ring, nil
}

// ringOf derives the ring of a root, but the same again only once.
func (f *File) ringOf(root Root) (*Ring, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.derived == nil || f.derived.root != root {
		derived, err := New(root)
		if err != nil {
			return nil, err
		}
		f.derived = derived
	}
	ring := *f.derived
	ring.Identities = slices.Clip(ring.Identities) // the caller's get a place of their own
	return &ring, nil
}

// LoadOrNew reads the ring of the identity, or makes a new identity when there
// is none, which it tells. Two processes that do so at once get the same
// identity. Kinds: as [File.Load].
func (f *File) LoadOrNew() (ring *Ring, isNew bool, err error) {
	ring, err = f.Load()
	if errs.KindOf(err) != errs.FileNotFound {
		return ring, false, err
	}
	err = writeRoot(f.Path, NewRoot())
	if err != nil && errs.KindOf(err) != errs.Exists {
		return nil, false, err
	}
	isNew = err == nil
	ring, err = f.Load()
	return ring, isNew, err
}

// Export copies the identity to a new file of mode 0600, which [File.Import]
// reads, in a directory that is there. What has a passphrase keeps it.
// Kinds: Exists, FileNotFound, KeyManagement, IO, Full.
func (f *File) Export(dst string) error {
	b, err := f.read()
	if err != nil {
		return NoIdentity(err)
	}
	if err := inDir(dst); err != nil {
		return err
	}
	if crypt.IsSealedText(b) {
		return writeBytes(dst, b, false)
	}
	root, err := parseRoot(f.Path, b)
	if err != nil {
		return err
	}
	return writeRoot(dst, root)
}

// Import makes the identity in src that of this file, or, when src holds age
// identities, adds those to what the user can open. An identity is never
// replaced by another. src may have any permissions: it may come from a medium
// that has none. One that has a passphrase keeps it. Kinds: Exists,
// FileNotFound, KeyManagement, Authentication, IO, Full.
func (f *File) Import(src string) error {
	sealed, err := read(src, anyMode)
	if err != nil {
		return err
	}
	text := sealed
	if crypt.IsSealedText(sealed) {
		if text, err = f.open(src, sealed); err != nil {
			return err
		}
	}
	if isAge(text) {
		return f.importMore(src, text)
	}
	root, err := parseSecret(src, rootPrefix, text, `a file written by "datamesh keys export" is needed`)
	if err != nil {
		return err
	}
	if err = f.restore(root, sealed); errors.Is(err, errs.Exists) {
		err = errs.WithHint(err, "import into a fresh home: datamesh --home DIR keys import %s", src)
	}
	return err
}

// isAge reports whether a text has age identities.
func isAge(text []byte) bool {
	for _, begin := range []string{"AGE-SECRET-KEY-", "AGE-PLUGIN-"} {
		if bytes.HasPrefix(text, []byte(begin)) || bytes.Contains(text, []byte("\n"+begin)) {
			return true
		}
	}
	return false
}

// Restore makes the identity of a root that of this file. An identity is never
// replaced by another. Kinds: Exists, KeyManagement, IO, Full.
func (f *File) Restore(root Root) error { return f.restore(root, nil) }

// restore writes the identity as it is sealed, if it is.
func (f *File) restore(root Root, sealed []byte) error {
	var err error
	if crypt.IsSealedText(sealed) {
		if err = writeBytes(f.Path, sealed, false); err == nil {
			return f.writePublic(root)
		}
	} else {
		err = writeRoot(f.Path, root)
	}
	if errs.KindOf(err) != errs.Exists {
		return err
	}
	if have, err := f.OwnerKey(); err != nil || have == root.ownerKey() {
		return err
	}
	return errs.New(errs.Exists, "this home has another identity already: %s", f.Path)
}

// root reads the root, and asks for the passphrase if it has one.
func (f *File) root() (Root, error) {
	text, err := f.text()
	if err != nil {
		return Root{}, err
	}
	return parseRoot(f.Path, text)
}

// text returns what the file has when it is not sealed.
func (f *File) text() ([]byte, error) {
	b, err := f.read()
	if err != nil || !crypt.IsSealedText(b) {
		return b, err
	}
	text, err := f.open(f.Path, b)
	if err != nil {
		return nil, err
	}
	root, err := parseRoot(f.Path, text)
	if err != nil {
		return nil, err
	}
	if p, ok := f.noted(); ok && p.Owner != root.ownerKey() {
		return nil, errs.WithHint(errs.New(errs.KeyManagement, "%s is of another identity than %s", f.publicFile(), f.Path), "rm %s", f.publicFile())
	}
	return text, nil
}

// homeRoot reads the root of a home, and says what to do if there is none.
func (f *File) homeRoot() (Root, error) {
	root, err := f.root()
	return root, NoIdentity(err)
}

// NoIdentity adds to an error that an identity is not there what to do about it.
func NoIdentity(err error) error {
	if !errors.Is(err, errs.FileNotFound) {
		return err
	}
	return errs.WithHint(err, `"datamesh keys init" makes an identity, "datamesh keys import FILE" brings one`)
}

func (f *File) read() ([]byte, error) { return read(f.Path, private) }

func parseRoot(file string, text []byte) (Root, error) {
	return parseSecret(file, rootPrefix, text, "move it away and bring yours back: datamesh keys import FILE")
}

func writeRoot(file string, root Root) error {
	text, err := rootText(root)
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return writeBytes(file, text, false)
}

// rootText is what an identity file has that is not sealed.
func rootText(root Root) ([]byte, error) {
	text, err := encodeSecret(rootPrefix, root)
	if err != nil {
		return nil, errs.New(errs.KeyManagement, "write the identity: %w", err)
	}
	return fmt.Appendf(nil, `# DataMesh identity of %s.
# Whoever has this file can read and delete what is stored with it; without it that is lost.
%s
`, root.ownerKey(), text), nil
}

// moreFile is where age identities lie that were imported into a home. In one
// whose identity has a passphrase they are sealed to that identity.
func moreFile(identityFile string) string { return identityFile + ".age" }

// more returns the text of the age identities that were imported, if there are any.
func (f *File) more(ring *Ring) ([]byte, error) {
	file := moreFile(f.Path)
	b, err := read(file, private)
	if errs.KindOf(err) == errs.FileNotFound {
		return nil, nil
	}
	if err != nil || !crypt.IsSealedText(b) {
		return b, err
	}
	text, err := crypt.OpenTextOf(b, ring.Identities[:1])
	if err != nil {
		return nil, errs.WithHint(fmt.Errorf("%s: %w", file, err), "it belongs to another identity, or is damaged: move it away, and import those keys again")
	}
	return text, nil
}

func parseMore(file string, text []byte) ([]crypt.Identity, error) {
	if text == nil {
		return nil, nil
	}
	ids, err := crypt.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return ids, nil
}

func (f *File) importMore(src string, text []byte) error {
	if _, err := parseMore(src, text); err != nil {
		return err
	}
	ring, _, err := f.LoadOrNew()
	if err != nil {
		return err
	}
	have, err := f.more(ring)
	if err != nil {
		return err
	}
	if bytes.Contains(have, bytes.TrimSpace(text)) {
		return nil
	}
	all := bytes.Join([][]byte{have, text, nil}, []byte("\n")) // what is there may not end its last line
	sealed, err := f.Protected()
	if err != nil {
		return err
	}
	return f.writeMore(ring, all, sealed)
}

// writeMore writes the age identities, sealed to the user's own or not.
func (f *File) writeMore(ring *Ring, text []byte, sealed bool) error {
	b := text
	if sealed {
		var err error
		if b, err = crypt.SealTextTo(text, ring.Recipient); err != nil {
			return err
		}
	}
	if len(b) > maxFile {
		return errs.New(errs.KeyManagement, "%s would have more than %d bytes", moreFile(f.Path), maxFile)
	}
	return writeBytes(moreFile(f.Path), b, true)
}

// writeBytes writes a key file.
func writeBytes(file string, b []byte, replace bool) error {
	write := func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
	if replace {
		return durable.WriteFile(file, 0o600, true, write)
	}
	return writeNew(file, write)
}

// OwnerKey returns the public key of the identity. It asks for no passphrase if
// the public half is known. Kinds: as [File.Load].
func (f *File) OwnerKey() (datamesh.OwnerKey, error) {
	public, err := f.Public()
	return public.Owner, err
}
