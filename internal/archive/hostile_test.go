package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/archive"
	"datamesh/internal/errs"
	"datamesh/internal/tree"
)

// tarOf returns a tar of headers, with as many bytes as each says.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("%q: %v", h.Name, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.CopyN(w, &zeros{h.Size}, h.Size); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A zipped is a file of a zip.
type zipped struct {
	name    string
	mode    fs.FileMode
	content string
}

func zipOf(t testing.TB, files ...zipped) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		h.SetMode(f.mode)
		out, err := w.CreateHeader(h)
		if err == nil && f.content != "" {
			_, err = io.WriteString(out, f.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// renamed returns an archive in which a name is another of the same length,
// such as no writer would write. The sums of a tar are made anew.
func renamed(b []byte, from, to string) []byte {
	return summed(bytes.ReplaceAll(b, []byte(from), []byte(to)))
}

// summed has all that look like headers of a tar have their sums.
func summed(b []byte) []byte {
	b = bytes.Clone(b)
	for at := 0; at+512 <= len(b); at += 512 {
		header := b[at : at+512]
		if !bytes.HasPrefix(header[257:], []byte("ustar")) {
			continue
		}
		copy(header[148:], "        ")
		sum := 0
		for _, c := range header {
			sum += int(c)
		}
		copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
	}
	return b
}

const many = "the archive comes to more than"

// Whatever an archive has that is not to be taken is refused, with its name
// and the reason; what comes before it in a stream has been yielded.
func TestHostileArchivesAreRefusedByName(t *testing.T) {
	long := strings.Repeat("n", 256)
	file, symlink := zipped{"ok", 0o644, "fine"}, func(name, target string) zipped { return zipped{name, fs.ModeSymlink | 0o777, target} }
	ok := tar.Header{Name: "ok"}
	for _, x := range []struct {
		what string
		in   []byte
		name string // of the entry
		why  string
	}{
		{"tar, absolute", tarOf(t, ok, tar.Header{Name: "/etc/passwd"}), "/etc/passwd", "absolute"},
		{"tar, absolute behind a dot", tarOf(t, ok, tar.Header{Name: ".//etc/passwd"}), ".//etc/passwd", "absolute"},
		{"tar, up", tarOf(t, ok, tar.Header{Name: "../up"}), "../up", `".."`},
		{"tar, up inside", tarOf(t, ok, tar.Header{Name: "a/../../up"}), "a/../../up", `".."`},
		{"tar, up at the end", tarOf(t, ok, tar.Header{Name: "a/..", Typeflag: tar.TypeDir}), "a/..", `".."`},
		{"tar, a directory up", tarOf(t, ok, tar.Header{Name: "../", Typeflag: tar.TypeDir}), "../", `".."`},
		{"tar, backslashes", tarOf(t, ok, tar.Header{Name: `..\up`}), `..\\up`, "backslash"},
		{"tar, a drive", tarOf(t, ok, tar.Header{Name: "C:up"}), "C:up", "drive"},
		{"tar, no name", renamed(tarOf(t, ok, tar.Header{Name: "XXXX"}), "XXXX", "\x00\x00\x00\x00"), "", "no name"},
		{"tar, empty element", tarOf(t, ok, tar.Header{Name: "a//b"}), "a//b", "no path"},
		{"tar, a dot inside", tarOf(t, ok, tar.Header{Name: "a/./b"}), "a/./b", "no path"},
		{"tar, a file that is a directory", renamed(tarOf(t, ok, tar.Header{Name: "aXXX", Size: 3}), "aXXX", "a/\x00\x00"), "a/", "no path"},
		{"tar, no text", renamed(tarOf(t, ok, tar.Header{Name: "XXXX"}), "XXXX", "\xff\xfeab"), `\xff\xfeab`, "UTF-8"},
		{"tar, long element", tarOf(t, ok, tar.Header{Name: long}), "nnn", "more than the name of a file can"},
		{"tar, long", tarOf(t, ok, tar.Header{Name: strings.Repeat("d/", 2100) + "x"}), "d/d/", "4201 bytes"},
		{"tar, twice", tarOf(t, ok, tar.Header{Name: "a"}, tar.Header{Name: "./a"}), "./a", "twice"},
		{"tar, a directory twice", tarOf(t, ok, tar.Header{Name: "a/", Typeflag: tar.TypeDir}, tar.Header{Name: "a", Typeflag: tar.TypeDir}), "a", "twice"},
		{"tar, below a file", tarOf(t, ok, tar.Header{Name: "ok/b"}), "ok/b", "a file"},
		{"tar, a file above", tarOf(t, ok, tar.Header{Name: "a/b"}, tar.Header{Name: "a"}), "a", "no directory"},
		{"tar, a link to the root", tarOf(t, ok, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}), "l", "/etc"},
		{"tar, a link up", tarOf(t, ok, tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "../../x"}), "d/l", "../../x"},
		{"tar, a link up from below", tarOf(t, ok, tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "e/../../x"}), "d/l", "after a name"},
		{"tar, a link to a drive", tarOf(t, ok, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "c:x"}), "l", "c:x"},
		{"tar, a link to nothing", tarOf(t, ok, tar.Header{Name: "l", Typeflag: tar.TypeSymlink}), "l", "1 to 4096 bytes"},
		{"tar, through a link", tarOf(t, ok, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "d"}, tar.Header{Name: "l/x"}), "l/x", "a link"},
		{"tar, a link that others went through", tarOf(t, ok, tar.Header{Name: "l/x"}, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "d"}), "l", "no directory"},
		{"tar, a hard link to the root", tarOf(t, ok, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "/etc/shadow"}), "h", "outside"},
		{"tar, a hard link up", tarOf(t, ok, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "../x"}), "h", "outside"},
		{"tar, a hard link to nothing", tarOf(t, ok, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "later"}, tar.Header{Name: "later"}), "h", "no file that the archive has before it"},
		{"tar, a hard link to a link", tarOf(t, ok, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "ok"}, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "l"}), "h", "no file that the archive has before it"},
		{"tar, a device up", tarOf(t, ok, tar.Header{Name: "../dev", Typeflag: tar.TypeChar}), "../dev", `".."`},
		{"tar, too deep too often", tarOf(t, append([]tar.Header{ok}, deep(600)...)...), "/a/a/a", "1000000 entries"},
		{"tar.gz, a bomb", packed(t, tarOf(t, ok, tar.Header{Name: "bomb", Size: 20 << 20})), "bomb", many},

		{"zip, absolute", zipOf(t, file, zipped{"/etc/passwd", 0o644, ""}), "/etc/passwd", "absolute"},
		{"zip, up", zipOf(t, file, zipped{"a/../../up", 0o644, ""}), "a/../../up", `".."`},
		{"zip, backslashes", zipOf(t, file, zipped{`a\..\..\up`, 0o644, ""}), `a\\..\\..\\up`, "backslash"},
		{"zip, a drive", zipOf(t, file, zipped{"c:/up", 0o644, ""}), "c:/up", "drive"},
		{"zip, NUL", zipOf(t, file, zipped{"a\x00b", 0o644, ""}), `a\x00b`, "NUL"},
		{"zip, no name", renamed(zipOf(t, file), "ok", "./"), "./", "directory"},
		{"zip, twice", zipOf(t, file, zipped{"a", 0o644, ""}, zipped{"a", 0o644, ""}), "a", "twice"},
		{"zip, a link up", zipOf(t, file, symlink("d/l", "../../x")), "d/l", "../../x"},
		{"zip, a long link", zipOf(t, file, symlink("l", strings.Repeat("x", 4097))), "l", "4097 bytes"},
		{"zip, through a link", zipOf(t, file, symlink("l", "d"), zipped{"l/x", 0o644, ""}), "l/x", "a link"},
		{"zip, a bomb", zipOf(t, file, zipped{"bomb", 0o644, strings.Repeat("\x00", 20<<20)}), "bomb", many},
		{"zip, a directory with content", renamed(zipOf(t, file, zipped{"a/xx", 0o644, "x"}), "a/xx", "a/x/"), "a/x/", "content"},
		{"zip, encrypted", flag(t, zipOf(t, file), 8, 1), "ok", "encrypted"},
		{"zip, an unknown method", flag(t, zipOf(t, file), 10, 99), "ok", "method"},
	} {
		t.Run(x.what, func(t *testing.T) {
			limit := int64(1 << 20)
			readers := map[string]func() (*archive.Reader, error){
				"file": func() (*archive.Reader, error) {
					return archive.Open(bytes.NewReader(x.in), int64(len(x.in)), limit)
				},
				"stream": func() (*archive.Reader, error) {
					return archive.Stream(io.MultiReader(bytes.NewReader(x.in)), limit)
				},
			}
			if strings.HasPrefix(x.what, "zip") {
				delete(readers, "stream")
			}
			for how, reader := range readers {
				got, err := read(reader())
				if errs.KindOf(err) != errs.Import || !strings.Contains(err.Error(), `entry "`) || !strings.Contains(err.Error(), x.name) || !strings.Contains(err.Error(), x.why) {
					t.Errorf("as a %s: %d entries, and %v; want %q because of %q", how, len(got), err, x.name, x.why)
				}
				if errs.HintFor(err) == "" {
					t.Error("there is no hint")
				}
				for _, m := range got {
					if err := tree.CheckPath(m.Path); err != nil {
						t.Errorf("yielded %q: %v", m.Path, err)
					}
				}
				if len(got) == 0 && !strings.Contains(x.what, "encrypted") && !strings.Contains(x.what, "method") && x.what != "zip, no name" {
					t.Errorf("as a %s: what came before it was not yielded", how)
				}
			}
		})
	}
}

// deep returns n entries, each in 2,000 directories of its own.
func deep(n int) (all []tar.Header) {
	for i := range n {
		all = append(all, tar.Header{Name: fmt.Sprint(i) + strings.Repeat("/a", 2000)})
	}
	return all
}

// flag sets a field of all entries in the directory of a zip.
func flag(t testing.TB, b []byte, field int, value uint16) []byte {
	t.Helper()
	for at := range b {
		if bytes.HasPrefix(b[at:], []byte("PK\x01\x02")) {
			binary.LittleEndian.PutUint16(b[at+field:], value)
		}
	}
	return b
}

// end returns the place of the end of a zip.
func end(b []byte) int { return bytes.LastIndex(b, []byte("PK\x05\x06")) }

// A zip that lies about itself is refused before anything is made of what it says.
func TestZipsThatLieAreRefused(t *testing.T) {
	two := func() []byte { return zipOf(t, zipped{"a", 0o644, "same"}, zipped{"b", 0o644, "same"}) }
	directory := func(b []byte) int { return bytes.Index(b, []byte("PK\x01\x02")) }
	for _, x := range []struct {
		what string
		in   func() []byte
		why  string
	}{
		{"fewer entries than it has", func() []byte {
			b := two()
			binary.LittleEndian.PutUint16(b[end(b)+10:], 1)
			return b
		}, "damaged"},
		{"65536 entries less than it has, modulo", func() []byte {
			return zip64(two(), 65536+2, 0xffff)
		}, "says that it has 65538 entries, and has 2"},
		{"a billion entries", func() []byte { return zip64(two(), 1_000_000_000, 0xffff) }, "1000000000 entries"},
		{"two numbers of entries", func() []byte { return zip64(two(), 1_000_000_000, 2) }, "and also"},
		{"no end", func() []byte { b := two(); return b[:end(b)] }, "no end"},
		{"an end that is elsewhere", func() []byte {
			b := zip64(two(), 2, 2)
			binary.LittleEndian.PutUint64(b[end(b)-20+8:], 1<<60)
			return b
		}, "its end at"},
		{"one content for two", func() []byte {
			b := two()
			second := directory(b) + bytes.Index(b[directory(b)+1:], []byte("PK\x01\x02")) + 1
			binary.LittleEndian.PutUint32(b[second+42:], 0)
			return b
		}, "it lies where"},
		{"more compressed than there is", func() []byte {
			b := two()
			binary.LittleEndian.PutUint32(b[directory(b)+20:], 1<<30)
			return b
		}, "it says that it has 1073741824 bytes"},
		{"less content than it has", func() []byte {
			b := two()
			binary.LittleEndian.PutUint32(b[directory(b)+24:], 2)
			return b
		}, "damaged at entry"},
		{"more content than it has", func() []byte {
			b := two()
			binary.LittleEndian.PutUint32(b[directory(b)+24:], 200)
			return b
		}, "damaged at entry"},
		{"another sum", func() []byte {
			b := two()
			b[directory(b)+16] ^= 1
			return b
		}, "damaged at entry"},
		{"much", func() []byte {
			b := two()
			binary.LittleEndian.PutUint32(b[directory(b)+24:], 0xfffffff0)
			return b
		}, many},
	} {
		if got, err := read(open(x.in())); err == nil || !strings.Contains(err.Error(), x.why) || errs.KindOf(err) != errs.Import && errs.KindOf(err) != errs.Integrity {
			t.Errorf("%s: %d entries, %v; want %q", x.what, len(got), err, x.why)
		}
	}
}

// zip64 gives a zip an end that says how many entries there are in 64 bits,
// and says n in the other.
func zip64(b []byte, records uint64, n uint16) []byte {
	at := end(b)
	old := bytes.Clone(b[at:])
	e := make([]byte, 56+20)
	copy(e, "PK\x06\x06")
	binary.LittleEndian.PutUint64(e[4:], 44)
	binary.LittleEndian.PutUint64(e[24:], records)
	binary.LittleEndian.PutUint64(e[32:], records)
	binary.LittleEndian.PutUint64(e[40:], uint64(binary.LittleEndian.Uint32(old[12:])))
	binary.LittleEndian.PutUint64(e[48:], uint64(binary.LittleEndian.Uint32(old[16:])))
	copy(e[56:], "PK\x06\x07")
	binary.LittleEndian.PutUint64(e[64:], uint64(at))
	binary.LittleEndian.PutUint32(e[72:], 1)
	binary.LittleEndian.PutUint16(old[10:], n)
	return append(append(b[:at:at], e...), old...)
}

// The directory of a zip is read up to a bound, whatever it says.
func TestALargeDirectoryIsRefused(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := range 600 {
		h := &zip.FileHeader{Name: fmt.Sprint(i), Comment: strings.Repeat("c", 65_000)}
		if _, err := w.CreateHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(b.Bytes()); errs.KindOf(err) != errs.Import || !strings.Contains(err.Error(), "33554432 bytes") {
		t.Errorf("got %v", err)
	}
}

// again is the same bytes over and over.
type again struct {
	b  []byte
	at int
}

func (r *again) Read(p []byte) (int, error) {
	n := copy(p, r.b[r.at:])
	r.at = (r.at + n) % len(r.b)
	return n, nil
}

// An archive without end has no more entries than are allowed, also of those of which
// nothing is kept.
func TestEntriesAreNotWithoutEnd(t *testing.T) {
	for _, h := range []tar.Header{{Name: "./", Typeflag: tar.TypeDir}, {Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}} {
		b := tarOf(t, h)
		r, err := archive.Stream(&again{b: b[:len(b)-1024]}, 0)
		if err != nil {
			t.Fatal(err)
		}
		archive.AtMost(r, 1000)
		for _, err = range r.Entries() {
			if err != nil {
				break
			}
		}
		if errs.KindOf(err) != errs.Import || !strings.Contains(err.Error(), "more than 1000 entries") {
			t.Errorf("%q: %v", h.Typeflag, err)
		}
	}
}

// A file with holes is a few bytes in a tar that come to any number.
func TestHolesCountAsWhatTheyComeTo(t *testing.T) {
	const size = 1 << 40
	header := tar.Header{Name: "holes", Typeflag: tar.TypeReg, Size: 1024, Format: tar.FormatPAX,
		PAXRecords: map[string]string{"GNUXsparse.major": "1", "GNUXsparse.minor": "0", "GNUXsparse.name": "holes", "GNUXsparse.realsize": fmt.Sprint(size)}}
	b := tarOf(t, header) // a writer takes no such record under its own name
	for _, of := range []string{"major", "minor", "name", "realsize"} {
		b = bytes.ReplaceAll(b, []byte("GNUXsparse."+of), []byte("GNU.sparse."+of))
	}
	sparse := fmt.Sprintf("1\n%d\n512\n", size-512)
	at := bytes.LastIndex(b[:len(b)-1024], make([]byte, 1024)) // where its content is
	copy(b[at:], sparse)
	if h, err := tar.NewReader(bytes.NewReader(b)).Next(); err != nil || h.Size != size {
		t.Fatalf("the archive has no file with holes: %+v, %v", h, err)
	}
	for how, reader := range map[string]func([]byte) (*archive.Reader, error){"file": open, "stream": stream} {
		r, err := reader(b)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := drain(r, nil); errs.KindOf(err) != errs.Import || !strings.Contains(err.Error(), `entry "holes"`) || !strings.Contains(err.Error(), many) || n > archive.DefaultSize+1<<20 {
			t.Errorf("as a %s: %d bytes, %v", how, n, err)
		}
		if how == "stream" { // whoever reads it does not decide whether it goes on
			r, err := reader(b)
			if err != nil {
				t.Fatal(err)
			}
			var last error
			for e, err := range r.Entries() {
				if last = err; err == nil {
					body, err := e.Open()
					if err != nil {
						t.Fatal(err)
					}
					io.Copy(io.Discard, body) // its error is looked for in the end
					body.Close()
				}
			}
			if errs.KindOf(last) != errs.Import {
				t.Errorf("it goes on behind too much, to the end: %v", last)
			}
			continue
		}
		for _, err := range r.Entries() { // before it is read
			if errs.KindOf(err) != errs.Import {
				t.Errorf("it is yielded: %v", err)
			}
		}
	}
}

// A stream is no bomb for whoever passes over what is in it, either.
func TestABombIsNotPassedOver(t *testing.T) {
	r, err := archive.Stream(bytes.NewReader(packed(t, tarOf(t, tar.Header{Name: "bomb", Size: 20 << 20}, tar.Header{Name: "late"}))), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range r.Entries() {
		if late := err == nil && e.Path == "late"; late || err != nil && (errs.KindOf(err) != errs.Import || !strings.Contains(err.Error(), `"bomb"`)) {
			t.Errorf("%v, %v", e, err)
		}
	}
}

func TestWhatIsNoFileIsLeftOut(t *testing.T) {
	in := tarOf(t, tar.Header{Name: "p", Typeflag: tar.TypeFifo}, tar.Header{Name: "c", Typeflag: tar.TypeChar}, tar.Header{Name: "b", Typeflag: tar.TypeBlock},
		tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "git"}}, tar.Header{Name: "x"},
		tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "./x"}, tar.Header{Name: "./", Typeflag: tar.TypeDir})
	got, err := read(stream(append(in, "more"...)))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, m := range got {
		list = append(list, m.Path+" "+m.Content)
	}
	want := "p skipped: a device, socket or pipe has no content, c skipped: a device, socket or pipe has no content, b skipped: a device, socket or pipe has no content, x , h is x, . , what comes after the end skipped: another archive is not looked for there"
	if s := strings.Join(list, ", "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestOtherFilesAreNoArchives(t *testing.T) {
	for in, why := range map[string]string{
		"":                                   "empty",
		"text that is long":                  "neither",
		"\xfd7zXZ\x00 and more":              "xz",
		"BZh9 and more":                      "bzip2",
		strings.Repeat("text and more ", 99): "neither",
	} {
		for _, reader := range []func([]byte) (*archive.Reader, error){open, stream} {
			if _, err := reader([]byte(in)); errs.KindOf(err) != errs.Import || !strings.Contains(err.Error(), why) || errs.HintFor(err) == "" {
				t.Errorf("%.10q: %v, hint %q", in, err, errs.HintFor(err))
			}
		}
	}
	if _, err := stream(zipOf(t, zipped{"a", 0o644, ""})); errs.KindOf(err) != errs.Import || !strings.Contains(errs.HintFor(err), "datamesh import FILE") {
		t.Errorf("a zip as a stream: %v", err)
	}
	if _, err := read(open(make([]byte, 10240))); err != nil {
		t.Errorf("an empty tar: %v", err)
	}
	if got, err := read(stream(make([]byte, 32<<20))); errs.KindOf(err) != errs.Import {
		t.Errorf("a tar without end: %d entries, %v", len(got), err)
	}
}

// FuzzEntries reads anything, and checks what it yields on its own.
func FuzzEntries(f *testing.F) {
	for _, format := range formats {
		f.Add(write(f, format, aTree()[:6], true))
	}
	f.Add(tarOf(f, tar.Header{Name: "a", Size: 600}, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "a"}, tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "../a"}, tar.Header{Name: "p", Typeflag: tar.TypeFifo}))
	f.Add(zipOf(f, zipped{"a", 0o644, "text"}, zipped{"d/l", fs.ModeSymlink, "../a"}, zipped{"d/", fs.ModeDir | 0o700, ""}))
	f.Add(zip64(zipOf(f, zipped{"a", 0o644, "text"}), 1, 0xffff))
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1 << 20
		for _, reader := range []func() (*archive.Reader, error){
			func() (*archive.Reader, error) { return archive.Open(bytes.NewReader(in), int64(len(in)), limit) },
			func() (*archive.Reader, error) { return archive.Stream(bytes.NewReader(in), limit) },
			func() (*archive.Reader, error) { return archive.Stream(bytes.NewReader(summed(in)), limit) },
		} {
			all, err := read(reader())
			if err != nil && errs.KindOf(err) != errs.Import && errs.KindOf(err) != errs.Integrity {
				t.Fatalf("an error without a kind: %v", err)
			}
			sound(t, all, max(limit, 100*int64(len(in))))
		}
	})
}

// sound checks that entries can be written below a directory, and nowhere else.
func sound(t *testing.T, all []member, most int64) {
	t.Helper()
	types := map[string]string{}
	var bytes int64
	for _, m := range all {
		if strings.HasPrefix(m.Content, "skipped: ") {
			continue
		}
		if err := tree.CheckPath(m.Path); err != nil {
			t.Fatal(err)
		}
		if _, twice := types[m.Path]; twice && m.Path != "." {
			t.Fatalf("%q is there twice", m.Path)
		}
		types[m.Path] = m.Type
		if m.Type == tree.Symlink {
			if end := path.Join(path.Dir(m.Path), m.Target); path.IsAbs(m.Target) || end == ".." || strings.HasPrefix(end, "../") {
				t.Fatalf("%q leads to %q", m.Path, m.Target)
			}
		}
		if !datamesh.ValidMode(m.Mode) {
			t.Fatalf("%q has the permissions %o", m.Path, m.Mode)
		}
		bytes += int64(len(m.Content))
	}
	for p := range types {
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if kind, there := types[dir]; there && kind != tree.Directory {
				t.Fatalf("%q is below %q, which is %q", p, dir, kind)
			}
		}
	}
	if bytes > most {
		t.Fatalf("%d bytes, and at most %d are allowed", bytes, most)
	}
}
