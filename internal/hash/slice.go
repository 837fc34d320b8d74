package hash

import (
	"bytes"
	"errors"
	"io"

	"datamesh"

	"lukechampine.com/blake3/bao"
)

// ErrRange is the error of a range that does not lie in the shard.
var ErrRange = errors.New("range outside the shard")

// Slice returns n bytes from off on of a shard of size bytes, with the hashes
// that prove them, as a Bao slice. Only the groups that the range touches are
// read from shard.
func Slice(shard io.ReaderAt, size int, outboard []byte, off, n int) ([]byte, error) {
	if off < 0 || n <= 0 || off > size-n {
		return nil, ErrRange
	}
	first := off / Group * Group
	var out bytes.Buffer
	err := bao.ExtractSlice(&out, io.NewSectionReader(shard, int64(first), int64(size-first)),
		bytes.NewReader(outboard), groupLog, uint64(off), uint64(n))
	if err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// SliceSize returns an upper bound of the length of a slice of n bytes from
// off on of a shard of size bytes, so that a reader can bound what it takes.
func SliceSize(size, off, n int) int {
	groups := (off+n-1)/Group - off/Group + 1
	depth := 1
	for g := (size + Group - 1) / Group; g > 1; g = (g + 1) / 2 {
		depth++
	}
	return 8 + groups*Group + (groups+depth)*2*64
}

// Open verifies a slice against the ShardID and returns the bytes of the
// range. It is false when anything in the slice is not what the id says.
func Open(slice []byte, off, n int, id datamesh.ShardID) ([]byte, bool) {
	if off < 0 || n <= 0 {
		return nil, false
	}
	b, ok := bao.VerifySlice(slice, groupLog, uint64(off), uint64(n), id)
	return b, ok && len(b) == n
}
