package datamesh

import (
	"io/fs"
	"testing"
)

// A mode that is known is never the one that is not, and gives back its permissions.
func TestModesThatAreKnownAreNotZero(t *testing.T) {
	for perm := range fs.FileMode(0o1000) {
		for _, kind := range []fs.FileMode{0, fs.ModeDir, fs.ModeSymlink, fs.ModeSetuid} {
			mode := ModeOf(kind | perm)
			if mode == 0 || !ValidMode(mode) || fs.FileMode(mode)&fs.ModePerm != perm || perm != 0 && mode != uint32(perm) {
				t.Errorf("%v is %#o", kind|perm, mode)
			}
		}
	}
	for _, mode := range []uint32{0o1000, 0o4755, NoPermissions | 1, NoPermissions | 0o777, 0o40000, 1 << 31} {
		if ValidMode(mode) {
			t.Errorf("%#o is a mode", mode)
		}
	}
}
