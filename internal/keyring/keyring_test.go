package keyring

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"datamesh/internal/errs"
)

// golden is the root of the golden files: the bytes 0, 1, … 31.
var golden = func() (r Root) {
	for i := range r {
		r[i] = byte(i)
	}
	return r
}()

func newRing(t testing.TB, root Root) *Ring {
	t.Helper()
	ring, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func TestEverySecretIsItsOwn(t *testing.T) {
	seen := map[[32]byte]string{golden: "the root itself"}
	note := func(what string, secret [32]byte) {
		if other, ok := seen[secret]; ok {
			t.Errorf("%s is %s", what, other)
		}
		seen[secret] = what
	}
	note("the owner's seed", [32]byte(golden.Owner().Seed()))
	note("the catalog's key", golden.Catalog())
	for epoch := range 12 {
		note(fmt.Sprint("epoch ", epoch), golden.Sealing(epoch))
	}
	other := golden
	other[31] ^= 1
	note("another owner's seed", [32]byte(other.Owner().Seed()))
	note("another catalog's key", other.Catalog())
	note("another epoch 0", other.Sealing(0))
}

func TestNewRootsDiffer(t *testing.T) {
	a, b := NewRoot(), NewRoot()
	if a == b || a == (Root{}) {
		t.Error("they do not")
	}
	if newRing(t, a).OwnerKey() == newRing(t, b).OwnerKey() {
		t.Error("their owners are the same")
	}
}

func TestFirstUseMakesAnIdentityThatStays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deep", "home", "identity")
	if _, err := At(file).Load(); errs.KindOf(err) != errs.FileNotFound {
		t.Errorf("before: got %v", err)
	}
	made, isNew, err := At(file).LoadOrNew()
	if err != nil || !isNew {
		t.Fatalf("first: new %v, %v", isNew, err)
	}
	again, isNew, err := At(file).LoadOrNew()
	if err != nil || isNew || again.OwnerKey() != made.OwnerKey() || again.Recipient.String() != made.Recipient.String() {
		t.Errorf("second: new %v, %v", isNew, err)
	}
	if loaded, err := At(file).Load(); err != nil || loaded.OwnerKey() != made.OwnerKey() || len(loaded.Identities) != 1 {
		t.Errorf("load: %v", err)
	}
}

func TestManyFirstUsesAtOnceMakeOneIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "identity")
	const n = 16
	var group sync.WaitGroup
	var mu sync.Mutex // guards the rest
	owners, made := map[string]bool{}, 0
	for range n {
		group.Go(func() {
			ring, isNew, err := At(file).LoadOrNew()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			owners[ring.OwnerKey().String()] = true
			if isNew {
				made++
			}
		})
	}
	group.Wait()
	if len(owners) != 1 || made != 1 {
		t.Errorf("%d identities, %d told that theirs is new", len(owners), made)
	}
	files, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(files) != 1 {
		t.Errorf("%v is left, %v", files, err)
	}
}

func TestANodeKeyStays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "node.key")
	a, err := NodeKey(file)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := NodeKey(file); err != nil || !a.Equal(b) {
		t.Errorf("second: %v", err)
	}
	if b, err := NodeKey(filepath.Join(t.TempDir(), "node.key")); err != nil || a.Equal(b) {
		t.Errorf("another node has the same, %v", err)
	}
}

func TestNoVerbPrintsARing(t *testing.T) {
	ring := newRing(t, golden)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{ring, *ring} {
			if text := fmt.Sprintf(verb, v); text != "(ring)" {
				t.Errorf("%s of a %T: %s", verb, v, text)
			}
		}
	}
}

func TestNoVerbPrintsARoot(t *testing.T) {
	root := Root(bytes.Repeat([]byte("R"), 32))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{root, &root, struct{ Root Root }{root}} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "RR") || strings.Contains(text, "52") || strings.Contains(text, "82") {
				t.Errorf("%s: %s", verb, text)
			}
		}
	}
}
