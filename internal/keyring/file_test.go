package keyring

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"datamesh/internal/crypt"
	"datamesh/internal/errs"

	"filippo.io/age"
	"github.com/btcsuite/btcd/btcutil/bech32"
)

// write writes a file that only its owner may read, and returns its path.
func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func readFile(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Files that version 1 has written, which are read for ever.

func TestV1Identity(t *testing.T) {
	file := readFile(t, "testdata/v1/identity")
	got, err := At(write(t, "identity", file)).Load()
	if err != nil {
		t.Fatal(err)
	}
	if want := newRing(t, golden); !got.Owner.Equal(want.Owner) || got.Recipient.String() != want.Recipient.String() {
		t.Error("it is another identity")
	}
	again := filepath.Join(t.TempDir(), "identity")
	if err := writeRoot(again, golden); err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{file, readFile(t, again)} { // of comments there may be others
		if !bytes.HasSuffix(b, []byte("\n"+secret+"\n")) {
			t.Errorf("it does not end with the golden secret: %s", b)
		}
	}
}

func TestV1NodeKey(t *testing.T) {
	key, err := NodeKey(write(t, "node.key", readFile(t, "testdata/v1/node.key")))
	if err != nil || [32]byte(key.Seed()) != golden {
		t.Errorf("got another key, %v", err)
	}
}

func TestV1AgeIdentities(t *testing.T) {
	file := write(t, "identity", readFile(t, "testdata/v1/identity"))
	if err := os.WriteFile(file+".age", readFile(t, "testdata/v1/identity.age"), 0o600); err != nil {
		t.Fatal(err)
	}
	ring, err := At(file).Load()
	if err != nil || len(ring.Identities) != 3 {
		t.Errorf("got %v, %v, want the user's own identity and two more", ring, err)
	}
}

func TestAnExportedIdentityIsImportedElsewhere(t *testing.T) {
	home := filepath.Join(t.TempDir(), "identity")
	ring, _, err := At(home).LoadOrNew()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := At(home).Export(copied); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "identity")
	for _, what := range []string{"first", "again"} {
		if err := At(other).Import(copied); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got, err := At(other).Load(); err != nil || got.OwnerKey() != ring.OwnerKey() {
			t.Errorf("%s: another identity, %v", what, err)
		}
	}
	for _, file := range []string{home, copied, other} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
}

func TestAnIdentityIsNeverReplaced(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	for _, file := range []string{a, b} {
		if _, _, err := At(file).LoadOrNew(); err != nil {
			t.Fatal(err)
		}
	}
	before := readFile(t, b)
	for what, err := range map[string]error{"import": At(b).Import(a), "export": At(a).Export(b)} {
		if errs.KindOf(err) != errs.Exists || errs.HintFor(err) == "" {
			t.Errorf("%s: got %v, hint %q", what, err, errs.HintFor(err))
		}
	}
	if !bytes.Equal(readFile(t, b), before) {
		t.Error("it was replaced")
	}
}

func TestImportedAgeIdentitiesOpenToo(t *testing.T) {
	home := filepath.Join(t.TempDir(), "identity")
	x, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	one := write(t, "one", []byte("# mine\n"+x.String()+"\n"))
	two := write(t, "two", []byte(pq.String()))
	for _, file := range []string{one, two, one} { // the third time it is there already
		if err := At(home).Import(file); err != nil {
			t.Fatal(err)
		}
	}
	ring, err := At(home).Load()
	if err != nil || len(ring.Identities) != 3 {
		t.Fatalf("got %d identities, want 3, %v", len(ring.Identities), err)
	}
	key := crypt.Key{1}
	for _, text := range []string{x.Recipient().String(), pq.Recipient().String(), ring.Recipient.String()} {
		to, err := crypt.ParseRecipient(text)
		if err != nil {
			t.Fatal(err)
		}
		wraps, err := crypt.Wrap(key, []crypt.Recipient{to})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := crypt.Unwrap(wraps, ring.Identities); err != nil || got != key {
			t.Errorf("%.20s…: %v", text, err)
		}
	}
	if info, err := os.Stat(home + ".age"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info, err)
	}
	if err := At(home).Import(write(t, "much", append([]byte(x.String()+"\n#"), make([]byte, maxFile-100)...))); errs.KindOf(err) != errs.KeyManagement {
		t.Errorf("more than can be read back: got %v", err)
	}
	if _, err := At(home).Load(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A user may have written the file without a newline at its end.
func TestAgeIdentitiesAreAddedToAFileThatDoesNotEndItsLine(t *testing.T) {
	file := write(t, "identity", readFile(t, "testdata/v1/identity"))
	have := bytes.TrimSpace(readFile(t, "testdata/v1/identity.age"))
	if err := os.WriteFile(file+".age", have, 0o600); err != nil {
		t.Fatal(err)
	}
	more, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if err := At(file).Import(write(t, "more", []byte(more.String()))); err != nil {
		t.Fatal(err)
	}
	ring, err := At(file).Load()
	if err != nil || len(ring.Identities) != 4 {
		t.Errorf("got %v, want the user's own identity and three more", err)
	}
}

// secret is the text of the golden root.
const secret = "DATAMESH-ROOT-1QYQQZQSRQSZSVPCGPY9QKRQDPC83QYGJZV2P29SHRQV35XCUR50P7XY047U"

func TestFilesThatHoldNoIdentityAreKeyErrorsWithoutTheSecret(t *testing.T) {
	node := strings.TrimSpace(string(readFile(t, "testdata/v1/node.key")))
	for what, content := range map[string]string{
		"empty":              "",
		"comments":           "# nothing\n\n# here\n",
		"prose":              "this is no identity\n",
		"two":                secret + "\n" + secret + "\n",
		"two in a line":      secret + " " + secret,
		"mixed case":         strings.ToLower(secret[:40]) + secret[40:],
		"cut":                secret[:len(secret)-1],
		"too long":           secret + "Q",
		"that of a node":     node,
		"the older checksum": encodeOld(t, "datamesh-root-", append([]byte{1}, golden[:]...)),
		"version 0":          encodeAny(t, "datamesh-root-", append([]byte{0}, golden[:]...)),
		"31 bytes":           encodeAny(t, "datamesh-root-", append([]byte{1}, golden[:31]...)),
		"33 bytes":           encodeAny(t, "datamesh-root-", append([]byte{1, 1}, golden[:]...)),
		"no bytes":           encodeAny(t, "datamesh-root-", nil),
		"another kind":       encodeAny(t, "datamesh-boot-", append([]byte{1}, golden[:]...)),
		"a broken age key":   "AGE-SECRET-KEY-1" + secret[16:40],
	} {
		file := write(t, "identity", []byte(content))
		for op, err := range map[string]error{
			"load":   second(At(file).Load()),
			"import": At(filepath.Join(t.TempDir(), "identity")).Import(file),
		} {
			if errs.KindOf(err) != errs.KeyManagement || errs.HintFor(err) == "" && op == "load" {
				t.Errorf("%s %s: got %v, hint %q", op, what, err, errs.HintFor(err))
			} else if !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), secret[16:24]) {
				t.Errorf("%s %s: the error has the secret, or not the file: %v", op, what, err)
			}
		}
	}
}

// What to do about a damaged file depends on whose it is.
func TestHintOfADamagedFile(t *testing.T) {
	damaged, sound := write(t, "damaged", nil), filepath.Join(t.TempDir(), "sound")
	if _, _, err := At(sound).LoadOrNew(); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[string]error{
		"datamesh keys import FILE": At(damaged).Import(sound),
		"datamesh keys export":      At(filepath.Join(t.TempDir(), "new")).Import(damaged),
		"new key and peer id":       second(NodeKey(damaged)),
	} {
		if !strings.Contains(errs.HintFor(err), want) {
			t.Errorf("hint %q of %v, want %q in it", errs.HintFor(err), err, want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func encodeAny(t testing.TB, prefix string, b []byte) string {
	t.Helper()
	words, err := bech32.ConvertBits(b, 8, 5, true)
	if err != nil {
		t.Fatal(err)
	}
	text, err := bech32.EncodeM(prefix, words)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToUpper(text)
}

func encodeOld(t testing.TB, prefix string, b []byte) string {
	t.Helper()
	text, err := bech32.EncodeFromBase256(prefix, b)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToUpper(text)
}

func TestEveryMistypedCharacterIsFound(t *testing.T) {
	for i := range secret {
		typo := []byte(secret)
		if typo[i]++; typo[i] == 'B' || typo[i] == 'I' || typo[i] == 'O' {
			typo[i]++ // not of the alphabet
		}
		if root, err := parseSecret("f", rootPrefix, typo, ""); err == nil {
			t.Errorf("character %d: read as %x", i, root)
		}
	}
}

func TestANewerIdentitySaysSo(t *testing.T) {
	for _, size := range []int{1, 32, 40} { // whatever it is
		file := write(t, "identity", []byte(encodeAny(t, "datamesh-root-", append([]byte{2}, make([]byte, size)...))))
		if _, err := At(file).Load(); errs.KindOf(err) != errs.KeyManagement || !strings.Contains(errs.HintFor(err), "update datamesh") {
			t.Errorf("got %v, hint %q", err, errs.HintFor(err))
		}
	}
}

func TestWhatSurroundsASecretDoesNotCount(t *testing.T) {
	for _, content := range []string{secret, "\r\n# a\r\n  " + secret + "\t\r\n\r\n", strings.ToLower(secret) + "\n# end"} {
		if root, err := At(write(t, "identity", []byte(content))).root(); err != nil || root != golden {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestAFileTooLargeForKeysIsNotReadWhole(t *testing.T) {
	file := write(t, "identity", append([]byte(secret+"\n#"), make([]byte, maxFile)...))
	if _, err := At(file).Load(); errs.KindOf(err) != errs.KeyManagement {
		t.Errorf("got %v", err)
	}
}

func TestMissingAndUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	for what, err := range map[string]error{
		"load":   second(At(missing).Load()),
		"export": At(missing).Export(filepath.Join(dir, "to")),
		"import": At(filepath.Join(dir, "identity")).Import(missing),

		"export to no directory": At(write(t, "identity", []byte(secret))).Export(filepath.Join(missing, "to")),
	} {
		if errs.KindOf(err) != errs.FileNotFound {
			t.Errorf("%s: got %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"load":   second(At(dir).Load()), // a directory
		"export": At(write(t, "identity", []byte(secret))).Export(filepath.Join(dir, "\x00")),
	} {
		if kind := errs.KindOf(err); kind != errs.IO && kind != errs.KeyManagement || err == nil {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 1 {
		t.Errorf("%v is left, %v", files, err)
	}
}

func FuzzParseSecret(f *testing.F) {
	f.Add([]byte(secret))
	f.Add(readFile(f, "testdata/v1/identity"))
	f.Add(readFile(f, "testdata/v1/node.key"))
	f.Fuzz(func(t *testing.T, b []byte) {
		root, err := parseSecret("f", rootPrefix, b, "")
		if err != nil {
			return
		}
		text, err := encodeSecret(rootPrefix, root)
		if err != nil || !strings.Contains(strings.ToUpper(string(b)), text) {
			t.Errorf("%q was read as %s, %v", b, text, err)
		}
	})
}
