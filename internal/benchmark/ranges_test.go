package benchmark

import (
	"bytes"
	"io"
	"testing"
)

// What is compared with a range is what an object has there.
func TestNoiseFromAnOffsetIsThatOfTheObject(t *testing.T) {
	n := newNoise()
	whole := make([]byte, 10_000)
	io.ReadFull(n.of(7), whole)
	for _, offset := range []int64{0, 1, 15, 16, 17, 4096, 9_999} {
		got := make([]byte, len(whole)-int(offset))
		io.ReadFull(n.from(7, offset), got)
		if !bytes.Equal(got, whole[offset:]) {
			t.Errorf("from %d on it is another", offset)
		}
	}
}
