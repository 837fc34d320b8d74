package tree

import (
	"context"
	"iter"
	"strings"

	"datamesh/internal/durable"
)

// A Chooser tells of paths that need not be there what a walk has left out, or
// would have: it goes by what the walk has read of the ignore files, whatever they
// have by now. It is not safe for concurrent use.
type Chooser struct {
	t    *Tree
	dirs map[string]chosen // that the walk has met
}

// chosen is what one directory says of what is in it.
type chosen struct {
	rules rules
	cache bool
}

// Chooser returns one that has not walked yet.
func (t *Tree) Chooser() *Chooser { return &Chooser{t, map[string]chosen{}} }

// Walk is [Tree.Walk], and what it reads is what the chooser goes by.
func (c *Chooser) Walk(ctx context.Context) iter.Seq2[Entry, error] { return c.t.walk(ctx, c.dirs) }

// LeavesOut reports whether the walk would leave out a path if it were there. A
// directory is left out that is not included itself, though something in it may
// be.
func (c *Chooser) LeavesOut(path string, isDir bool) bool {
	if path == "." {
		return false
	}
	var levels []level
	included := c.t.include == nil
	above, prefix := ".", ""
	for {
		name, rest, more := strings.Cut(path[len(prefix):], "/")
		d := c.dirs[above]
		if d.rules != nil {
			levels = append(levels, level{prefix, d.rules})
		}
		full := prefix + name
		if durable.IsTemp(name) || d.cache && name != cacheTag || c.t.excluded(levels, full, isDir || more) {
			return true
		}
		if !included {
			included, _ = c.t.include.says(full, isDir || more)
		}
		if !more || rest == "" {
			return !included
		}
		above, prefix = full, full+"/"
	}
}
