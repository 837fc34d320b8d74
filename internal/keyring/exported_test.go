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

var exportedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Of the two golden marks own.exported is that of the golden identity, and
// identity.exported that of another.
func TestV1Exported(t *testing.T) {
	mark := readFile(t, "testdata/v1/own.exported")
	file := write(t, "identity", readFile(t, "testdata/v1/identity"))
	if err := os.WriteFile(file+".exported", mark, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Exported(file); err != nil || !got.Equal(exportedAt) {
		t.Errorf("got %v, %v, want %v", got, err, exportedAt)
	}
	again := write(t, "identity", readFile(t, "testdata/v1/identity"))
	if err := MarkExported(again, exportedAt.In(time.FixedZone("", 7200)).Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, again+".exported"); !bytes.Equal(got, mark) {
		t.Errorf("got %q, want %q", got, mark)
	}
	if bytes.Contains(mark, []byte(secret)) || bytes.Contains(mark, golden[:]) {
		t.Error("the mark has the secret")
	}
}

// A mark that says nothing of this identity is as good as none.
func TestOnlyTheMarkOfThisIdentityCounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "identity")
	if _, err := Exported(file); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("without an identity: got %v, want FileNotFound", err)
	}
	if err := MarkExported(file, exportedAt); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("mark without an identity: got %v, want FileNotFound", err)
	}
	ring, _, err := LoadOrNew(file)
	if err != nil {
		t.Fatal(err)
	}
	never := func(what string) {
		t.Helper()
		if at, err := Exported(file); err != nil || !at.IsZero() {
			t.Errorf("%s: got %v, %v, want never", what, at, err)
		}
	}
	never("new")
	owner := ring.OwnerKey().String()
	for what, mark := range map[string]string{
		"of another identity": string(readFile(t, "testdata/v1/identity.exported")),
		"empty":               "",
		"of a newer version":  "datamesh-exported-2 " + owner + " 2026-01-02T03:04:05Z\n",
		"without a time":      "datamesh-exported-1 " + owner + " yesterday\n",
		"cut short":           "datamesh-exported-1 " + owner,
		"binary":              "\x00\xff",
	} {
		if err := os.WriteFile(file+".exported", []byte(mark), 0o600); err != nil {
			t.Fatal(err)
		}
		never(what)
	}
	for _, at := range []time.Time{exportedAt, exportedAt.Add(time.Hour)} { // the second replaces the first
		if err := MarkExported(file, at); err != nil {
			t.Fatal(err)
		}
		if got, err := Exported(file); err != nil || !got.Equal(at) {
			t.Errorf("got %v, %v, want %v", got, err, at)
		}
	}
}
