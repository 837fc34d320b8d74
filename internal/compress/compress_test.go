package compress

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"

	"github.com/klauspost/compress/zstd"
)

// noise is content that cannot be compressed.
func noise(seed, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b
}

// prose is content that can be.
func prose(seed, n int) []byte {
	words := strings.Fields("a mesh of peers keeps what nobody has to trust them with and any two of six may vanish func return err nil if for range")
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	var b []byte
	for len(b) < n {
		b = fmt.Append(b, words[r.IntN(len(words))], " ")
	}
	return b[:n]
}

// mixed is content of both kinds, in random lengths.
func mixed(seed, n int) []byte {
	r := rand.New(rand.NewPCG(uint64(seed), 2))
	var b []byte
	for i := 0; len(b) < n; i++ {
		m := min(1+r.IntN(1<<uint(8+r.IntN(12))), n-len(b))
		switch r.IntN(3) {
		case 0:
			b = append(b, noise(i, m)...)
		case 1:
			b = append(b, prose(i, m)...)
		default:
			b = append(b, make([]byte, m)...)
		}
	}
	return b
}

// shorten has content in a buffer with so much room beside it compressed, and sees that what
// is in the buffer then is that content, compressed or as it was.
func shorten(t *testing.T, c *Codec, mode Mode, content []byte, room int) int {
	t.Helper()
	buf := make([]byte, crypt.SealedLen(len(content))+room)
	n, err := crypt.Fill(buf, bytes.NewReader(content), len(content))
	if err != nil {
		t.Fatal(err)
	}
	short, err := c.Shorten(t.Context(), mode, buf, n)
	if err != nil || short < 0 || short >= max(n, 1) {
		t.Fatalf("%v: %d bytes become %d, %v", mode, n, short, err)
	}
	if short == 0 {
		if got := crypt.Join(buf, n); !bytes.Equal(got, content) {
			t.Errorf("%v: %d bytes are others now", mode, n)
		}
		return n
	}
	dst := make([]byte, n)
	if err := c.Expand(dst, crypt.Join(buf, short)); err != nil || !bytes.Equal(dst, content) {
		t.Errorf("%v: %d bytes from %d: the same: %v, %v", mode, n, short, bytes.Equal(dst, content), err)
	}
	return short
}

func TestWhatIsCompressedComesBack(t *testing.T) {
	c := New()
	for _, n := range []int{0, 1, shortest - 1, shortest, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 128<<10 + 1, 1<<20 - 1, 5<<20 + 3, datamesh.MaxContent - 1, datamesh.MaxContent} {
		for what, content := range map[string][]byte{"zeros": make([]byte, n), "prose": prose(1, n), "noise": noise(1, n)} {
			for _, mode := range []Mode{Off, Auto, Max} {
				if mode == Max && n > 6<<20 && what == "prose" {
					continue // it takes seconds
				}
				short := shorten(t, c, mode, content, Room)
				if want := mode != Off && n >= shortest && what != "noise"; (short < n) != want {
					t.Errorf("%s, %v: %d bytes become %d", what, mode, n, short)
				}
			}
		}
	}
}

// Whatever the sample has said, and however little room there is, the content comes back.
func TestMixedContentComesBack(t *testing.T) {
	c := New()
	r := rand.New(rand.NewPCG(3, 3))
	for i := range 30 {
		n := 1 + r.IntN(1<<uint(13+r.IntN(9)))
		content := mixed(i, n)
		for _, room := range []int{0, 1, ahead, ahead + 1, Room, n, 2 * n} {
			shorten(t, c, Auto, content, room)
		}
	}
}

// What begins well and goes on badly is given up, or is still shorter than it was.
func TestContentThatDoesNotKeepItsPromise(t *testing.T) {
	c := New()
	for _, share := range []int{1, 2, 10, 30, 60, 90} { // percent that can be compressed
		n := 8 << 20
		for what, content := range map[string][]byte{
			"first": append(prose(1, n/100*share), noise(1, n-n/100*share)...),
			"last":  append(noise(1, n-n/100*share), prose(1, n/100*share)...),
		} {
			for _, room := range []int{0, Room, 4 << 20, 16 << 20} {
				short := shorten(t, c, Auto, content, room)
				if short < n && !pays(short, n) && room > n {
					t.Errorf("%d %% %s, room %d: %d bytes become %d", share, what, room, n, short)
				}
			}
		}
	}
}

func TestShortenEndsWithItsContext(t *testing.T) {
	c := New()
	for range cap(c.levels[Max].slots) {
		c.levels[Max].slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	buf := make([]byte, crypt.SealedLen(100_000)+Room)
	if n, err := c.Shorten(ctx, Max, buf, 100_000); n != 0 || err != context.Canceled {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestACodecIsForManyAtOnceAndLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	c := New()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { shorten(t, c, Auto+Mode(i%2), mixed(i, 300_000), Room) })
	}
	all.Wait()
	for began := time.Now(); runtime.NumGoroutine() > before; runtime.Gosched() { // what has told that it ends is ending
		if time.Since(began) > time.Minute {
			t.Fatalf("%d goroutines more", runtime.NumGoroutine()-before)
		}
	}
}

func TestModesAreRead(t *testing.T) {
	for _, m := range []Mode{Off, Auto, Max} {
		if got, err := ParseMode(m.String()); got != m || err != nil {
			t.Errorf("%v is read as %v, %v", m, got, err)
		}
	}
	for _, s := range []string{"", "on", "AUTO", "3"} {
		if _, err := ParseMode(s); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%q: got %v", s, err)
		}
	}
}

// frame returns content as one frame.
func frame(content []byte, more ...zstd.EOption) []byte {
	return encoder(zstd.SpeedDefault, more...).EncodeAll(content, nil)
}

// header is one of a frame of n bytes.
func header(n int, single bool) []byte {
	b, err := (&zstd.Header{HasFCS: true, FrameContentSize: uint64(n), SingleSegment: single, WindowSize: 1 << 20}).AppendTo(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// block is one of a type, 0 to 3, with a size as its header says it.
func block(last bool, kind, size int, content ...byte) []byte {
	head := size<<3 | kind<<1
	if last {
		head |= 1
	}
	return append([]byte{byte(head), byte(head >> 8), byte(head >> 16)}, content...)
}

func join(all ...[]byte) []byte { return bytes.Join(all, nil) }

func TestHostileFramesAreRefused(t *testing.T) {
	c := New()
	n := 200_000
	content := prose(1, n)
	good := frame(content)
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2}
	var streamed bytes.Buffer // without a length
	w := encoder(zstd.SpeedDefault, zstd.WithEncoderConcurrency(1))
	w.Reset(&streamed)
	w.Write(content)
	w.Close()
	var bomb []byte // 128 KiB of each block
	for range 100 {
		bomb = append(bomb, block(false, repeated, 128<<10, 0)...)
	}
	bomb = append(bomb, block(true, repeated, 128<<10, 0)...)
	wide := join(header(n, false), good[len(header(n, true)):])
	if err := c.Expand(make([]byte, n), wide); err != nil {
		t.Errorf("another window: %v", err)
	}
	wide[5] = 15 << 3 // 32 MiB
	summed, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{
		"nothing":                   nil,
		"another magic":             append([]byte{1}, good[1:]...),
		"a part":                    good[:len(good)/2],
		"all but the end":           good[:len(good)-1],
		"the header alone":          good[:8],
		"a byte more":               append(bytes.Clone(good), 0),
		"two frames":                join(frame(content[:n/2]), frame(content[n/2:])),
		"an empty frame behind":     join(good, frame(nil)),
		"an empty frame before":     join(header(0, true), block(true, 0, 0), good),
		"a skippable frame behind":  join(good, skippable),
		"a skippable frame before":  join(skippable, good),
		"a skippable frame alone":   skippable,
		"fewer bytes":               frame(content[1:]),
		"more bytes":                frame(prose(1, n+1)),
		"no length":                 streamed.Bytes(),
		"a checksum":                summed.EncodeAll(content, nil),
		"a dictionary":              frame(content, zstd.WithEncoderDictRaw(7, prose(2, 10_000))),
		"a bomb that says so":       join(header(101*128<<10, false), bomb),
		"a bomb that says less":     join(header(n, false), bomb),
		"less than it says":         join(header(n, true), block(true, repeated, 100, 0)),
		"a block too large":         join(header(n, true), block(true, repeated, n, 0)),
		"a reserved type":           join(header(n, true), block(true, 3, 1, 0)),
		"no last block":             join(header(n, true), block(false, repeated, 100_000, 0), block(false, repeated, 100_000, 0)),
		"a window beyond a segment": wide,
	} {
		dst := make([]byte, n, n+16)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := c.Expand(dst, b); errs.KindOf(err) != errs.Integrity {
			t.Errorf("%s: got %v", what, err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
			t.Errorf("%s: %d bytes of memory", what, took)
		}
	}
	if err := c.Expand(make([]byte, n), good); err != nil {
		t.Errorf("the good one: %v", err)
	}
	zeros := join(header(n, true), block(false, repeated, 128<<10, 0), block(true, repeated, n-128<<10, 0))
	if err := c.Expand(make([]byte, n), zeros); err != nil {
		t.Errorf("zeros: %v", err)
	}
}

// FuzzExpand has what a stranger may have sealed: it comes to exactly what was asked for,
// in the memory that is there, or to an error.
func FuzzExpand(f *testing.F) {
	c := New()
	f.Add(frame(prose(1, 5000)), 5000)
	f.Add(frame(noise(1, 5000)), 5000)
	f.Add(frame(make([]byte, 300_000)), 300_000)
	f.Add(join(header(5000, false), block(false, 0, 2, 1, 2), block(true, repeated, 4998, 7)), 5000)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n < 0 || n > 1<<20 {
			return
		}
		mark := []byte("0123456789abcdef")
		buf := append(make([]byte, n+16), mark...)
		dst := buf[: n : n+16]
		err := c.Expand(dst, b)
		if err != nil && errs.KindOf(err) != errs.Integrity {
			t.Errorf("got %v", err)
		}
		if !bytes.Equal(buf[n+16:], mark) {
			t.Error("it has written beyond what it was given")
		}
		again := make([]byte, n)
		if err2 := c.Expand(again, b); (err2 == nil) != (err == nil) || err == nil && !bytes.Equal(again, dst) {
			t.Errorf("it comes to something else the second time: %v, %v", err, err2)
		}
	})
}
