package benchmark

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"io"
	"time"

	"datamesh/internal/errs"
)

// A noise has the contents of all objects of a run: of each other bytes, that no
// machine can compress, and that can be made again to be compared. They are the
// key streams of AES in counter mode, which costs little beside what is measured,
// under a key that is drawn for the run and then forgotten. Nothing is kept secret by it.
type noise struct{ block cipher.Block }

func newNoise() *noise {
	var key [16]byte
	rand.Read(key[:]) // never fails
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // that is the length of a key
	}
	return &noise{block}
}

// of returns the content of an object, which has no end.
func (n *noise) of(number uint64) io.Reader { return n.from(number, 0) }

// from returns the content of an object from an offset on.
func (n *noise) from(number uint64, offset int64) io.Reader {
	var start [aes.BlockSize]byte
	binary.BigEndian.PutUint64(start[:], number) // before the blocks, of which no object has more than 64 bits can count
	binary.BigEndian.PutUint64(start[8:], uint64(offset/aes.BlockSize))
	s := &stream{cipher.NewCTR(n.block, start[:])}
	var skipped [aes.BlockSize]byte
	s.Read(skipped[:offset%aes.BlockSize]) // never fails
	return s
}

type stream struct{ cipher.Stream }

func (s *stream) Read(p []byte) (int, error) {
	clear(p)
	s.XORKeyStream(p, p)
	return len(p), nil
}

// A comparer takes what is got of an object, and nothing but what was put.
type comparer struct {
	want  io.Reader
	left  int64
	first time.Time // when the first byte came
	at    int64
	buf   []byte
	err   error // what was wrong
}

func (c *comparer) Write(p []byte) (n int, err error) {
	if c.first.IsZero() && len(p) > 0 {
		c.first = time.Now()
	}
	if c.buf == nil {
		c.buf = make([]byte, min(c.left, compared))
	}
	for c.err == nil && n < len(p) {
		if c.left == 0 {
			c.err = errs.New(errs.Integrity, "more came back than the %d bytes that were put", c.at)
			break
		}
		want := c.buf[:min(int64(len(c.buf)), c.left, int64(len(p)-n))]
		io.ReadFull(c.want, want) // it has no end, and never fails
		if got := p[n : n+len(want)]; !bytes.Equal(got, want) {
			c.err = errs.New(errs.Integrity, "other bytes came back than were put, in the %d from byte %d on", len(want), c.at)
			break
		}
		n += len(want)
		c.at += int64(len(want))
		c.left -= int64(len(want))
	}
	return n, c.err
}

const compared = 64 << 10

// verdict returns the error of a get that ended with err: bytes that are others
// count first.
func (c *comparer) verdict(err error) error {
	switch {
	case c.err != nil:
		return errOther{c.err}
	case err == nil && c.left > 0:
		return errOther{errs.New(errs.Integrity, "%d bytes of %d came back", c.at, c.at+c.left)}
	}
	return err
}

// errOther is the error of a get that ended well, for the mesh, and gave other bytes
// than were put.
type errOther struct{ error }

func (e errOther) Unwrap() error { return e.error }
