// Package tree walks directories, and writes them back.
//
// What a walk yields, and a [Writer] takes, are entries with paths below the top
// of the tree, whichever system they come from. A walk follows no symbolic
// link, holds as much in memory as its tree is deep, and says of each file by
// itself that it cannot be read. A writer stays below its directory whatever
// the entries are called and whoever changes the directory meanwhile, and no
// file has its name before it is whole. Which bytes a file has is the business
// of the caller.
package tree

import (
	"errors"
	"io/fs"
	"math"
	"runtime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

// The media types of what is no regular file.
const (
	Directory = "inode/directory" // has no content
	Symlink   = "inode/symlink"   // its content is where it leads
)

// Limits of paths in a tree.
const (
	MaxPath = 4096 // bytes
	MaxName = 255  // bytes of an element
)

// An Entry is one file, directory or symbolic link of a tree.
type Entry struct {
	Path    string // from the top of the tree, with forward slashes; "." is the top
	Type    string // Directory or Symlink; anything else is a regular file
	Size    int64  // bytes of content
	Mode    uint32 // permission bits, or datamesh.NoPermissions; 0: not known
	ModTime time.Time
	Target  string // of a symbolic link

	info fs.FileInfo // of the file when it was met
}

// CheckPath refuses what is no path in a tree, on whatever system: one that is
// absolute or has an empty element, "." or "..", bytes that are not UTF-8 or
// NUL, or is too long. "." is one. Kind: Invalid.
func CheckPath(path string) error {
	switch {
	case !utf8.ValidString(path):
		return errs.New(errs.Invalid, "the name %q is not valid UTF-8", path)
	case len(path) > MaxPath:
		return errs.New(errs.Invalid, "the name %.40q… has %d bytes; at most %d are possible", path, len(path), MaxPath)
	case !fs.ValidPath(path) || strings.ContainsRune(path, 0):
		return errs.New(errs.Invalid, "%q is no path in a tree", path)
	}
	for name := range strings.SplitSeq(path, "/") {
		if len(name) > MaxName {
			return errs.New(errs.Invalid, "%.40q… has %d bytes, more than the name of a file can", name, len(name))
		}
	}
	return nil
}

// checkHere refuses a path that no file of this system can have. Kind: Invalid.
func checkHere(path string) error {
	if err := CheckPath(path); err != nil || path == "." || runtime.GOOS != "windows" {
		return err
	}
	for name := range strings.SplitSeq(path, "/") {
		if Reserved(name) {
			return errs.New(errs.Invalid, "%q is a device on Windows", path)
		}
		if strings.ContainsAny(name, `\<>:"|?*`) || strings.ContainsFunc(name, unicode.IsControl) || strings.TrimRight(name, ". ") != name {
			return errs.New(errs.Invalid, "%q is no file name on Windows", path)
		}
	}
	return nil
}

// Reserved reports whether Windows takes a file name for a device, which it
// does whatever follows the first dot.
func Reserved(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	if !strings.HasPrefix(base, "COM") && !strings.HasPrefix(base, "LPT") {
		return false
	}
	digit := []rune(base[3:])
	return len(digit) == 1 && strings.ContainsRune("0123456789¹²³", digit[0])
}

// SameTime reports whether two times of a file are one: no file system keeps
// more than nanoseconds, and some keep less.
func SameTime(a, b time.Time) bool { return a.Sub(b).Abs() < time.Microsecond }

// Time returns the time of a file as it is kept: in UTC, and in the nanoseconds since
// 1970 that 64 bits reach. 0 of those is no time, so the file has the next.
func Time(t time.Time) time.Time {
	first, last := time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64)
	switch {
	case t.Before(first):
		t = first
	case t.After(last):
		t = last
	case t.Equal(time.Unix(0, 0)):
		t = time.Unix(0, 1)
	}
	return t.UTC()
}

// problem says what went wrong with a path of the tree, without the path that
// the system was given.
func problem(path string, err error) error {
	if errs.KindOf(err) != errs.Other {
		return err
	}
	kind := durable.KindOf(err)
	if errors.Is(err, fs.ErrNotExist) {
		kind = errs.FileNotFound
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return errs.New(kind, "%s: %w", path, err)
}

// CheckTarget refuses what no symbolic link can lead to. Kind: Invalid.
func CheckTarget(target string) error {
	if target == "" || len(target) > MaxPath || !utf8.ValidString(target) || strings.ContainsRune(target, 0) {
		return errs.New(errs.Invalid, "a symbolic link leads to 1 to %d bytes of valid UTF-8", MaxPath)
	}
	return nil
}
