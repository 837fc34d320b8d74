//go:build unix

package main

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"testing"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/keyring"
	"datamesh/internal/object"
)

// marker is what must never be seen where it is not sealed.
const marker = "a marker of just thirty-two byte"

// marked returns n bytes of noise with the marker here and there.
func marked(n int64) []byte {
	b := noisy(1, n)
	for at := 0; at+len(marker) <= len(b); at += 50_000 {
		copy(b[at:], marker)
	}
	return b
}

func TestContentNamesAndTagsAreInNoStoringHome(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 3)
	owner := m.user(t)
	for _, size := range []int64{100, 10_000, 1 << 20} {
		content := marked(size)
		owner.reads(t, owner.put(t, content, "--name", marker, "--tags", marker).ID, content)
	}
	for _, x := range m.members {
		if found := filesWith(t, x.home, marker); len(found) > 0 {
			t.Errorf("the marker is in %v", found)
		}
	}
	if found := filesWith(t, owner.home, marker); len(found) == 0 {
		t.Error("the owner's own catalog does not have the marker: it is not looked for as it should be")
	}
}

func TestOnlySealedBytesAreHandedToTheNetwork(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 2)
	client := m.tappedClient(t)
	owner, err := keyring.New(keyring.NewRoot())
	if err != nil {
		t.Fatal(err)
	}
	objects := object.New(client, func() (*keyring.Ring, error) { return owner, nil }, object.NewJournal(t.TempDir(), 0), guard)
	defer objects.Close()
	for _, size := range []int64{100, 10_000, 1 << 20} {
		content := marked(size)
		stored, err := objects.Put(t.Context(), bytes.NewReader(content),
			object.PutOptions{Name: marker, Tags: []string{marker}, K: 4, M: 4, MinSurvives: -1},
			func(object.PutResult) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := objects.Get(t.Context(), stored.ID, func(*format.Manifest) (io.Writer, int64, error) { return &got, 0, nil }); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), content) {
			t.Errorf("%d bytes came back as others", size)
		}
	}
	if n := client.tap.len(); n < 3<<20 { // 2 MiB of shards there and 1 MiB back, at least
		t.Errorf("only %d bytes were tapped", n)
	}
	if client.tap.has(marker) {
		t.Error("the marker was handed to the network")
	}

	// The control: what is not sealed is found, there and where it is stored.
	raw := []byte(marker)
	id := hash.Shard(raw)
	d, err := format.NewDescriptor(owner.Owner, 1, 1, len(raw), []datamesh.ShardID{id, id})
	if err != nil {
		t.Fatal(err)
	}
	holder := m.members[0]
	if err := client.Shards(holder.ready.PeerID).Put(t.Context(), d, 0, raw); err != nil {
		t.Fatal(err)
	}
	if !client.tap.has(marker) {
		t.Error("the tap does not see a marker that is not sealed")
	}
	if len(filesWith(t, holder.home, marker)) == 0 {
		t.Error("a marker that is not sealed is not found where it is stored")
	}
}

// filesWith returns the files of a home that have the text in them.
func filesWith(t *testing.T, home, text string) (found []string) {
	t.Helper()
	walk(t, home, func(path string, info fs.FileInfo) error {
		if !info.Mode().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	return found
}
