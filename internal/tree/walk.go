package tree

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"runtime"
	"strings"

	"datamesh"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

// IgnoreFile is the name of a file that says, as a .gitignore does for Git,
// what below its directory is left out.
const IgnoreFile = ".datameshignore"

const (
	maxIgnore  = 1 << 20 // bytes of an ignore file
	maxEntries = 256     // entries of a directory that are read at once
)

// ErrSpecial is the error of what has no content: a device, a socket or a pipe.
var ErrSpecial = errors.New("a device, socket or pipe has no content")

// Options say what of a tree is left out. Patterns are those of .gitignore.
type Options struct {
	Exclude []string // what matches is left out, whatever ignore files say
	Include []string // what does not match, and is below nothing that does, is left out; none: nothing is
	Caches  bool     // leave out what is in a directory with a CACHEDIR.TAG, but for that
}

// A Tree is a directory to be read. It is safe for concurrent use.
type Tree struct {
	root             *os.Root
	exclude, include rules
	caches           bool
}

// Open opens the directory dir. Kinds: FileNotFound, IO, Invalid (a pattern
// matches nothing).
func Open(dir string, o Options) (*Tree, error) {
	t, err := Nothing(o)
	if err != nil {
		return nil, err
	}
	if t.root, err = os.OpenRoot(dir); err != nil {
		return nil, problem(dir, err)
	}
	return t, nil
}

// Nothing returns a tree that has nothing, to ask what of one would be left out.
// Kind: Invalid (a pattern matches nothing).
func Nothing(o Options) (*Tree, error) {
	t := &Tree{caches: o.Caches}
	var err error
	if t.exclude, err = parseFlags(o.Exclude); err != nil {
		return nil, err
	}
	t.include, err = parseFlags(o.Include)
	return t, err
}

// Close closes the tree. Files of it that are open stay so.
func (t *Tree) Close() error {
	if t.root == nil {
		return nil
	}
	return t.root.Close()
}

// Inode returns what tells the directory at the top from others at its path, such as
// the one that is there when its disk is not mounted: the number of its inode, or ""
// if the system has none.
func (t *Tree) Inode() string {
	if t.root == nil {
		return ""
	}
	return inodeAt(t.root)
}

func inodeAt(root *os.Root) string {
	info, err := root.Lstat(".")
	if err != nil {
		return ""
	}
	return inodeOf(info)
}

// File opens a regular file that a walk has yielded. Kinds: FileNotFound, IO
// (also when it is another file by now).
func (t *Tree) File(e Entry) (*os.File, error) {
	f, err := t.root.OpenFile(e.Path, os.O_RDONLY|nonBlocking, 0)
	if err != nil {
		return nil, problem(e.Path, err)
	}
	is, err := f.Stat()
	if err == nil && (!is.Mode().IsRegular() || !os.SameFile(is, e.info)) {
		err = errs.WithHint(errs.New(errs.IO, "%s became another file", e.Path), "put it again when nothing writes to it")
	}
	if err != nil {
		f.Close()
		return nil, problem(e.Path, err)
	}
	return f, nil
}

// Stat returns what is at a path now, through no symbolic link. Kinds:
// FileNotFound (also if what leads there is no directory), IO.
func (t *Tree) Stat(name string) (Entry, error) {
	gone := errs.New(errs.FileNotFound, "there is no %s", name)
	if t.root == nil {
		return Entry{}, gone
	}
	if up := path.Dir(name); up != "." {
		if e, err := t.Stat(up); err != nil || e.Type != Directory {
			return Entry{}, cmp.Or(err, error(gone))
		}
	}
	info, err := t.root.Lstat(name)
	if err != nil {
		return Entry{}, problem(name, err)
	}
	return entryOf(name, info), nil
}

// SameFile reports whether two entries are one file, such as by two names that the
// system takes for one.
func SameFile(a, b Entry) bool { return a.info != nil && b.info != nil && os.SameFile(a.info, b.info) }

// Sync makes the content of a regular file durable that a walk has yielded. Kinds:
// as File, Full.
func (t *Tree) Sync(e Entry) error {
	if e.Type == Directory || e.Type == Symlink || runtime.GOOS == "windows" {
		return nil
	}
	f, err := t.File(e)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !notSynced(err) {
		return problem(e.Path, err)
	}
	return nil
}

// SyncDir makes the names in a directory durable. Kinds: FileNotFound, IO, Full.
func (t *Tree) SyncDir(name string) error { return syncDir(t.root, name) }

// Walk yields what is in the tree, its top first and each directory before what
// is in it, in the order of the file system. An entry with an error has its
// path alone: it could not be read, its name is not valid UTF-8 or too long, or
// it is [ErrSpecial]; the walk goes on with the next. It ends when ctx does,
// with the error of ctx.
func (t *Tree) Walk(ctx context.Context) iter.Seq2[Entry, error] { return t.walk(ctx, nil) }

// walk is Walk, and notes, unless that is nil, what the directories say.
func (t *Tree) walk(ctx context.Context, dirs map[string]chosen) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if t.root == nil {
			return
		}
		w := &walk{Tree: t, ctx: ctx, yield: yield, dirs: dirs}
		top, err := t.root.Lstat(".")
		if err != nil {
			yield(Entry{Path: "."}, problem(".", err))
			return
		}
		w.announce(entryOf(".", top), t.include == nil)
		w.dir(t.root, ".", t.include == nil)
	}
}

// A walk is one walk on its way.
type walk struct {
	*Tree
	ctx   context.Context
	yield func(Entry, error) bool
	done  bool

	levels []level           // of the directories that lead to where it is
	held   []Entry           // directories that are yielded once something in them is
	dirs   map[string]chosen // what they say, for a chooser; nil: there is none
}

// A level is the ignore file of a directory.
type level struct {
	prefix string // of paths below it
	rules  rules
}

func (w *walk) say(e Entry, err error) {
	if !w.done {
		w.done = !w.yield(e, err)
	}
}

func (w *walk) fail(path string, err error) { w.say(Entry{Path: path}, problem(path, err)) }

// announce yields an entry, and before it the directories that lead to it; one
// that is not included itself is held back for that.
func (w *walk) announce(e Entry, included bool) {
	if !included {
		w.held = append(w.held, e)
		return
	}
	for _, dir := range w.held {
		w.say(dir, nil)
	}
	w.held = w.held[:0]
	w.say(e, nil)
}

// dir walks what is in a directory.
func (w *walk) dir(root *os.Root, name string, included bool) {
	prefix := ""
	if name != "." {
		prefix = name + "/"
	}
	rules, err := ignoreFile(root)
	if err != nil {
		w.fail(prefix+IgnoreFile, err) // without it more than its user wants would be read
		return
	}
	if rules != nil {
		w.levels = append(w.levels, level{prefix, rules})
		defer func() { w.levels = w.levels[:len(w.levels)-1] }()
	}
	cache := w.caches && isCache(root)
	if w.dirs != nil && (rules != nil || cache) {
		w.dirs[name] = chosen{rules, cache}
	}
	f, err := root.Open(".")
	if err != nil {
		w.fail(name, err)
		return
	}
	defer f.Close()
	for {
		list, err := f.ReadDir(maxEntries)
		for _, e := range list {
			if cache && e.Name() != cacheTag {
				continue
			}
			if w.entry(root, prefix, e.Name(), included); w.done {
				return
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			w.fail(name, err)
			return
		}
	}
}

// entry yields one entry of a directory, with what is below it.
func (w *walk) entry(root *os.Root, prefix, name string, included bool) {
	if err := w.ctx.Err(); err != nil {
		w.say(Entry{}, err)
		w.done = true
		return
	}
	full := prefix + name
	if durable.IsTemp(name) {
		return // what a writer has not ended, or never will
	}
	if err := CheckPath(full); err != nil {
		w.fail(full, err)
		return
	}
	info, err := root.Lstat(name)
	if err != nil {
		w.fail(full, err)
		return
	}
	if w.excluded(full, info.IsDir()) {
		return
	}
	if !included {
		included, _ = w.include.says(full, info.IsDir())
	}
	e := entryOf(full, info)
	switch mode := info.Mode(); {
	case mode.IsDir():
		held := len(w.held)
		w.announce(e, included)
		w.below(root, name, full, info, included)
		w.held = w.held[:min(held, len(w.held))]
	case !included:
	case mode.IsRegular():
		w.announce(e, true)
	case mode.Type() == fs.ModeSymlink:
		if e.Target, err = root.Readlink(name); err != nil {
			w.fail(full, err)
			return
		}
		if err := CheckTarget(e.Target); err != nil {
			w.fail(full, errs.New(errs.Invalid, "%s: %w", full, err))
			return
		}
		e.Size = int64(len(e.Target))
		w.announce(e, true)
	default:
		w.say(Entry{Path: full}, ErrSpecial)
	}
}

// below walks a directory, unless another thing has taken its place.
func (w *walk) below(root *os.Root, name, full string, info fs.FileInfo, included bool) {
	if w.done {
		return
	}
	sub, err := root.OpenRoot(name)
	if err != nil {
		w.fail(full, err)
		return
	}
	defer sub.Close()
	if is, err := sub.Stat("."); err != nil || !os.SameFile(is, info) {
		w.fail(full, errs.New(errs.IO, "%s became another directory", full))
		return
	}
	w.dir(sub, full, included)
}

// excluded reports whether a path is left out: a pattern of the caller counts
// before ignore files, and one that is nearer before one that is further up.
func (w *walk) excluded(full string, isDir bool) bool {
	return w.Tree.excluded(w.levels, full, isDir)
}

func (t *Tree) excluded(levels []level, full string, isDir bool) bool {
	if out, any := t.exclude.says(full, isDir); any {
		return out
	}
	for i := len(levels) - 1; i >= 0; i-- {
		l := levels[i]
		if out, any := l.rules.says(strings.TrimPrefix(full, l.prefix), isDir); any {
			return out
		}
	}
	return false
}

func entryOf(name string, info fs.FileInfo) Entry {
	e := Entry{Path: name, Mode: datamesh.ModeOf(info.Mode()), ModTime: Time(info.ModTime()), info: info}
	switch {
	case info.IsDir():
		e.Type = Directory
	case info.Mode().Type() == fs.ModeSymlink:
		e.Type = Symlink
	default:
		e.Size = info.Size()
	}
	return e
}

// ignoreFile returns the rules of a directory, or nil. Kinds: IO, Invalid.
func ignoreFile(root *os.Root) (rules, error) {
	b, err := readSmall(root, IgnoreFile, maxIgnore+1)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case len(b) > maxIgnore:
		return nil, errs.New(errs.Invalid, "%s has more than %d bytes", IgnoreFile, maxIgnore)
	}
	return parseFile(string(b)), nil
}

// readSmall reads the first bytes of a regular file. Of anything else it does as
// if it were not there.
func readSmall(root *os.Root, name string, n int64) ([]byte, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrNotExist
	}
	f, err := root.OpenFile(name, os.O_RDONLY|nonBlocking, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

// See https://bford.info/cachedir/.
const (
	cacheTag  = "CACHEDIR.TAG"
	cacheSign = "Signature: 8a477f597d28d172789f06886806bc55"
)

// isCache reports whether a directory says that it can be made anew.
func isCache(root *os.Root) bool {
	b, err := readSmall(root, cacheTag, int64(len(cacheSign)))
	return err == nil && string(b) == cacheSign
}
