package archive

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/tree"
)

// A directory is that of a zip.
type directory struct {
	files []*zip.File
	in    *budget
}

// A budget bounds what is read, as long as it has a bound.
type budget struct {
	r    io.ReaderAt
	left atomic.Int64
	free atomic.Bool
}

var errDirectory = errs.New(errs.Import, "the directory of the zip has more than %d bytes", MaxDirectory)

func (b *budget) ReadAt(p []byte, at int64) (int, error) {
	if !b.free.Load() && b.left.Add(-int64(len(p))) < 0 {
		return 0, errDirectory
	}
	return b.r.ReadAt(p, at)
}

// openZip reads the directory of a zip, which must be what it says of itself.
// Kinds: Import, Integrity, IO.
func openZip(file io.ReaderAt, size int64) (*directory, error) {
	said, err := records(file, size)
	if err != nil {
		return nil, err
	}
	if said > MaxEntries {
		return nil, errs.New(errs.Import, "the zip says that it has %d entries, and more than %d are not read", said, MaxEntries)
	}
	d := &directory{in: &budget{r: file}}
	d.in.left.Store(MaxDirectory)
	z, err := zip.NewReader(d.in, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // paths are looked at here
		return nil, damaged("", err)
	}
	if uint64(len(z.File)) != said {
		return nil, errs.New(errs.Import, "the zip says that it has %d entries, and has %d", said, len(z.File))
	}
	d.in.free.Store(true)
	d.files = z.File
	return d, d.apart(size)
}

// Where the end of a zip says what.
const (
	endLen       = 22
	endSign      = "PK\x05\x06"
	endRecords   = 10
	endComment   = 20
	end64Len     = 56
	end64Sign    = "PK\x06\x06"
	end64Records = 32
	locatorLen   = 20
	locatorSign  = "PK\x06\x07"
	locatorEnd   = 8
)

// records returns how many entries the end of a zip says that there are, before
// anything is made for as many. Kinds: Integrity, IO.
func records(file io.ReaderAt, size int64) (uint64, error) {
	tail := make([]byte, min(size, endLen+math.MaxUint16))
	if _, err := file.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return 0, damaged("", err)
	}
	at := bytes.LastIndex(tail[:max(0, len(tail)-endLen+len(endSign))], []byte(endSign))
	if at < 0 || int(binary.LittleEndian.Uint16(tail[at+endComment:])) > len(tail)-at-endLen {
		return 0, errs.WithHint(errs.New(errs.Integrity, "the zip has no end, and is not whole"), "get it again, whole")
	}
	n := uint64(binary.LittleEndian.Uint16(tail[at+endRecords:]))
	where := size - int64(len(tail)) + int64(at) - locatorLen
	locator := make([]byte, locatorLen)
	if where < 0 {
		return n, nil
	}
	if _, err := file.ReadAt(locator, where); err != nil {
		return 0, damaged("", err)
	}
	if string(locator[:4]) != locatorSign {
		return n, nil
	}
	end := make([]byte, end64Len)
	offset := binary.LittleEndian.Uint64(locator[locatorEnd:])
	if offset > uint64(size) {
		return 0, errs.New(errs.Integrity, "the zip has its end at %d, and %d bytes", offset, size)
	}
	if _, err := file.ReadAt(end, int64(offset)); err != nil || string(end[:4]) != end64Sign {
		return 0, errs.New(errs.Integrity, "the zip has no end where it says")
	}
	n64 := binary.LittleEndian.Uint64(end[end64Records:])
	if n != math.MaxUint16 && n != n64 {
		return 0, errs.New(errs.Import, "the zip says that it has %d entries, and also that it has %d", n, n64)
	}
	return n64, nil
}

// apart refuses entries that lie in others, as in a zip that a few bytes make
// large. Kinds: Import, Integrity, IO.
func (d *directory) apart(size int64) error {
	type extent struct {
		from, to int64
		f        *zip.File
	}
	all := make([]extent, 0, len(d.files))
	for _, f := range d.files {
		from, err := f.DataOffset()
		if err != nil {
			return damaged(f.Name, err)
		}
		if f.CompressedSize64 > uint64(size) || from > size-int64(f.CompressedSize64) {
			return refuse(f.Name, "it says that it has %d bytes in a zip of %d", f.CompressedSize64, size)
		}
		all = append(all, extent{from, from + int64(f.CompressedSize64), f})
	}
	slices.SortFunc(all, func(a, b extent) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(all); i++ {
		before, e := all[i-1], all[i]
		if e.from < before.to || e.from == before.from {
			return refuse(e.f.Name, "it lies where %.200q lies", before.f.Name)
		}
	}
	return nil // each ends before the next begins, and so before all that follow
}

// zipped yields the entries of a zip.
func (r *Reader) zipped(yield func(*Entry) bool) error {
	var said int64
	for _, f := range r.zip.files {
		e, k, err := zipEntry(f)
		if err != nil {
			return err
		}
		if f.UncompressedSize64 > math.MaxInt64 {
			return refuse(f.Name, "it says that it has %d bytes", f.UncompressedSize64)
		}
		said = sum(said, int64(f.UncompressedSize64))
		if err := r.over(f.Name, said, r.size); err != nil {
			return err
		}
		if e.Path != "." {
			if err := r.names.add(f.Name, e.Path, k, e.Size); err != nil {
				return err
			}
		}
		if !yield(e) {
			return nil
		}
	}
	return nil
}

// noTime is what package zip reads from a date of zero, which is that of the month
// 0 and written by those who know no time.
var noTime = time.Date(1979, 11, 30, 0, 0, 0, 0, time.UTC)

// zipEntry returns the entry of a file in a zip, if it can be taken.
func zipEntry(f *zip.File) (*Entry, kind, error) {
	mode := f.Mode()
	e := &Entry{name: f.Name}
	if !f.Modified.Equal(noTime) {
		e.ModTime = timeOf(f.Modified)
	}
	if by := f.CreatorVersion >> 8; (by == 3 || by == 19) && f.ExternalAttrs>>16 != 0 { // Unix, or macOS: others know no permissions
		e.Mode = datamesh.ModeOf(mode)
	}
	var err error
	if e.Path, err = checkPath(f.Name, mode.IsDir()); err != nil {
		return nil, 0, err
	}
	const encrypted = 1
	switch {
	case f.Flags&encrypted != 0:
		return nil, 0, refuse(f.Name, "it is encrypted")
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return nil, 0, refuse(f.Name, "it is compressed by method %d, which is not known here", f.Method)
	case mode.IsDir() && f.UncompressedSize64 > 0:
		return nil, 0, refuse(f.Name, "it is a directory, and has content")
	case mode.IsDir():
		e.Type = tree.Directory
		return e, dir, nil
	case mode.Type() == fs.ModeSymlink:
		e.Type = tree.Symlink
		if e.Target, err = targetOf(f); err == nil {
			err = checkTarget(f.Name, e.Path, e.Target)
		}
		e.Size = int64(len(e.Target))
		return e, link, err
	case !mode.IsRegular():
		e.Skipped = tree.ErrSpecial
		return e, nothing, nil
	}
	e.Size = int64(f.UncompressedSize64)
	e.open = func() (io.Reader, func() error, error) {
		r, err := f.Open()
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	}
	return e, file, nil
}

// targetOf reads where a symbolic link leads.
func targetOf(f *zip.File) (string, error) {
	if f.UncompressedSize64 > tree.MaxPath {
		return "", refuse(f.Name, "it is a link that leads to %d bytes", f.UncompressedSize64)
	}
	r, err := f.Open()
	if err != nil {
		return "", damaged(f.Name, err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, tree.MaxPath+1))
	if err != nil {
		return "", damaged(f.Name, err)
	}
	return string(b), nil
}
