package format

import (
	"testing"

	"datamesh"
)

// That nobody has any permission is kept, and is not that permissions are not known.
func TestModesAreKept(t *testing.T) {
	for _, mode := range []uint32{0, 1, 0o644, 0o777, datamesh.NoPermissions} {
		m, log, tree := goldenManifest(), goldenBlock(), goldenSnapshot()[4]
		m.Mode, log.Changes[0].Mode, tree.Entries[0].Mode = mode, mode, mode
		if got, err := decodeManifest(Marshal(m)); err != nil || got.Mode != mode {
			t.Errorf("%#o in a manifest: %+v, %v", mode, got, err)
		}
		b, err := EncodeBlock(log)
		if err != nil {
			t.Fatalf("%#o in a log: %v", mode, err)
		}
		if got, err := DecodeBlock(b); err != nil || got.Changes[0].Mode != mode {
			t.Errorf("%#o in a log: %+v, %v", mode, got, err)
		}
		if b, err = AppendSnapshotBlock(nil, tree); err != nil {
			t.Fatalf("%#o in a snapshot: %v", mode, err)
		}
		if got, err := DecodeSnapshotBlock(b[4:]); err != nil || got.Entries[0].Mode != mode {
			t.Errorf("%#o in a snapshot: %+v, %v", mode, got, err)
		}
	}
}
