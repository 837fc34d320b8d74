package object

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"datamesh"
	"datamesh/internal/compress"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/storetest"
)

// prose returns n bytes that can be compressed, which belong to a seed.
func prose(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b []byte
	for len(b) < n {
		b = fmt.Appendf(b, "%d: a line that is like others, and ends with %x\n", r.IntN(1000), r.IntN(1<<20))
	}
	return b[:n]
}

// patches returns n bytes of both kinds in pieces of that length.
func patches(seed uint64, n, piece int) (all []byte) {
	for i := uint64(0); len(all) < n; i++ {
		if i%2 == 0 {
			all = append(all, prose(seed+i, piece)...)
		} else {
			all = append(all, noise(seed+i, piece)...)
		}
	}
	return all[:n]
}

// with returns the options with a mode.
func (o PutOptions) with(m compress.Mode) PutOptions {
	o.Compress = m
	return o
}

var modes = []compress.Mode{compress.Off, compress.Auto, compress.Max}

// refs returns the references of an object, and how many of them are compressed.
func (u *user) refs(id datamesh.ObjectID) (refs []format.SegmentRef, compressed int) {
	u.t.Helper()
	m, err := u.Manifest(u.t.Context(), id)
	if err != nil {
		u.t.Fatal(err)
	}
	refs = u.list(m)
	for _, r := range refs {
		if packed(r) {
			compressed++
		}
	}
	return refs, compressed
}

func TestContentOfEveryKindComesBackInEveryMode(t *testing.T) {
	w := newWorld(t, 6)
	u := newUser(t, w)
	u.content = 256 << 10
	for _, n := range []int{64<<10 + 1, 256<<10 - 1, 256 << 10, 256<<10 + 1, 256<<10 + 5000, 900_000} {
		for what, content := range map[string][]byte{"noise": noise(1, n), "prose": prose(1, n), "zeros": make([]byte, n),
			"patches": patches(1, n, 256<<10), "small patches": patches(2, n, 20_000)} {
			for _, mode := range modes {
				result := u.put(content, options.with(mode))
				_, compressed := u.refs(result.ID)
				if want := mode != compress.Off && what != "noise"; (compressed > 0) != want || result.Size != int64(n) {
					t.Errorf("%s, %v: %d segments are compressed, %+v", what, mode, compressed, result)
				}
				lost := w.members[n%6 : n%6+1]
				w.kill(lost...)
				u.get(result.ID, content)
				info, err := u.Info(t.Context(), result.ID)
				if err != nil || info.Manifest.Size != int64(n) || (info.Text < int64(n)) != (compressed > 0) {
					t.Errorf("%s, %v: %d bytes of %d were sealed, %v", what, mode, info.Text, n, err)
				}
				lost[0].set(storetest.None)
				w.see(nil)
			}
		}
	}
}

// A code without parity, and one with little or much, has another place to compress in.
func TestEveryCodeCompresses(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	for _, code := range [][2]int{{1, 0}, {4, 0}, {1, 5}, {10, 1}, {60, 40}, {1, 255}} {
		opt := PutOptions{K: code[0], M: code[1], Compress: compress.Auto}
		content := patches(3, 1<<20, 100_000)
		result := u.put(content, opt)
		if _, n := u.refs(result.ID); n == 0 {
			t.Errorf("%v: nothing is compressed", code)
		}
		u.get(result.ID, content)
	}
	if !u.putMemory.TryAcquire(maxMemory) || !u.getMemory.TryAcquire(maxMemory) {
		t.Error("memory was not given back")
	}
}

func TestRangesOfCompressedSegmentsAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUser(t, newWorld(t, 6))
		u.content = 2 << 20
		content := patches(5, rangedLen, 2<<20)
		id := u.put(content, options.with(compress.Auto)).ID
		if refs, n := u.refs(id); len(refs) != 3 || n != 2 {
			t.Fatalf("%d of %d segments are compressed", n, len(refs))
		}
		for _, r := range ranges {
			if bad := u.partIs(id, content, r[0], r[1]); len(bad) > 0 {
				t.Errorf("%v: bad %v", r, bad)
			}
		}
		gets, parts := calls(u.w, storetest.Get), calls(u.w, storetest.GetRange)
		u.partIs(id, content, 2<<20+100, 1000) // of a segment that is not compressed
		if n := calls(u.w, storetest.GetRange) - parts; n != 1 {
			t.Errorf("%d parts were read of a segment as it is, want 1", n)
		}
		if n := calls(u.w, storetest.Get) - gets; n > options.K {
			t.Errorf("%d whole shards were read for the manifest", n)
		}
	})
}

// A put goes on where it was interrupted whatever the setting is then, but takes over
// nothing that is compressed if nothing is to be.
func TestPutIsResumedInAnotherMode(t *testing.T) {
	for _, first := range modes {
		for _, then := range modes {
			u := newUser(t, newWorld(t, 6))
			u.content = 70_000
			content := prose(1, 700_000)
			u.interrupt(content, resumable.with(first))
			result := u.put(content, resumable.with(then))
			want := int64(350_000)
			if then == compress.Off && first != compress.Off {
				want = 0
			}
			if result.Resumed != want {
				t.Errorf("%v, then %v: %d bytes were resumed", first, then, result.Resumed)
			}
			u.get(result.ID, content)
			compressed := 0
			if first != compress.Off {
				compressed += int(result.Resumed) / u.content
			}
			if then != compress.Off {
				compressed += 10 - int(result.Resumed)/u.content
			}
			if _, n := u.refs(result.ID); n != compressed {
				t.Errorf("%v, then %v: %d segments are compressed, want %d", first, then, n, compressed)
			}
		}
	}
	u := newUser(t, newWorld(t, 6))
	u.content = 70_000
	u.interrupt(prose(1, 700_000), resumable.with(compress.Auto))
	_, err := u.Put(t.Context(), bytes.NewReader(prose(2, 700_000)), resumable.with(compress.Auto), commit)
	wantKind(t, "other content", err, errs.IO)
}

func TestLongListOfCompressedSegments(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	u.content = 100_000
	opt := options.with(compress.Max)
	opt.MaxList = 100
	content := prose(1, 500_000)
	result := u.put(content, opt)
	m, err := u.Manifest(t.Context(), result.ID)
	if err != nil || len(m.List) == 0 || packed(m.List[0]) {
		t.Fatalf("list %+v, %v", m.List, err)
	}
	if refs, n := u.refs(result.ID); n != len(refs) {
		t.Errorf("%d of %d segments are compressed", n, len(refs))
	}
	u.get(result.ID, content)
}

func TestRekeyedContentIsCompressedAsItIsAskedFor(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	content := prose(1, 300_000)
	id := u.put(content, options.with(compress.Max)).ID
	for _, mode := range modes {
		result, err := u.Rekey(t.Context(), id, options.with(mode), commit)
		if err != nil {
			t.Fatal(err)
		}
		if _, n := u.refs(result.ID); (n > 0) != (mode != compress.Off) {
			t.Errorf("%v: %d segments are compressed", mode, n)
		}
		u.get(result.ID, content)
	}
}

// author stores an object of one segment whose sealed text is what its author likes, and
// says of it what he likes.
func (u *user) author(text []byte, ref format.SegmentRef) datamesh.ObjectID {
	u.t.Helper()
	p := &put{o: u.Objects, opt: options, keys: u.ring, entry: u.journal.begin()}
	buf := make([]byte, bufferLen(len(text), options.K, options.M))
	n, err := crypt.Fill(buf, bytes.NewReader(text), len(text))
	if err != nil {
		u.t.Fatal(err)
	}
	key, sealed := crypt.Seal(buf, n)
	d, err := p.segment(u.t.Context(), buf, len(sealed))
	if err != nil {
		u.t.Fatal(err)
	}
	ref.ID, ref.Key, ref.K, ref.M, ref.Codec = d.Segment, key, d.K, d.M, format.Zstd
	id, err := p.manifest(u.t.Context(), &format.Manifest{Size: int64(ref.Length), Segments: []format.SegmentRef{ref}})
	if err != nil {
		u.t.Fatal(err)
	}
	return id
}

// The author of an object may have sealed anything. Nothing of it is written, and no holder
// is blamed.
func TestCompressedContentThatLies(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	content := prose(1, 300_000)
	buf := make([]byte, crypt.SealedLen(len(content))+compress.Room)
	if _, err := crypt.Fill(buf, bytes.NewReader(content), len(content)); err != nil {
		t.Fatal(err)
	}
	n, err := compress.New().Shorten(t.Context(), compress.Auto, buf, len(content))
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	good := crypt.Join(buf, n)
	u.get(u.author(good, format.SegmentRef{Length: len(content), Packed: len(good)}), content)
	more := append(bytes.Clone(good), 0)
	for what, x := range map[string]struct {
		text []byte
		ref  format.SegmentRef
	}{
		"more content than it has": {good, format.SegmentRef{Length: len(content) + 1, Packed: len(good)}},
		"less content than it has": {good, format.SegmentRef{Length: len(content) - 1, Packed: len(good)}},
		"much more content":        {good, format.SegmentRef{Length: datamesh.MaxContent, Packed: len(good)}},
		"a byte more":              {more, format.SegmentRef{Length: len(content), Packed: len(more)}},
		"less than was sealed":     {more, format.SegmentRef{Length: len(content), Packed: len(good)}},
		"more than was sealed":     {good, format.SegmentRef{Length: len(content), Packed: len(more)}},
		"no compressed content":    {noise(1, 1000), format.SegmentRef{Length: 2000, Packed: 1000}},
	} {
		id := u.author(x.text, x.ref)
		var got bytes.Buffer
		bad, err := u.Get(t.Context(), id, to(&got))
		if wantKind(t, what, err, errs.Integrity); got.Len() > 0 || len(bad) > 0 {
			t.Errorf("%s: %d bytes were written, bad %v", what, got.Len(), bad)
		}
		_, err = u.GetRange(t.Context(), id, func(*format.Manifest) (io.Writer, int64, int64, error) { return &got, 10, 10, nil })
		if wantKind(t, what+", a range", err, errs.Integrity); got.Len() > 0 {
			t.Errorf("%s: %d bytes of a range were written", what, got.Len())
		}
	}
	if !u.getMemory.TryAcquire(maxMemory) {
		t.Error("memory was not given back")
	}
}
