package keyring

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"datamesh/internal/errs"
)

var markedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// marks are all marks, with what sets and reads them.
var marks = map[string]struct {
	set func(*File, time.Time) error
	get func(*File) (time.Time, error)
}{
	"made":     {(*File).MarkMade, (*File).Made},
	"exported": {(*File).MarkExported, (*File).Exported},
	"shown":    {(*File).MarkShown, (*File).Shown},
	"verified": {(*File).MarkVerified, (*File).Verified},
}

// Of the two golden marks of each name own is that of the golden identity, and
// identity that of another.
func TestV1Marks(t *testing.T) {
	for name, m := range marks {
		mark := readFile(t, "testdata/v1/own."+name)
		file := write(t, "identity", readFile(t, "testdata/v1/identity"))
		if err := os.WriteFile(file+"."+name, mark, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := m.get(At(file)); err != nil || !got.Equal(markedAt) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, markedAt)
		}
		again := write(t, "identity", readFile(t, "testdata/v1/identity"))
		if err := m.set(At(again), markedAt.In(time.FixedZone("", 7200)).Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if got := readFile(t, again+"."+name); !bytes.Equal(got, mark) {
			t.Errorf("%s: got %q, want %q", name, got, mark)
		}
		if bytes.Contains(mark, []byte(secret)) || bytes.Contains(mark, golden[:]) || bytes.Contains(mark, []byte("abandon")) {
			t.Errorf("%s: the mark has the secret", name)
		}
	}
}

// A mark that says nothing of this identity is as good as none.
func TestOnlyTheMarkOfThisIdentityCounts(t *testing.T) {
	for name, m := range marks {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "identity")
			if _, err := m.get(At(file)); !errors.Is(err, errs.FileNotFound) {
				t.Errorf("without an identity: got %v, want FileNotFound", err)
			}
			if err := m.set(At(file), markedAt); !errors.Is(err, errs.FileNotFound) {
				t.Errorf("mark without an identity: got %v, want FileNotFound", err)
			}
			ring, _, err := At(file).LoadOrNew()
			if err != nil {
				t.Fatal(err)
			}
			never := func(what string) {
				t.Helper()
				if at, err := m.get(At(file)); err != nil || !at.IsZero() {
					t.Errorf("%s: got %v, %v, want never", what, at, err)
				}
			}
			never("new")
			owner := ring.OwnerKey().String()
			for what, mark := range map[string]string{
				"of another identity": string(readFile(t, "testdata/v1/identity."+name)),
				"empty":               "",
				"of a newer version":  "datamesh-" + name + "-2 " + owner + " 2026-01-02T03:04:05Z\n",
				"of something else":   "datamesh-seen-1 " + owner + " 2026-01-02T03:04:05Z\n",
				"without a time":      "datamesh-" + name + "-1 " + owner + " yesterday\n",
				"cut short":           "datamesh-" + name + "-1 " + owner,
				"binary":              "\x00\xff",
			} {
				if err := os.WriteFile(file+"."+name, []byte(mark), 0o600); err != nil {
					t.Fatal(err)
				}
				never(what)
			}
			for _, at := range []time.Time{markedAt, markedAt.Add(time.Hour)} { // the second replaces the first
				if err := m.set(At(file), at); err != nil {
					t.Fatal(err)
				}
				if got, err := m.get(At(file)); err != nil || !got.Equal(at) {
					t.Errorf("got %v, %v, want %v", got, err, at)
				}
			}
			for other, m := range marks {
				if at, err := m.get(At(file)); err != nil || at.IsZero() == (other == name) {
					t.Errorf("%s counts for %s: %v, %v", name, other, at, err)
				}
			}
		})
	}
}
