package tree

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"

	"datamesh/internal/errs"
	"datamesh/internal/step"
)

// Stat returns what is at a path now. Kinds: FileNotFound, IO.
func (w *Writer) Stat(path string) (Entry, error) {
	info, err := w.root.Lstat(path)
	if err != nil {
		return Entry{}, problem(path, err)
	}
	e := entryOf(path, info)
	if e.Type == Symlink {
		if e.Target, err = w.root.Readlink(path); err != nil {
			return Entry{}, problem(path, err)
		}
		e.Size = int64(len(e.Target))
	}
	return e, nil
}

// Inode is that of the directory at the top, as [Tree.Inode].
func (w *Writer) Inode() string { return inodeAt(w.root) }

// still reports that at a path is what was there, nothing if that is nil. Of a
// directory only that it is one. Kinds: Exists (something else is), IO.
func (w *Writer) still(path string, was *Entry) error {
	is, err := w.Stat(path)
	if errors.Is(err, errs.FileNotFound) && was == nil {
		return nil
	}
	if err != nil && !errors.Is(err, errs.FileNotFound) {
		return err
	}
	same := err == nil && was != nil && is.Type == was.Type
	if same && was.Type != Directory {
		same = is.Size == was.Size && is.Target == was.Target && is.Mode == was.Mode && is.ModTime.Equal(was.ModTime) && (was.info == nil || os.SameFile(is.info, was.info))
	}
	if !same {
		return errChanged(path)
	}
	return nil
}

// Remove removes what is at a path, a directory only if it is empty, if it still
// is what was there. What is gone already is fine. Kinds: Exists (it is not), IO.
func (w *Writer) Remove(was Entry) error {
	if err := checkHere(was.Path); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if gone, err := w.goneAbove(was.Path); err != nil || gone {
		return err
	}
	if _, err := w.makeDir(path.Dir(was.Path)); err != nil {
		return err
	}
	if err := w.still(was.Path, &was); err != nil {
		return err
	}
	if err := w.root.Remove(was.Path); err != nil {
		return problem(was.Path, err)
	}
	delete(w.dirs, was.Path)
	step.At("tree: replace: something is removed")
	return w.syncDir(path.Dir(was.Path))
}

// goneAbove reports whether nothing is at a path, or a directory that leads there
// is none.
func (w *Writer) goneAbove(name string) (bool, error) {
	if up := path.Dir(name); up != "." {
		if gone, err := w.goneAbove(up); err != nil || gone {
			return gone, err
		}
		info, err := w.root.Lstat(up)
		if err != nil || !info.IsDir() {
			return true, nil
		}
	}
	_, err := w.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, problem(name, err)
	}
	return false, nil
}

// DirOver is Dir, in the place of what was there, which is removed if it still is
// that and no directory. A new one has its permissions at once. Kinds: Invalid,
// Exists, IO, Full.
func (w *Writer) DirOver(e Entry, was *Entry) error {
	if err := checkHere(e.Path); err != nil {
		return err
	}
	if was != nil && was.Type != Directory {
		if err := w.Remove(*was); err != nil {
			return err
		}
		was = nil
	}
	if err := w.Dir(e); err != nil {
		return err
	}
	if was != nil || e.Path == "." {
		return nil
	}
	if e.Mode != 0 && runtime.GOOS != "windows" {
		if err := w.root.Chmod(e.Path, fs.FileMode(e.Mode)&fs.ModePerm|0o700); err != nil {
			return problem(e.Path, err)
		}
	}
	return w.syncDir(path.Dir(e.Path))
}

// LinkOver makes a symbolic link at once, in the place of what was there if it
// still is that, and makes its name durable. It returns what is there then. Kinds:
// Invalid, Exists, IO, Full.
func (w *Writer) LinkOver(e Entry, was *Entry) (Entry, error) {
	if err := CheckTarget(e.Target); err != nil {
		return e, errs.New(errs.Invalid, "%s: %w", e.Path, err)
	}
	if err := w.prepare(e); err != nil {
		return e, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	temp := path.Join(path.Dir(e.Path), tempName())
	if err := w.root.Symlink(filepath.FromSlash(e.Target), temp); err != nil {
		return e, problem(e.Path, err)
	}
	return w.place(temp, e, was)
}

// CommitOver is Commit, in the place of what was there if it still is that, which
// is looked at right before, and makes the name durable. It returns what is there
// then. Kinds: IO, Full, Exists.
func (f *File) CommitOver(was *Entry) (Entry, error) {
	defer f.Abort()
	if err := f.finish(); err != nil {
		return f.entry, err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return f.w.place(f.name, f.entry, was)
}

// name gives what is at temp its name, in the place of what has it, or, if it is
// new, only if nothing has. Where there are no hard links that may come a moment
// later than the last look.
func (w *Writer) name(temp, name string, isNew bool) error {
	if isNew {
		err := w.root.Link(temp, name)
		if err == nil {
			w.root.Remove(temp) // which goes with the next get into the directory, if it stays
			return nil
		}
		if errors.Is(err, fs.ErrExist) {
			return errChanged(name)
		}
	}
	if err := w.root.Rename(temp, name); err != nil {
		return problem(name, err)
	}
	return nil
}

func errChanged(path string) error {
	return errs.WithHint(errs.New(errs.Exists, "%s changed meanwhile, and is left as it is", path), "type the same again")
}

// place gives what is at temp its name. It is called with the lock held.
func (w *Writer) place(temp string, e Entry, was *Entry) (Entry, error) {
	err := w.claim(e.Path)
	if err == nil {
		err = w.still(e.Path, was)
	}
	if err == nil {
		err = w.name(temp, e.Path, was == nil)
	}
	if err != nil {
		w.root.Remove(temp)
		return e, err
	}
	if err := w.syncDir(path.Dir(e.Path)); err != nil {
		return e, err
	}
	step.At("tree: replace: a file has its name")
	return w.Stat(e.Path)
}
