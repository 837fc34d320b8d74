package crypt

import (
	"encoding/hex"
	"testing"
)

// Links that were given away are opened for ever.
func TestV1LinkSeed(t *testing.T) {
	for _, c := range []struct {
		password string
		locked   bool
		want     string
	}{
		{"", false, "683b3586f7009acd03cb4bab59afa91f059da99a20f5b4f5e3e197ff50649810"},
		{"correct horse", true, "8879bed5129797cb824c5e61df4576aecce05b8b826435c4f756d8f8f5e264d8"},
		{"correct horsf", true, "5d774e5ee08d9dbb8a04b85c6da629122215d4e47115c7a054136f6c70836b29"},
	} {
		got, err := LinkSeed([32]byte{1, 2, 3}, []byte(c.password), c.locked)
		if hex.EncodeToString(got[:]) != c.want || err != nil {
			t.Errorf("%q: got %x, %v", c.password, got, err)
		}
	}
}
