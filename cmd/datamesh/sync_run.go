package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/mirror"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// A syncer has a directory and one of the catalog be the same, once.
type syncer struct {
	*tally
	ops api.Operations
	o   syncOptions

	tree     *tree.Tree
	entries  map[string]tree.Entry // here, by path
	chooser  *tree.Chooser
	unknown  map[string]bool          // paths that could not be read, with all below them
	versions map[string][]node.Object // in the mesh, by path, the newest first
	put      *putBatch
	partial  bool                       // not all is known that other homes have said
	deleted  map[datamesh.ObjectID]bool // what the mesh had last: whether it is deleted, or still there by another name

	memory *mirror.Memory         // of two ways; nil in a dry run
	inode  string                 // of what was here when it was synced last; "": not known
	last   map[string]mirror.Last // guarded by mu, and once it runs with what is the same by now
	kept   map[string]tree.Entry  // what is here, of which the mesh has a version; guarded by mu
	w      *tree.Writer
	missed atomic.Int64 // objects that could not be read since the last that could
}

// run looks at both sides, decides, and does what it comes to. Its error is one
// for which nothing was changed; show begins to show people how far it is.
func (s *syncer) run(ctx context.Context, show func() (stop func())) error {
	var err error
	if s.tree, err = openSync(s.o); err != nil {
		return err
	}
	defer s.tree.Close()
	if s.o.twoWay {
		if err := s.recall(ctx); err != nil {
			return err
		}
		if s.memory != nil {
			defer s.memory.Close()
		}
	}
	if err := s.scan(ctx); err != nil {
		return err
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	paths, err := s.paths(ctx)
	if err != nil {
		return err
	}
	steps := mirror.Plan(paths, mirror.Way{Both: s.o.twoWay, Keep: s.partial})
	s.sayKept(steps)
	if err := s.guard(steps); err != nil && !s.o.dryRun {
		return err
	} else if err != nil {
		s.warn("without --dry-run nothing would be done: " + err.Error())
	}
	stop := show()
	defer stop()
	s.do(ctx, steps)
	return nil
}

// prove notes that an object is deleted, or there: if the mesh had it last by a name
// that it has no more, that was taken away.
func (s *syncer) prove(id datamesh.ObjectID) {
	if _, ok := s.deleted[id]; ok {
		s.deleted[id] = true
	}
}

// proveDeleted proves what is known to be deleted, by each id that it had. What is
// in neither list proves nothing: it may only be forgotten.
func (s *syncer) proveDeleted(ctx context.Context) error {
	if len(s.deleted) == 0 {
		return nil
	}
	gone, err := s.ops.Deleted(ctx)
	if err != nil {
		return err
	}
	for _, d := range gone.Objects {
		s.prove(d.ID)
		for _, id := range d.Was {
			s.prove(id)
		}
	}
	return nil
}

// sayKept says what is not deleted because not all is known.
func (s *syncer) sayKept(steps []mirror.Step) {
	n := 0
	for i := range steps {
		if steps[i].Kept() {
			n++
		}
	}
	if n > 0 && s.partial {
		s.warn(fmt.Sprintf("not all is known that your homes have said, and nothing is deleted: %s stay as they are", count(n, "file")))
	}
}

// mayDelete reports whether all has gone well so far: what has failed may be what
// is to be deleted, by another name. If not it says of how many that is so.
func (s *syncer) mayDelete(n int) bool {
	s.mu.Lock()
	well := s.batch.Failed == 0 && s.stopped == nil
	s.mu.Unlock()
	if n > 0 && !well {
		s.warn(fmt.Sprintf("something failed, and nothing is deleted: %s left to the next sync", count(n, "deletion")))
	}
	return well
}

// guard refuses to delete all, or more than may be. Kind: Refused.
func (s *syncer) guard(steps []mirror.Step) error {
	n, of, here, ofHere := mirror.Deleted(steps)
	again := fmt.Sprintf("datamesh sync %s %s", quoteWord(s.o.dir), quoteWord(s.o.name+"/"))
	if s.o.twoWay {
		again += " --two-way"
	}
	switch {
	case n > 0 && ofHere == 0:
		return errs.WithHint(errs.New(errs.Refused, "it has no files, and %s in %s/ would be deleted", count(n, "file"), s.o.name),
			"see that its disk is mounted; to delete them all the same leave a file in it, such as %s, and type: %s --max-delete 100%%", tree.IgnoreFile, again)
	case here > 0 && of == 0:
		return errs.WithHint(errs.New(errs.Refused, "%s/ has no files in the mesh, and %s here would be deleted", s.o.name, count(here, "file")),
			"see whether they can be brought back: datamesh list --deleted; to delete them all the same remove them here")
	}
	if n > 0 && s.isAnother() && !s.o.limited {
		return errs.WithHint(errs.New(errs.Refused, "it is another directory than the one that was synced last, and %s in %s/ would be deleted", count(n, "file"), s.o.name),
			"see that its disk is mounted; if that is meant: %s --max-delete %d", again, max(n, here))
	}
	if name, below := s.emptied(steps); below > 1 && !s.o.limited {
		return errs.WithHint(errs.New(errs.Refused, "%s is empty here, and %s of it would be deleted in the mesh", filepath.Join(s.o.dir, name), count(below, "file")),
			"see that no disk should be mounted there; if that is meant: %s --max-delete %d", again, max(n, here))
	}
	for _, side := range []struct {
		n, of int
		where string
	}{{n, of, "in the mesh"}, {here, ofHere, "here"}} {
		if !s.o.limit.Allows(side.n, side.of) {
			return errs.WithHint(errs.New(errs.Refused, "%d of %s would be deleted %s, which is more than may be; nothing was changed", side.n, count(side.of, "file"), side.where),
				"see which with --dry-run; if that is meant: %s --max-delete %d", again, max(n, here))
		}
	}
	return nil
}

// emptied returns the directory that is empty here, as where a disk is not mounted,
// with most in the mesh below it that would be deleted, and how much that is.
func (s *syncer) emptied(steps []mirror.Step) (name string, most int) {
	holds := map[string]bool{}
	for e := range s.entries {
		holds[path.Dir(e)] = true
	}
	below := map[string]int{}
	for i := range steps {
		if steps[i].Op != mirror.DeleteMesh {
			continue
		}
		up := path.Dir(steps[i].Path.Path)
		for ; up != "." && s.entries[up].Path == ""; up = path.Dir(up) {
		}
		if s.entries[up].Type == tree.Directory && !holds[up] {
			below[up]++
		}
	}
	for up, n := range below {
		if n > most || n == most && up < name {
			name, most = up, n
		}
	}
	return name, most
}

// What is done with a file.
const (
	actionPut    = "put"    // what is here goes to the mesh
	actionGet    = "get"    // what is in the mesh comes here
	actionDelete = "delete" // it goes from the mesh
	actionRemove = "remove" // it goes from here
)

// file returns what is said of a step, in a dry run or if nothing is to be done
// all that there is to say.
func (s *syncer) file(st mirror.Step) batchFile {
	f := batchFile{Name: s.nameOf(st.Path.Path), conflict: st.Conflict, State: filePlanned}
	is := st.Local
	switch st.Op {
	case mirror.Put:
		f.action = actionPut
	case mirror.MakeBoth:
		f.action, is = actionPut, &mirror.State{Type: tree.Directory}
	case mirror.Write, mirror.PutAndWrite:
		f.action, is = actionGet, st.Mesh
	case mirror.DeleteMesh:
		f.action, is = actionDelete, st.Mesh
	case mirror.DeleteLocal:
		f.action = actionRemove
	default:
		f.State = fileUnchanged
	}
	if is == nil {
		is = new(mirror.State)
	}
	f.Type, f.Size = is.Type, is.Size
	if st.Mesh != nil {
		f.ID = st.Mesh.ID
	}
	return f
}

// do does what the steps say.
func (s *syncer) do(ctx context.Context, steps []mirror.Step) {
	by := map[mirror.Op][]mirror.Step{}
	for _, st := range steps {
		by[st.Op] = append(by[st.Op], st)
		f := s.file(st)
		if st.Op == mirror.Forget || f.State == fileUnchanged && st.Local == nil && st.Mesh == nil {
			continue
		}
		switch {
		case f.State == fileUnchanged, s.o.dryRun:
			if s.add(f); !s.c.json && f.State == filePlanned {
				s.planned(f)
			}
		default:
			s.allFiles.Add(1)
			if f.action != actionDelete && f.action != actionRemove {
				s.allBytes.Add(f.Size)
			}
		}
	}
	if s.o.dryRun {
		return
	}
	s.put = &putBatch{tally: s.tally, ops: s.ops}
	if err := errors.Join(s.recognize(ctx), s.goOn(ctx)); err != nil {
		s.stop(err)
		return
	}
	s.settled(ctx, steps)
	s.each(ctx, atOnce, by[mirror.PutAndWrite], s.keepOne)
	s.each(ctx, atOnce, by[mirror.Put], s.putOne)
	for i := range steps {
		if steps[i].Op == mirror.MakeBoth && !s.ended() {
			s.makeBoth(ctx, &steps[i])
		}
	}
	s.publish(context.WithoutCancel(ctx))
	s.here(ctx, steps)
	if !s.mayDelete(len(by[mirror.DeleteMesh])) {
		return
	}
	slices.SortFunc(by[mirror.DeleteMesh], mirror.Depth)
	s.deleteAll(ctx, by[mirror.DeleteMesh])
}

// goOn goes on with deletions that were interrupted: the catalog has them, and the
// mesh has not. What another home has brought back since is not deleted again.
func (s *syncer) goOn(ctx context.Context) error {
	deleted, err := s.ops.Deleted(ctx)
	if err != nil {
		return err
	}
	for _, d := range deleted.Objects {
		if d.Done || !strings.HasPrefix(d.Name, s.o.name+"/") {
			continue
		}
		if _, err := s.ops.Delete(ctx, d.ID.String(), node.DeleteOptions{Resume: true}); err != nil {
			if err = fmt.Errorf("rm %s: %w", d.Name, err); general(ctx, err) {
				return err
			}
			s.warn(err.Error())
		}
	}
	return nil
}

// publish tells the mesh the names of what was stored, and what a run that was
// interrupted has not.
func (s *syncer) publish(ctx context.Context) {
	published, err := s.ops.Publish(ctx)
	if err != nil {
		s.warn("the mesh was not told the names of what was stored: " + err.Error())
		return
	}
	s.warn(published.Warnings...)
}

// planned tells people what would be done with a file.
func (s *syncer) planned(f batchFile) {
	line := f.action + " " + plain(f.Name)
	if f.conflict {
		line += " (both have changed; the other is kept as a version)"
	}
	fmt.Fprintln(s.c.out, line)
}

// each does steps, so many at once, until one has an error that ends the batch.
func (s *syncer) each(ctx context.Context, atOnce int, steps []mirror.Step, do func(context.Context, mirror.Step) error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan mirror.Step)
	var workers sync.WaitGroup
	for range min(atOnce, len(steps)) {
		workers.Go(func() {
			for st := range queue {
				if err := do(ctx, st); err != nil {
					s.stop(err)
					cancel()
				}
			}
		})
	}
	for _, st := range steps {
		if s.ended() {
			break
		}
		select {
		case queue <- st:
		case <-ctx.Done():
			s.stop(ctx.Err())
		}
	}
	close(queue)
	workers.Wait()
}

// ended reports whether the batch has ended early.
func (t *tally) ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopped != nil
}

// putOne stores what is here, as the newest of its name.
func (s *syncer) putOne(ctx context.Context, st mirror.Step) error {
	e, id, err := s.store(ctx, st, s.newest(st.Path.Path))
	if err != nil || e == nil {
		return err
	}
	mesh := stateOf(*e)
	mesh.ID = id
	if s.memory == nil {
		return nil
	}
	if err := errors.Join(s.tree.Sync(*e), s.tree.SyncDir(path.Dir(e.Path))); err != nil {
		s.warn(fmt.Sprintf("%s is stored, and compared again by the next sync: %v", filepath.Join(s.o.dir, e.Path), err))
		return nil
	}
	return s.same(ctx, st, *e, mesh)
}

// newest returns when something is to be said to have been stored, to be the
// newest of its name also if another home's clock is ahead; zero: now.
func (s *syncer) newest(name string) (at time.Time) {
	if all := s.versions[name]; len(all) > 0 && !all[0].Created.Before(time.Now()) {
		at = all[0].Created.Add(1)
	}
	return at
}

// store stores what is here, and returns what that was, or nil if it failed. Its
// error is one that ends the batch.
func (s *syncer) store(ctx context.Context, st mirror.Step, created time.Time) (*tree.Entry, datamesh.ObjectID, error) {
	e := s.entries[st.Path.Path]
	f := batchFile{Name: s.nameOf(e.Path), Type: e.Type, Size: e.Size, action: actionPut, conflict: st.Conflict && st.Op == mirror.Put}
	u := putItem{name: f.Name, path: filepath.Join(s.o.dir, filepath.FromSlash(e.Path)), entry: e, created: created}
	u.open = func(context.Context) (content, error) { return openEntry(s.tree, e) }
	stored, own, err := s.put.send(ctx, &u)
	if err != nil {
		if !own && general(ctx, err) {
			return nil, f.ID, failedPut{u.path, err}
		}
		s.fail(f, failedPut{u.path, err})
		return nil, f.ID, nil
	}
	s.warn(stored.Warnings...)
	f.ID, f.Size, f.State = stored.ID, stored.Size, fileStored
	s.add(f)
	s.put.account(ctx, stored)
	return &u.entry, stored.ID, nil
}

// deleteAll deletes in the mesh. It hears first, once for all, what other homes have
// said since it was looked at: one may have pinned some of it.
func (s *syncer) deleteAll(ctx context.Context, steps []mirror.Step) {
	if len(steps) == 0 {
		return
	}
	heard, err := s.ops.Hear(ctx)
	if err != nil {
		s.stop(err)
		return
	}
	if heard.Partial {
		s.warn(fmt.Sprintf("not all is known that your homes have said, and nothing is deleted: %s stay as they are", count(len(steps), "file")))
		return
	}
	s.each(ctx, 1, steps, s.deleteOne)
}

// deleteOne deletes all versions of a name in the mesh that were there when it
// was looked at, unless something has come to be here since. The newest goes last: until then no earlier one stands for it, and
// it is the one that undelete brings back by the name.
func (s *syncer) deleteOne(ctx context.Context, st mirror.Step) error {
	f := s.file(st)
	if err := s.stillGone(st.Path.Path); err != nil {
		s.fail(f, fmt.Errorf("rm %s: %w", f.Name, err))
		return nil
	}
	for _, o := range slices.Backward(s.versions[st.Path.Path]) {
		_, err := s.ops.Delete(ctx, o.ID.String(), node.DeleteOptions{Name: o.Name, Heard: true})
		if err == nil || errors.Is(err, errs.Deleted) {
			continue
		}
		err = fmt.Errorf("rm %s: %w", o.Name, err)
		if general(ctx, err) {
			return err
		}
		s.fail(f, err)
		return nil
	}
	f.State = fileDeleted
	s.add(f)
	return s.gone(ctx, st)
}

// stillGone looks whether a path is still not here. Where the system knows no upper
// case one that differs in that alone is another. Kinds: Exists, IO.
func (s *syncer) stillGone(name string) error {
	now, err := s.tree.Stat(name)
	switch {
	case errors.Is(err, errs.FileNotFound):
		return nil
	case err != nil:
		return err
	}
	for other, e := range s.entries {
		if strings.EqualFold(other, name) && tree.SameFile(e, now) {
			return nil
		}
	}
	return errs.WithHint(errs.New(errs.Exists, "%s changed meanwhile, and is left as it is", name), "type the same again")
}
