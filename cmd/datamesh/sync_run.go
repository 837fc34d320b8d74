package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	"datamesh/internal/format"
	"datamesh/internal/mirror"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// A synced is the result of a sync.
type synced struct {
	Dir         string       `json:"dir"`
	Name        string       `json:"name"`
	Files       []syncedFile `json:"files"`
	Stored      int          `json:"stored"`
	Written     int          `json:"written"`
	Deleted     int          `json:"deleted"`
	Removed     int          `json:"removed"`
	Conflicts   int          `json:"conflicts"`
	Planned     int          `json:"planned"`
	Unchanged   int          `json:"unchanged"`
	Failed      int          `json:"failed"`
	Skipped     int          `json:"skipped"`
	Bytes       int64        `json:"bytes"`
	StoredBytes int64        `json:"stored_bytes"`
	Resumed     int64        `json:"resumed,omitempty"`
	Warnings    []string     `json:"warnings,omitempty"`
	DryRun      bool         `json:"dry_run,omitempty"`
}

// A syncedFile is one file, directory or symbolic link of a sync.
type syncedFile struct {
	Name     string            `json:"name"`
	ID       datamesh.ObjectID `json:"id,omitzero"`
	Type     string            `json:"type,omitempty"`
	Size     int64             `json:"size"`
	Action   string            `json:"action,omitempty"`
	Conflict bool              `json:"conflict,omitempty"`
	State    string            `json:"state"`
	Error    *api.Problem      `json:"error,omitempty"`
}

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

// scan finds out what is here.
func (s *syncer) scan(ctx context.Context) error {
	s.entries, s.unknown = map[string]tree.Entry{}, map[string]bool{}
	s.chooser = s.tree.Chooser()
	for e, err := range s.chooser.Walk(ctx) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, tree.ErrSpecial):
			s.unknown[e.Path] = true
			s.skip("%s is left out: %v", filepath.Join(s.o.dir, e.Path), tree.ErrSpecial)
		case err != nil && (e.Path == "." || e.Path == tree.IgnoreFile):
			return errs.WithHint(err, "nothing was changed; see that all of %s can be read", quoteWord(s.o.dir))
		case err != nil:
			s.unknown[e.Path] = true
			if path.Base(e.Path) == tree.IgnoreFile { // what it leaves out is not known, so nothing beside it was read
				s.unknown[path.Dir(e.Path)] = true
			}
			s.fail(batchFile{Name: strings.ToValidUTF8(s.nameOf(e.Path), "\uFFFD"), action: actionPut}, fmt.Errorf("sync %s: %w", filepath.Join(s.o.dir, e.Path), err))
		default:
			s.entries[e.Path] = e
		}
	}
	return ctx.Err()
}

// nameOf returns what a path is called in the mesh.
func (s *syncer) nameOf(path string) string {
	if path == "." {
		return s.o.name
	}
	return s.o.name + "/" + path
}

// isUnknown reports whether a path, or what it lies below, could not be read.
func (s *syncer) isUnknown(name string) bool {
	for ; name != "."; name = path.Dir(name) {
		if s.unknown[name] {
			return true
		}
	}
	return false
}

// listen finds out what is in the mesh, and is not left out. What backups keep there
// is no part of a tree.
func (s *syncer) listen(ctx context.Context) error {
	heard, err := s.ops.Hear(ctx)
	if err != nil {
		return err
	}
	s.warn(heard.Warnings...)
	s.partial = heard.Partial
	s.versions, s.deleted = map[string][]node.Object{}, map[datamesh.ObjectID]bool{}
	for _, l := range s.last {
		s.deleted[l.Mesh.ID] = false
	}
	err = s.ops.List(ctx, node.ListOptions{}, func(o node.Object) error { // the newest first
		if o.Type == format.SnapshotType || format.Internal(o.Type) {
			return nil
		}
		s.prove(o.ID)
		below, ok := strings.CutPrefix(o.Name, s.o.name)
		switch {
		case ok && below == "":
			s.versions["."] = append(s.versions["."], o)
		case ok && below[0] == '/':
			s.versions[below[1:]] = append(s.versions[below[1:]], o)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if top := s.versions["."]; len(top) > 0 && fileKind(top[0].Type) != tree.Directory {
		return errs.WithHint(errs.New(errs.Exists, "%s is a file in the mesh, and no directory", s.o.name), "datamesh sync %s NAME/", quoteWord(s.o.dir))
	}
	if err := s.proveDeleted(ctx); err != nil {
		return err
	}
	for name, all := range s.versions {
		if err := tree.CheckPath(name); err != nil {
			s.skip("%s is left alone: %v", s.nameOf(name), err)
			delete(s.versions, name)
			continue
		}
		if s.leavesOut(name, fileKind(all[0].Type)) {
			delete(s.versions, name)
		}
	}
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

// leavesOut reports whether a path is left alone: it could not be read, or is left
// out. A directory that only leads to what is included is not.
func (s *syncer) leavesOut(name, kind string) bool {
	if s.isUnknown(name) {
		return true
	}
	_, here := s.entries[name]
	return !here && s.chooser.LeavesOut(name, kind == tree.Directory)
}

// paths returns the states of all paths.
func (s *syncer) paths(ctx context.Context) ([]mirror.Path, error) {
	all := map[string]*mirror.Path{}
	at := func(name string) *mirror.Path {
		if all[name] == nil {
			all[name] = &mirror.Path{Path: name}
		}
		return all[name]
	}
	for name, e := range s.entries {
		if is := stateOf(e); !s.isUnknown(name) {
			at(name).Local = &is
		}
	}
	for name, versions := range s.versions {
		is := meshState(versions[0])
		at(name).Mesh = &is
	}
	for name, l := range s.last {
		if all[name] == nil && s.leavesOut(name, l.Local.Type) {
			continue
		}
		p := at(name)
		p.Last, p.Deleted = &l, s.deleted[l.Mesh.ID]
	}
	list := make([]mirror.Path, 0, len(all))
	for _, p := range all {
		if err := s.readLink(ctx, p); err != nil {
			return nil, err
		}
		list = append(list, *p)
	}
	return list, nil
}

func stateOf(e tree.Entry) mirror.State {
	return mirror.State{Type: e.Type, Size: e.Size, Mode: e.Mode, ModTime: e.ModTime, Target: e.Target}
}

func meshState(o node.Object) mirror.State {
	return mirror.State{Type: fileKind(o.Type), Size: o.Size, Mode: o.Mode, ModTime: o.ModTime, ID: o.ID}
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
	if err := s.goOn(ctx); err != nil {
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
	s.each(ctx, 1, by[mirror.DeleteMesh], s.deleteOne)
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
		_, err := s.ops.Delete(ctx, o.ID.String(), node.DeleteOptions{Name: o.Name})
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

// print prints what came of it.
func (s *syncer) print() error {
	r := s.result()
	return s.c.print(r, func(w io.Writer) { syncedText(w, r) })
}

// result returns what came of it, by name.
func (s *syncer) result() synced {
	s.mu.Lock()
	b := s.batch
	s.mu.Unlock()
	slices.SortFunc(b.Files, func(x, y batchFile) int { return strings.Compare(x.Name, y.Name) })
	r := synced{Dir: s.o.dir, Name: s.o.name, Files: make([]syncedFile, len(b.Files)), Stored: b.Stored, Written: b.Written, Deleted: b.deleted, Removed: b.removed,
		Conflicts: b.conflicts, Planned: b.Planned, Unchanged: b.Unchanged, Failed: b.Failed, Skipped: b.Skipped,
		Bytes: b.Bytes, StoredBytes: b.StoredBytes, Resumed: b.Resumed, Warnings: b.Warnings, DryRun: b.DryRun}
	for i, f := range b.Files {
		r.Files[i] = syncedFile{f.Name, f.ID, f.Type, f.Size, f.action, f.conflict, f.State, f.Error}
	}
	return r
}

func syncedText(w io.Writer, r synced) {
	if r.DryRun {
		fmt.Fprintf(w, "would change %s; %s\n", count(r.Planned, "file"), unchanged(r.Unchanged))
		return
	}
	row(w, "stored", count(r.Stored, "file"))
	for _, part := range []struct {
		label string
		n     int
	}{{"written", r.Written}, {"deleted", r.Deleted}, {"removed", r.Removed}, {"conflicts", r.Conflicts}} {
		if part.n > 0 {
			row(w, part.label, count(part.n, "file"))
		}
	}
	row(w, "unchanged", count(r.Unchanged, "file"))
	if r.Failed > 0 {
		row(w, "failed", count(r.Failed, "file"))
	}
	if r.Skipped > 0 {
		row(w, "left out", count(r.Skipped, "file"))
	}
}
