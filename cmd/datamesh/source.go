package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/tree"
)

// A source reads a file that must not change meanwhile. Where the end of the
// file would be it fails instead if the file's size or time of modification is
// not what it was, or if it had more or fewer bytes than its size said. What
// is no regular file, such as a pipe, is read as it comes.
type source struct {
	file  *os.File
	began fs.FileInfo
	n     int64 // bytes read
}

// newSource reads f from where it stands, which is its beginning.
// Kinds: Invalid (a directory), IO.
func newSource(f *os.File) (*source, error) {
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, errs.New(errs.IO, "%w", err)
	case fi.IsDir():
		return nil, errs.WithHint(errs.New(errs.Invalid, "%s is a directory", f.Name()),
			"datamesh put -r %s", quoteWord(f.Name()))
	}
	return &source{file: f, began: fi}, nil
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.file.Read(p)
	s.n += int64(n)
	if !s.regular() {
		return n, err
	}
	if s.n > s.began.Size() {
		return n, s.changed()
	}
	if err == io.EOF {
		return n, s.end()
	}
	return n, err
}

// end returns io.EOF if the file is what it was.
func (s *source) end() error {
	now, err := s.file.Stat()
	if err != nil {
		return errs.New(errs.IO, "%w", err)
	}
	if s.n != s.began.Size() || now.Size() != s.began.Size() || !now.ModTime().Equal(s.began.ModTime()) {
		return s.changed()
	}
	return io.EOF
}

// errChanged is why a source fails that did not stay what it was.
var errChanged = errors.New("changed while it was read")

func (s *source) changed() error {
	return errs.WithHint(errs.New(errs.IO, "%s %w", s.file.Name(), errChanged),
		"put it again when nothing writes to it")
}

// size returns how many bytes it has, or 0 if that is not known.
func (s *source) size() int64 {
	if !s.regular() {
		return 0
	}
	return s.began.Size()
}

func (s *source) regular() bool { return s.began.Mode().IsRegular() }

func (s *source) Close() error { return s.file.Close() }

// cancellable returns a reader of r that fails when ctx ends, although a Read
// of r may block then. Such a Read goes on until r or the process ends.
func cancellable(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.CopyBuffer(in, onlyReader{r}, make([]byte, 64<<10))
		in.CloseWithError(err)
	}()
	return out
}

type onlyReader struct{ io.Reader } // without a WriteTo that ignores the buffer

// fileMode returns the permissions to keep, or 0.
func (s *source) fileMode() uint32 {
	if !s.regular() {
		return 0
	}
	return datamesh.ModeOf(s.began.Mode())
}

// fingerprint stands for the content of the file for as long as nobody writes
// to it; it is "" of what is no regular file. Kind: IO.
func (s *source) fingerprint() (string, error) {
	if !s.regular() {
		return "", nil
	}
	path, err := filepath.Abs(s.file.Name())
	if err != nil {
		return "", errs.New(errs.IO, "%w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %s %s", s.began.Size(), s.began.ModTime().UnixNano(), inode(s.began), path))
	return hex.EncodeToString(sum[:]), nil
}

// modTime returns the time to keep, or the zero time.
func (s *source) modTime() time.Time {
	if !s.regular() {
		return time.Time{}
	}
	return tree.Time(s.began.ModTime())
}
