package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// treeOptions say what a put of many files stores.
type treeOptions struct {
	recursive bool
	all       bool // what is stored already, too
	dryRun    bool
	filter    tree.Options
	home      string // is left out
}

// A top is one of the paths of a put of many files.
type top struct {
	path string
	name string     // in the mesh, of itself or of what is below it
	tree *tree.Tree // nil: it is a file
	home bool       // lies in it, and is left out
}

// A putItem is one file, directory or symbolic link to be stored.
type putItem struct {
	name  string // in the mesh
	path  string // here, for people
	entry tree.Entry
	open  func(ctx context.Context) (content, error) // of a regular file
	done  func(stored datamesh.ObjectID)             // is called when it has ended, with the zero id if it is not stored; nil: nobody waits for that

	created time.Time // when it is said to have been stored; zero: now
	untold  bool      // its time does not tell whether its content has changed
}

// A content is what a regular file has that is put. It may be closed while a Read
// is under way.
type content interface {
	io.ReadCloser
	size() int64
	fileMode() uint32
	modTime() time.Time
	fingerprint() (string, error)
}

// A supply has what a put of many files stores: directories, or an archive.
type supply interface {
	// uploads calls yield for all that is to be stored, until it is false. An item
	// with an error could not be read. An error of uploads itself is one after which
	// there is no more.
	uploads(ctx context.Context, ops api.Operations, yield func(putItem, error) bool) error

	// has reports whether a name is one that uploads may yield.
	has(name string) bool

	// count returns how much there is, or false if that is not known. It may go on
	// while uploads does.
	count(ctx context.Context) (files, bytes int64, known bool)
}

// A leftOut is the error of what is not stored, and said to be left out.
type leftOut struct{ why error }

func (e leftOut) Error() string { return e.why.Error() }

// tops are directories and files that are put together.
type tops struct {
	of    []top
	paths []string
	name  string
	opt   treeOptions
}

func (s *tops) uploads(ctx context.Context, _ api.Operations, yield func(putItem, error) bool) error {
	going := true
	for _, t := range s.of {
		if going {
			t.uploads(ctx, func(u putItem, err error) bool {
				going = yield(u, err)
				return going
			})
		}
	}
	return nil
}

func (s *tops) has(name string) bool { return below(s.of, name) }

// count walks the directories on its own.
func (s *tops) count(ctx context.Context) (files, bytes int64, known bool) {
	again, err := openTops(s.paths, s.name, s.opt)
	if err != nil {
		return 0, 0, false
	}
	defer closeTops(again)
	for _, t := range again {
		t.uploads(ctx, func(u putItem, err error) bool {
			files++
			if err == nil {
				bytes += u.entry.Size
			}
			return ctx.Err() == nil
		})
	}
	return files, bytes, ctx.Err() == nil
}

// openTops opens the paths of a put. Kinds: FileNotFound, IO, Invalid.
func openTops(paths []string, name string, o treeOptions) (tops []top, err error) {
	defer func() {
		if err != nil {
			closeTops(tops)
		}
	}()
	if name != "" && len(paths) > 1 {
		return nil, errs.WithHint(errs.New(errs.Invalid, "--name is for one file or directory, and here are %d", len(paths)), "leave --name out, or put them one by one")
	}
	seen := map[string]string{}
	for _, path := range paths {
		t := top{path: path, name: name}
		fi, err := os.Stat(path)
		switch {
		case path == "-":
			return tops, errs.WithHint(errs.New(errs.Invalid, "standard input is put by itself"), "datamesh put - --name NAME")
		case errors.Is(err, os.ErrNotExist):
			return tops, errs.WithHint(errs.New(errs.FileNotFound, "there is no file %s", path), "check the path")
		case err != nil:
			return tops, errs.New(errs.IO, "%w", err)
		case fi.IsDir() && !o.recursive:
			return tops, errs.WithHint(errs.New(errs.Invalid, "%s is a directory", path), "datamesh put -r %s", quoteWord(path))
		case !fi.IsDir() && !fi.Mode().IsRegular():
			return tops, errs.WithHint(errs.New(errs.Invalid, "%s is no regular file", path), "put it by itself: datamesh put %s", quoteWord(path))
		}
		if t.name == "" {
			abs, err := filepath.Abs(path)
			if err != nil {
				return tops, errs.New(errs.IO, "%w", err)
			}
			t.name = filepath.Base(abs)
		}
		if err := tree.CheckPath(t.name); err != nil || t.name == "." || t.name == string(filepath.Separator) {
			return tops, errs.WithHint(errs.New(errs.Invalid, "%q is no name for a tree", t.name), "give another with --name NAME")
		}
		if before, taken := seen[t.name]; taken {
			return tops, errs.WithHint(errs.New(errs.Invalid, "%s and %s would both be called %s", before, path, t.name), "put them one by one, with --name NAME")
		}
		seen[t.name] = path
		if fi.IsDir() {
			filter, lies, err := leaveOut(o.filter, path, o.home)
			if err == nil {
				t.home = lies
				t.tree, err = tree.Open(path, filter)
			}
			if err != nil {
				return tops, err
			}
		}
		tops = append(tops, t)
	}
	return tops, nil
}

func closeTops(tops []top) {
	for _, t := range tops {
		if t.tree != nil {
			t.tree.Close()
		}
	}
}

// uploads calls yield for all that is to be stored, until it is false. An
// putItem with an error could not be read.
func (t top) uploads(ctx context.Context, yield func(putItem, error) bool) {
	if t.tree == nil {
		fi, err := os.Stat(t.path)
		if err != nil {
			yield(putItem{name: t.name, path: t.path}, errs.New(errs.IO, "%w", err))
			return
		}
		e := tree.Entry{Path: ".", Size: fi.Size(), Mode: datamesh.ModeOf(fi.Mode()), ModTime: tree.Time(fi.ModTime())}
		yield(putItem{name: t.name, path: t.path, entry: e, open: func(ctx context.Context) (content, error) { return openContent(ctx, t.path) }}, nil)
		return
	}
	for e, err := range t.tree.Walk(ctx) {
		u := putItem{name: t.name, path: t.path, entry: e}
		if e.Path != "." {
			u.name, u.path = t.name+"/"+e.Path, filepath.Join(t.path, filepath.FromSlash(e.Path))
		}
		if e.Type == "" {
			u.open = func(context.Context) (content, error) { return openEntry(t.tree, e) }
		}
		if !yield(u, err) {
			return
		}
	}
}

// openContent is openSource for what is stored as one of many.
func openContent(ctx context.Context, path string) (content, error) {
	s, err := openSource(ctx, path)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// openEntry opens a regular file of a tree to be put. Kinds: FileNotFound, IO.
func openEntry(t *tree.Tree, e tree.Entry) (content, error) {
	f, err := t.File(e)
	if err != nil {
		return nil, err
	}
	s, err := newSource(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// below reports whether a name is one that a put of the tops may store.
func below(tops []top, name string) bool {
	for _, t := range tops {
		if rest, ok := strings.CutPrefix(name, t.name); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// putTree stores many files.
func (c *cli) putTree(ctx context.Context, paths []string, o node.PutOptions, opt treeOptions) error {
	home, err := config.FindHome(c.homeDir)
	if err != nil {
		return err
	}
	opt.home = string(home)
	opened, err := openTops(paths, o.Name, opt)
	if err != nil {
		return err
	}
	defer closeTops(opened)
	if slices.ContainsFunc(opened, func(t top) bool { return t.home }) {
		c.noticeHome(home)
	}
	return c.putAll(ctx, "put", strings.Join(paths, " "), &tops{opened, paths, o.Name, opt}, o, opt)
}

// putAll stores what s has, for a command that is verb what.
func (c *cli) putAll(ctx context.Context, verb, what string, s supply, o node.PutOptions, opt treeOptions) error {
	return c.withKeys(ctx, func(ops api.Operations) (err error) {
		t := c.newTally(verb)
		t.batch.DryRun = opt.dryRun
		p := &putBatch{tally: t, ops: ops, o: o, dryRun: opt.dryRun, async: o.Unnamed}
		if !opt.all && len(o.To) == 0 {
			if p.known, err = newestOf(ctx, ops, "", s.has); err != nil {
				return err
			}
		}
		counted, stopCounting := context.WithCancel(ctx)
		var counter sync.WaitGroup
		if !c.json && !c.quiet {
			counter.Go(func() {
				if files, bytes, known := s.count(counted); known {
					t.allFiles.Store(files)
					t.allBytes.Store(bytes)
				}
			})
		}
		stop := c.tell(ctx, t)
		p.run(ctx, s)
		stopCounting()
		counter.Wait()
		stop()
		if n := p.untold.Load(); n > 0 {
			c.notice("%s of the size that was stored before: stored again, since times that are missing, or the same for all, do not tell what has changed", count(int(n), "file"))
		}
		if !opt.dryRun {
			p.publish(context.WithoutCancel(ctx))
		}
		return errors.Join(t.print(), t.end(what))
	})
}

// newestOf returns the newest object of each name that the pattern of a list
// selects, and that matches, if that is not nil.
func newestOf(ctx context.Context, ops api.Operations, pattern string, matches func(string) bool) (map[string]node.Object, error) {
	known := map[string]node.Object{}
	err := ops.List(ctx, node.ListOptions{Pattern: pattern}, func(o node.Object) error { // the newest first
		if _, later := known[o.Name]; !later && (matches == nil || matches(o.Name)) {
			known[o.Name] = o
		}
		return nil
	})
	return known, err
}

// A putBatch is a put of many files on its way.
type putBatch struct {
	*tally
	ops    api.Operations
	o      node.PutOptions        // of each
	known  map[string]node.Object // what is not to be stored again, by name
	dryRun bool
	async  bool // the names are told later

	unnamed atomic.Int64 // puts that left it to Publish to tell the mesh their names
	untold  atomic.Int64 // items that are the same but for what their times do not tell
}

// run stores what s has, several at once, and returns when all has ended.
func (p *putBatch) run(ctx context.Context, s supply) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan putItem)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for u := range queue {
				stored, err := p.put(ctx, u)
				if err != nil {
					p.stop(err)
					cancel()
				}
				if u.done != nil {
					u.done(stored)
				}
			}
		})
	}
	err := s.uploads(ctx, p.ops, func(u putItem, err error) bool {
		out, isOut := errors.AsType[leftOut](err)
		switch {
		case ctx.Err() != nil:
			p.stop(ctx.Err())
			return false
		case errors.Is(err, tree.ErrSpecial):
			p.skip("%s is left out: %v", u.path, tree.ErrSpecial)
			return true
		case isOut:
			p.skip("%s is left out: %v", u.path, out.why)
			return true
		case err != nil:
			p.fail(batchFile{Name: strings.ToValidUTF8(u.name, "\uFFFD")}, failedPut{u.path, err})
			return true
		}
		select {
		case queue <- u:
		case <-ctx.Done():
			p.stop(ctx.Err())
			return false
		}
		return true
	})
	if err != nil {
		p.stop(err)
	}
	close(queue)
	workers.Wait()
}

// same reports whether an putItem is stored already. One without a time never is,
// but for a directory, which has nothing else.
func (p *putBatch) same(u putItem) (datamesh.ObjectID, bool) {
	o, ok := p.known[u.name]
	e := u.entry
	if !ok || o.Size != e.Size || o.Mode != e.Mode || !o.ModTime.Equal(e.ModTime) || fileKind(o.Type) != fileKind(e.Type) {
		return o.ID, false
	}
	for _, tag := range p.o.Tags {
		if !slices.Contains(o.Tags, tag) {
			return o.ID, false
		}
	}
	if e.Type != tree.Directory && (u.untold || e.ModTime.IsZero()) {
		p.untold.Add(1)
		return o.ID, false
	}
	return o.ID, true
}

// put stores one file, and returns the id under which it is stored, or the zero id.
// Its error is one that ends the batch.
func (p *putBatch) put(ctx context.Context, u putItem) (id datamesh.ObjectID, err error) {
	f := batchFile{Name: u.name, Type: u.entry.Type, Size: u.entry.Size}
	if id, same := p.same(u); same {
		f.ID, f.State = id, fileUnchanged
		p.bytes.Add(u.entry.Size)
		p.add(f)
		return f.ID, nil
	}
	if p.dryRun {
		f.State = filePlanned
		p.add(f)
		return id, nil
	}
	stored, own, err := p.send(ctx, &u)
	if err != nil {
		if !own && general(ctx, err) {
			return id, failedPut{u.path, err}
		}
		p.fail(f, failedPut{u.path, err})
		return id, nil
	}
	p.warn(stored.Warnings...)
	f.ID, f.Size, f.State = stored.ID, stored.Size, fileStored
	p.add(f)
	p.account(ctx, stored)
	return f.ID, nil
}

// account counts what was stored, and has the mesh told the names now and then.
func (p *putBatch) account(ctx context.Context, stored *node.Stored) {
	p.mu.Lock()
	p.batch.StoredBytes += stored.StoredBytes
	p.batch.Resumed += stored.Resumed
	p.mu.Unlock()
	if p.unnamed.Add(1)%publishEvery == 0 {
		p.publish(ctx)
	}
}

// publishEvery is after how many files the mesh is told their names.
const publishEvery = 200

// send sends one file, of which u has afterwards what was stored, and reports
// whether an error is of the file itself.
func (p *putBatch) send(ctx context.Context, u *putItem) (stored *node.Stored, own bool, err error) {
	o := p.o
	o.Name, o.Type, o.Mode, o.ModTime, o.Size, o.Unnamed, o.Created = u.name, u.entry.Type, u.entry.Mode, u.entry.ModTime, u.entry.Size, true, u.created
	var content io.Reader = bytes.NewReader(nil)
	switch u.entry.Type {
	case tree.Symlink:
		content = strings.NewReader(u.entry.Target)
	case tree.Directory:
	default:
		s, err := u.open(ctx)
		if err != nil {
			return nil, true, err
		}
		defer s.Close()
		if o.Source, err = s.fingerprint(); err != nil {
			return nil, true, err
		}
		o.Type, o.Mode, o.ModTime, o.Size = "", s.fileMode(), s.modTime(), s.size()
		u.entry.Mode, u.entry.ModTime, u.entry.Size = o.Mode, o.ModTime, o.Size
		content = s
	}
	failing := &failing{r: counting{content, &p.bytes}}
	stored, err = p.ops.Put(ctx, failing, o)
	return stored, err != nil && failing.failed() && ctx.Err() == nil, err
}

// A failing reader remembers whether it failed.
type failing struct {
	r   io.Reader
	mu  sync.Mutex // guards err
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		if errs.KindOf(err) == errs.Other && !errors.Is(err, context.Canceled) {
			err = errs.New(errs.IO, "%w", err)
		}
		f.mu.Lock()
		f.err = err
		f.mu.Unlock()
	}
	return n, err
}

func (f *failing) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err != nil
}

// publish tells the mesh the names of what was stored.
func (p *putBatch) publish(ctx context.Context) {
	if p.async || p.unnamed.Load() == 0 {
		return
	}
	published, err := p.ops.Publish(ctx)
	if err != nil {
		p.warn("the mesh was not told the names of what was stored: " + err.Error())
		return
	}
	p.warn(published.Warnings...)
}

// fileKind returns what kind of file a media type is of: a directory, a symbolic
// link, or "" for a regular one.
func fileKind(t string) string {
	if t == tree.Directory || t == tree.Symlink {
		return t
	}
	return ""
}
