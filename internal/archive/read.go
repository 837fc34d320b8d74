package archive

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"datamesh/internal/errs"
	"datamesh/internal/tree"
)

// An Entry is one entry of an archive.
type Entry struct {
	tree.Entry        // its size is what it has when it is unpacked
	Link       string // the path of the file, before it, that it is another name of; "": it is none
	Skipped    error  // why it is left out: it is no file; nil: it is not
	name       string // in the archive
	open       func() (io.Reader, func() error, error)
}

// Name returns what the archive calls the entry, for messages.
func (e *Entry) Name() string { return e.name }

// Open returns the content of a regular file that is no link. Of a tar that can be
// once, and until the next entry is asked for, which waits for a Read. It ends after as many bytes as the size
// of the entry, or with an error. It may be closed while a Read is under way. What is
// damaged has Kind Integrity, and what is too much Import; otherwise errors are
// those of what the archive is read from.
func (e *Entry) Open() (io.ReadCloser, error) {
	r, end, err := e.open()
	if err != nil {
		return nil, damaged(e.name, err)
	}
	return &content{r: r, end: end, name: e.name}, nil
}

// A content is what an entry has.
type content struct {
	name   string
	closed atomic.Bool

	mu  sync.Mutex // guards the rest
	r   io.Reader
	end func() error // nil: there is nothing to do, or it is done
}

func (c *content) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return 0, fs.ErrClosed
	}
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		err = damaged(c.name, err)
	}
	return n, err
}

// Close leaves what it would free to the garbage collector if a Read is under way.
func (c *content) Close() error {
	c.closed.Store(true)
	if !c.mu.TryLock() {
		return nil
	}
	defer c.mu.Unlock()
	if c.end == nil {
		return nil
	}
	end := c.end
	c.end = nil
	return end()
}

// damaged gives an error of a decoder its kind. What the reader below has failed
// for stays what it is.
func damaged(name string, err error) error {
	_, system := errors.AsType[*fs.PathError](err)
	switch {
	case errs.KindOf(err) != errs.Other, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case system:
		return errs.New(errs.IO, "%w", err)
	case name == "":
		return errs.New(errs.Integrity, "the archive is damaged: %w", err)
	}
	return errs.New(errs.Integrity, "the archive is damaged at entry %q: %w", name, err)
}

// A Reader reads an archive. It is not safe for concurrent use; contents of
// entries of a zip are.
type Reader struct {
	format Format
	limit  int64
	most   int         // entries
	file   io.ReaderAt // nil: it is a stream, of rest
	size   int64       // of the file
	rest   io.Reader
	zip    *directory // of a zip
	names  *names     // of what was read of it
}

// Open begins to read an archive of size bytes, of the format that it has,
// whatever it is called. It may come to MaxRatio times that, or to limit bytes if
// that is more; 0 stands for DefaultSize. Kinds: Import (it is no archive, or one that
// is not to be read), Integrity, IO.
func Open(file io.ReaderAt, size, limit int64) (*Reader, error) {
	head := make([]byte, min(headLen, size))
	if n, err := file.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, damaged("", err)
	} else {
		head = head[:n]
	}
	f, err := formatOf(head)
	if err != nil {
		return nil, err
	}
	r := &Reader{format: f, limit: cmp.Or(limit, DefaultSize), file: file, size: size, most: MaxEntries, names: newNames(MaxEntries)}
	if f == Zip {
		if r.zip, err = openZip(file, size); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Stream begins to read an archive that comes once, as Open does; a zip cannot be
// read so. Kinds: as Open.
func Stream(rest io.Reader, limit int64) (*Reader, error) {
	head := make([]byte, headLen)
	n, err := io.ReadFull(rest, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, damaged("", err)
	}
	f, err := formatOf(head[:n])
	if err == nil && f == Zip {
		err = errs.WithHint(errs.New(errs.Import, "a zip has its directory at its end, and cannot be read from a stream"), "save it in a file, and import that: datamesh import FILE")
	}
	if err != nil {
		return nil, err
	}
	return &Reader{format: f, limit: cmp.Or(limit, DefaultSize), rest: io.MultiReader(bytes.NewReader(head[:n]), rest), most: MaxEntries, names: newNames(MaxEntries)}, nil
}

// Format returns what the archive is.
func (r *Reader) Format() Format { return r.format }

// Again reports whether Entries can be read several times.
func (r *Reader) Again() bool { return r.file != nil }

// Has reports whether the last Entries has yielded that path.
func (r *Reader) Has(path string) bool { return r.names.of(path).kind != 0 }

// Entries yields what is in the archive, in its order. A tar may have no entry for
// a directory that others are in. An error is the last that it yields. Kinds: Import
// (an entry is not to be taken), Integrity, and those of the reader below.
func (r *Reader) Entries() iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		r.names = newNames(r.most)
		each := r.tar
		if r.format == Zip {
			each = r.zipped
		}
		going := true
		err := each(func(e *Entry) bool {
			going = yield(e, nil)
			return going
		})
		if err != nil && going {
			yield(nil, err)
		}
	}
}

// over refuses what the archive comes to, if it is too much for what was read of it.
func (r *Reader) over(name string, total, read int64) error {
	if total <= r.limit || read >= (total+MaxRatio-1)/MaxRatio {
		return nil
	}
	return errs.WithHint(refuse(name, "with it the archive comes to more than %d bytes, and to more than %d times its own size", r.limit, MaxRatio),
		"if you trust it, allow more: --max-size 10G")
}

// sum adds sizes, and stops at the largest.
func sum(a, b int64) int64 {
	if a > math.MaxInt64-MaxRatio-b {
		return math.MaxInt64 - MaxRatio
	}
	return a + b
}

// timeOf returns a time that can be kept, or the zero time.
func timeOf(t time.Time) time.Time {
	if year := t.UTC().Year(); year < 1679 || year > 2261 || t.UnixNano() == 0 {
		return time.Time{}
	}
	return t.UTC()
}

const headLen = 512

// packed are the first bytes of what may be unpacked to a tar by others.
var packed = map[string]string{"\xfd7zXZ\x00": "xz", "BZh": "bzip2", "\x28\xb5\x2f\xfd": "zstd", "\x1f\x9d": "uncompress"}

// formatOf tells a format by the first bytes. Kind: Import.
func formatOf(head []byte) (Format, error) {
	begins := func(s string) bool { return bytes.HasPrefix(head, []byte(s)) }
	switch {
	case len(head) == 0:
		return "", errs.WithHint(errs.New(errs.Import, "it is empty, and no archive"), "check what has written it")
	case begins("PK\x03\x04"), begins("PK\x05\x06"):
		return Zip, nil
	case begins("\x1f\x8b"):
		return TarGz, nil
	case isTar(head):
		return Tar, nil
	}
	for sign, program := range packed {
		if begins(sign) {
			return "", errs.WithHint(errs.New(errs.Import, "it is packed by %s, which cannot be read here", program), "%s -dc FILE | datamesh import -", program)
		}
	}
	return "", errs.WithHint(errs.New(errs.Import, "it is neither tar, nor tar.gz, nor zip"), "give an archive of one of these formats")
}
