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
			if _, _, err := LoadOrNew(file); err != nil {
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
			"identity":        second(Load(identity)),
			"identity or new": third(LoadOrNew(identity)),
			"export":          Export(identity, filepath.Join(dir, "to")),
			"node key":        second(NodeKey(node)),
			"age identities":  second(Load(more)),
			"check":           Private(identity, filepath.Join(dir, "none")),
			"check node":      Private(filepath.Join(dir, "none"), node),
			"check more":      Private(filepath.Join(dir, "other"), filepath.Join(dir, "none")),
		} {
			if errs.KindOf(err) != errs.KeyManagement || !strings.HasPrefix(errs.HintFor(err), "chmod 600 "+dir) {
				t.Errorf("%s of mode %o: got %v, hint %q", what, mode, err, errs.HintFor(err))
			}
		}
		if err := Import(identity, filepath.Join(dir, "imported")); err != nil {
			t.Errorf("import from mode %o: %v", mode, err)
		}
	}
	file := filepath.Join(t.TempDir(), "identity")
	if _, _, err := LoadOrNew(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err != nil {
		t.Errorf("read-only: %v", err)
	}
	if err := Private(file, filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("check of one that is private, and one that is not there: %v", err)
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }
