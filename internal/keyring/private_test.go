//go:build unix

package keyring

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"datamesh/internal/errs"
)

func TestKeysThatOthersMayReadAreRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o640, 0o604, 0o644, 0o620, 0o601, 0o777} {
		dir := t.TempDir()
		identity, node, more := filepath.Join(dir, "identity"), filepath.Join(dir, "node.key"), filepath.Join(dir, "other")
		for _, file := range []string{identity, more} {
			if _, _, err := At(file).LoadOrNew(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := NodeKey(node); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(more+".age", readFile(t, "testdata/v1/identity.age"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{identity, node, more + ".age"} {
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
		}
		for what, err := range map[string]error{
			"identity":        second(At(identity).Load()),
			"identity or new": third(At(identity).LoadOrNew()),
			"export":          At(identity).Export(filepath.Join(dir, "to")),
			"node key":        second(NodeKey(node)),
			"age identities":  second(At(more).Load()),
			"check":           Private(identity, filepath.Join(dir, "none")),
			"check node":      Private(filepath.Join(dir, "none"), node),
			"check more":      Private(filepath.Join(dir, "other"), filepath.Join(dir, "none")),
		} {
			if errs.KindOf(err) != errs.KeyManagement || !strings.HasPrefix(errs.HintFor(err), "chmod 600 "+dir) {
				t.Errorf("%s of mode %o: got %v, hint %q", what, mode, err, errs.HintFor(err))
			}
		}
		if err := At(filepath.Join(dir, "imported")).Import(identity); err != nil {
			t.Errorf("import from mode %o: %v", mode, err)
		}
	}
	file := filepath.Join(t.TempDir(), "identity")
	if _, _, err := At(file).LoadOrNew(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := At(file).Load(); err != nil {
		t.Errorf("read-only: %v", err)
	}
	if err := Private(file, filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("check of one that is private, and one that is not there: %v", err)
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }
