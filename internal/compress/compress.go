// Package compress makes the content of segments shorter before it is sealed, by zstd
// (RFC 8878), where a sample says that it pays, and brings it back.
//
// What [Codec.Expand] is given was made by whoever has written the object: it yields as
// many bytes as the manifest says, in memory that is there before, or an error.
package compress

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"

	"github.com/klauspost/compress/zstd"
)

// A Mode says how hard to try.
type Mode int

// The modes. The zero value leaves content as it is.
const (
	Off  Mode = iota
	Auto      // fast
	Max       // as short as 256 MiB of memory allow for one put
)

var names = [...]string{Off: "off", Auto: "auto", Max: "max"}

func (m Mode) String() string { return names[m] }

// ParseMode reads a mode: auto, off or max. Kind: Invalid.
func ParseMode(s string) (Mode, error) {
	for m, name := range names {
		if s == name {
			return Mode(m), nil
		}
	}
	return Off, errs.New(errs.Invalid, "%q is not auto, off or max", s)
}

// What is worth it.
const (
	shortest = 4 << 10   // bytes: less is not cut into shards but copied, and hardly shorter
	gain     = 16        // a part of 1/gain must be saved at least
	window   = 16 << 20  // bytes at most that a frame looks back: a whole segment
	Room     = 512 << 10 // bytes that a buffer should have beside the sealed content
)

// A Codec compresses and expands segments, a few at once. It keeps no goroutines. It is
// safe for concurrent use.
type Codec struct {
	levels [len(names)]*level // by mode
	sample *zstd.Encoder
	decode *zstd.Decoder
}

// A level has the encoders of one mode. Those that nobody uses are given up with the next
// collections of garbage.
type level struct {
	slots chan struct{} // as many as may be in use at once
	free  sync.Pool     // of *zstd.Encoder
}

// New returns a codec.
func New() *Codec {
	procs := runtime.GOMAXPROCS(0)
	c := &Codec{
		sample: encoder(zstd.SpeedFastest, zstd.WithWindowSize(pieceLen), zstd.WithEncoderConcurrency(procs)),
		decode: must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(procs), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(window), zstd.WithDecodeAllCapLimit(true))),
	}
	// With low memory an encoder moves what it looks back to for each block, unless that is
	// all of the segment.
	c.levels[Auto] = newLevel(min(procs, 4), zstd.SpeedFastest, zstd.WithWindowSize(4<<20))
	c.levels[Max] = newLevel(min(procs, 2), zstd.SpeedBestCompression, zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true))
	return c
}

func newLevel(atOnce int, speed zstd.EncoderLevel, more ...zstd.EOption) *level {
	l := &level{slots: make(chan struct{}, atOnce)}
	l.free.New = func() any { return encoder(speed, append(more, zstd.WithEncoderConcurrency(1))...) }
	return l
}

func encoder(speed zstd.EncoderLevel, more ...zstd.EOption) *zstd.Encoder {
	return must(zstd.NewWriter(nil, append(more, zstd.WithEncoderLevel(speed), zstd.WithEncoderCRC(false))...))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // constant options
	}
	return v
}

// Shorten compresses the n bytes of content in buf, which lie there as [crypt.Fill] puts
// them, into one frame that lies there likewise, and returns its length: less than n.
// Where it would not pay it returns 0, and the content is as it was. All of buf beside the
// content is overwritten; with less than [Room] of that, less pays. Its error is that of ctx.
func (c *Codec) Shorten(ctx context.Context, mode Mode, buf []byte, n int) (int, error) {
	if !c.Promises(mode, buf, n) {
		return 0, nil
	}
	l := c.levels[mode]
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	enc := l.free.Get().(*zstd.Encoder)
	defer l.free.Put(enc)

	sealed := crypt.SealedLen(n)
	moved := buf[len(buf)-sealed:]
	copy(moved, buf[:sealed])
	out := &output{to: crypt.Filler{Buf: buf}, room: len(buf) - sealed}
	enc.ResetContentSize(out, int64(n))
	err := crypt.Drain(&input{enc, out}, moved, n)
	if err == nil {
		err = enc.Close()
	}
	enc.Reset(nil)
	switch {
	case err == nil && (out.over || pays(out.to.N, n)):
		return out.to.N, nil
	case out.over:
		return 0, errs.New(errs.Encoding, "compress: %w", err) // the encoder did what it never does
	}
	copy(buf, moved)
	return 0, nil
}

// pays reports whether it is worth it that n bytes become short ones.
func pays(short, n int) bool { return short <= n-n/gain }

// The pieces of content that are a sample.
const (
	pieces   = 8
	pieceLen = 8 << 10 // bytes
)

// Promises reports whether Shorten will try to compress that content: a sample of it can be
// compressed, pieces of it, evenly spread, each within a frame. Of what is not longer than a
// frame all is to be tried.
func (c *Codec) Promises(mode Mode, buf []byte, n int) bool {
	if mode == Off || n < shortest {
		return false
	}
	if n < datamesh.FrameContent {
		return true
	}
	short, out := 0, make([]byte, 0, 2*pieceLen)
	for i := range pieces {
		at := i * n / pieces
		off := min(at%datamesh.FrameContent, datamesh.FrameContent-pieceLen)
		begin := at/datamesh.FrameContent*crypt.FrameLen + off
		short += len(c.sample.EncodeAll(buf[begin:begin+pieceLen], out))
	}
	return pays(short, pieces*pieceLen)
}

// input counts the content that an encoder has taken.
type input struct {
	enc *zstd.Encoder
	out *output
}

func (i *input) Write(b []byte) (int, error) {
	n, err := i.enc.Write(b)
	i.out.taken += n
	return n, err
}

// output puts a frame before the content that it is made of, and then over what the encoder
// has taken of that: it goes over only if it is so much shorter by then that it stays so,
// whatever comes. A block of 128 KiB takes 3 bytes more than it has at worst.
type output struct {
	to    crypt.Filler
	room  int  // bytes of the buffer before the content
	taken int  // bytes of content that the encoder has
	over  bool // some of the content is gone
}

// ahead is more than the bytes that an encoder writes before its input counts them.
const ahead = 256 << 10

func (o *output) Write(b []byte) (int, error) {
	upto := crypt.SealedLen(o.to.N + len(b))
	if upto > o.room {
		over := o.over || o.room > ahead && pays(o.to.N+len(b), o.taken)
		if !over || upto > o.room+crypt.SealedLen(o.taken) {
			return 0, errNoGain
		}
		o.over = true
	}
	return o.to.Write(b)
}

var errNoGain = errs.New(errs.Other, "it would not pay")

// Expand fills dst, of at most 16 MiB, with the content of src, which must be one frame of
// so much content and nothing else, without a dictionary and without a checksum. It is
// faster where dst has 16 bytes of capacity to spare. Kind: Integrity.
func (c *Codec) Expand(dst, src []byte) error {
	if err := check(src, len(dst)); err != nil {
		return err
	}
	got, err := c.decode.DecodeAll(src, dst[:0])
	if err != nil {
		return errs.New(errs.Integrity, "compressed content: %w", err)
	}
	if len(got) != len(dst) || &got[0] != &dst[0] {
		return errs.New(errs.Integrity, "compressed content: %d bytes came, not %d", len(got), len(dst))
	}
	return nil
}

// check sees that b is one frame of n bytes of content: a decoder would go on with what
// follows it, and pass over what says that it is to be.
func check(b []byte, n int) error {
	var h zstd.Header
	if err := h.Decode(b); err != nil {
		return errs.New(errs.Integrity, "compressed content: %w", err)
	}
	if h.Skippable || h.DictionaryID != 0 || h.HasCheckSum || !h.HasFCS || h.FrameContentSize != uint64(n) || h.WindowSize > window {
		return errs.New(errs.Integrity, "compressed content: not a frame of %d bytes as it must be", n)
	}
	for b, last := b[h.HeaderSize:], false; !last; {
		if len(b) < 3 {
			return errCut
		}
		head := binary.LittleEndian.Uint32([]byte{b[0], b[1], b[2], 0})
		size := int(head >> 3)
		if last = head&1 != 0; head>>1&3 == repeated {
			size = 1
		}
		if len(b) < 3+size {
			return errCut
		}
		if b = b[3+size:]; last && len(b) > 0 {
			return errs.New(errs.Integrity, "compressed content: %d bytes follow its end", len(b))
		}
	}
	return nil
}

// repeated is the type of a block that is one byte, so many times.
const repeated = 1

var errCut = errs.New(errs.Integrity, "compressed content: it is cut off")
