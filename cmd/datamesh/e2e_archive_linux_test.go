package main

import (
	"path/filepath"
	"testing"

	"datamesh/internal/node"
)

// What large files take of memory does not depend on their size.
func TestLargeFilesAreExportedAndImportedInLittleMemory(t *testing.T) {
	onlyInFull(t, "large exports in little memory")
	t.Parallel()
	m := newMesh(t, 6)
	a, b := m.user(t), m.user(t)
	film := noiseFile(t, "film", 3, long)
	result[node.Stored](t, a.run(t, "put", film))
	for _, f := range archives[1:] {
		file := filepath.Join(t.TempDir(), "a."+f.ending)
		if o := inLittleMemory(t, a.command("export", "film", "-o", file)); o.code != 0 {
			t.Fatalf("export: %s", o.stderr)
		}
		if o := inLittleMemory(t, b.command("import", file, "--name", f.ending)); o.code != 0 {
			t.Fatalf("import: %s", o.stderr)
		}
		out := filepath.Join(t.TempDir(), "out")
		result[node.Fetched](t, b.run(t, "get", f.ending+"/film", out))
		if err := sameFile(film, out); err != nil {
			t.Error(err)
		}
	}
}
