package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"datamesh"
	"datamesh/internal/archive"
	"datamesh/internal/errs"
	"datamesh/internal/tree"
)

var formats = []archive.Format{archive.Tar, archive.TarGz, archive.Zip}

// A member is an entry with its content.
type member struct {
	tree.Entry
	Content string
}

// aTree returns what a tree may have.
func aTree() []member {
	at := time.Date(2001, 2, 3, 4, 5, 6, 789_012_345, time.UTC)
	deep := strings.Repeat("deep/", 60) + "file"
	return []member{
		{tree.Entry{Path: "d", Type: tree.Directory, Mode: 0o750, ModTime: at}, ""},
		{tree.Entry{Path: "d/empty", Type: tree.Directory, Mode: 0o500, ModTime: at.Add(time.Hour)}, ""},
		{tree.Entry{Path: "d/file", Size: 7, Mode: 0o640, ModTime: at.AddDate(20, 0, 0)}, "content"},
		{tree.Entry{Path: "d/nothing", Mode: 0o444, ModTime: at}, ""},
		{tree.Entry{Path: "d/nobody", Size: 1, Mode: datamesh.NoPermissions, ModTime: at}, "x"},
		{tree.Entry{Path: "d/no one", Type: tree.Directory, Mode: datamesh.NoPermissions, ModTime: at}, ""},
		{tree.Entry{Path: "d/ä ö\n\u2028", Size: 1, Mode: 0o777, ModTime: at}, "x"},
		{tree.Entry{Path: "d/l", Type: tree.Symlink, Size: 10, Mode: 0o777, ModTime: at, Target: "../d//file"}, ""},
		{tree.Entry{Path: deep, Size: 100_000, Mode: 0o600, ModTime: at}, strings.Repeat("long ", 20_000)},
		{tree.Entry{Path: strings.Repeat("n", 255), Size: 2, Mode: 0o600, ModTime: at}, "nn"},
	}
}

// write returns an archive of members; one that is not closed has no end.
func write(t testing.TB, f archive.Format, all []member, whole bool) []byte {
	t.Helper()
	var out bytes.Buffer
	w := archive.NewWriter(&out, f)
	for _, m := range all {
		body, err := w.Add(m.Entry)
		if err == nil && m.Type == "" {
			_, err = io.WriteString(body, m.Content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if whole {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// read returns what an archive yields, with the error that it ends with.
func read(r *archive.Reader, err error) (all []member, _ error) {
	if err != nil {
		return nil, err
	}
	for e, err := range r.Entries() {
		if err != nil {
			return all, err
		}
		if e.Skipped != nil {
			all = append(all, member{tree.Entry{Path: e.Name()}, "skipped: " + e.Skipped.Error()})
			continue
		}
		m := member{Entry: e.Entry}
		if e.Link != "" {
			m.Content = "is " + e.Link
		} else if e.Type == "" {
			body, err := e.Open()
			if err != nil {
				return all, err
			}
			b, err := io.ReadAll(body)
			if err := errors.Join(err, body.Close()); err != nil {
				return all, err
			}
			m.Content = string(b)
		}
		all = append(all, m)
	}
	return all, nil
}

func open(b []byte) (*archive.Reader, error) {
	return archive.Open(bytes.NewReader(b), int64(len(b)), 0)
}

func stream(b []byte) (*archive.Reader, error) {
	return archive.Stream(io.MultiReader(bytes.NewReader(b)), 0) // which cannot seek
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	for _, f := range formats {
		want := aTree()
		b := write(t, f, want, true)
		if f == archive.Zip {
			for i := range want {
				want[i].ModTime = want[i].ModTime.Truncate(time.Second)
			}
		}
		readers := map[string]func([]byte) (*archive.Reader, error){"file": open, "stream": stream}
		if f == archive.Zip {
			delete(readers, "stream")
		}
		for what, reader := range readers {
			got, err := read(reader(b))
			if err != nil {
				t.Errorf("%s as a %s: %v", f, what, err)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(tree.Entry{})); diff != "" {
				t.Errorf("%s as a %s (-want +got):\n%s", f, what, diff)
			}
		}
		r, err := open(b)
		if err != nil || r.Format() != f || !r.Again() {
			t.Fatalf("%s: %v, %v", f, r.Format(), err)
		}
		for range 2 { // it can be read again
			if got, err := read(r, nil); err != nil || len(got) != len(want) {
				t.Errorf("%s: %d entries, %v", f, len(got), err)
			}
		}
		if !r.Has("d/file") || r.Has("d/none") {
			t.Errorf("%s: has not what it has, or what it has not", f)
		}
	}
}

// What was not closed, or is cut off anywhere, is not taken for whole.
func TestAnArchiveWithoutItsEndIsNotWhole(t *testing.T) {
	for _, f := range formats {
		all := aTree()
		whole := write(t, f, all, true)
		cuts := [][]byte{write(t, f, all, false)}
		if f == archive.Tar {
			cuts = append(cuts, whole[:len(whole)-1024]) // all of the last entry, and nothing after it
		}
		for n := 513; n < len(whole)-1024; n += len(whole)/50 + 7 {
			cuts = append(cuts, whole[:n])
		}
		for _, b := range cuts {
			readers := []func([]byte) (*archive.Reader, error){open, stream}
			if f == archive.Zip {
				readers = readers[:1]
			}
			for _, reader := range readers {
				if len(b) == 0 {
					continue // gzip has kept it all back
				}
				if got, err := read(reader(b)); errs.KindOf(err) != errs.Integrity {
					t.Errorf("%s of %d bytes of %d: %d entries, %v", f, len(b), len(whole), len(got), err)
				}
			}
		}
	}
}

func TestAWriterTakesAsManyBytesAsItWasTold(t *testing.T) {
	for _, f := range formats {
		w := archive.NewWriter(io.Discard, f)
		body, err := w.Add(tree.Entry{Path: "f", Size: 3})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(body, "long"); errs.KindOf(err) != errs.Export {
			t.Errorf("%s: too many: %v", f, err)
		}
		if _, err := io.WriteString(body, "lo"); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		if _, err := w.Add(tree.Entry{Path: "g"}); errs.KindOf(err) != errs.Export || !strings.Contains(err.Error(), "1 bytes less") {
			t.Errorf("%s: too few: %v", f, err)
		}
		if err := w.Close(); errs.KindOf(err) != errs.Export {
			t.Errorf("%s: too few at the end: %v", f, err)
		}
	}
}

// Other programs take a tar for whole that stops between two entries.
func TestAnAbandonedTarEndsInAnEntry(t *testing.T) {
	var b bytes.Buffer
	w := archive.NewWriter(&b, archive.Tar)
	if _, err := w.Add(tree.Entry{Path: "d", Type: tree.Directory}); err != nil {
		t.Fatal(err)
	}
	w.Abandon("lost")
	if got, err := read(stream(b.Bytes())); errs.KindOf(err) != errs.Integrity || !strings.Contains(err.Error(), "lost") {
		t.Errorf("%d entries, %v", len(got), err)
	}
	r := tar.NewReader(&b)
	_, first := r.Next()
	_, second := r.Next()
	if _, err := io.ReadAll(r); first != nil || second != nil || err != io.ErrUnexpectedEOF {
		t.Errorf("it reads like one that is whole: %v, %v, %v", first, second, err)
	}
}

func TestEntriesThatNoArchiveHasAreNotWritten(t *testing.T) {
	for _, x := range []struct {
		what string
		zip  bool // of a zip alone
		of   []tree.Entry
	}{
		{"twice", false, []tree.Entry{{Path: "a"}, {Path: "a"}}},
		{"below a file", false, []tree.Entry{{Path: "a"}, {Path: "a/b"}}},
		{"a file above", false, []tree.Entry{{Path: "a/b"}, {Path: "a"}}},
		{"through a link", false, []tree.Entry{{Path: "a", Type: tree.Symlink}, {Path: "a/b"}}},
		{"up", false, []tree.Entry{{Path: "a/../../b"}}},
		{"absolute", false, []tree.Entry{{Path: "/a"}}},
		{"nothing", false, []tree.Entry{{Path: ""}}},
		{"the top", false, []tree.Entry{{Path: "."}}},
		{"no text", false, []tree.Entry{{Path: "a\xff"}}},
		{"a backslash", true, []tree.Entry{{Path: `a\b`}}},
		{"a drive", true, []tree.Entry{{Path: "c:a"}}},
	} {
		for _, f := range formats {
			err := archive.Check(f, func(yield func(tree.Entry) bool) {
				for _, e := range x.of {
					if !yield(e) {
						return
					}
				}
			})
			if refused := f == archive.Zip || !x.zip; refused && errs.KindOf(err) != errs.Export || !refused && err != nil {
				t.Errorf("%s, %s: %v", x.what, f, err)
			}
		}
	}
}

func TestFormatsAreToldByTheirNames(t *testing.T) {
	for name, want := range map[string]archive.Format{"a.tar": archive.Tar, "a.b.TAR.gz": archive.TarGz, "tgz": "", "x.tgz": archive.TarGz, "a.zip": archive.Zip, "zip": "", "a.tar.xz": ""} {
		if got := archive.FormatOf(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if f, err := archive.ParseFormat("tgz"); f != archive.TarGz || err != nil {
		t.Errorf("tgz: %q, %v", f, err)
	}
	if _, err := archive.ParseFormat("rar"); errs.KindOf(err) != errs.Invalid {
		t.Errorf("rar: %v", err)
	}
}

// zeros is so many bytes of zero.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	z.left -= n
	return int(n), nil
}

// What a large file takes of memory does not depend on its size.
func TestLargeEntriesAreNotHeldInMemory(t *testing.T) {
	const large, most = 256 << 20, 8 << 20
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	for _, f := range formats {
		before := allocated()
		out, in := io.Pipe()
		go func() {
			w := archive.NewWriter(in, f)
			body, err := w.Add(tree.Entry{Path: "large", Size: large})
			if err == nil {
				_, err = io.CopyBuffer(struct{ io.Writer }{body}, struct{ io.Reader }{&zeros{large}}, make([]byte, 64<<10))
			}
			in.CloseWithError(errors.Join(err, w.Close()))
		}()
		var n int64
		var err error
		if f == archive.Zip { // which is read from its end
			var b bytes.Buffer
			b.Grow(1 << 20)
			if _, err = io.Copy(&b, out); err == nil {
				n, err = drain(archive.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), 2*large))
			}
		} else {
			n, err = drain(archive.Stream(out, 2*large))
		}
		out.CloseWithError(errors.New("it is over"))
		if err != nil || n != large {
			t.Fatalf("%s: %d bytes, %v", f, n, err)
		}
		if used := allocated() - before; used > most {
			t.Errorf("%s: %d bytes were allocated for a file of %d", f, used, large)
		}
	}
}

// drain reads all content.
func drain(r *archive.Reader, err error) (n int64, _ error) {
	if err != nil {
		return 0, err
	}
	for e, err := range r.Entries() {
		if err != nil {
			return n, err
		}
		body, err := e.Open()
		if err != nil {
			return n, err
		}
		got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{body}, make([]byte, 64<<10))
		n += got
		if err := errors.Join(err, body.Close()); err != nil {
			return n, err
		}
	}
	return n, nil
}
