package format

import (
	"bytes"
	"encoding/binary"
	"errors"

	"datamesh/internal/errs"
)

// The keys of fields that a reader may pass over if it does not know them; the
// meaning of a map hangs on all fields below.
const (
	firstOptional = 64
	lastKnown     = 64 // of version 1, in each of its maps
)

// Limits that keep what is decoded in proportion to the bytes it came in: an
// array longer than fewElements holds ids or references.
const (
	fewElements = 256 // hints of a segment, tags
	leastSize   = 34  // bytes of an id, the smallest of the others
)

// unmarshalOpen decodes what later versions may add optional fields to, and
// what has its version under key 1. Without the fields that are passed over
// it must be the one encoding of v. Kind: Serialization.
func unmarshalOpen(what string, b []byte, limit int, v any) error {
	return checkVersion(what, b, limit, decodeOpen(what, b, limit, v))
}

func decodeOpen(what string, b []byte, limit int, v any) error {
	if err := checkLimit(what, b, limit); err != nil {
		return err
	}
	opt := strict
	opt.MaxArrayElements = max(fewElements, len(b)/leastSize)
	mode, err := opt.DecMode()
	if err == nil {
		err = mode.Unmarshal(b, v)
	}
	if err != nil {
		return errs.New(errs.Serialization, "%s: %w", what, err)
	}
	c := comparison{b, Marshal(v)}
	switch err := c.item(); {
	case err == errField:
		return errs.WithHint(errs.New(errs.Serialization, "%s: it has a field that is not known", what), newer)
	case err != nil:
		return notCanonical(what)
	}
	return nil
}

var (
	errField = errors.New("a field that must be known")
	errForm  = errors.New("another form")
)

// A comparison goes through two encodings side by side: what was got, which
// is well-formed CBOR, and what of it is known, in canonical form.
type comparison struct{ got, known []byte }

// The major types of CBOR that have items in them.
const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
)

// item compares the next items.
func (c *comparison) item() error {
	got, known := readHead(c.got), readHead(c.known)
	if got.major != known.major {
		return errForm
	}
	if got.major == majorMap {
		if got.size != headSize(got.value) {
			return errForm
		}
		c.got, c.known = c.got[got.size:], c.known[known.size:]
		return c.fields(got.value, known.value)
	}
	n := known.size
	if known.major == majorBytes || known.major == majorText {
		n += int(known.value)
	}
	if len(c.got) < n || !bytes.Equal(c.got[:n], c.known[:n]) {
		return errForm
	}
	c.got, c.known = c.got[n:], c.known[n:]
	if known.major == majorArray {
		for range known.value {
			if err := c.item(); err != nil {
				return err
			}
		}
	}
	return nil
}

// fields compares the pairs of two maps, and passes over those that only got
// has if their keys allow it.
func (c *comparison) fields(got, known uint64) error {
	last := -1
	for range got {
		key := readHead(c.got)
		if key.major != majorUint || key.value >= 1<<31 || int(key.value) <= last || key.size != headSize(key.value) {
			return errForm
		}
		last = int(key.value)
		if known > 0 && bytes.HasPrefix(c.known, c.got[:key.size]) {
			c.got, c.known = c.got[key.size:], c.known[key.size:]
			if err := c.item(); err != nil {
				return err
			}
			known--
			continue
		}
		switch {
		case known > 0 && readHead(c.known).value < key.value:
			return errForm // one is missing
		case key.value < firstOptional:
			return errField
		case key.value <= lastKnown:
			return errForm // it is empty, and should not be there
		}
		c.got = skip(c.got[key.size:])
	}
	if known > 0 {
		return errForm
	}
	return nil
}

// skip returns what follows the next item of b.
func skip(b []byte) []byte {
	for left := uint64(1); left > 0; left-- {
		h := readHead(b)
		b = b[h.size:]
		switch h.major {
		case majorBytes, majorText:
			b = b[h.value:]
		case majorArray:
			left += h.value
		case majorMap:
			left += 2 * h.value
		}
	}
	return b
}

// A head is the beginning of a CBOR item.
type head struct {
	major byte
	value uint64
	size  int // bytes of the head itself
}

// readHead reads the head of a well-formed item of definite length.
func readHead(b []byte) head {
	h := head{major: b[0] >> 5, value: uint64(b[0] & 31), size: 1}
	if h.value >= 24 {
		n := 1 << (h.value - 24)
		h.size += n
		var v [8]byte
		copy(v[8-n:], b[1:])
		h.value = binary.BigEndian.Uint64(v[:])
	}
	return h
}

// headSize returns the bytes of the shortest head with that value.
func headSize(value uint64) int {
	switch {
	case value < 24:
		return 1
	case value < 1<<8:
		return 2
	case value < 1<<16:
		return 3
	case value < 1<<32:
		return 5
	}
	return 9
}
