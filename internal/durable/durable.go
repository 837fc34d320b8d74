// Package durable writes files that appear whole or not at all, and makes the
// directories that they lie in.
//
// What is written goes to a temporary file in the same directory. Only when
// all of it is on the disk does it get its name, and only when that name is on
// the disk too does the caller hear of success. A crash leaves at worst a
// temporary file, called .datamesh-….tmp, and, where a file system has no hard
// links, an empty file of a name that was not to be replaced.
package durable

import (
	"cmp"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"datamesh/internal/errs"
)

// A File is a file on its way to its name. It ends with Commit, Abort or Leave.
// It is not safe for concurrent use, but for Sync beside one Write.
type File struct {
	path string   // the name that it will have
	temp *os.File // nil once it is committed or aborted
}

// Create begins a file that will be called path. Its permissions are perm,
// narrowed by the umask, from before the first byte.
// Kinds: IO, Full.
func Create(path string, perm fs.FileMode) (*File, error) {
	name := filepath.Join(filepath.Dir(path), ".datamesh-"+rand.Text()+".tmp")
	temp, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, classify("create", path, err)
	}
	return &File{path: path, temp: temp}, nil
}

// Reopen goes on with a file that will be called path: the first n bytes of
// temp, a temporary file in the same directory that was left. It does not touch
// what is no regular file, or has another name too: in a directory that others
// may write to, temp may have come to lead elsewhere. Kinds: IO, Full.
func Reopen(temp, path string, n int64) (*File, error) {
	f, err := openRegular(temp)
	if err != nil {
		return nil, classify("go on with", path, err)
	}
	err = f.Truncate(n)
	if err == nil {
		_, err = f.Seek(n, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, classify("go on with", path, err)
	}
	return &File{path: path, temp: f}, nil
}

// openRegular opens a regular file to be written, also one that is read-only,
// as one may be made. It follows no link out of the directory, whoever swaps
// one in meanwhile.
func openRegular(name string) (*os.File, error) {
	dir, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	base := filepath.Base(name)
	was, err := dir.Lstat(base)
	if err != nil {
		return nil, err
	}
	if !was.Mode().IsRegular() {
		return nil, errNotRegular
	}
	if hasOtherNames(was) {
		return nil, errs.WithHint(errors.New("what was left of it is a file with another name too"), "remove that name, and begin anew: rm %s", name)
	}
	if was.Mode()&0o200 == 0 {
		if err := dir.Chmod(base, was.Mode().Perm()|0o200); err != nil {
			return nil, err
		}
		defer dir.Chmod(base, was.Mode().Perm())
	}
	f, err := dir.OpenFile(base, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	if is, err := f.Stat(); err != nil || !os.SameFile(was, is) {
		f.Close()
		return nil, cmp.Or(err, errNotRegular)
	}
	return f, nil
}

var errNotRegular = errors.New("what was left of it is no regular file")

// IsTemp reports whether a file of that name can be a temporary one.
func IsTemp(name string) bool {
	ok, _ := filepath.Match(".datamesh-*.tmp", name) // the pattern is right
	return ok
}

// leftTime is how old a temporary file is that nobody writes any more.
const leftTime = time.Hour

// Tidy removes from a directory the temporary files that crashes have left,
// once they are an hour old: whatever is younger may be on its way. It is for
// directories in which no file is left for [Reopen]. What it cannot remove
// stays.
func Tidy(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, ".datamesh-*.tmp")) // the pattern is right
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) >= leftTime {
			os.Remove(name)
		}
	}
}

// Temp returns the name of the temporary file.
func (f *File) Temp() string { return f.temp.Name() }

// Sync makes what was written so far durable. More may be written meanwhile. Kinds: IO, Full.
func (f *File) Sync() error {
	if err := f.temp.Sync(); err != nil {
		return classify("write", f.path, err)
	}
	return SyncDir(filepath.Dir(f.path))
}

// Leave gives the file up but leaves the temporary one for [Reopen].
func (f *File) Leave() {
	if f.temp != nil {
		f.temp.Close()
		f.temp = nil
	}
}

// Write appends to the file. Kinds: IO, Full.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.temp.Write(p)
	return n, classify("write", f.path, err)
}

// SetTime gives the file a time of modification, once all of it is written. It
// follows no link out of the directory. Kind: IO.
func (f *File) SetTime(t time.Time) error {
	dir, err := os.OpenRoot(filepath.Dir(f.temp.Name()))
	if err != nil {
		return classify("set the time of", f.path, err)
	}
	defer dir.Close()
	return classify("set the time of", f.path, dir.Chtimes(filepath.Base(f.temp.Name()), time.Time{}, t))
}

// SetMode gives the file exactly these permissions, whatever the umask.
// Kind: IO.
func (f *File) SetMode(perm fs.FileMode) error {
	return classify("set the permissions of", f.path, f.temp.Chmod(perm))
}

// Commit gives the file its name, durably. If replace is false and the name
// is taken, by whomever and however late, what is there stays untouched and
// the error is Exists. On an error the file is aborted, unless it has its name
// already and only the directory could not be synced. Kinds: IO, Full, Exists.
func (f *File) Commit(replace bool) error {
	defer f.Abort()
	if err := f.temp.Sync(); err != nil {
		return classify("write", f.path, err)
	}
	if err := f.temp.Close(); err != nil {
		return classify("write", f.path, err)
	}
	if !replace {
		if err := f.claim(); err != nil {
			return classify("create", f.path, err)
		}
	}
	if err := os.Rename(f.temp.Name(), f.path); err != nil {
		if !replace {
			os.Remove(f.path) // claimed above, so it is ours
		}
		return classify("create", f.path, err)
	}
	return SyncDir(filepath.Dir(f.path))
}

// claim takes the name for this file, or fails with [fs.ErrExist]. A hard link
// puts the finished file there at once; renaming one link of a file onto
// another leaves both, and Abort removes the temporary one. Where there are no
// hard links an empty file holds the name until the rename.
func (f *File) claim() error {
	err := os.Link(f.temp.Name(), f.path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	held, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return held.Close()
}

// Abort gives the file up and removes what was written of it. After Commit it
// does nothing, so that it can be deferred.
func (f *File) Abort() {
	if f.temp == nil {
		return
	}
	// Closing twice and removing what has been renamed are harmless.
	f.temp.Close()
	os.Remove(f.temp.Name())
	f.temp = nil
}

// WriteFile writes a file called path with what write produces. Errors of
// write are returned as they are, and then there is no file; otherwise it is
// as [Create] and [File.Commit] say.
func WriteFile(path string, perm fs.FileMode, replace bool, write func(io.Writer) error) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := write(f); err != nil {
		return err
	}
	return f.Commit(replace)
}

// MkdirAll makes a directory, and those above it that are missing, with
// permissions perm, narrowed by the umask. When it returns, their names are
// durable. Kinds: IO, Full.
func MkdirAll(dir string, perm fs.FileMode) error {
	var parents []string // of those that are made
	for d := dir; missing(d) && d != filepath.Dir(d); d = filepath.Dir(d) {
		parents = append(parents, filepath.Dir(d))
	}
	if err := os.MkdirAll(dir, perm); err != nil {
		return classify("make", dir, err)
	}
	for _, parent := range parents {
		if err := SyncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// SyncDir makes the names in a directory durable: files created, renamed or
// removed there. Windows does that by itself, and some file systems know no
// such thing; both are taken for success. Kind: IO.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return classify("sync", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return classify("sync", dir, err)
	}
	return nil
}

// classify names the file that the caller knows instead of the temporary one.
func classify(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return errs.New(KindOf(err), "%s %s: %w", op, path, cause(err))
}

// KindOf returns the kind of an error of the system: Exists, Full or IO.
func KindOf(err error) errs.Kind {
	switch {
	case errors.Is(err, fs.ErrExist):
		return errs.Exists
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errs.Full
	}
	return errs.IO
}

func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}
