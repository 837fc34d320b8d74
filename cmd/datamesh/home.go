package main

import (
	"os"
	"path/filepath"
	"slices"

	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/tree"
)

// withoutHome is leaveOut of the home, and says so. Kinds: Configuration, Invalid.
func (c *cli) withoutHome(o tree.Options, dir string) (tree.Options, error) {
	home, err := config.FindHome(c.homeDir)
	if err != nil {
		return o, err
	}
	o, lies, err := leaveOut(o, dir, string(home))
	if lies {
		c.noticeHome(home)
	}
	return o, err
}

func (c *cli) noticeHome(home config.Home) {
	c.notice("%s is left out: it is the home of datamesh", home)
}

// leaveOut leaves the home, where the secrets of all identities lie and a catalog
// that changes while it is read, out of a directory in which it lies, whatever
// other patterns say, and reports whether it is there. Kind: Invalid (the
// directory lies in the home).
func leaveOut(o tree.Options, dir, home string) (without tree.Options, lies bool, err error) {
	real, home := realPath(dir), realPath(home)
	if _, ok := pathBelow(real, home); ok {
		return o, false, errs.WithHint(errs.New(errs.Invalid, "%s lies in the home of datamesh, which is left out", dir), "give another directory")
	}
	below, ok := pathBelow(home, real)
	if !ok {
		return o, false, nil
	}
	o.Exclude = append(slices.Clone(o.Exclude), "/"+tree.Quote(filepath.ToSlash(below))) // of patterns the last counts
	_, err = os.Lstat(home)
	return o, err == nil, nil
}

// pathBelow returns the path of what is in a directory, or is it, from there, also
// if the system knows that directory by several paths.
func pathBelow(name, dir string) (below string, ok bool) {
	top, err := os.Stat(dir)
	there := err == nil
	for below = "."; ; name = filepath.Dir(name) {
		if name == dir {
			return below, true
		}
		if is, err := os.Stat(name); there && err == nil && os.SameFile(is, top) {
			return below, true
		}
		if name == filepath.Dir(name) {
			return "", false
		}
		below = filepath.Join(filepath.Base(name), below)
	}
}

// realPath returns where a path leads, from the root; of what is not there that of what leads to it.
func realPath(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		name = abs
	}
	if is, err := filepath.EvalSymlinks(name); err == nil {
		return is
	}
	if up := filepath.Dir(name); up != name {
		return filepath.Join(realPath(up), filepath.Base(name))
	}
	return name
}
