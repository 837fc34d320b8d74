//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"datamesh/internal/node"
)

// What is compressed is stored in fewer bytes, and comes back though two nodes are dead; what
// cannot be is stored as it is.
func TestCompressedFilesComeBackWithTwoNodesDead(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	owner := m.user(t)
	reader := owner.elsewhere(t)
	var text []byte
	for i := 0; len(text) < 18<<20; i++ { // two segments
		text = fmt.Appendf(text, "%08x: line %d of a log that is like all others\n", uint32(i)*2_654_435_761, i)
	}
	var objects []node.Stored
	contents := [][]byte{text, text, noisy(1, 1<<20), text}
	for i, mode := range []string{"max", "auto", "max", "off"} {
		stored := owner.put(t, contents[i], "--name", fmt.Sprint(mode, i), "--compress", mode)
		objects = append(objects, stored)
		info := result[node.Info](t, owner.run(t, "info", stored.ID.String()))
		if compressed := i < 2; (info.Packed > 0) != compressed || (info.StoredBytes < info.Size) != compressed || info.Size != int64(len(contents[i])) || stored.Size != info.Size {
			t.Errorf("%s: %d bytes, packed %d, %d of shards", mode, info.Size, info.Packed, info.StoredBytes)
		}
	}
	if most, fast := objects[0].StoredBytes, objects[1].StoredBytes; most >= fast {
		t.Errorf("%d bytes are stored with max, %d with auto", most, fast)
	}
	kill(m.members[1], m.members[4])
	for i, stored := range objects {
		reader.reads(t, stored.ID, contents[i])
	}
}

// The setting says how puts compress, those of trees and backups included.
func TestCompressIsASetting(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	owner := m.user(t)
	dir := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("it is all the same to me. "), 20_000)
	if err := os.WriteFile(filepath.Join(dir, "file"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"off", "max"} {
		if o := owner.run(t, "config", "set", "put.compress", mode); o.code != 0 {
			t.Fatal(o.stderr)
		}
		if o := owner.run(t, "put", "-r", dir, "--all", "--name", mode); o.code != 0 {
			t.Fatal(o.stderr)
		}
		info := result[node.Info](t, owner.run(t, "info", mode+"/file"))
		if (info.Packed > 0) != (mode == "max") {
			t.Errorf("put -r, %s: packed %d", mode, info.Packed)
		}
		if o := owner.run(t, "backup", dir, "--name", "backup of "+mode); o.code != 0 {
			t.Fatal(o.stderr)
		}
		out := filepath.Join(t.TempDir(), "out")
		if o := owner.run(t, "restore", "backup of "+mode, out); o.code != 0 {
			t.Fatal(o.stderr)
		}
		if err := sameFile(filepath.Join(dir, "file"), filepath.Join(out, "file")); err != nil {
			t.Error(err)
		}
	}
	if o := owner.run(t, "put", filepath.Join(dir, "file"), "--compress", "on"); o.code != 2 {
		t.Errorf("--compress on exited with %d: %s", o.code, o.stderr)
	}
}
