package mirror

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"datamesh/internal/tree"
)

// A Path has the states of a path.
type Path struct {
	Path        string // below the top; "." is the top
	Last        *Last
	Local, Mesh *State
	Deleted     bool // it is known to be deleted in the mesh, or to have another name
}

// A Step is what is done with a path.
type Step struct {
	Path
	Action
}

// A Way says how both sides come to be the same.
type Way struct {
	Both bool // what has changed in the mesh comes here, too
	Keep bool // nothing is deleted, on no side
}

// Plan returns what is done with all paths, in their order. The top of the tree is
// never deleted.
func Plan(all []Path, way Way) []Step {
	steps := make([]Step, len(all))
	for i, p := range all {
		if p.Path == "." && (p.Local == nil || p.Mesh == nil) {
			p.Last = nil
		}
		steps[i] = Step{p, DecideOneWay(p.Local, p.Mesh)}
		if way.Both {
			steps[i].Action = Decide(p.Last, p.Local, p.Mesh, p.Deleted)
		}
		if deletes := steps[i].Op == DeleteMesh || steps[i].Op == DeleteLocal; deletes && (way.Keep || p.Path == ".") {
			steps[i].Op = Keep
		}
	}
	slices.SortFunc(steps, func(a, b Step) int { return cmp.Compare(a.Path.Path, b.Path.Path) })
	if way.Both {
		keepDirectories(steps)
	}
	return steps
}

// Kept reports whether a step would delete something if a [Way] did not keep it.
func (s *Step) Kept() bool {
	return s.Op == Keep && (s.Local == nil) != (s.Mesh == nil) && s.Path.Path != "."
}

// stays returns what is at the path once a step is done, or nil.
func (s *Step) stays() *State {
	switch s.Op {
	case Keep, Remember, Put:
		return s.Local
	case Write, PutAndWrite:
		return s.Mesh
	case MakeBoth:
		return &State{Type: tree.Directory}
	}
	return nil
}

// keepDirectories has what something stays below be a directory.
func keepDirectories(steps []Step) {
	holds := map[string]bool{} // by what stays below
	for i := range steps {
		if steps[i].stays() == nil {
			continue
		}
		for up := path.Dir(steps[i].Path.Path); up != "." && !holds[up]; up = path.Dir(up) {
			holds[up] = true
		}
	}
	for i := range steps {
		if s := &steps[i]; holds[s.Path.Path] {
			s.beDirectory()
		}
	}
}

// beDirectory has a step leave a directory, or nothing: then one is made for what
// is below.
func (s *Step) beDirectory() {
	is := s.stays()
	if is != nil && is.Type == tree.Directory {
		return
	}
	switch {
	case s.Local != nil && s.Local.Type == tree.Directory:
		s.Action = Action{Put, s.Mesh != nil && MeshChanged(s.Last, s.Mesh)}
	case s.Mesh != nil && s.Mesh.Type == tree.Directory && s.Local != nil && localChanged(s.Last, s.Local):
		s.Action = keepBoth(*s.Local, false)
	case s.Mesh != nil && s.Mesh.Type == tree.Directory:
		s.Action = Action{Op: Write}
	case is != nil: // one home had it be a directory, and another a file
		s.Action = Action{MakeBoth, true}
	}
}

// A Limit is how much may be deleted on a side: so many, or that part of all,
// whichever is more.
type Limit struct {
	N       int
	Percent float64
}

// DefaultLimit lets few files go however few there are, and few of many.
var DefaultLimit = Limit{N: 100, Percent: 10}

// Allows reports whether so many of all may be deleted.
func (l Limit) Allows(deleted, all int) bool {
	return deleted <= l.N || float64(deleted)*100 <= l.Percent*float64(all)
}

// Deleted counts what is deleted on each side, and what was there.
func Deleted(steps []Step) (mesh, ofMesh, local, ofLocal int) {
	for i := range steps {
		s := &steps[i]
		if s.Path.Path == "." {
			continue
		}
		if s.Mesh != nil {
			ofMesh++
		}
		if s.Local != nil {
			ofLocal++
		}
		switch s.Op {
		case DeleteMesh:
			mesh++
		case DeleteLocal:
			local++
		}
	}
	return mesh, ofMesh, local, ofLocal
}

// Depth orders paths from the inside out.
func Depth(a, b Step) int {
	return cmp.Or(cmp.Compare(strings.Count(b.Path.Path, "/"), strings.Count(a.Path.Path, "/")), cmp.Compare(b.Path.Path, a.Path.Path))
}
