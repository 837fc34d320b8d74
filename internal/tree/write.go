package tree

import (
	"cmp"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

// A Writer writes a tree below a directory. Files get their bytes with
// permissions for their owner alone, and then their own; directories get their
// permissions and times in the end, from the inside out, and symbolic links are
// made last, so that nothing is written through one. It follows none that is
// there either. It ends with Close, and is safe for concurrent use.
type Writer struct {
	// Force has what is in the way of an entry, and is no directory, replaced.
	Force bool

	root *os.Root
	list func(dir string) ([]string, error) // the names in a directory, as the system has them

	mu    sync.Mutex        // guards the rest
	dirs  map[string]*dir   // that lead to what was written, by path
	names map[string]string // what was written or is there, by its folded path
	links []Entry
}

// A dir is a directory that something is written to.
type dir struct {
	was   uint32 // its mode, to give back; 0: it was made, or has that still
	entry *Entry // nil: only what is in it was written
}

// Create begins a tree in a directory, which it makes if it is not there.
// Kinds: IO, Full.
func Create(name string) (*Writer, error) {
	if err := durable.MkdirAll(name, 0o777); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, problem(name, err)
	}
	return newWriter(root), nil
}

func newWriter(root *os.Root) *Writer {
	w := &Writer{root: root, dirs: map[string]*dir{}, names: map[string]string{}}
	w.list = w.listed
	return w
}

// Look opens a directory to ask [Writer.Same] alone. Kinds: FileNotFound, IO.
func Look(name string) (*Writer, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, problem(name, err)
	}
	return newWriter(root), nil
}

// Same reports whether an entry is there already: a file of its size, time and
// permissions, a directory of these, or a symbolic link that leads to the same. What
// is there by another name that was asked for or written is that other one alone.
func (w *Writer) Same(e Entry) bool {
	if checkHere(e.Path) != nil {
		return false
	}
	info, err := w.root.Lstat(e.Path)
	if err != nil || w.again(e.Path) != nil {
		return false
	}
	if e.Type == Symlink {
		target, err := w.root.Readlink(e.Path)
		return err == nil && filepath.ToSlash(target) == filepath.ToSlash(e.Target)
	}
	right := info.Mode().IsRegular() && info.Size() == e.Size
	if e.Type == Directory {
		right = info.IsDir()
	}
	return right && SameTime(Time(info.ModTime()), e.ModTime) &&
		(e.Mode == 0 || runtime.GOOS == "windows" || datamesh.ModeOf(info.Mode()) == e.Mode)
}

// Dir makes a directory, with those that lead to it. Its permissions and its
// time it has after Close. Kinds: Invalid, Exists (something else is there), IO, Full.
func (w *Writer) Dir(e Entry) error {
	if err := checkHere(e.Path); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d, err := w.makeDir(e.Path)
	if err == nil {
		d.entry = &e
	}
	return err
}

// Link has a symbolic link made by Close. Kinds: Invalid, Exists (something else
// is there), IO, Full.
func (w *Writer) Link(e Entry) error {
	if err := CheckTarget(e.Target); err != nil {
		return errs.New(errs.Invalid, "%s: %w", e.Path, err)
	}
	if err := w.prepare(e); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links = append(w.links, e)
	return nil
}

// prepare makes the directories that lead to a file or a link, and sees that it
// may be written.
func (w *Writer) prepare(e Entry) error {
	if err := checkHere(e.Path); err != nil {
		return err
	}
	if e.Path == "." {
		return errs.New(errs.Invalid, "the top of a tree is a directory")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.makeDir(path.Dir(e.Path)); err != nil {
		return err
	}
	if err := w.claim(e.Path); err != nil {
		return err
	}
	info, err := w.root.Lstat(e.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return problem(e.Path, err)
	case info.IsDir():
		return errs.WithHint(errs.New(errs.Exists, "%s is there, and a directory", e.Path), "give another directory to write to")
	case !w.Force:
		return exists(e.Path)
	}
	return nil
}

func exists(path string) error {
	return errs.WithHint(errs.New(errs.Exists, "%s is there, and not the same", path), "overwrite it with --force, or give another directory to write to")
}

// makeDir makes a directory and those that lead to it, and lets its owner write
// to each. It is called with the lock held.
func (w *Writer) makeDir(name string) (*dir, error) {
	if d := w.dirs[name]; d != nil {
		return d, nil
	}
	d := new(dir)
	if name != "." {
		if _, err := w.makeDir(path.Dir(name)); err != nil {
			return nil, err
		}
		if err := w.claim(name); err != nil {
			return nil, err
		}
		err := w.root.Mkdir(name, 0o777)
		if err == nil {
			err = w.syncDir(path.Dir(name))
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, problem(name, err)
		}
	}
	info, err := w.root.Lstat(name)
	switch {
	case err != nil:
		return nil, problem(name, err)
	case !info.IsDir():
		return nil, errs.WithHint(errs.New(errs.Exists, "%s is there, and no directory", name), "give another directory to write to")
	case info.Mode().Perm()&0o700 != 0o700 && runtime.GOOS != "windows":
		d.was = datamesh.ModeOf(info.Mode())
		if err := w.root.Chmod(name, info.Mode().Perm()|0o700); err != nil {
			return nil, problem(name, err)
		}
	}
	w.tidy(name)
	w.dirs[name] = d
	return d, nil
}

// tidy removes from a directory what writers have left that died, as
// [durable.Tidy] does.
func (w *Writer) tidy(name string) {
	f, err := w.root.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	for {
		list, err := f.ReadDir(maxEntries)
		for _, e := range list {
			left := path.Join(name, e.Name())
			if !durable.IsTemp(e.Name()) {
				continue
			}
			if info, err := w.root.Lstat(left); err == nil && (info.Mode().IsRegular() || info.Mode().Type() == fs.ModeSymlink) && time.Since(info.ModTime()) >= leftTime {
				w.root.Remove(left)
			}
		}
		if err != nil {
			return
		}
	}
}

// leftTime is how old a temporary file is that nobody writes any more.
const leftTime = time.Hour

// claim notes that a path is written, and refuses one that this system takes for
// another that was, as those do that know no upper case or compose letters.
func (w *Writer) claim(name string) error {
	key := folded(name)
	before, ok := w.names[key]
	if !ok {
		w.names[key] = name
		return nil
	}
	if before == name {
		return nil
	}
	a, errA := w.root.Lstat(before)
	b, errB := w.root.Lstat(name)
	if errA == nil && errB == nil && os.SameFile(a, b) && !w.both(before, name) {
		return errs.WithHint(errs.New(errs.Exists, "%s and %s have one name on this system", before, name), "get one of the two by its name into another file")
	}
	return nil
}

// both reports whether two paths that lead to one file are two, as those of a hard
// link: the system lists what differs in them first by both names.
func (w *Writer) both(a, b string) bool {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	i := 0
	for i < min(len(as), len(bs))-1 && as[i] == bs[i] {
		i++
	}
	names, err := w.list(path.Join(as[:i]...))
	return err == nil && slices.Contains(names, as[i]) && slices.Contains(names, bs[i])
}

func (w *Writer) listed(dir string) ([]string, error) {
	f, err := w.root.Open(cmp.Or(dir, "."))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// again is claim for a name that is about to be given: another may have come to
// be there that this system takes for it.
func (w *Writer) again(name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.claim(name)
}

// A File is a file of a tree on its way to its name. It ends with Commit or
// Abort, and is not safe for concurrent use.
type File struct {
	w     *Writer
	entry Entry
	temp  *os.File // nil once it has ended
	name  string   // of temp, below the root
	rests bool     // temp is closed
}

// File begins a file, with the directories that lead to it. Kinds: Invalid, Exists
// (something is there, and Force is not set), IO, Full.
func (w *Writer) File(e Entry) (*File, error) {
	if err := w.prepare(e); err != nil {
		return nil, err
	}
	f := &File{w: w, entry: e, name: path.Join(path.Dir(e.Path), tempName())}
	perm := fs.FileMode(0o600)
	if e.Mode == 0 {
		perm = 0o666 // narrowed by the umask
	}
	var err error
	if f.temp, err = w.root.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm); err != nil {
		return nil, problem(e.Path, err)
	}
	return f, nil
}

// tempName returns a name that [durable.IsTemp] knows.
func tempName() string { return ".datamesh-" + rand.Text() + ".tmp" }

// Write appends to the file. Kinds: IO, Full.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.temp.Write(p)
	if err != nil {
		return n, problem(f.entry.Path, err)
	}
	return n, nil
}

// Commit gives the file its permissions, its time and its name, once all of it
// is on the disk. On an error there is no file. Kinds: IO, Full, Exists.
func (f *File) Commit() error {
	defer f.Abort()
	if err := f.finish(); err != nil {
		return err
	}
	e := f.entry
	claim := f.claim
	if f.w.Force {
		claim = func() error { return f.w.again(e.Path) }
	}
	if err := claim(); err != nil {
		return err
	}
	if err := f.w.root.Rename(f.name, e.Path); err != nil {
		if !f.w.Force {
			f.w.root.Remove(e.Path) // claimed above, so it is ours
		}
		return problem(e.Path, err)
	}
	return nil
}

// finish has all of the file on the disk, with its permissions and its time, but
// not its name.
func (f *File) finish() error {
	if err := f.wake(); err != nil {
		return err
	}
	e := f.entry
	if e.Mode != 0 {
		if err := f.temp.Chmod(fs.FileMode(e.Mode) & fs.ModePerm); err != nil {
			return problem(e.Path, err)
		}
	}
	if err := f.temp.Sync(); err != nil {
		return problem(e.Path, err)
	}
	if err := f.temp.Close(); err != nil {
		return problem(e.Path, err)
	}
	if !e.ModTime.IsZero() {
		if err := f.w.root.Chtimes(f.name, time.Time{}, e.ModTime); err != nil {
			return problem(e.Path, err)
		}
	}
	return nil
}

// claim takes the name for this file, or fails: as [durable.File.Commit] does.
func (f *File) claim() error {
	err := f.w.root.Link(f.name, f.entry.Path)
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		return exists(f.entry.Path)
	}
	held, err := f.w.root.OpenFile(f.entry.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return exists(f.entry.Path)
	}
	if err != nil {
		return problem(f.entry.Path, err)
	}
	return held.Close()
}

// Abort gives the file up. After Commit it does nothing.
func (f *File) Abort() {
	if f.temp != nil {
		f.temp.Close()
		f.w.root.Remove(f.name)
		f.temp = nil
	}
}

// Close makes the links, gives the directories their permissions and times, and
// makes all names durable. It calls failed, which may be nil, for each entry that
// is not as it should be, and returns an error if the tree as a whole is not.
func (w *Writer) Close(failed func(Entry, error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.root.Close()
	if failed == nil {
		failed = func(Entry, error) {}
	}
	for _, e := range w.links {
		if err := w.link(e); err != nil {
			failed(e, err)
		}
	}
	paths := make([]string, 0, len(w.dirs))
	for name := range w.dirs {
		paths = append(paths, name)
	}
	depth := func(name string) int { return strings.Count("/"+name, "/") }
	slices.SortFunc(paths, func(a, b string) int {
		return cmp.Or(cmp.Compare(depth(b), depth(a)), cmp.Compare(b, a)) // and "." comes last
	})
	var all []error
	for _, name := range paths {
		d := w.dirs[name]
		if err := w.settle(name, d); err != nil && d.entry != nil {
			failed(*d.entry, err)
		} else if err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// settle syncs a directory and gives it its permissions and its time.
func (w *Writer) settle(name string, d *dir) error {
	if err := w.syncDir(name); err != nil {
		return err
	}
	mode := d.was
	if d.entry != nil && d.entry.Mode != 0 {
		mode = d.entry.Mode
	}
	if mode != 0 {
		if err := w.root.Chmod(name, fs.FileMode(mode)&fs.ModePerm); err != nil {
			return problem(name, err)
		}
	}
	if d.entry != nil && !d.entry.ModTime.IsZero() {
		if err := w.root.Chtimes(name, time.Time{}, d.entry.ModTime); err != nil {
			return problem(name, err)
		}
	}
	return nil
}

// syncDir makes the names in a directory durable, as [durable.SyncDir] does.
func (w *Writer) syncDir(name string) error { return syncDir(w.root, name) }

func syncDir(root *os.Root, name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := root.Open(name)
	if err != nil {
		return problem(name, err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !notSynced(err) {
		return problem(name, err)
	}
	return nil
}

// link makes a symbolic link, in the place of whatever may be replaced.
func (w *Writer) link(e Entry) error {
	temp := path.Join(path.Dir(e.Path), tempName())
	if !w.Force {
		temp = e.Path
	}
	if err := w.claim(e.Path); err != nil {
		return err
	}
	err := w.root.Symlink(filepath.FromSlash(e.Target), temp)
	if errors.Is(err, fs.ErrExist) {
		return exists(e.Path)
	}
	if err == nil && w.Force {
		if err = w.root.Rename(temp, e.Path); err != nil {
			w.root.Remove(temp)
		}
	}
	if err != nil {
		return problem(e.Path, err)
	}
	return nil
}
