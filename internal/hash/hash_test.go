package hash

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	zeebo "github.com/zeebo/blake3"
	"lukechampine.com/blake3"
	"lukechampine.com/blake3/bao"
)

// From the test vectors that BLAKE3's authors publish.
func TestHashesAreBLAKE3(t *testing.T) {
	one := pattern(1)
	for _, tt := range []struct {
		what string
		got  [32]byte
		want string
	}{
		{"plain, empty", Shard(nil), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
		{"plain", Shard(one), "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"},
		{"keyed, empty", Keyed([32]byte([]byte("whats the Elvish word for friend"))), "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"},
		{"derived, empty", Derive("BLAKE3 2019-12-27 16:29:52 test vectors context"), "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d"},
	} {
		if got := hex.EncodeToString(tt.got[:]); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.what, got, tt.want)
		}
	}
}

// Two implementations, and our tree, must agree at every length at which the
// shape of the tree or the work of the vector units changes.
func TestAllImplementationsAgree(t *testing.T) {
	for _, n := range sizes {
		b := pattern(n)
		want := blake3.Sum256(b)
		if got := Shard(b); got != want {
			t.Errorf("%d bytes: plain %x, want %x", n, got[:], want[:])
		}
		outboard, root := Outboard(b)
		if root != want {
			t.Errorf("%d bytes: root %x, want %x", n, root[:], want[:])
		}
		if other, _ := bao.EncodeBuf(b, groupLog, true); !bytes.Equal(outboard, other) {
			t.Errorf("%d bytes: the outboard is not Bao's", n)
		}
		if zeebo := zeebo.Sum256(b); zeebo != want {
			t.Errorf("%d bytes: zeebo has %x, want %x", n, zeebo[:], want[:])
		}
		const context = "datamesh test context"
		blake3.DeriveKey(want[:], context, b)
		if got := Derive(context, b); got != want {
			t.Errorf("%d bytes: derived %x, want %x", n, got[:], want[:])
		}
		key := [32]byte{1, 2, 3}
		h := blake3.New(32, key[:])
		h.Write(b)
		if got := Keyed(key, b); got != [32]byte(h.Sum(nil)) {
			t.Errorf("%d bytes: keyed %x", n, got[:])
		}
	}
}

func TestPartsAreHashedOneAfterTheOther(t *testing.T) {
	if Derive("c", []byte("ab"), nil, []byte("c")) != Derive("c", []byte("abc")) ||
		Keyed([32]byte{1}, []byte("ab"), []byte("c")) != Keyed([32]byte{1}, []byte("abc")) {
		t.Error("parts are not simply joined")
	}
	if Derive("c", []byte("abc")) == Derive("d", []byte("abc")) || Keyed([32]byte{1}) == Keyed([32]byte{2}) {
		t.Error("the context or the key does not count")
	}
}

var sizes = []int{0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 3072, 8192, 8193,
	Group - 1, Group, Group + 1, 2 * Group, 2*Group + 1, 3 * Group, 4*Group - 1, 4 * Group, 4*Group + 1,
	4*Group + 1024, 5*Group - 1, 5*Group + 3000, 8 * Group, 1<<20 + 1, 4<<20 - 1, 4 << 20}

// pattern is the input of BLAKE3's test vectors: 0, 1, … 250, 0, 1, …
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func BenchmarkShard(b *testing.B) {
	for _, n := range []int{4 << 10, 64 << 10, 4 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			shard := pattern(n)
			b.SetBytes(int64(n))
			for b.Loop() {
				Shard(shard)
			}
		})
	}
}

func BenchmarkOutboard(b *testing.B) {
	shard := pattern(4 << 20)
	b.SetBytes(int64(len(shard)))
	for b.Loop() {
		Outboard(shard)
	}
}
