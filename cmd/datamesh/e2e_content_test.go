//go:build unix

package main

import (
	"bufio"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// noise returns n bytes that do not compress, the same for the same seed.
func noise(seed byte, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), n)
}

// noisy returns the noise as bytes.
func noisy(seed byte, n int64) []byte {
	b := make([]byte, n)
	io.ReadFull(noise(seed, n), b) // never fails
	return b
}

// noiseFile makes a file of noise in a directory of its own.
func noiseFile(t testing.TB, name string, seed byte, n int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := io.Copy(w, noise(seed, n)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return path
}
