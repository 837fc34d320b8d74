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
	"sync/atomic"
	"time"

	"datamesh/internal/errs"
	"datamesh/internal/mirror"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// recall finds out how both sides were when they were last the same.
func (s *syncer) recall(ctx context.Context) (err error) {
	s.kept = map[string]tree.Entry{}
	if s.o.dryRun {
		s.last, s.inode, err = mirror.Look(ctx, s.o.memory, s.o.dir, s.o.name)
		return err
	}
	if s.memory, err = mirror.Open(ctx, s.o.memory, s.o.dir, s.o.name); err != nil {
		return err
	}
	if s.inode, err = s.memory.Inode(ctx); err == nil {
		s.last, err = s.memory.All(ctx)
	}
	if err != nil {
		s.memory.Close()
	}
	return err
}

// isAnother reports whether what is here is another directory than the one that was
// synced last.
func (s *syncer) isAnother() bool {
	is := s.tree.Inode()
	return is != "" && s.inode != "" && is != s.inode
}

// recognize has the directory that is here be known by the next sync.
func (s *syncer) recognize(ctx context.Context) error {
	is := s.tree.Inode()
	if s.memory == nil || is == "" || is == s.inode {
		return nil
	}
	return s.memory.SetInode(ctx, is)
}

// readLink finds out where a symbolic link in the mesh leads, if it matters
// whether that is where the one here does.
func (s *syncer) readLink(ctx context.Context, p *mirror.Path) error {
	if !s.o.twoWay || p.Local == nil || p.Mesh == nil || p.Local.Type != tree.Symlink || p.Mesh.Type != tree.Symlink ||
		p.Local.Size != p.Mesh.Size || mirror.Same(*p.Local, *p.Mesh) || p.Last != nil && !mirror.MeshChanged(p.Last, p.Mesh) {
		return nil
	}
	o := s.versions[p.Path][0]
	target, err := linkTarget(ctx, s.ops, o, new(atomic.Int64))
	if err != nil && (general(ctx, err) || ctx.Err() != nil) {
		return fmt.Errorf("get %s: %w", o.Name, err)
	}
	p.Mesh.Target = target // none, if it cannot be read: then it is another one
	return nil
}

// settled remembers what is the same already, and forgets what is gone.
func (s *syncer) settled(ctx context.Context, steps []mirror.Step) {
	if s.memory == nil {
		return
	}
	all, drop, dirs := map[string]mirror.Last{}, []string{}, map[string]error{}
	for _, st := range steps {
		switch st.Op {
		case mirror.Remember:
			now := mirror.Last{Local: *st.Local, Mesh: *st.Mesh}
			now.Mesh.Target = ""
			if st.Last != nil && *st.Last == now {
				continue
			}
			if st.Last != nil && st.Last.Local == now.Local || s.durable(st.Path.Path, dirs) {
				all[st.Path.Path], s.last[st.Path.Path] = now, now
			}
		case mirror.Forget:
			drop = append(drop, st.Path.Path)
		}
	}
	if err := s.memory.Update(ctx, all, drop); err != nil {
		s.stop(err)
	}
}

// durable has what is here be on the disk before it is remembered, so that nothing
// that a power cut takes is taken for deleted. It reports whether it is; dirs has
// what came of the directories so far.
func (s *syncer) durable(name string, dirs map[string]error) bool {
	up := path.Dir(name)
	err, ok := dirs[up]
	if !ok {
		err = s.tree.SyncDir(up)
		dirs[up] = err
	}
	return err == nil && s.tree.Sync(s.entries[name]) == nil // else it is compared again by the next sync
}

// same remembers that both sides of a path are so now.
func (s *syncer) same(ctx context.Context, st mirror.Step, here tree.Entry, mesh mirror.State) error {
	if s.memory == nil {
		return nil
	}
	mesh.Target = ""
	now := mirror.Last{Local: stateOf(here), Mesh: mesh}
	s.mu.Lock()
	s.last[st.Path.Path] = now
	s.mu.Unlock()
	return s.memory.Set(ctx, st.Path.Path, now)
}

// gone forgets a path that neither side has.
func (s *syncer) gone(ctx context.Context, st mirror.Step) error {
	if s.memory == nil {
		return nil
	}
	return s.memory.Update(ctx, nil, []string{st.Path.Path})
}

// keepOne stores what is here as a version that comes before the one in the
// mesh, unless one that it has is the same.
func (s *syncer) keepOne(ctx context.Context, st mirror.Step) error {
	all := s.versions[st.Path.Path]
	e := s.entries[st.Path.Path]
	kept := &e
	if !slices.ContainsFunc(all, func(o node.Object) bool { return mirror.Same(*st.Local, meshState(o)) }) {
		var before time.Time
		if len(all) > 0 {
			before = all[0].Created.Add(-1)
		}
		var err error
		if kept, _, err = s.store(ctx, st, before); err != nil || kept == nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[st.Path.Path] = *kept
	return nil
}

// makeBoth stores a directory in the place of a file, and has the step go on as
// one that was there.
func (s *syncer) makeBoth(ctx context.Context, st *mirror.Step) {
	name := st.Path.Path
	if st.Local != nil {
		if err := s.keepOne(ctx, *st); err != nil {
			s.stop(err)
			return
		}
		if _, ok := s.was(mirror.Step{Path: st.Path, Action: mirror.Action{Op: mirror.PutAndWrite}}); !ok {
			return
		}
	}
	dir := tree.Entry{Path: name, Type: tree.Directory, Mode: 0o755, ModTime: time.Now().UTC()}
	f := s.file(*st)
	stored, _, err := s.put.send(ctx, &putItem{name: f.Name, entry: dir, created: s.newest(name)})
	if err != nil {
		s.fail(f, failedPut{f.Name, err})
		s.stopIf(ctx, err)
		return
	}
	f.ID, f.State = stored.ID, fileStored
	s.add(f)
	s.put.account(ctx, stored)
	is := stateOf(dir)
	is.ID = stored.ID
	st.Mesh, st.Action = &is, mirror.Action{Op: mirror.Write}
	if st.Local != nil {
		st.Op = mirror.PutAndWrite
	}
}

// here does what is to be done here: makes directories from the outside in, writes
// files and links, and then, if all that went well, removes from the inside out what
// is gone, and writes what that was in the way of.
func (s *syncer) here(ctx context.Context, steps []mirror.Step) {
	var removals, dirs, files, late []mirror.Step
	going := map[string]bool{} // as systems have them that know no upper case
	for _, st := range steps {
		if st.Op == mirror.DeleteLocal {
			removals = append(removals, st)
			going[strings.ToLower(st.Path.Path)] = true
		}
	}
	for _, st := range steps {
		switch {
		case st.Op != mirror.Write && st.Op != mirror.PutAndWrite:
		case st.Mesh.Type == tree.Directory:
			dirs = append(dirs, st)
		case st.Local != nil && st.Local.Type == tree.Directory:
			removals, late = append(removals, st), append(late, st)
		case going[strings.ToLower(st.Path.Path)]:
			late = append(late, st)
		default:
			files = append(files, st)
		}
	}
	if s.ended() || len(removals)+len(dirs)+len(files) == 0 {
		return
	}
	var err error
	if s.w, err = tree.Create(s.o.dir); err != nil {
		s.stop(err)
		return
	}
	if is := s.tree.Inode(); is != "" && is != s.w.Inode() {
		s.stop(errs.WithHint(errs.New(errs.Exists, "%s became another directory meanwhile, and is left as it is", s.o.dir), "see that its disk is mounted, and type the same again"))
		s.w.Close(nil)
		return
	}
	s.w.Force = true
	var made []mirror.Step
	for _, st := range dirs {
		if s.ended() {
			break
		}
		if ok := s.makeOne(ctx, st); ok {
			made = append(made, st)
		}
	}
	s.each(ctx, atOnce, files, s.writeOne)
	changed := slices.Concat(dirs, files)
	if s.mayDelete(len(removals)) {
		late = s.remove(ctx, removals, late)
		s.each(ctx, atOnce, late, s.writeOne)
		changed = slices.Concat(changed, removals, late)
	}
	s.leave(context.WithoutCancel(ctx), steps, made, changed)
}

// remove removes what is here, and returns those of late that nothing is in the way
// of any more.
func (s *syncer) remove(ctx context.Context, removals, late []mirror.Step) []mirror.Step {
	slices.SortFunc(removals, mirror.Depth)
	failed := map[string]bool{}
	for _, st := range removals {
		if s.ended() {
			break
		}
		if err := s.removeOne(ctx, st); err != nil {
			failed[st.Path.Path] = true
			s.stopIf(ctx, err)
		}
	}
	return slices.DeleteFunc(late, func(st mirror.Step) bool { return failed[st.Path.Path] })
}

// stopIf ends the batch if an error is not of one file.
func (s *syncer) stopIf(ctx context.Context, err error) {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if general(ctx, err) {
		s.stop(err)
	}
}

// removeOne removes what is here.
func (s *syncer) removeOne(ctx context.Context, st mirror.Step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f := s.file(st)
	e := s.entries[st.Path.Path]
	err := s.w.Remove(e)
	if err != nil && st.Op == mirror.DeleteLocal && e.Type == tree.Directory && errors.Is(err, errs.Exists) {
		s.skip("%s is gone from the mesh, and stays here: there is something in it that is left out", filepath.Join(s.o.dir, e.Path))
		return nil
	}
	if err != nil {
		s.fail(f, fmt.Errorf("remove %s: %w", filepath.Join(s.o.dir, e.Path), err))
		return err
	}
	if st.Op != mirror.DeleteLocal {
		return nil // something else takes its place
	}
	f.State = fileRemoved
	s.add(f)
	return s.gone(ctx, st)
}

// was returns what was here, or nil, and whether it may be replaced: what nobody
// else has must be kept first.
func (s *syncer) was(st mirror.Step) (e *tree.Entry, ok bool) {
	if st.Local == nil {
		return nil, true
	}
	here := s.entries[st.Path.Path]
	if st.Op == mirror.PutAndWrite {
		s.mu.Lock()
		defer s.mu.Unlock()
		here, ok = s.kept[st.Path.Path]
		return &here, ok
	}
	return &here, true
}

// makeOne makes a directory. It has its time when all in it is there.
func (s *syncer) makeOne(ctx context.Context, st mirror.Step) bool {
	f := s.file(st)
	was, ok := s.was(st)
	if !ok {
		return false // which was said
	}
	err := s.w.DirOver(tree.Entry{Path: st.Path.Path, Type: tree.Directory, Mode: st.Mesh.Mode, ModTime: st.Mesh.ModTime}, was)
	if err != nil {
		s.fail(f, fmt.Errorf("get %s: %w", f.Name, err))
		s.stopIf(ctx, err)
		return false
	}
	f.State = fileWritten
	s.add(f)
	return true
}

// writeOne writes a file or a link. Its error is one that ends the batch.
func (s *syncer) writeOne(ctx context.Context, st mirror.Step) error {
	f := s.file(st)
	was, ok := s.was(st)
	if !ok {
		return nil
	}
	if was != nil && was.Type == tree.Directory {
		was = nil // it is removed
	}
	o := s.versions[st.Path.Path][0]
	e, err := s.write(ctx, o, st.Path.Path, was)
	if err == nil {
		s.missed.Store(0)
		f.State = fileWritten
		s.add(f)
		return s.same(ctx, st, e, *st.Mesh)
	}
	err = fmt.Errorf("get %s: %w", o.Name, err)
	away := errs.Retryable(err)
	if general(ctx, err) && (!away || s.missed.Add(1) >= maxMissed) {
		return err
	}
	s.fail(f, err)
	return nil
}

// write writes what an object has, in the place of what was there, and returns
// what is there then.
func (s *syncer) write(ctx context.Context, o node.Object, path string, was *tree.Entry) (e tree.Entry, err error) {
	if fileKind(o.Type) == tree.Symlink {
		e = tree.Entry{Path: path, Type: tree.Symlink}
		if e.Target, err = linkTarget(ctx, s.ops, o, &s.bytes); err != nil {
			return e, err
		}
		return s.w.LinkOver(e, was)
	}
	var file *tree.File
	fetched, err := s.ops.Get(ctx, o.ID.String(), node.GetOptions{}, func(info node.ObjectInfo) (w io.Writer, err error) {
		if file, err = s.w.File(tree.Entry{Path: path, Size: info.Size, Mode: info.Mode, ModTime: info.ModTime}); err != nil {
			return nil, err
		}
		return counted{file, &s.bytes}, nil
	})
	if file != nil {
		defer file.Abort()
	}
	if err != nil {
		return e, err
	}
	for _, b := range fetched.Bad {
		s.warn(fmt.Sprintf("shard %d of %s was rebuilt: peer %s: %s", b.Index, b.Segment, b.Peer, b.Reason))
	}
	return file.CommitOver(was)
}

// leave gives directories their permissions and times, those that only had
// something change in them what they had, and remembers how they are.
func (s *syncer) leave(ctx context.Context, steps, made, changed []mirror.Step) {
	by := map[string]mirror.Step{}
	for _, st := range steps {
		by[st.Path.Path] = st
	}
	is := map[string]mirror.State{} // in the mesh
	for _, st := range made {
		is[st.Path.Path] = *st.Mesh
	}
	for _, c := range changed {
		up := path.Dir(c.Path.Path)
		st, ok := by[up]
		if _, done := is[up]; done || !ok || st.Local == nil || st.Op != mirror.Keep && st.Op != mirror.Remember && st.Op != mirror.Put {
			continue
		}
		s.mu.Lock()
		last, ok := s.last[up]
		s.mu.Unlock()
		if !ok {
			continue
		}
		if err := s.w.Dir(s.entries[up]); err == nil {
			is[up] = last.Mesh
		}
	}
	err := s.w.Close(func(e tree.Entry, err error) {
		delete(is, e.Path)
		s.warn(fmt.Sprintf("%s: %v", filepath.Join(s.o.dir, e.Path), err))
	})
	if err != nil {
		s.stop(err)
		return
	}
	w, err := tree.Look(s.o.dir)
	if err != nil {
		s.stop(err)
		return
	}
	defer w.Close(nil)
	all := map[string]mirror.Last{}
	for name, mesh := range is {
		if e, err := w.Stat(name); err == nil && e.Type == tree.Directory {
			all[name] = mirror.Last{Local: stateOf(e), Mesh: mesh}
		}
	}
	if err := s.memory.Update(ctx, all, nil); err != nil {
		s.stop(err)
	}
}
