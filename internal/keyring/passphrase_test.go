package keyring

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/step"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// steps are told of each step while a test listens.
var steps func(name string)

func TestMain(m *testing.M) {
	crypt.WorkFactor = 2
	step.Reached = func(name string) {
		if steps != nil {
			steps(name)
		}
	}
	os.Exit(m.Run())
}

// asking returns the file at a path with somebody who knows a passphrase, and
// how often that one was asked.
func asking(path, passphrase string) (f *File, asked *int) {
	asked = new(int)
	return &File{Path: path, Ask: func(string) (string, error) { *asked++; return passphrase, nil }}, asked
}

// protected returns an identity file, with imported identities beside it, under
// the passphrase "secret".
func protected(t *testing.T) string {
	t.Helper()
	file := write(t, "identity", readFile(t, "testdata/v1/identity"))
	if err := os.WriteFile(moreFile(file), readFile(t, "testdata/v1/identity.age"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := At(file).SetPassphrase("secret"); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAPassphraseIsNeededAndAskedForOnce(t *testing.T) {
	file := protected(t)
	f, asked := asking(file, "secret")
	for range 3 {
		ring, err := f.Load()
		if err != nil || ring.OwnerKey() != golden.ownerKey() || len(ring.Identities) != 3 {
			t.Fatalf("got %v, %v, want the golden identity and two more", ring, err)
		}
	}
	if *asked != 1 {
		t.Errorf("the passphrase was asked for %d times", *asked)
	}
	if err := f.SetPassphrase("other"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); err != nil || *asked != 1 {
		t.Errorf("after a change, in the same process: %v, asked %d times", err, *asked)
	}
	// What another process has set is asked for anew.
	if err := func() error { g, _ := asking(file, "other"); return g.SetPassphrase("third") }(); err != nil {
		t.Fatal(err)
	}
	f, asked = asking(file, "third")
	if _, err := f.Load(); err != nil || *asked != 1 {
		t.Errorf("after a change by another: %v, asked %d times", err, *asked)
	}
}

// A thief of the home finds nothing of the secrets in any file of it.
func TestNoFileHasTheSecretsOfAProtectedIdentity(t *testing.T) {
	file := protected(t)
	for _, name := range []string{file, moreFile(file), file + ".public"} {
		b := readFile(t, name)
		if bytes.Contains(b, []byte("SECRET-KEY")) || bytes.Contains(b, []byte("DATAMESH-ROOT")) || bytes.Contains(b, golden[:]) {
			t.Errorf("%s has a secret: %s", name, b)
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
	if err != nil || len(left) != 3 {
		t.Errorf("%v lie there, %v", left, err)
	}
}

// What the standard tool does with the file.
func TestAgeOpensAProtectedIdentity(t *testing.T) {
	file := protected(t)
	id, err := age.NewScryptIdentity("secret")
	if err != nil {
		t.Fatal(err)
	}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(readFile(t, file))), id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, readFile(t, "testdata/v1/identity")) {
		t.Errorf("got %q, %v, want the same text as before", got, err)
	}
}

func TestAWrongPassphraseChangesAndOpensNothing(t *testing.T) {
	file := protected(t)
	before := readFile(t, file)
	for _, wrong := range []string{"Secret", "secret ", ""} {
		f, _ := asking(file, wrong)
		_, _, orNew := f.LoadOrNew()
		for what, err := range map[string]error{
			"load": second(f.Load()), "load or new": orNew, "words": second(f.Words()), "check": f.CheckWords(goldenWords),
			"words to a file": f.WriteWords(filepath.Join(t.TempDir(), "words")), "set": f.SetPassphrase("new"), "remove": f.SetPassphrase(""),
		} {
			if errs.KindOf(err) != errs.Authentication || !errors.Is(err, crypt.ErrPassphrase) || errs.HintFor(err) == "" {
				t.Errorf("%s with %q: got %v, hint %q", what, wrong, err, errs.HintFor(err))
			}
		}
	}
	// A file of the passphrase that is not there is not an identity that is not
	// there, in whose place another would be made.
	lost := &File{Path: file, Ask: func(string) (string, error) { return ReadPassphrase(filepath.Join(t.TempDir(), "none")) }}
	if _, isNew, err := lost.LoadOrNew(); errs.KindOf(err) != errs.Authentication || errors.Is(err, errs.FileNotFound) || isNew {
		t.Errorf("without the file of it: got %v", err)
	}
	if _, err := At(file).Load(); errs.KindOf(err) != errs.Authentication || !strings.Contains(errs.HintFor(err), "--passphrase-file") {
		t.Errorf("with nobody to ask: got %v, hint %q", err, errs.HintFor(err))
	}
	if !bytes.Equal(readFile(t, file), before) {
		t.Error("the file is another")
	}
}

func TestAPassphraseIsTakenOff(t *testing.T) {
	file := protected(t)
	f, _ := asking(file, "secret")
	if err := f.SetPassphrase(""); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{file: readFile(t, "testdata/v1/identity"), moreFile(file): readFile(t, "testdata/v1/identity.age")} {
		if got := readFile(t, name); !bytes.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if _, err := os.Lstat(file + ".public"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was noted beside it: %v", err)
	}
	if _, err := At(file).Load(); err != nil {
		t.Error(err)
	}
}

// At whatever step the power fails, the identity and those that were imported
// open: with the passphrase of before or with the new one, all with the same.
func TestAPowerCutLeavesAnIdentityThatOpens(t *testing.T) {
	reached := map[string]bool{}
	for from, to := range map[string]string{"": "new", "secret": "new", "old": ""} {
		file := write(t, "identity", readFile(t, "testdata/v1/identity"))
		if err := os.WriteFile(moreFile(file), readFile(t, "testdata/v1/identity.age"), 0o600); err != nil {
			t.Fatal(err)
		}
		if from != "" {
			if err := At(file).SetPassphrase(from); err != nil {
				t.Fatal(err)
			}
		}
		opens := func(at string) {
			reached[at] = true
			for _, passphrase := range []string{from, to} {
				f, _ := asking(file, passphrase)
				if ring, err := f.Load(); err == nil && ring.OwnerKey() == golden.ownerKey() && len(ring.Identities) == 3 {
					return
				}
			}
			t.Errorf("from %q to %q: cut at %q it does not open", from, to, at)
		}
		steps = opens
		f, _ := asking(file, from)
		err := f.SetPassphrase(to)
		steps = nil
		if err != nil {
			t.Fatal(err)
		}
		opens("the end")
	}
	if len(reached) != 4 {
		t.Errorf("only %v were reached", reached)
	}
}

func TestWhatIsImportedIntoAProtectedIdentityIsSealed(t *testing.T) {
	file := protected(t)
	f, _ := asking(file, "secret")
	more, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Import(write(t, "more", []byte(more.String()))); err != nil {
		t.Fatal(err)
	}
	if b := readFile(t, moreFile(file)); bytes.Contains(b, []byte("SECRET")) || !bytes.HasPrefix(b, []byte(armor.Header)) {
		t.Errorf("it is not sealed: %s", b)
	}
	if ring, err := f.Load(); err != nil || len(ring.Identities) != 4 {
		t.Errorf("got %v, %v, want four identities", ring, err)
	}
	if err := At(file).Import(write(t, "again", []byte(more.String()))); errs.KindOf(err) != errs.Authentication {
		t.Errorf("without the passphrase: got %v", err)
	}
}

func TestAProtectedIdentityKeepsItsPassphraseOnTheWayToAnotherHome(t *testing.T) {
	file := protected(t)
	copied := filepath.Join(t.TempDir(), "copy")
	if err := At(file).Export(copied); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readFile(t, copied), readFile(t, file)) {
		t.Error("the copy is another file")
	}
	other := filepath.Join(t.TempDir(), "identity")
	if f, _ := asking(other, "wrong"); errs.KindOf(f.Import(copied)) != errs.Authentication {
		t.Error("it is imported with a wrong passphrase")
	}
	if _, err := os.Lstat(other); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after a wrong passphrase: %v", err)
	}
	f, asked := asking(other, "secret")
	if err := f.Import(copied); err != nil {
		t.Fatal(err)
	}
	if ring, err := f.Load(); err != nil || ring.OwnerKey() != golden.ownerKey() || *asked != 1 {
		t.Errorf("got %v, %v, asked %d times", ring, err, *asked)
	}
	if !bytes.Equal(readFile(t, other), readFile(t, file)) {
		t.Error("its file is another one")
	}
	// Without the passphrase it is known whose it is, so that nobody replaces it.
	if err := At(other).Restore(Root{9}); errs.KindOf(err) != errs.Exists {
		t.Errorf("another identity: got %v", err)
	}
	if err := At(other).Restore(golden); err != nil {
		t.Errorf("the same identity: %v", err)
	}
	// age -p makes such a file, too, which has nothing beside it.
	if err := os.Remove(other + ".public"); err != nil {
		t.Fatal(err)
	}
	if got, err := f.OwnerKey(); err != nil || got != golden.ownerKey() {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestThePublicHalfOfAProtectedIdentityNeedsNoPassphrase(t *testing.T) {
	file := protected(t)
	want := newRing(t, golden)
	got, err := At(file).Public()
	if err != nil || got.Owner != want.OwnerKey() || got.Recipient != want.Recipient.String() {
		t.Errorf("got %v, %v", got, err)
	}
	if err := At(file).MarkVerified(markedAt); err != nil {
		t.Fatal(err)
	}
	if at, err := At(file).Verified(); err != nil || !at.Equal(markedAt) {
		t.Errorf("got %v, %v", at, err)
	}
	// One of another identity is found out when it is opened.
	other := filepath.Join(t.TempDir(), "identity")
	if _, _, err := At(other).LoadOrNew(); err != nil {
		t.Fatal(err)
	}
	if err := At(other).SetPassphrase("x"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".public", readFile(t, other+".public"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, _ := asking(file, "secret")
	if _, err := f.Load(); errs.KindOf(err) != errs.KeyManagement || !strings.HasPrefix(errs.HintFor(err), "rm ") {
		t.Errorf("got %v, hint %q", err, errs.HintFor(err))
	}
}

func TestSealedIdentitiesOfAnotherAreSaidToBe(t *testing.T) {
	file := protected(t)
	other := filepath.Join(t.TempDir(), "identity")
	if _, _, err := At(other).LoadOrNew(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(moreFile(other), readFile(t, moreFile(file)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := At(other).Load(); errs.KindOf(err) != errs.Decryption || !strings.Contains(errs.HintFor(err), "move it away") {
		t.Errorf("got %v, hint %q", err, errs.HintFor(err))
	}
}

func TestPassphrasesAreReadFromFiles(t *testing.T) {
	for content, want := range map[string]string{"secret": "secret", "secret\n": "secret", "secret\r\n": "secret", " two words \n": " two words ", "ä\n": "ä"} {
		if got, err := ReadPassphrase(write(t, "passphrase", []byte(content))); err != nil || got != want {
			t.Errorf("%q: got %q, %v", content, got, err)
		}
	}
	for _, content := range []string{"", "\n", "a\nb\n", "a\n\n", "a\x00", strings.Repeat("x", MaxPassphrase+1), strings.Repeat("x", maxFile+1)} {
		_, err := ReadPassphrase(write(t, "passphrase", []byte(content)))
		if errs.KindOf(err) != errs.KeyManagement || errs.HintFor(err) == "" && len(content) < maxFile {
			t.Errorf("%.20q: got %v, hint %q", content, err, errs.HintFor(err))
		}
	}
	if _, err := ReadPassphrase(filepath.Join(t.TempDir(), "none")); errs.KindOf(err) != errs.FileNotFound {
		t.Errorf("none: %v", err)
	}
	open := write(t, "passphrase", []byte("secret"))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPassphrase(open); errs.KindOf(err) != errs.KeyManagement || !strings.HasPrefix(errs.HintFor(err), "chmod 600 ") {
		t.Errorf("one that others may read: %v, hint %q", err, errs.HintFor(err))
	}
}

// Identities that version 1 has sealed under "secret", which open for ever.
func TestV1ProtectedIdentity(t *testing.T) {
	file := write(t, "identity", readFile(t, "testdata/v1/protected"))
	for _, name := range []string{"age", "public"} {
		if err := os.WriteFile(file+"."+name, readFile(t, "testdata/v1/protected."+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, _ := asking(file, "secret")
	ring, err := f.Load()
	if err != nil || ring.OwnerKey() != golden.ownerKey() || len(ring.Identities) != 3 {
		t.Errorf("got %v, %v", ring, err)
	}
	if p, err := At(file).Public(); err != nil || p.Owner != golden.ownerKey() {
		t.Errorf("got %v, %v", p, err)
	}
}

func FuzzProtectedIdentity(f *testing.F) {
	sealed, err := os.ReadFile("testdata/v1/protected")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(bytes.Replace(sealed, []byte("A"), []byte("B"), 1))
	f.Add([]byte(armor.Header))
	f.Add([]byte("age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 3\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, _ := asking(write(t, "identity", b), "secret")
		ring, err := g.Load()
		kinds := []errs.Kind{errs.KeyManagement, errs.Authentication}
		if err != nil && !slices.Contains(kinds, errs.KindOf(err)) || (ring == nil) == (err == nil) {
			t.Errorf("got %v, %v", ring, err)
		}
	})
}
