package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// errTree ends the get of an object that is no regular file.
var errTree = errs.New(errs.Invalid, "it is a directory or a symbolic link")

// isTree refuses what is to be got as a tree, or not at all. Kind: Invalid, or none.
func isTree(ref string, info node.ObjectInfo) error {
	if err := notBackup(ref, info.Type); err != nil {
		return err
	}
	if fileKind(info.Type) != "" {
		return errTree
	}
	return nil
}

// A selection is what a name or a pattern means: a tree, or what matches.
type selection struct {
	objects []node.Object // the newest of each name, by name
	base    string        // of a tree: the name of its top; "" of a pattern
}

// pathOf returns where an object lies below the top.
func (s *selection) pathOf(o node.Object) string {
	switch {
	case s.base == "":
		return o.Name
	case o.Name == s.base:
		return "."
	}
	return strings.TrimPrefix(o.Name, s.base+"/")
}

// isPattern reports whether a name may be meant as a pattern.
func isPattern(ref string) bool { return strings.ContainsAny(ref, `*?[{`) }

// choose finds out what ref means, if it is the name of a tree, or else a
// pattern. If it is neither there are no objects. Kind: Invalid.
func choose(ctx context.Context, ops api.Operations, ref string) (*selection, error) {
	ref = strings.TrimSuffix(ref, "/")
	base, err := spelledTop(ctx, ops, ref)
	if err != nil {
		return nil, err
	}
	s := &selection{base: base}
	if _, err := datamesh.ParseObjectID(ref); err == nil {
		s.base = "" // an id means the tree at the top of which it is
		err := ops.List(ctx, node.ListOptions{}, func(o node.Object) error {
			if o.ID.String() == ref {
				s.base = o.Name
			}
			return nil
		})
		if err != nil || s.base == "" {
			return s, err
		}
	}
	known, err := newestOf(ctx, ops, "", func(name string) bool { return below([]top{{name: s.base}}, name) })
	if err != nil {
		return nil, err
	}
	if o, ok := known[s.base]; ok && fileKind(o.Type) == "" {
		return s, nil // it is a file
	}
	if len(known) == 0 && isPattern(ref) {
		s.base = ""
		if known, err = newestOf(ctx, ops, ref, nil); err != nil {
			return nil, err
		}
	}
	for _, o := range known {
		s.objects = append(s.objects, o)
	}
	slices.SortFunc(s.objects, func(a, b node.Object) int { return strings.Compare(a.Name, b.Name) })
	return s, nil
}

// spelledTop returns the name of a tree as its objects have it: of one that none
// has, the one that differs only in how Unicode composes its letters. Kind: Invalid
// (there are several).
func spelledTop(ctx context.Context, ops api.Operations, name string) (string, error) {
	form, depth := tree.Composed(name), strings.Count(name, "/")+1
	known := map[string]bool{}
	if strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return name, nil
	}
	err := ops.List(ctx, node.ListOptions{}, func(o node.Object) error {
		parts := strings.SplitN(o.Name, "/", depth+1)
		if top := strings.Join(parts[:min(depth, len(parts))], "/"); tree.Composed(top) == form {
			known[top] = true
		}
		return nil
	})
	switch {
	case err != nil || len(known) == 0 || known[name]:
		return name, err
	case len(known) > 1:
		return name, errs.WithHint(errs.New(errs.Invalid, "%d names look like %s and are written in other Unicode forms", len(known), name), `copy the one that is meant from "datamesh list"`)
	}
	for name = range known {
	}
	return name, nil
}

// getTree reads back what ref means, if that is a tree or a pattern, to the
// directory out, or without one to where it has its name. If it is neither, the
// error is not.
func (c *cli) getTree(ctx context.Context, ref, out string, force, dryRun bool, not error) error {
	return c.withKeys(ctx, func(ops api.Operations) error {
		s, err := choose(ctx, withoutBackups{ops}, ref)
		if err != nil {
			return err
		}
		if len(s.objects) == 0 {
			return not
		}
		top := s.pathOf(s.objects[0]) == "."
		if out == "" {
			if out = "."; s.base != "" {
				if out, err = safeName(s.base); err != nil {
					return errs.WithHint(err, "say where to write it: datamesh get %s OUT", quoteWord(ref))
				}
			}
		}
		t := c.newTally("get")
		t.batch.DryRun = dryRun
		g := &getBatch{tally: t, ops: ops, s: s}
		if top && s.objects[0].Type == tree.Symlink { // one link, and not below its own name
			s.objects, g.rename = s.objects[:1], filepath.Base(out)
			out = filepath.Dir(out)
		}
		if g.w, err = openWriter(out, dryRun); err != nil {
			return err
		}
		if g.w != nil {
			g.w.Force = force
		}
		for _, o := range s.objects {
			t.allBytes.Add(o.Size)
		}
		t.allFiles.Store(int64(len(s.objects)))
		stop := c.tell(ctx, t)
		g.run(ctx)
		stop()
		return errors.Join(t.print(), t.end(ref))
	})
}

// openWriter begins a tree. A dry run of one that is not there has none.
func openWriter(out string, dryRun bool) (*tree.Writer, error) {
	if dryRun {
		w, err := tree.Look(out)
		if errors.Is(err, errs.FileNotFound) {
			return nil, nil
		}
		return w, err
	}
	return tree.Create(out)
}

// A getBatch is a get of many files on its way.
type getBatch struct {
	*tally
	ops    api.Operations
	s      *selection
	w      *tree.Writer // nil: nothing is there, in a dry run
	rename string       // of the one object at the top; "" if that is a directory

	there map[string]bool // directories that were as they should be, by their names

	missed atomic.Int64 // objects that could not be read since the last that could
}

// maxMissed is how many objects in a row may be out of reach before the rest is
// taken to be so, too.
const maxMissed = 4 * atOnce

func (g *getBatch) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.there = map[string]bool{}
	for _, o := range g.s.objects { // what is written in one changes it for a while
		if e := g.entry(o); e.Type == tree.Directory && g.w != nil {
			g.there[o.Name] = g.w.Same(e)
		}
	}
	queue := make(chan node.Object)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for o := range queue {
				if err := g.get(ctx, o); err != nil {
					g.stop(err)
					cancel()
				}
			}
		})
	}
	for _, o := range g.s.objects {
		if ctx.Err() != nil {
			break
		}
		select {
		case queue <- o:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		g.stop(ctx.Err())
	}
	close(queue)
	workers.Wait()
	if g.w == nil || g.batch.DryRun {
		return
	}
	err := g.w.Close(func(e tree.Entry, err error) { g.spoil(e, err) })
	if err != nil {
		g.stop(err)
	}
}

// spoil counts as failed what was counted as written.
func (g *getBatch) spoil(e tree.Entry, err error) {
	g.mu.Lock()
	g.batch.Written--
	name := e.Path
	for i, f := range g.batch.Files {
		if g.entry(node.Object{Name: f.Name}).Path == e.Path {
			name = f.Name
			g.batch.Files = slices.Delete(g.batch.Files, i, i+1)
			break
		}
	}
	g.mu.Unlock()
	g.fail(batchFile{Name: name, Type: e.Type, Size: e.Size}, fmt.Errorf("get %s: %w", name, err))
}

func (g *getBatch) entry(o node.Object) tree.Entry {
	e := tree.Entry{Path: g.s.pathOf(o), Type: fileKind(o.Type), Size: o.Size, Mode: o.Mode, ModTime: o.ModTime}
	if e.Path == "." && g.rename != "" {
		e.Path = g.rename
	}
	return e
}

// get reads one object back. Its error is one that ends the batch.
func (g *getBatch) get(ctx context.Context, o node.Object) error {
	f := batchFile{Name: o.Name, ID: o.ID, Type: o.Type, Size: o.Size, State: fileWritten}
	e := g.entry(o)
	err := tree.CheckPath(e.Path)
	if err == nil {
		same := g.there[o.Name]
		if e.Type == "" {
			same = g.w != nil && g.w.Same(e)
		}
		if same {
			f.State = fileUnchanged
		}
		switch {
		case same && e.Type == "":
			g.bytes.Add(o.Size)
		case same && g.batch.DryRun:
		case g.batch.DryRun:
			f.State = filePlanned
		case e.Type == tree.Directory:
			err = g.w.Dir(e)
		case e.Type == tree.Symlink:
			f.State, err = g.link(ctx, o, e)
		default:
			err = g.file(ctx, o, e)
		}
	}
	if err == nil {
		g.missed.Store(0)
		g.add(f)
		return nil
	}
	err = fmt.Errorf("get %s: %w", o.Name, err)
	away := errs.Retryable(err)
	if general(ctx, err) && (!away || g.missed.Add(1) >= maxMissed) {
		return err
	}
	g.fail(f, err)
	return nil
}

// file reads a file back, which appears when it is whole.
func (g *getBatch) file(ctx context.Context, o node.Object, e tree.Entry) error {
	var file *tree.File
	fetched, err := g.ops.Get(ctx, o.ID.String(), node.GetOptions{}, func(info node.ObjectInfo) (w io.Writer, err error) {
		e.Size, e.Mode, e.ModTime = info.Size, info.Mode, info.ModTime
		if file, err = g.w.File(e); err != nil {
			return nil, err
		}
		return counted{file, &g.bytes}, nil
	})
	if file != nil {
		defer file.Abort()
	}
	if err != nil {
		return err
	}
	for _, b := range fetched.Bad {
		g.warn(fmt.Sprintf("shard %d of %s was rebuilt: peer %s: %s", b.Index, b.Segment, b.Peer, b.Reason))
	}
	return file.Commit()
}

// link reads where a symbolic link leads, and has it made.
func (g *getBatch) link(ctx context.Context, o node.Object, e tree.Entry) (state string, err error) {
	if e.Target, err = linkTarget(ctx, g.ops, o, &g.bytes); err != nil {
		return "", err
	}
	if g.w.Same(e) {
		return fileUnchanged, nil
	}
	return fileWritten, g.w.Link(e)
}

// linkTarget reads where a symbolic link in the mesh leads, and counts its bytes.
func linkTarget(ctx context.Context, ops api.Operations, o node.Object, n *atomic.Int64) (string, error) {
	if o.Size > tree.MaxPath {
		return "", errs.New(errs.Invalid, "a symbolic link leads to %d bytes", o.Size)
	}
	var target bytes.Buffer
	_, err := ops.Get(ctx, o.ID.String(), node.GetOptions{}, func(info node.ObjectInfo) (io.Writer, error) {
		if info.Size > tree.MaxPath {
			return nil, errs.New(errs.Invalid, "a symbolic link leads to %d bytes", info.Size)
		}
		return counted{&target, n}, nil
	})
	return target.String(), err
}

// counted counts what is written, for people to see.
type counted struct {
	w io.Writer
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n.Add(int64(n))
	return n, err
}
