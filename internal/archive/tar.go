package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/tree"
)

// isTar reports whether a block can be the first of a tar.
func isTar(head []byte) bool {
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return len(head) == headLen && !errors.Is(err, tar.ErrHeader)
}

// A meter counts what is read.
type meter struct {
	r io.Reader
	n int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	return n, err
}

// A tail notes when what it reads is over.
type tail struct {
	r    io.Reader
	over bool
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n == 0 && err == io.EOF {
		t.over = true
	} else if err == io.EOF {
		err = nil // it comes again
	}
	return n, err
}

// A seekTail is one that passes over what nobody wants.
type seekTail struct {
	*tail
	io.Seeker
}

// A guard ends the reading of a stream once it has come to too much.
type guard struct {
	r     io.Reader
	n     int64
	check func(n int64) error
	err   error
}

func (g *guard) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.r.Read(p)
	if g.n = sum(g.n, int64(n)); err == nil || err == io.EOF {
		if g.err = g.check(g.n); g.err != nil {
			return 0, g.err
		}
	}
	return n, err
}

// A tape is a tar on its way.
type tape struct {
	*Reader

	mu      sync.Mutex // guards the rest: a Read of an entry may go on when that is closed
	raw     *meter     // the archive as it is
	end     *tail
	tar     *tar.Reader
	name    string // of the entry that it is at
	entries int
	said    int64 // bytes that the entries so far say that they have
	had     int64 // and those that were read of them
	ended   error // for which no more is to be read
}

func (r *Reader) newTape() (*tape, error) {
	t := &tape{Reader: r}
	if r.file == nil {
		t.raw = &meter{r: r.rest}
	} else {
		t.raw = &meter{r: io.NewSectionReader(r.file, 0, r.size)}
	}
	if r.format == Tar {
		t.end = &tail{r: t.raw}
		if at, ok := t.raw.r.(io.Seeker); ok {
			t.tar = tar.NewReader(seekTail{t.end, at})
		} else {
			t.tar = tar.NewReader(t.end)
		}
		return t, nil
	}
	unpacked, err := gzip.NewReader(t.raw)
	if err != nil {
		return nil, damaged("", err)
	}
	t.end = &tail{r: &guard{r: unpacked, check: t.check}}
	t.tar = tar.NewReader(t.end)
	return t, nil
}

// check refuses that so much is unpacked.
func (t *tape) check(n int64) error {
	read := t.raw.n
	if t.file != nil {
		read = t.size
	}
	return t.over(t.name, n, read)
}

// tar yields the entries of a tar.
func (r *Reader) tar(yield func(*Entry) bool) error {
	t, err := r.newTape()
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		h, err := t.tar.Next()
		switch {
		case err == io.EOF:
			return t.close(yield)
		case err != nil && !errors.Is(err, tar.ErrInsecurePath):
			return damaged(t.name, err)
		}
		t.entries++
		if err := t.names.bound(h.Name, t.entries); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		t.name = h.Name
		e, err := t.entry(h)
		if err != nil {
			return err
		}
		t.mu.Unlock()
		going := yield(e)
		t.mu.Lock() // when nobody reads of it any more
		if !going {
			return nil
		}
		if t.ended != nil {
			return t.ended
		}
	}
}

// entry returns the entry of a header, if it can be taken.
func (t *tape) entry(h *tar.Header) (*Entry, error) {
	e := &Entry{name: h.Name}
	e.Mode, e.ModTime = datamesh.ModeOf(fs.FileMode(h.Mode&0o777)), timeOf(h.ModTime)
	isDir := h.Typeflag == tar.TypeDir
	var err error
	if e.Path, err = checkPath(h.Name, isDir); err != nil {
		return nil, err
	}
	k := file
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		e.Size = h.Size
		if t.said = sum(t.said, h.Size); t.file != nil {
			err = t.check(t.said)
		}
		body := &part{t, t.entries}
		e.open = func() (io.Reader, func() error, error) { return body, nil, nil }
	case tar.TypeDir:
		k, e.Type = dir, tree.Directory
	case tar.TypeSymlink:
		k, e.Type, e.Target, e.Size = link, tree.Symlink, h.Linkname, int64(len(h.Linkname))
		err = checkTarget(h.Name, e.Path, h.Linkname)
	case tar.TypeLink:
		if e.Link, e.Size, err = t.names.original(h.Name, h.Linkname); err == nil {
			t.said = sum(t.said, e.Size)
			err = t.check(t.said)
		}
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		k, e.Skipped = nothing, tree.ErrSpecial
	default:
		k, e.Skipped = nothing, errs.New(errs.Import, "an entry of type %q is no file", h.Typeflag)
	}
	if err != nil {
		return nil, err
	}
	if e.Path == "." { // there may be one, and as many as there like
		return e, nil
	}
	return e, t.names.add(h.Name, e.Path, k, e.Size)
}

// A part is the content of an entry, as long as the tape is there.
type part struct {
	t  *tape
	at int
}

func (p *part) Read(b []byte) (int, error) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	switch {
	case p.at != p.t.entries:
		return 0, fs.ErrClosed
	case p.t.ended != nil:
		return 0, p.t.ended
	}
	n, err := p.t.tar.Read(b)
	p.t.had = sum(p.t.had, int64(n))
	if p.t.ended = p.t.check(p.t.had); p.t.ended != nil {
		return 0, p.t.ended
	}
	return n, err
}

// close looks at what comes after the last entry: a tar ends with a mark, and what
// has none is not whole.
func (t *tape) close(yield func(*Entry) bool) error {
	if t.end.over {
		after := "it has no entry"
		if t.name != "" {
			after = "the last entry is " + strings.ToValidUTF8(t.name, "\uFFFD")
		}
		return errs.WithHint(errs.New(errs.Integrity, "the archive ends without its end mark, and is not whole: %s", after), "get it again, whole")
	}
	rest := make([]byte, 32<<10)
	var n int64
	more := false
	for {
		got, err := t.end.Read(rest)
		more = more || len(bytes.Trim(rest[:got], "\x00")) > 0
		if n += int64(got); n > maxTail {
			return errs.New(errs.Import, "the archive goes on for more than %d bytes after its end", maxTail)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return damaged("", err)
		}
	}
	if more {
		yield(&Entry{Entry: tree.Entry{Path: "."}, name: "what comes after the end", Skipped: errs.New(errs.Import, "another archive is not looked for there")})
	}
	return nil
}
