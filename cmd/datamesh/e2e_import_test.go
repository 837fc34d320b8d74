//go:build unix

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"datamesh/internal/node"
)

// A packed file of an archive that a test makes.
type packed struct {
	name, text string
	time       time.Time
}

// pack returns an archive that another program might have made. A zip has no more
// of times than what DOS had.
func pack(t *testing.T, format string, files ...packed) []byte {
	t.Helper()
	var b bytes.Buffer
	if format == "zip" {
		w := zip.NewWriter(&b)
		for _, f := range files {
			h := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
			if !f.time.IsZero() {
				h.Modified = f.time
			}
			e, err := w.CreateHeader(h)
			if err == nil {
				_, err = io.WriteString(e, f.text)
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
	var out io.Writer = &b
	if format == "tar.gz" {
		z := gzip.NewWriter(&b)
		out = z
	}
	w := tar.NewWriter(out)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text)), ModTime: f.time}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if z, ok := out.(*gzip.Writer); ok {
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// What was stored of a damaged stream looks like what is good, and the command
// says how to have it stored again.
func TestWhatADamagedStreamHasStoredCanBeMended(t *testing.T) {
	t.Parallel()
	u := alone(t)
	var files []packed
	for i := range 5 {
		files = append(files, packed{fmt.Sprint(i), strings.Repeat(fmt.Sprint("text", i), 1000), time.Unix(1e9+int64(i), 0)})
	}
	var good bytes.Buffer
	z, err := gzip.NewWriterLevel(&good, gzip.NoCompression) // a bit more or less is still a gzip
	if err == nil {
		_, err = z.Write(pack(t, "tar", files...))
	}
	if err != nil || z.Close() != nil {
		t.Fatalf("the archive was not written: %v", err)
	}
	bad := bytes.Clone(good.Bytes())
	bad[bytes.Index(bad, []byte("text3text3"))] ^= 1
	o := u.imports(t, bad, true)
	stored := document[batch](t, o.stdout)
	if o.code != 7 || stored.Stored != 5 || !bytes.Contains(o.stderr, []byte("datamesh import FILE --all")) {
		t.Errorf("exit status %d, stored %d: %s", o.code, stored.Stored, o.stderr)
	}
	if in := result[batch](t, u.imports(t, good.Bytes(), false, "--all")); in.Stored != 5 {
		t.Errorf("%+v", in)
	}
	for _, f := range files {
		if o := u.run(t, "get", f.name, "-"); string(o.stdout) != f.text {
			t.Errorf("%s is damaged: %s", f.name, o.stderr)
		}
	}
}

// Another name of a file has what the archive has, also if somebody stores something
// else of the file's name and size meanwhile.
func TestAnotherNameOfAFileHasItsContent(t *testing.T) {
	t.Parallel()
	u := newMesh(t, 1).members[0]
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd := u.command("import", "-")
	cmd.Stdin = r
	in := start(t, cmd)
	r.Close()
	archive := tar.NewWriter(w)
	add := func(h *tar.Header, text string) {
		t.Helper()
		if err := archive.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(archive, text); err != nil {
			t.Fatal(err)
		}
		if err := archive.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	add(&tar.Header{Name: "file", Size: 4, Mode: 0o600}, "mine")
	eventually(t, "it is stored", func() bool {
		return len(result[node.List](t, u.run(t, "list")).Objects) > 0 || !in.running()
	})
	put := u.command("put", "-", "--name", "file")
	put.Stdin = strings.NewReader("else")
	result[node.Stored](t, start(t, put).wait(t))
	add(&tar.Header{Name: "again", Typeflag: tar.TypeLink, Linkname: "file", Mode: 0o600}, "")
	if archive.Close() != nil || w.Close() != nil {
		t.Fatal("the archive has no end")
	}
	if stored := result[batch](t, in.wait(t)); stored.Stored != 2 {
		t.Errorf("%+v", stored)
	}
	for name, want := range map[string]string{"file": "else", "again": "mine"} {
		if o := u.run(t, "get", name, "-"); string(o.stdout) != want {
			t.Errorf("%s is %q, want %q: %s", name, o.stdout, want, o.stderr)
		}
	}
}

// imports has an archive imported, from a file or as a stream.
func (u *user) imports(t *testing.T, archive []byte, stream bool, flags ...string) outcome {
	t.Helper()
	if stream {
		cmd := u.command(append([]string{"import", "-"}, flags...)...)
		cmd.Stdin = struct{ io.Reader }{bytes.NewReader(archive)} // a pipe
		return start(t, cmd).wait(t)
	}
	file := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	return u.run(t, append([]string{"import", file}, flags...)...)
}

// An archive whose times do not tell what has changed is stored again, and what
// is in it is what is stored; of others what is unchanged is not stored twice.
func TestAnImportTrustsTimesThatTell(t *testing.T) {
	t.Parallel()
	at := func(seconds ...int64) (times []time.Time) {
		for _, s := range seconds {
			times = append(times, time.Unix(s, 0).UTC())
		}
		return times
	}
	const npm, made, found = 499162500, 1, 1153704088
	for _, tt := range []struct {
		name      string
		times     []time.Time
		unchanged [2]int // of a file, and of a stream
	}{
		{"none", at(0, 0, 0, 0), [2]int{}},
		{"none of one file", at(0), [2]int{}},
		{"one", at(npm, npm, npm, npm), [2]int{}},
		{"one that only two have", at(npm, npm), [2]int{}},
		{"two", at(made, made, found, found, found), [2]int{}},
		{"none of the last", at(1e9, 1e9+1, 1e9+2, 0), [2]int{3, 1}},
		{"each its own", at(1e9, 1e9+2, 1e9+4, 1e9+6, 1e9+8), [2]int{5, 3}},
		{"one of the only file", at(1e9), [2]int{1, 0}},
		{"many, and some the same", at(1e9, 1e9, 1e9, 1e9+2, 1e9+4, 1e9), [2]int{6, 2}},
	} {
		for way, format := range []string{"tar", "tar.gz", "zip"} {
			stream := way == 1
			t.Run(tt.name+" "+format, func(t *testing.T) {
				t.Parallel()
				u := alone(t)
				var before, after []packed
				for i, when := range tt.times {
					if format == "zip" && when.Unix() < 315532800 {
						when = time.Time{} // as in a module of Go
					}
					m := packed{name: fmt.Sprint(i), text: `"version":"1.0.0"`, time: when}
					before = append(before, m)
					m.text = `"version":"1.0.1"`
					after = append(after, m)
				}
				result[batch](t, u.imports(t, pack(t, format, before...), stream, "--name", "p/"))
				o := u.imports(t, pack(t, format, before...), stream, "--name", "p/")
				want := tt.unchanged[0]
				if stream {
					want = tt.unchanged[1]
				}
				again := result[batch](t, o)
				if again.Unchanged != want || again.Stored != len(before)-want {
					t.Errorf("the same again: stored %d, unchanged %d of %d, want %d", again.Stored, again.Unchanged, len(before), want)
				}
				if noticed := bytes.Contains(o.stderr, []byte("notice: ")); noticed != (want < len(before)) {
					t.Errorf("%d of %d are unchanged, and it says %q", want, len(before), o.stderr)
				}
				if want > 0 {
					return // times are believed
				}
				result[batch](t, u.imports(t, pack(t, format, after...), stream, "--name", "p/"))
				for _, m := range after {
					if o := u.run(t, "get", "p/"+m.name, "-"); string(o.stdout) != m.text {
						t.Errorf("%s is %q, want %q: %s", m.name, o.stdout, m.text, o.stderr)
					}
				}
			})
		}
	}
}
