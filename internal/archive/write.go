package archive

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"io"
	"io/fs"
	"iter"
	"time"

	"datamesh/internal/errs"
	"datamesh/internal/tree"
)

// Permissions of entries of which they are not known.
const (
	filePerm = 0o644
	dirPerm  = 0o755
	linkPerm = 0o777
)

// Check refuses entries that cannot be together in an archive: those whose paths
// no tree has, are there twice, or lead through what is no directory, and, in a
// zip, those that Windows reads as others. Kind: Export.
func Check(f Format, entries iter.Seq[tree.Entry]) error {
	n := newNames(MaxEntries)
	for e := range entries {
		if err := checkEntry(f, n, e); err != nil {
			return errs.WithHint(errs.New(errs.Export, "%w", err), "give it another name: datamesh rename NAME NEW; or leave it out")
		}
	}
	return nil
}

func checkEntry(f Format, n *names, e tree.Entry) error {
	if f == Zip {
		if _, err := checkPath(e.Path, e.Type == tree.Directory); err != nil {
			return err
		}
	} else if err := tree.CheckPath(e.Path); err != nil {
		return refuse(e.Path, "%w", err)
	}
	if e.Path == "." {
		return refuse(e.Path, "it has no name")
	}
	k := file
	switch e.Type {
	case tree.Directory:
		k = dir
	case tree.Symlink:
		k = link
	}
	return n.add(e.Path, e.Path, k, e.Size)
}

// A Writer writes an archive. It ends with Close; what was not closed is no whole
// archive, and is none for those who read it. It is not safe for concurrent use.
type Writer struct {
	format Format
	tar    *tar.Writer // of Tar and TarGz
	gzip   *gzip.Writer
	zip    *zip.Writer

	path string // of the file that is being written
	left int64  // bytes that it has yet to get
}

// NewWriter begins an archive.
func NewWriter(w io.Writer, f Format) *Writer {
	a := &Writer{format: f}
	switch f {
	case Zip:
		a.zip = zip.NewWriter(w)
		return a
	case TarGz:
		a.gzip = gzip.NewWriter(w)
		w = a.gzip
	}
	a.tar = tar.NewWriter(w)
	return a
}

// Add begins the next entry, and returns what takes the e.Size bytes of a regular
// file. Of a directory and a symbolic link nothing is to be written. A tar keeps
// times to the nanosecond; a zip to the second, from 1980 to 2105. Kinds: those of the writer below, Export (it cannot be in an archive, or
// the entry before is not whole).
func (a *Writer) Add(e tree.Entry) (io.Writer, error) {
	if err := a.whole(); err != nil {
		return nil, err
	}
	if e.Type == tree.Directory || e.Type == tree.Symlink {
		e.Size = 0
	}
	add := a.addTar
	if a.zip != nil {
		add = a.addZip
	}
	w, err := add(e)
	if err != nil {
		return nil, exportError(e.Path, err)
	}
	a.path, a.left = e.Path, e.Size
	return &body{a, w}, nil
}

func (a *Writer) addTar(e tree.Entry) (io.Writer, error) {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.Path, Size: e.Size, Mode: int64(permOf(e)), ModTime: e.ModTime, Format: tar.FormatPAX}
	switch e.Type {
	case tree.Directory:
		h.Typeflag, h.Name = tar.TypeDir, e.Path+"/"
	case tree.Symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Target
	}
	return a.tar, a.tar.WriteHeader(h)
}

func (a *Writer) addZip(e tree.Entry) (io.Writer, error) {
	h := &zip.FileHeader{Name: e.Path, Method: zip.Deflate, Modified: zipTime(e.ModTime)}
	switch e.Type {
	case tree.Directory:
		h.Name, h.Method = e.Path+"/", zip.Store
		h.SetMode(fs.ModeDir | permOf(e))
	case tree.Symlink:
		h.Method = zip.Store
		h.SetMode(fs.ModeSymlink | permOf(e))
	default:
		h.SetMode(permOf(e))
	}
	w, err := a.zip.CreateHeader(h)
	if err == nil && e.Type == tree.Symlink {
		_, err = io.WriteString(w, e.Target)
	}
	return w, err
}

// zipTime returns the nearest time that a zip can have.
func zipTime(t time.Time) time.Time {
	first, last := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2105, 12, 31, 0, 0, 0, 0, time.UTC)
	switch t = t.UTC().Truncate(time.Second); {
	case t.Before(first):
		return first
	case t.After(last):
		return last
	}
	return t
}

func permOf(e tree.Entry) fs.FileMode {
	switch {
	case e.Mode != 0:
		return fs.FileMode(e.Mode) & fs.ModePerm
	case e.Type == tree.Directory:
		return dirPerm
	case e.Type == tree.Symlink:
		return linkPerm
	}
	return filePerm
}

// A body takes the content of an entry.
type body struct {
	a *Writer
	w io.Writer
}

func (b *body) Write(p []byte) (int, error) {
	if int64(len(p)) > b.a.left {
		return 0, errs.New(errs.Export, "%s has more bytes than it should", b.a.path)
	}
	n, err := b.w.Write(p)
	b.a.left -= int64(n)
	if err != nil {
		return n, exportError(b.a.path, err)
	}
	return n, nil
}

// whole reports whether the entry that was begun has all of its bytes.
func (a *Writer) whole() error {
	if a.left > 0 {
		return errs.New(errs.Export, "%s has %d bytes less than it should", a.path, a.left)
	}
	return nil
}

// Close ends the archive. Kinds: those of the writer below, Export (the last entry is
// not whole, and the archive stays without its end).
func (a *Writer) Close() error {
	if err := a.whole(); err != nil {
		return err
	}
	if a.zip != nil {
		return a.zip.Close()
	}
	if err := a.tar.Close(); err != nil || a.gzip == nil {
		return err
	}
	return a.gzip.Close()
}

// Abandon leaves the archive such that whoever reads it as a stream notices: other
// programs take a tar for whole that stops between two entries. It ends in an
// entry that has less than it says. Nothing else is to be done with the writer.
func (a *Writer) Abandon(path string) {
	if a.tar != nil && a.left == 0 {
		a.addTar(tree.Entry{Path: path, Size: 1}) // if this fails the archive ends before
	}
}

// exportError gives an error of the packages below a kind, if it has none.
func exportError(path string, err error) error {
	if errs.KindOf(err) != errs.Other {
		return err
	}
	return errs.New(errs.Export, "%s: %w", path, err)
}
