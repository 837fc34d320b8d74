//go:build unix

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"datamesh/internal/node"
)

func TestSizesRoundTripOverSixProcesses(t *testing.T) {
	t.Parallel()
	const kib, mib = 1 << 10, 1 << 20
	m := newMesh(t, 6)
	owner := m.user(t)
	other := owner.elsewhere(t)
	for i, size := range []int64{0, 1, 15, 16, 17, 4*kib - 1, 4 * kib, 4*kib + 1, 64*kib - 1, 64 * kib, 64*kib + 1,
		16*mib - 1, 16 * mib, 16*mib + 1, 100 * mib} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			roundTrip(t, owner, other, byte(i), size)
			roundTripStreams(t, owner, byte(i), size)
		})
	}
}

// roundTrip puts a file, and gets it by its id in another home of its owner
// and by its name in the same home.
func roundTrip(t *testing.T, owner, other *user, seed byte, size int64) {
	name := fmt.Sprintf("file of %d bytes", size)
	file := noiseFile(t, name, seed, size)
	stored := result[node.Stored](t, owner.run(t, "put", file))
	if stored.Name != name || stored.Size != size || stored.Survives < 1 || stored.StoredBytes < size {
		t.Errorf("put: got %+v", stored)
	}
	dir := t.TempDir()
	for ref, reader := range map[string]*user{stored.ID.String(): other, name: owner} {
		out := filepath.Join(dir, ref)
		fetched := result[node.Fetched](t, reader.run(t, "get", ref, out))
		if fetched.ID != stored.ID || fetched.Name != name || fetched.Size != size || fetched.Out != out {
			t.Errorf("get %s: got %+v", ref, fetched)
		}
		if err := sameFile(file, out); err != nil {
			t.Error(err)
		}
		if err := os.Remove(out); err != nil {
			t.Fatal(err)
		}
	}
}

// roundTripStreams puts standard input and gets it to standard output.
func roundTripStreams(t *testing.T, owner *user, seed byte, size int64) {
	put := owner.command("put", "-")
	sent := sha256.New()
	put.Stdin = io.TeeReader(noise(seed, size), sent)
	stored := result[node.Stored](t, start(t, put).wait(t))
	if stored.Name != "" || stored.Size != size {
		t.Errorf("put: got %+v", stored)
	}
	get := owner.command("get", stored.ID.String(), "-")
	got := sha256.New()
	get.Stdout = got
	if o := start(t, get).wait(t); o.code != 0 {
		t.Fatalf("get to standard output exited with %d: %s", o.code, o.stderr)
	}
	if !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
		t.Errorf("get to standard output: %d bytes came back as others", size)
	}
}
