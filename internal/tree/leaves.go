package tree

import (
	"errors"
	"io/fs"
	"strings"

	"datamesh/internal/durable"
)

// A Chooser tells of paths that need not be there what a walk would leave out. It
// reads each ignore file once, and is not safe for concurrent use.
type Chooser struct {
	t    *Tree
	dirs map[string]chosen
}

// chosen is what one directory says of what is in it.
type chosen struct {
	there bool
	rules rules
	cache bool
}

// Chooser returns one for the tree as it is from now on.
func (t *Tree) Chooser() *Chooser { return &Chooser{t, map[string]chosen{}} }

// LeavesOut reports whether a walk would leave out a path if it were there. A
// directory is left out that is not included itself, though something in it may
// be. Kinds: IO, Invalid (an ignore file cannot be read).
func (c *Chooser) LeavesOut(path string, isDir bool) (bool, error) {
	if path == "." {
		return false, nil
	}
	var levels []level
	included := c.t.include == nil
	above, prefix := ".", ""
	for {
		name, rest, more := strings.Cut(path[len(prefix):], "/")
		d, err := c.dir(above)
		if err != nil {
			return false, err
		}
		if d.rules != nil {
			levels = append(levels, level{prefix, d.rules})
		}
		full := prefix + name
		if durable.IsTemp(name) || d.cache && name != cacheTag || c.t.excluded(levels, full, isDir || more) {
			return true, nil
		}
		if !included {
			included, _ = c.t.include.says(full, isDir || more)
		}
		if !more || rest == "" {
			return !included, nil
		}
		above, prefix = full, full+"/"
	}
}

// dir returns what a directory says, which one does not that is none, or lies
// below a symbolic link.
func (c *Chooser) dir(name string) (chosen, error) {
	if d, ok := c.dirs[name]; ok {
		return d, nil
	}
	var d chosen
	up := "."
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		up = name[:i]
	}
	if c.t.root != nil && (name == "." || c.dirs[up].there) {
		info, err := c.t.root.Lstat(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return d, problem(name, err)
		}
		if err == nil && info.IsDir() {
			sub, err := c.t.root.OpenRoot(name)
			if err != nil {
				return d, problem(name, err)
			}
			defer sub.Close()
			d.there, d.cache = true, c.t.caches && isCache(sub)
			if d.rules, err = ignoreFile(sub); err != nil {
				return d, problem(name, err)
			}
		}
	}
	c.dirs[name] = d
	return d, nil
}
