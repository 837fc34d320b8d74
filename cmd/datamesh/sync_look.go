package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/mirror"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

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
