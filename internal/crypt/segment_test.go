package crypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"datamesh"
	"datamesh/internal/errs"
)

var sizes = []int{0, 1, 15, 16, 17, 4<<10 - 1, 4 << 10, 4<<10 + 1, 64<<10 - 1, 64 << 10, 64<<10 + 1,
	128 << 10, 128<<10 + 1, 16<<20 - 1, 16 << 20, 16<<20 + 1}

// random returns the same n bytes each time.
func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// filled returns a buffer with content where Seal wants it.
func filled(t testing.TB, content []byte) []byte {
	t.Helper()
	buf := make([]byte, SealedLen(len(content)))
	n, err := Fill(buf, bytes.NewReader(content), len(content))
	if err != nil || n != len(content) {
		t.Fatalf("fill: %d of %d bytes, %v", n, len(content), err)
	}
	return buf
}

func sealed(t testing.TB, content []byte) (Key, []byte) {
	t.Helper()
	return Seal(filled(t, content), len(content))
}

func TestWhatIsSealedOpens(t *testing.T) {
	for _, n := range sizes {
		content := random(n)
		key, sealed := sealed(t, content)
		if len(sealed) != SealedLen(n) {
			t.Errorf("%d bytes: %d sealed, want %d", n, len(sealed), SealedLen(n))
		}
		got, err := Open(key, sealed)
		if err != nil || got != n {
			t.Fatalf("%d bytes: %d opened, %v", n, got, err)
		}
		var out bytes.Buffer
		if err := Drain(&out, sealed, n); err != nil || !bytes.Equal(out.Bytes(), content) {
			t.Errorf("%d bytes: others come back, %v", n, err)
		}
	}
}

// The frames once more, from the specification and the standard library.
func TestFramesAreThoseOfTheFormat(t *testing.T) {
	key := Key(random(32))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range sizes {
		if n > 1<<20 {
			continue // more of the same
		}
		content := random(n)
		var want []byte
		rest := content
		for i := uint64(0); ; i++ {
			text := rest[:min(65536, len(rest))]
			rest = rest[len(text):]
			nonce := make([]byte, 12)
			binary.BigEndian.PutUint64(nonce[3:], i)
			if len(rest) == 0 {
				nonce[11] = 1
			}
			want = aead.Seal(want, nonce, text, nil)
			if len(rest) == 0 {
				break
			}
		}
		if got := seal(key, filled(t, content), n); !bytes.Equal(got, want) {
			t.Errorf("%d bytes are sealed otherwise", n)
		}
	}
}

func TestContentLenIsTheInverseOfSealedLen(t *testing.T) {
	seals := map[int]int{}
	for n := range 3*datamesh.FrameContent + 2 {
		seals[SealedLen(n)] = n
	}
	for n := -1; n < 3*FrameLen; n++ {
		want, possible := seals[n]
		got, err := ContentLen(n)
		if possible && (err != nil || got != want) || !possible && !errors.Is(err, errs.Integrity) {
			t.Fatalf("%d sealed bytes: got %d, %v; want %d, %v", n, got, err, want, possible)
		}
	}
	if n, err := ContentLen(datamesh.MaxSealed); n != datamesh.MaxContent || err != nil {
		t.Errorf("the largest segment: got %d, %v", n, err)
	}
}

func TestNothingElseOpens(t *testing.T) {
	content := random(3*datamesh.FrameContent + 100)
	key, good := sealed(t, content)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	a, b, c, d := good[:FrameLen], good[FrameLen:2*FrameLen], good[2*FrameLen:3*FrameLen], good[3*FrameLen:]
	flipped := func(i int) []byte {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		return bad
	}
	other, foreign := sealed(t, content)
	for what, bad := range map[string][]byte{
		"two frames exchanged":     join(b, a, c, d),
		"the last frame cut off":   join(a, b, c),
		"a frame taken out":        join(a, c, d),
		"a frame twice":            join(a, b, b, c, d),
		"the last frame twice":     join(a, b, c, d, d),
		"a full frame at the end":  join(a, b, c, c),
		"cut within a frame":       good[:len(good)-1],
		"cut to a tag":             good[:3*FrameLen+16],
		"extended":                 join(good, []byte{0}),
		"extended by a frame":      join(good, make([]byte, 16)),
		"the first bit":            flipped(0),
		"a bit of the first tag":   flipped(FrameLen - 1),
		"a bit in the middle":      flipped(2 * FrameLen),
		"the last bit":             flipped(len(good) - 1),
		"a frame of another":       join(a, foreign[FrameLen:2*FrameLen], c, d),
		"nothing":                  {},
		"sealed under another key": foreign,
	} {
		if n, err := Open(key, bytes.Clone(bad)); !errors.Is(err, errs.Integrity) {
			t.Errorf("%s: opened %d bytes, %v", what, n, err)
		}
	}
	if _, err := Open(other, bytes.Clone(good)); !errors.Is(err, errs.Integrity) {
		t.Errorf("with another key: got %v", err)
	}
	if n, err := Open(key, good); n != len(content) || err != nil {
		t.Errorf("it itself: got %d bytes, %v", n, err)
	}
}

func TestEveryCutAndEveryBitOfASmallSegmentCounts(t *testing.T) {
	key, good := sealed(t, []byte("seventeen letters"))
	for n := range good {
		if _, err := Open(key, bytes.Clone(good[:n])); !errors.Is(err, errs.Integrity) {
			t.Errorf("cut to %d bytes: got %v", n, err)
		}
	}
	for i := range 8 * len(good) {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := Open(key, bad); !errors.Is(err, errs.Integrity) {
			t.Errorf("bit %d: got %v", i, err)
		}
	}
}

func TestAFrameOpensAloneAndInItsPlaceOnly(t *testing.T) {
	content := random(2*datamesh.FrameContent + 5)
	key, sealed := sealed(t, content)
	frames := [][]byte{sealed[:FrameLen], sealed[FrameLen : 2*FrameLen], sealed[2*FrameLen:]}
	for i, f := range frames {
		for place := range 3 {
			for _, last := range []bool{false, true} {
				got, err := OpenFrame(key, place, last, bytes.Clone(f))
				if place != i || last != (i == 2) {
					if !errors.Is(err, errs.Integrity) {
						t.Errorf("frame %d as frame %d, last %v: got %v", i, place, last, err)
					}
					continue
				}
				from := i * datamesh.FrameContent
				if err != nil || !bytes.Equal(got, content[from:min(from+datamesh.FrameContent, len(content))]) {
					t.Errorf("frame %d: %d bytes, %v", i, len(got), err)
				}
			}
		}
	}
	for n := range datamesh.FrameTag {
		if _, err := OpenFrame(key, 2, true, frames[2][:n]); !errors.Is(err, errs.Integrity) {
			t.Errorf("frame of %d bytes: got %v", n, err)
		}
	}
}

func TestTheSameContentSealedTwiceHasNothingInCommon(t *testing.T) {
	content := bytes.Repeat([]byte("again and again "), 1<<13)
	_, a := sealed(t, content)
	_, b := sealed(t, content)
	seen := map[[16]byte]bool{}
	for _, s := range [][]byte{a, b} {
		for i := 0; i+16 <= len(s); i += 16 {
			run := [16]byte(s[i:])
			if seen[run] {
				t.Fatalf("16 bytes at %d were there before", i)
			}
			seen[run] = true
		}
	}
}

func TestFillStopsAtTheEndAndAtTheLimit(t *testing.T) {
	content := random(2*datamesh.FrameContent + 7)
	for what, wrap := range map[string]func(io.Reader) io.Reader{
		"plain":              func(r io.Reader) io.Reader { return r },
		"a byte at a time":   iotest.OneByteReader,
		"half a buffer":      iotest.HalfReader,
		"the end with bytes": iotest.DataErrReader,
	} {
		for _, n := range []int{0, 1, datamesh.FrameContent, datamesh.FrameContent + 1, len(content)} {
			for _, limit := range []int{n, n + 1, n + datamesh.FrameContent} {
				buf := make([]byte, SealedLen(limit))
				got, err := Fill(buf, wrap(bytes.NewReader(content[:n])), limit)
				if err != nil || got != n {
					t.Errorf("%s, %d bytes, limit %d: got %d, %v", what, n, limit, got, err)
				}
			}
		}
		r := wrap(bytes.NewReader(content))
		buf := make([]byte, SealedLen(1000))
		if n, err := Fill(buf, r, 1000); n != 1000 || err != nil {
			t.Errorf("%s: %d bytes of at most 1000, %v", what, n, err)
		}
		rest, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(rest, content[1000:]) {
			t.Errorf("%s: Fill took more than its limit: %d bytes are left, %v", what, len(rest), err)
		}
	}
}

// A source that is cut off must not become a shorter object.
func TestFillTakesOnlyTheEndForTheEnd(t *testing.T) {
	broken := errors.New("broken")
	for _, want := range []error{broken, io.ErrUnexpectedEOF, fmt.Errorf("%w", io.EOF)} {
		for _, n := range []int{0, 10, datamesh.FrameContent, datamesh.FrameContent + 10} {
			r := io.MultiReader(bytes.NewReader(random(n)), iotest.ErrReader(want))
			if got, err := Fill(make([]byte, SealedLen(1<<20)), r, 1<<20); err != want || got != n {
				t.Errorf("%v after %d bytes: got %d, %v", want, n, got, err)
			}
		}
	}
}

func TestDrainTellsWhenItsWriterFails(t *testing.T) {
	content := random(datamesh.FrameContent + 1)
	buf := filled(t, content)
	w := &limited{limit: 1}
	if err := Drain(w, buf, len(content)); err != errLimit || w.writes != 2 {
		t.Errorf("got %v after %d writes", err, w.writes)
	}
}

var errLimit = errors.New("limit")

type limited struct{ limit, writes int }

func (l *limited) Write(b []byte) (int, error) {
	if l.writes++; l.writes > l.limit {
		return 0, errLimit
	}
	return len(b), nil
}

// Other content under a key that was used leaves nothing that was sealed under it.
func TestSealsTo(t *testing.T) {
	content := bytes.Repeat([]byte("content "), 20_000)
	fill := func(content []byte) []byte {
		buf := make([]byte, SealedLen(len(content))+100)
		if _, err := Fill(buf, bytes.NewReader(content), len(content)); err != nil {
			t.Fatal(err)
		}
		return buf
	}
	key, sealed := Seal(fill(content), len(content))
	same := func(again []byte) bool { return bytes.Equal(again, sealed) }
	if !SealsTo(key, fill(content), len(content), same) {
		t.Error("the same content is not known again")
	}
	content[100_000] ^= 1
	buf := fill(content)
	if SealsTo(key, buf, len(content), same) {
		t.Error("other content is taken for the same")
	}
	if !bytes.Equal(buf, make([]byte, len(buf))) {
		t.Error("other content stays sealed under the same key")
	}
}

// A key seals one byte string, once. So what takes a key from outside must
// not be able to seal with it: SealsTo gives nothing away but whether it did.
func TestNoExportedFunctionSealsUnderAGivenKey(t *testing.T) {
	var got []string
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.IsExported() && fn.Recv == nil && takesKey(fn) {
				got = append(got, fn.Name.Name)
			}
		}
	}
	slices.Sort(got)
	if want := []string{"Commit", "Open", "OpenFrame", "SealsTo", "Wrap"}; !slices.Equal(got, want) {
		t.Errorf("functions that take a Key: got %v, want %v", got, want)
	}
}

func takesKey(fn *ast.FuncDecl) (takes bool) {
	ast.Inspect(fn.Type.Params, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		takes = takes || ok && id.Name == "Key"
		return true
	})
	return takes
}

func TestNoVerbPrintsAKey(t *testing.T) {
	key := Key(bytes.Repeat([]byte("K"), 32))
	in := struct {
		Key  Key
		Keys []Key
	}{key, []Key{key}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		for _, v := range []any{key, &key, in} {
			text := fmt.Sprintf(verb, v)
			for _, leak := range []string{"KKKK", "75", "4b4b", "4B4B", "0x4b"} {
				if strings.Contains(text, leak) {
					t.Errorf("%s: %s", verb, text)
				}
			}
		}
	}
}
