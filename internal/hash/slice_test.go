package hash

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"

	"datamesh"
)

// ranges of a shard of n bytes: both ends, and everything about a group's edge.
func ranges(n int) (all [][2]int) {
	edges := map[int]bool{0: true, n: true}
	for g := 0; g <= n; g += Group {
		for d := -1; d <= 1; d++ {
			if at := g + d; at >= 0 && at <= n {
				edges[at] = true
			}
		}
	}
	for from := range edges {
		for to := range edges {
			if from < to {
				all = append(all, [2]int{from, to - from})
			}
		}
	}
	return all
}

func TestEveryRangeProvesItself(t *testing.T) {
	for _, n := range sizes {
		if n == 0 || n > 9*Group {
			continue
		}
		shard := pattern(n)
		outboard, id := Outboard(shard)
		if len(outboard) != OutboardSize(n) {
			t.Fatalf("%d bytes: outboard of %d, want %d", n, len(outboard), OutboardSize(n))
		}
		for _, r := range ranges(n) {
			off, size := r[0], r[1]
			slice, err := Slice(bytes.NewReader(shard), n, outboard, off, size)
			if err != nil {
				t.Fatalf("%d+%d of %d: %v", off, size, n, err)
			}
			if got, ok := Open(slice, off, size, id); !ok || !bytes.Equal(got, shard[off:off+size]) {
				t.Errorf("%d+%d of %d: %v, %d bytes", off, size, n, ok, len(got))
			}
		}
	}
}

func TestSliceSizeIsABoundAndACloseOne(t *testing.T) {
	for n := 1; n <= datamesh.MaxSealed; n = n*5/3 + 1 {
		for off := 0; off < n; off = off*3 + 7 {
			for size := 1; size <= n-off; size = size*4 + 1 {
				if exact, limit := sliceLen(n, off, size), SliceSize(n, off, size); exact > limit || limit > exact+2*Group+8<<10 { // the first and last group count whole
					t.Errorf("%d+%d of %d: %d bytes, SliceSize says %d", off, size, n, exact, limit)
				}
			}
		}
	}
}

// sliceLen follows the tree of a slice, as Bao defines it.
func sliceLen(n, off, size int) int {
	var walk func(pos, length int) int
	walk = func(pos, length int) int {
		if pos >= off+size || off >= pos+length {
			return 0
		}
		if length <= Group {
			return length
		}
		half := Group
		for half*2 < length {
			half *= 2
		}
		return 64 + walk(pos, half) + walk(pos+half, length-half)
	}
	return 8 + walk(0, n)
}

func TestSliceLenIsThatOfSlices(t *testing.T) {
	const n = 5*Group + 100
	shard := pattern(n)
	outboard, _ := Outboard(shard)
	for _, r := range ranges(n) {
		slice, err := Slice(bytes.NewReader(shard), n, outboard, r[0], r[1])
		if err != nil || len(slice) != sliceLen(n, r[0], r[1]) {
			t.Errorf("%d+%d: %d bytes, want %d, %v", r[0], r[1], len(slice), sliceLen(n, r[0], r[1]), err)
		}
	}
}

func TestRangesOutsideTheShardAreRefused(t *testing.T) {
	shard := pattern(100)
	outboard, id := Outboard(shard)
	for _, r := range [][2]int{{-1, 1}, {0, 0}, {0, -1}, {0, 101}, {100, 1}, {math.MaxInt, 1}, {1, math.MaxInt}} {
		if _, err := Slice(bytes.NewReader(shard), 100, outboard, r[0], r[1]); !errors.Is(err, ErrRange) {
			t.Errorf("slice %v: got %v, want ErrRange", r, err)
		}
		whole, err := Slice(bytes.NewReader(shard), 100, outboard, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		if b, ok := Open(whole, r[0], r[1], id); ok {
			t.Errorf("open %v: got %d bytes", r, len(b))
		}
	}
}

// counted tells how far a shard was read, and from where on.
type counted struct {
	*bytes.Reader
	low, high int64
}

func (c *counted) ReadAt(b []byte, off int64) (int, error) {
	c.low, c.high = min(c.low, off), max(c.high, off+int64(len(b)))
	return c.Reader.ReadAt(b, off)
}

func TestOnlyTheGroupsOfTheRangeAreRead(t *testing.T) {
	shard := pattern(10 * Group)
	outboard, _ := Outboard(shard)
	c := &counted{bytes.NewReader(shard), math.MaxInt64, 0}
	if _, err := Slice(c, len(shard), outboard, 3*Group+5, Group); err != nil {
		t.Fatal(err)
	}
	if c.low != 3*Group || c.high != 5*Group {
		t.Errorf("read %d to %d, want %d to %d", c.low, c.high, 3*Group, 5*Group)
	}
}

func TestADamagedOutboardOrShardGivesNoSlice(t *testing.T) {
	shard := pattern(3 * Group)
	outboard, _ := Outboard(shard)
	for what, err := range map[string]error{
		"no outboard":    slice(shard, nil),
		"half of it":     slice(shard, outboard[:len(outboard)/2]),
		"a shorter one":  slice(shard, make([]byte, 8)),
		"a shard cut":    slice(shard[:Group], outboard),
		"a broken shard": second(Slice(broken{}, len(shard), outboard, 0, Group)),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func slice(shard, outboard []byte) error {
	return second(Slice(bytes.NewReader(shard), 3*Group, outboard, Group, Group))
}

func second(b []byte, err error) error {
	if err != nil && b != nil {
		return nil
	}
	return err
}

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, io.ErrClosedPipe }

func TestNoOtherSliceOpens(t *testing.T) {
	const n, off, size = 3*Group + 700, Group - 100, 300
	shard := pattern(n)
	outboard, id := Outboard(shard)
	good, err := Slice(bytes.NewReader(shard), n, outboard, off, size)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := Open(good, off, size, id); !ok {
		t.Fatal("the slice itself does not open")
	}
	for i := range good {
		if i > 500 && i%13 > 0 {
			continue // within a group one byte is as good as another
		}
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if b, ok := Open(bad, off, size, id); ok && !bytes.Equal(b, shard[off:off+size]) {
			t.Fatalf("byte %d changed: it opens as other bytes", i)
		} else if ok && i >= 8 { // the length may be another, if the tree has the same shape
			t.Fatalf("byte %d changed: it opens", i)
		}
	}
	for i := 0; i < len(good); i += 1 + i/100 {
		if _, ok := Open(good[:i], off, size, id); ok {
			t.Fatalf("cut to %d bytes it opens", i)
		}
	}
	for what, open := range map[string]func() ([]byte, bool){
		"extended":         func() ([]byte, bool) { return Open(append(bytes.Clone(good), 0), off, size, id) },
		"another shard":    func() ([]byte, bool) { return Open(good, off, size, datamesh.ShardID{1}) },
		"the next group":   func() ([]byte, bool) { return Open(good, off+Group, size, id) },
		"a longer range":   func() ([]byte, bool) { return Open(good, off, 2*Group, id) },
		"nothing":          func() ([]byte, bool) { return Open(nil, off, size, id) },
		"an endless shard": func() ([]byte, bool) { return Open(append(bytes.Repeat([]byte{0xff}, 8), good[8:]...), off, size, id) },
	} {
		if _, ok := open(); ok {
			t.Errorf("%s opens", what)
		}
	}
}

func FuzzOpen(f *testing.F) {
	const n = 2*Group + 50
	shard := pattern(n)
	outboard, id := Outboard(shard)
	for _, r := range [][2]int{{0, 1}, {Group, Group}, {n - 1, 1}, {0, n}} {
		slice, err := Slice(bytes.NewReader(shard), n, outboard, r[0], r[1])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(slice, r[0], r[1])
	}
	f.Fuzz(func(t *testing.T, slice []byte, off, size int) {
		b, ok := Open(slice, off, size, id)
		if ok && (off+size > n || !bytes.Equal(b, shard[off:off+size])) {
			t.Errorf("%d+%d opens as other bytes", off, size)
		}
	})
}
