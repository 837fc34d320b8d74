// Package mirror decides what has a directory and one of the catalog be the same,
// and remembers how both were when they last were.
//
// [Decide] looks at one path and three states of it: what both sides had when
// they were last the same, and what each has now. [Plan] does so with all paths,
// and sees that what has anything below it stays a directory. Neither reads nor
// changes anything. What has changed on one side alone is carried over; what was
// deleted on one and has changed on the other stays; of what has changed on both
// the later keeps the name, and the other is kept as a version. That the mesh does
// not know of something is no deletion: somebody must have said that it is one. So
// nothing is lost but what its user has deleted where nobody else had changed it.
package mirror

import (
	"runtime"
	"time"

	"datamesh"
	"datamesh/internal/tree"
)

// A State is what is at a path on one side.
type State struct {
	Type    string // tree.Directory, tree.Symlink, or "" for a file
	Size    int64  // bytes
	Mode    uint32 // permission bits, or datamesh.NoPermissions; 0: not known
	ModTime time.Time
	Target  string            // of a symbolic link; "": not known
	ID      datamesh.ObjectID // in the mesh
}

// A Last is how the two sides of a path were when they were the same.
type Last struct{ Local, Mesh State }

// An Op is what is done with a path.
type Op int

// What is done.
const (
	Keep        Op = iota // nothing
	Remember              // nothing: both are the same
	Forget                // nothing: both are gone
	Put                   // what is here goes to the mesh
	Write                 // what is in the mesh comes here
	PutAndWrite           // so it does, once what is here is kept in the mesh as an earlier version
	DeleteMesh            // it goes from the list of the mesh
	DeleteLocal           // it goes from here
	MakeBoth              // it becomes a directory on both sides, once what is here is kept in the mesh
)

// An Action is what is done with a path, and whether both sides had changed it.
type Action struct {
	Op       Op
	Conflict bool // one of two versions keeps the name, and the other is kept
}

// Same reports whether what is here is what is in the mesh: as a put decides
// what is stored already, by size, permissions, time and type, and of a symbolic
// link by where it leads if that is known.
func Same(local, mesh State) bool {
	switch {
	case local.Type != mesh.Type:
		return false
	case local.Type == tree.Symlink && mesh.Target != "":
		return local.Target == mesh.Target
	case local.Size != mesh.Size && local.Type != tree.Directory:
		return false
	}
	return tree.SameTime(local.ModTime, mesh.ModTime) && (mesh.Mode == 0 || local.Type == tree.Symlink || runtime.GOOS == "windows" || local.Mode == mesh.Mode)
}

// alike reports whether a side has what it had.
func alike(was, is State) bool {
	if was.Type == tree.Symlink && is.Type == tree.Symlink && was.Target != "" && is.Target != "" {
		return was.Target == is.Target
	}
	return was.Type == is.Type && (was.Size == is.Size || is.Type == tree.Directory) && was.Mode == is.Mode && was.ModTime.Equal(is.ModTime)
}

// MeshChanged reports whether a path has changed in the mesh. An object that has
// another id is what it was if it is so in all else: a rotation of keys gives it
// one. Of what has no time that cannot be told, and it has changed.
func MeshChanged(last *Last, mesh *State) bool {
	if last == nil || mesh == nil {
		return last != nil || mesh != nil
	}
	return last.Mesh.ID != mesh.ID && (mesh.ModTime.IsZero() || !alike(last.Mesh, *mesh))
}

func localChanged(last *Last, local *State) bool {
	if last == nil || local == nil {
		return last != nil || local != nil
	}
	return !alike(last.Local, *local)
}

// Decide returns what is done with a path, both ways. A state that is nil says
// that there is nothing; of last, that the sides were never the same. Of what is
// not in the mesh, deleted says that it is known to be deleted there, or to have
// another name.
func Decide(last *Last, local, mesh *State, deleted bool) Action {
	here, there := localChanged(last, local), MeshChanged(last, mesh)
	switch {
	case local == nil && mesh == nil && last == nil:
		return Action{Op: Keep}
	case local == nil && mesh == nil:
		return Action{Op: Forget}
	case local != nil && mesh != nil && Same(*local, *mesh):
		return Action{Op: Remember}
	case !here && !there:
		return Action{Op: Keep}
	case here && !there && local == nil:
		return Action{Op: DeleteMesh}
	case here && !there:
		return Action{Op: Put}
	case there && !here && mesh == nil && deleted:
		return Action{Op: DeleteLocal}
	case mesh == nil && local != nil: // which may be the last that there is
		return Action{Op: Put}
	case there && !here:
		return Action{Op: Write}
	case local == nil: // and what has changed wins over what was deleted
		return Action{Op: Write}
	}
	return conflict(last, *local, *mesh)
}

// conflict decides about what has changed on both sides: the later keeps the
// name. A directory has no content to be kept; of two that meet for the first
// time that of the mesh counts, since one that was just made is always later.
func conflict(last *Last, local, mesh State) Action {
	later := local.ModTime.After(mesh.ModTime)
	if local.Type == tree.Directory && mesh.Type == tree.Directory {
		if later && last != nil {
			return Action{Op: Put}
		}
		return Action{Op: Write}
	}
	return keepBoth(local, later)
}

// keepBoth has what is here keep the name, or what is in the mesh.
func keepBoth(local State, here bool) Action {
	switch {
	case here:
		return Action{Put, true} // the other is an earlier version then
	case local.Type == tree.Directory:
		return Action{Op: Write}
	}
	return Action{PutAndWrite, true}
}

// DecideOneWay returns what is done with a path if the mesh is to be as it is
// here.
func DecideOneWay(local, mesh *State) Action {
	switch {
	case local == nil && mesh == nil:
		return Action{Op: Keep}
	case local == nil:
		return Action{Op: DeleteMesh}
	case mesh != nil && Same(*local, *mesh):
		return Action{Op: Remember}
	}
	return Action{Op: Put}
}
