package main

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"

	"datamesh"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/node"
	"datamesh/internal/partial"
	"datamesh/internal/tree"
)

// A target is where a get writes: path, or the stored name in dir.
type target struct {
	ref   string // what is got
	dir   string
	path  string // "" until the stored name is known
	force bool
	info  node.ObjectInfo
	part  bool         // it is but a part of the object
	get   *partial.Get // set by begin
}

// newTarget returns the target that the user calls out, if it can be written.
// Kinds: Exists, FileNotFound, Invalid.
func newTarget(ref, out string, force bool) (*target, error) {
	if out == "" {
		return nil, errs.WithHint(errs.New(errs.Invalid, "the name of the file to write is empty"),
			"leave OUT away for the stored name, or give one: datamesh get %s OUT", ref)
	}
	if fi, err := os.Stat(out); err == nil && fi.IsDir() {
		return &target{ref: ref, dir: out, force: force}, nil
	}
	t := &target{ref: ref, dir: filepath.Dir(out), path: out, force: force}
	if fi, err := os.Stat(t.dir); err != nil || !fi.IsDir() || os.IsPathSeparator(out[len(out)-1]) {
		return nil, errs.WithHint(errs.New(errs.FileNotFound, "there is no directory %s", t.dir), "make it: mkdir -p %s", quoteWord(t.dir))
	}
	return t, t.checkFree()
}

// checkFree tells whether the path may be written, before anything is got for
// it. What counts in the end is commit, which never overwrites by accident.
func (t *target) checkFree() error {
	fi, err := os.Lstat(t.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return errs.New(errs.IO, "%w", err)
	case !fi.Mode().IsRegular() && fi.Mode().Type() != fs.ModeSymlink:
		return errs.WithHint(errs.New(errs.Exists, "%s is there and no regular file", t.path),
			"datamesh get %s - >%s", t.ref, t.path)
	case !t.force:
		return t.exists()
	}
	return nil
}

func (t *target) exists() error {
	return errs.WithHint(errs.New(errs.Exists, "%s exists", t.path), "overwrite it with --force, or give another OUT")
}

// begin looks for an interrupted get that this one goes on with, unless it is of
// a part.
func (t *target) begin(home config.Home, part bool) {
	if t.part = part; part {
		t.get = new(partial.Get)
		return
	}
	t.get = partial.Begin(home.Gets(), t.ref, cmp.Or(t.path, t.dir))
}

// before returns what an interrupted get has brought, or nil.
func (t *target) before() *node.Resume {
	id, from := t.get.Before()
	if from == 0 {
		return nil
	}
	return &node.Resume{ID: id, From: from}
}

// open begins the file once it is known what the object is.
func (t *target) open(info node.ObjectInfo) (io.Writer, error) {
	if err := isTree(t.ref, info); err != nil {
		return nil, err
	}
	if err := t.settle(info); err != nil {
		return nil, err
	}
	t.info = info
	there := info.From
	if t.part {
		there = 0
	}
	return t.get, t.get.Open(info.ID, info.Name, info.Size, there, t.path, fileMode(info))
}

// settle finds out the path, if it is the stored name.
func (t *target) settle(info node.ObjectInfo) error {
	if t.path != "" {
		return nil
	}
	name, err := safeName(info.Name)
	if err != nil {
		return errs.WithHint(err, "say where to write it: datamesh get %s OUT", typable(t.ref, info.ID))
	}
	t.path = filepath.Join(t.dir, name)
	return t.checkFree()
}

// typable returns ref as it is typed in a shell, or the id that it means if
// nobody would type that.
func typable(ref string, id datamesh.ObjectID) string {
	if len(ref) > maxFileName || plain(ref) != ref {
		return id.String()
	}
	return quoteWord(ref)
}

// commit gives the file, now whole, its time and its name.
func (t *target) commit() error {
	if !t.info.ModTime.IsZero() && !t.part {
		if err := t.get.SetTime(t.info.ModTime); err != nil {
			return err
		}
	}
	err := t.get.Commit(t.force)
	if errors.Is(err, errs.Exists) {
		return t.exists()
	}
	return err
}

// leave ends the get so that it can be resumed, and reports whether it can.
func (t *target) leave() bool { return t.get.Leave() }

func (t *target) abort() { t.get.Abort() }

// fileMode returns the permissions of a file that is written for info.
func fileMode(info node.ObjectInfo) fs.FileMode {
	if info.Mode == 0 {
		return 0o666 // narrowed by the umask
	}
	return fs.FileMode(info.Mode) & fs.ModePerm
}

// maxFileName is how many bytes the name of a file may have on most systems.
const maxFileName = 255

// safeName returns the last element of a stored name if that is the name of a
// plain file here, and of no device on Windows. Kind: Invalid.
func safeName(stored string) (string, error) {
	name := stored[strings.LastIndexAny(stored, `/\`)+1:]
	switch {
	case stored == "":
		return "", errs.New(errs.Invalid, "the object has no name")
	case name == "" || strings.Trim(name, ". ") == "":
		return "", errs.New(errs.Invalid, "the stored name %q names no file", stored)
	case strings.ContainsFunc(name, unicode.IsControl):
		return "", errs.New(errs.Invalid, "the stored name %q has control characters", stored)
	case len(name) > maxFileName:
		return "", errs.New(errs.Invalid, "the stored name has %d bytes, more than the name of a file can", len(name))
	case tree.Reserved(name):
		return "", errs.New(errs.Invalid, "the stored name %q is a device on Windows", stored)
	case runtime.GOOS == "windows" && (strings.ContainsAny(name, `<>:"|?*`) || strings.TrimRight(name, ". ") != name):
		return "", errs.New(errs.Invalid, "the stored name %q is no file name on Windows", stored)
	}
	return name, nil
}
