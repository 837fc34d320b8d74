// Package crypt seals and opens: segments in AES-256-GCM frames under keys
// that are used once, and those keys for recipients in age envelopes, hybrid
// post-quantum by default.
//
// It composes what others have built and invents nothing: the frames follow
// the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015), the
// envelopes are age files. docs/format.md gives the bytes.
package crypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// A Key seals one byte string, once: there is no way to seal under a key that
// is there already, but to look whether that yields what it did before.
type Key [32]byte

// Format prints no key, whatever the verb, so that none gets into a log.
func (Key) Format(f fmt.State, _ rune) { io.WriteString(f, "(key)") }

// FrameLen is how many bytes a full sealed frame has.
const FrameLen = datamesh.FrameContent + datamesh.FrameTag

// SealedLen returns the length of n bytes of content when sealed. Nothing at
// all is sealed as one empty frame.
func SealedLen(n int) int {
	frames := max(1, (n+datamesh.FrameContent-1)/datamesh.FrameContent)
	return n + frames*datamesh.FrameTag
}

// ContentLen returns the length of the content in n sealed bytes, or an error
// of kind Integrity when no content seals to that length.
func ContentLen(n int) (int, error) {
	content := n - (n+FrameLen-1)/FrameLen*datamesh.FrameTag
	if n < 1 || content < 0 || SealedLen(content) != n {
		return 0, errs.New(errs.Integrity, "%d bytes are not sealed frames", n)
	}
	return content, nil
}

// Fill reads content from r into buf where [Seal] wants it: each 64 KiB at
// the place of its frame. It stops at the end of r or after limit bytes, and
// returns how many it has read; the end of r, which is io.EOF alone, is no
// error. buf has room for SealedLen(limit) bytes.
func Fill(buf []byte, r io.Reader, limit int) (int, error) {
	n := 0
	for at := 0; n < limit; at += FrameLen {
		got, err := readFull(r, buf[at:at+min(datamesh.FrameContent, limit-n)])
		n += got
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// A Filler takes content into Buf as [Fill] does, from who writes it. N is how much it
// has; Buf has room for SealedLen of all of it.
type Filler struct {
	Buf []byte
	N   int
}

func (f *Filler) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		off := f.N % datamesh.FrameContent
		n := copy(f.Buf[f.N/datamesh.FrameContent*FrameLen+off:], rest[:min(len(rest), datamesh.FrameContent-off)])
		f.N += n
		rest = rest[n:]
	}
	return len(b), nil
}

// readFull is [io.ReadFull] without io.ErrUnexpectedEOF of its own: where that
// comes from r itself, what r reads was cut off and has not ended.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var got int
		got, err = r.Read(b[n:])
		n += got
	}
	if n == len(b) {
		return n, nil
	}
	return n, err
}

// Seal seals n bytes of content in place under a fresh key. The content must
// lie in buf as [Fill] puts it, and buf have room for SealedLen(n) bytes,
// which Seal returns with the key.
func Seal(buf []byte, n int) (Key, []byte) {
	var key Key
	rand.Read(key[:]) // never fails
	return key, seal(key, buf, n)
}

// SealsTo reports whether content is what [Seal] returned the key for. It seals it once
// more, in place, and same looks whether that yields what is known of the other. If not,
// all of buf is cleared: who sees two contents under one key learns of both.
func SealsTo(key Key, buf []byte, n int, same func(sealed []byte) bool) bool {
	if same(seal(key, buf, n)) {
		return true
	}
	clear(buf)
	return false
}

// SealUnder returns text sealed under a key that is derived, under a context of
// its own, from a secret and a fresh salt, which it returns, too. What has at
// most [datamesh.FrameContent] bytes is one frame.
func SealUnder(secret [32]byte, context string, text []byte) (salt [32]byte, sealed []byte) {
	rand.Read(salt[:]) // never fails
	buf := make([]byte, SealedLen(len(text)))
	Fill(buf, bytes.NewReader(text), len(text)) // cannot fail
	return salt, seal(derived(secret, context, salt), buf, len(text))
}

// OpenUnder opens what SealUnder has sealed. It overwrites sealed. Kind: Integrity.
func OpenUnder(secret [32]byte, context string, salt [32]byte, sealed []byte) ([]byte, error) {
	n, err := Open(derived(secret, context, salt), sealed)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = Drain(&text, sealed, n)
	return text.Bytes(), err
}

func derived(secret [32]byte, context string, salt [32]byte) Key {
	return Key(hash.Derive(context, secret[:], salt[:]))
}

func seal(key Key, buf []byte, n int) []byte {
	aead := newAEAD(key)
	sealed := buf[:SealedLen(n)]
	eachFrame(len(sealed), func(i, from, to int, last bool) bool {
		nonce := frameNonce(i, last)
		text := sealed[from : to-datamesh.FrameTag]
		aead.Seal(text[:0], nonce[:], text, nil)
		return true
	})
	return sealed
}

// Open opens all frames in place and returns the length of the content, which
// then lies where [Drain] takes it from. On an error, of kind Integrity, the
// frames are useless.
func Open(key Key, sealed []byte) (int, error) {
	n, err := ContentLen(len(sealed))
	if err != nil {
		return 0, err
	}
	aead := newAEAD(key)
	eachFrame(len(sealed), func(i, from, to int, last bool) bool {
		err = openFrame(aead, i, last, sealed[from:to])
		return err == nil
	})
	return n, err
}

// OpenFrame opens frame i of a segment alone, in place, and returns its
// content. Kind: Integrity.
func OpenFrame(key Key, i int, last bool, sealed []byte) ([]byte, error) {
	if len(sealed) < datamesh.FrameTag {
		return nil, errs.New(errs.Integrity, "frame %d has %d bytes", i, len(sealed))
	}
	return sealed[:len(sealed)-datamesh.FrameTag], openFrame(newAEAD(key), i, last, sealed)
}

// Drain writes the n bytes of content of opened frames to w.
func Drain(w io.Writer, opened []byte, n int) (err error) {
	eachFrame(SealedLen(n), func(_, from, to int, _ bool) bool {
		_, err = w.Write(opened[from : to-datamesh.FrameTag])
		return err == nil
	})
	return err
}

// Join moves the n bytes of content of opened frames together, and returns them.
func Join(opened []byte, n int) []byte {
	at := 0
	eachFrame(SealedLen(n), func(_, from, to int, _ bool) bool {
		at += copy(opened[at:], opened[from:to-datamesh.FrameTag])
		return true
	})
	return opened[:n]
}

// eachFrame calls f with the number and the bounds of each frame of n sealed
// bytes until f is false.
func eachFrame(n int, f func(i, from, to int, last bool) bool) {
	for i, from := 0, 0; from < n; i, from = i+1, from+FrameLen {
		to := min(from+FrameLen, n)
		if !f(i, from, to, to == n) {
			return
		}
	}
}

func openFrame(aead cipher.AEAD, i int, last bool, sealed []byte) error {
	nonce := frameNonce(i, last)
	if _, err := aead.Open(sealed[:0], nonce[:], sealed, nil); err != nil {
		return errs.New(errs.Integrity, "frame %d does not open", i)
	}
	return nil
}

// frameNonce is the number of the frame and whether it is the last: frames
// cannot be exchanged, nor the end be cut off.
func frameNonce(i int, last bool) (nonce [12]byte) {
	binary.BigEndian.PutUint64(nonce[3:11], uint64(i))
	if last {
		nonce[11] = 1
	}
	return nonce
}

func newAEAD(key Key) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the right block size
	}
	return aead
}
