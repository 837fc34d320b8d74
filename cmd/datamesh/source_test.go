package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"datamesh/internal/errs"
)

// readWhile reads a file of 100 KiB through a source, and does something to
// the file after the first bytes were read.
func readWhile(t *testing.T, do func(path string) error) ([]byte, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 100<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openSource(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first := make([]byte, 1000)
	if _, err := io.ReadFull(s, first); err != nil {
		t.Fatal(err)
	}
	if err := do(path); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(s)
	return append(first, rest...), err
}

func TestSourceReadsAFileThatStaysAsItIs(t *testing.T) {
	got, err := readWhile(t, func(string) error { return nil })
	if err != nil || len(got) != 100<<10 {
		t.Errorf("got %d bytes, %v, want all %d", len(got), err, 100<<10)
	}
}

func TestSourceRefusesAFileThatChangesWhileItIsRead(t *testing.T) {
	for what, do := range map[string]func(string) error{
		"shrinks":           func(path string) error { return os.Truncate(path, 50<<10) },
		"becomes empty":     func(path string) error { return os.Truncate(path, 0) },
		"grows":             func(path string) error { return appendTo(path, "more") },
		"is written to":     func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) },
		"shrinks and grows": func(path string) error { return errors.Join(os.Truncate(path, 10), os.Truncate(path, 100<<10)) },
	} {
		_, err := readWhile(t, do)
		if !errors.Is(err, errs.IO) || !bytes.Contains([]byte(err.Error()), []byte("changed while it was read")) {
			t.Errorf("%s: got %v, want that it changed", what, err)
		}
	}
}

func appendTo(path, s string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s)
	return errors.Join(err, f.Close())
}

func TestSourceRefusesDirectoriesAndWhatIsNotThere(t *testing.T) {
	if _, err := openSource(t.Context(), t.TempDir()); !errors.Is(err, errs.Invalid) {
		t.Errorf("a directory: got %v, want Invalid", err)
	}
	if _, err := openSource(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("nothing: got %v, want FileNotFound", err)
	}
}

func TestPipeIsReadAsItComes(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSource(r)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() {
		w.WriteString("from a pipe")
		w.Close()
	}()
	if got, err := io.ReadAll(s); string(got) != "from a pipe" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestBlockedReaderIsCancelled(t *testing.T) {
	blocked, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	r := cancellable(ctx, blocked)
	if _, err := io.WriteString(w, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
