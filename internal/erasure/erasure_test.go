package erasure

import (
	"bytes"
	"errors"
	"math"
	"math/bits"
	"math/rand/v2"
	"sync"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
)

// random returns the same n bytes for the same seed.
func random(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// encoded returns the shards of n random bytes, and those bytes. The buffer
// is dirty, as one that is used again is.
func encoded(t testing.TB, c *Code, n int) (shards [][]byte, segment []byte) {
	t.Helper()
	segment = random(1, n)
	buf := bytes.Repeat([]byte{0xee}, c.BufferLen(n))
	copy(buf, segment)
	shards, err := c.Encode(buf, n)
	if err != nil {
		t.Fatal(err)
	}
	return shards, segment
}

func newCode(t testing.TB, k, m int) *Code {
	t.Helper()
	c, err := New(k, m)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestShardsAreThoseOfTheReference(t *testing.T) {
	for _, km := range [][2]int{{1, 0}, {1, 2}, {2, 1}, {3, 1}, {4, 2}, {4, 4}, {5, 3}, {10, 4}, {17, 3}, {29, 51}, {1, 255}, {255, 1}, {128, 128}} {
		c := newCode(t, km[0], km[1])
		const n = 300
		shards, segment := encoded(t, c, n)
		padded := append(bytes.Clone(segment), make([]byte, datamesh.ShardLen(n, c.K)*c.K-n)...)
		size := len(padded) / c.K
		data := make([][]byte, c.K)
		for i := range data {
			data[i] = padded[i*size : (i+1)*size]
		}
		for i, row := range matrix(c.K, c.M) {
			if want := parity(row, data); !bytes.Equal(shards[i], want) {
				t.Errorf("%d+%d: shard %d is %x, want %x", c.K, c.M, i, shards[i], want)
			}
		}
	}
}

func TestTheSegmentIsTheDataShards(t *testing.T) {
	c := newCode(t, 4, 2)
	shards, segment := encoded(t, c, 1001)
	joined := bytes.Join(shards[:4], nil)
	if !bytes.HasPrefix(joined, segment) || len(bytes.Trim(joined[1001:], "\x00")) > 0 || len(shards[5]) != 251 {
		t.Errorf("got %x, want %x and zeros", joined, segment)
	}
}

func TestWithOneDataShardAllAreCopies(t *testing.T) {
	shards, segment := encoded(t, newCode(t, 1, 5), 4096)
	for i, s := range shards {
		if !bytes.Equal(s, segment) {
			t.Errorf("shard %d is no copy", i)
		}
	}
}

var sizes = []int{1, 2, 15, 16, 17, 33, 4095, 4096, 4097, 65535, 65536, 65537, 65552}

func TestAnyKShardsGiveTheOthers(t *testing.T) {
	for _, km := range [][2]int{{1, 2}, {2, 1}, {4, 2}, {4, 4}} {
		for _, n := range sizes {
			allLosses(t, newCode(t, km[0], km[1]), n)
		}
	}
	for _, n := range []int{datamesh.MaxContent - 1, datamesh.MaxContent, datamesh.MaxContent + 1, datamesh.MaxSealed} {
		allLosses(t, newCode(t, 4, 2), n)
	}
}

// allLosses tries every set of shards that may be lost.
func allLosses(t *testing.T, c *Code, n int) {
	t.Helper()
	want, _ := encoded(t, c, n)
	slots := c.Cut(make([]byte, c.BufferLen(n)), n)
	got := make([][]byte, len(want))
	for lost := range 1 << len(want) {
		for _, dataOnly := range []bool{false, true} {
			if dataOnly && n > 1<<20 {
				continue // no other work, and much of it
			}
			for i := range got {
				got[i] = want[i]
				if lost>>i&1 == 1 {
					got[i] = slots[i][:0]
				}
			}
			err := c.Rebuild(got, dataOnly)
			if bits.OnesCount(uint(lost)) > c.M {
				if !errors.Is(err, errs.Unavailable) {
					t.Fatalf("%d+%d, lost %b: got %v, want Unavailable", c.K, c.M, lost, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%d+%d of %d bytes, lost %b: %v", c.K, c.M, n, lost, err)
			}
			for i, s := range got {
				if i >= c.K && dataOnly && len(s) == 0 {
					continue
				}
				if !bytes.Equal(s, want[i]) {
					t.Fatalf("%d+%d of %d bytes, lost %b: shard %d is wrong", c.K, c.M, n, lost, i)
				}
				if lost>>i&1 == 1 {
					s[0]++ // so that the next one must be made anew
				}
			}
		}
	}
}

func TestARangeOfALostShardIsThatOfTheOthers(t *testing.T) {
	for _, km := range [][2]int{{1, 2}, {2, 1}, {4, 2}, {4, 4}} {
		c := newCode(t, km[0], km[1])
		want, _ := encoded(t, c, 100_000)
		for _, r := range [][2]int{{0, 1}, {0, 17}, {1234, 4096}, {len(want[0]) - 100, len(want[0])}, {16384, 24000}} {
			for lost := range 1 << len(want) {
				if bits.OnesCount(uint(lost)) != c.M {
					continue
				}
				got := make([][]byte, len(want))
				for i := range got {
					if lost>>i&1 == 0 {
						got[i] = want[i][r[0]:r[1]]
					}
				}
				if err := c.Rebuild(got, false); err != nil {
					t.Fatal(err)
				}
				for i := range got {
					if !bytes.Equal(got[i], want[i][r[0]:r[1]]) {
						t.Fatalf("%d+%d, lost %b: range %v of shard %d is wrong", c.K, c.M, lost, r, i)
					}
				}
			}
		}
	}
}

func TestLargeCodesRebuild(t *testing.T) {
	for _, km := range [][2]int{{10, 4}, {20, 12}, {128, 128}, {1, 255}, {255, 1}} {
		c := newCode(t, km[0], km[1])
		want, _ := encoded(t, c, 5000)
		seed := rand.Uint64()
		got := make([][]byte, len(want))
		for _, i := range rand.New(rand.NewPCG(seed, 0)).Perm(len(want))[:c.K] {
			got[i] = want[i]
		}
		if err := c.Rebuild(got, false); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("%d+%d, seed %d: shard %d is wrong", c.K, c.M, seed, i)
			}
		}
	}
}

func TestShardsLieAndAreRebuiltInTheBuffer(t *testing.T) {
	c := newCode(t, 4, 2)
	const n = 1001
	buf := make([]byte, c.BufferLen(n))
	copy(buf, random(1, n))
	shards, err := c.Encode(buf, n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range shards {
		if &shards[i][0] != &buf[i*251] || cap(shards[i]) != 251 {
			t.Errorf("shard %d is elsewhere, or reaches into the next", i)
		}
	}
	want := bytes.Clone(buf)
	for _, i := range []int{1, 5} {
		clear(shards[i])
		shards[i] = shards[i][:0]
	}
	if err := c.Rebuild(shards, false); err != nil || !bytes.Equal(buf, want) {
		t.Errorf("the buffer is not what it was: %v", err)
	}
}

func TestCodesThatDoNotExistAreInvalid(t *testing.T) {
	for _, km := range [][2]int{{0, 1}, {-1, 2}, {1, -1}, {1, 256}, {257, 0}, {256, 1}, {math.MaxInt, 1}, {1, math.MaxInt}} {
		if _, err := New(km[0], km[1]); !errors.Is(err, errs.Invalid) {
			t.Errorf("%d+%d: got %v", km[0], km[1], err)
		}
	}
}

func TestShardsThatDoNotBelongTogetherAreRefused(t *testing.T) {
	c := newCode(t, 2, 1)
	a, b := []byte("ab"), []byte("abc")
	for what, shards := range map[string][][]byte{
		"too few":       {a, a},
		"too many":      {a, a, nil, nil},
		"other lengths": {a, b, nil},
	} {
		if err := c.Rebuild(shards, false); errs.KindOf(err) != errs.Encoding {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if _, err := c.Encode(nil, 0); errs.KindOf(err) != errs.Encoding {
		t.Errorf("a segment of no bytes: got %v", err)
	}
}

func TestPaddingMustBeZero(t *testing.T) {
	c := newCode(t, 4, 2)
	for n := 997; n <= 1000; n++ {
		buf := make([]byte, c.BufferLen(n))
		copy(buf, random(1, n))
		if _, err := c.Encode(buf, n); err != nil {
			t.Fatal(err)
		}
		if err := c.CheckPadding(buf, n); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		for i := n; i < 1000; i++ {
			buf[i] = 1
			if err := c.CheckPadding(buf, n); !errors.Is(err, errs.Integrity) {
				t.Errorf("%d bytes, byte %d is 1: got %v", n, i, err)
			}
			buf[i] = 0
		}
	}
}

func TestACodeServesManyAtOnce(t *testing.T) {
	c := newCode(t, 4, 2)
	want, _ := encoded(t, c, 10_000)
	var group sync.WaitGroup
	for lost := range 6 {
		group.Go(func() {
			for other := range 6 {
				got := append([][]byte(nil), want...)
				got[lost], got[other] = nil, nil
				if err := c.Rebuild(got, false); err != nil || !bytes.Equal(bytes.Join(got, nil), bytes.Join(want, nil)) {
					t.Errorf("lost %d and %d: wrong, %v", lost, other, err)
				}
			}
		})
	}
	group.Wait()
}

func FuzzEncodeAndRebuild(f *testing.F) {
	f.Add([]byte("a"), uint8(4), uint8(2), uint64(1))
	f.Add(random(1, 300), uint8(1), uint8(2), uint64(2))
	f.Fuzz(func(t *testing.T, segment []byte, k, m uint8, seed uint64) {
		c, err := New(int(k), int(m))
		if err != nil || len(segment) == 0 {
			return
		}
		buf := make([]byte, c.BufferLen(len(segment)))
		shards, err := c.Encode(buf, copy(buf, segment))
		if err != nil {
			t.Fatal(err)
		}
		got := make([][]byte, len(shards))
		for _, i := range rand.New(rand.NewPCG(seed, 0)).Perm(len(shards))[:c.K] {
			got[i] = shards[i]
		}
		if err := c.Rebuild(got, true); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytes.Join(got[:c.K], nil)[:len(segment)], segment) {
			t.Errorf("%d+%d, seed %d: another segment", k, m, seed)
		}
	})
}
