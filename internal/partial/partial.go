// Package partial remembers gets that have not ended, so that the same get can
// go on where one was interrupted.
//
// What has been got lies in a temporary file beside the file that it will be.
// How much of that was authenticated and is on the disk stands in a note in
// the home, written anew at each checkpoint: after a crash the rest of the
// temporary file counts for nothing. A get holds its note locked.
package partial

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"datamesh"
	"datamesh/internal/durable"
	"datamesh/internal/errs"

	"github.com/gofrs/flock"
)

// Worth is the size from which on it is worth while to resume a get.
const Worth = datamesh.MaxContent

// step is how many bytes come between two checkpoints.
const step = 4 * datamesh.MaxContent

const (
	version  = 1
	maxNote  = 64 << 10 // bytes
	noteFile = ".json"
	lockFile = ".lock"
)

// A Note is what is known of a get that was interrupted.
type Note struct {
	Version int               `json:"version"`
	Object  datamesh.ObjectID `json:"object"`
	Name    string            `json:"name"` // of the object
	Size    int64             `json:"size"`
	Out     string            `json:"out"`  // the file that it will be, absolute
	Temp    string            `json:"temp"` // the file that it is now, absolute
	Done    int64             `json:"done"` // bytes of Temp that count
	At      time.Time         `json:"at"`   // of the last checkpoint
}

// A Get is one get of an object into a file. It ends with Commit, Leave or
// Abort, and is not safe for concurrent use. The zero Get is one that cannot be
// resumed, and goes on with none.
type Get struct {
	path string       // of the note, without its ending
	lock *flock.Flock // nil: this get cannot be resumed
	note Note         // of the interrupted one, or of this one once it is open
	file *durable.File
	next int64      // bytes at which the next checkpoint is due
	done chan error // of the checkpoint that is under way; nil: none is

	failed error // of the first checkpoint that did
}

// Begin begins the get of what ref means to out. Notes are kept in dir. If
// another process gets the same to the same place, or notes cannot be kept,
// this get cannot be resumed, which is no error.
func Begin(dir, ref, out string) *Get {
	g := new(Get)
	abs, err := filepath.Abs(out)
	if err != nil || durable.MkdirAll(dir, 0o700) != nil {
		return g
	}
	sum := sha256.Sum256([]byte(ref + "\x00" + abs))
	g.path = filepath.Join(dir, hex.EncodeToString(sum[:8]))
	if !g.tryLock() {
		return g
	}
	if n, err := readNote(g.path + noteFile); err == nil && n.usable() {
		g.note = n
	}
	return g
}

func (g *Get) tryLock() bool {
	lock := flock.New(g.path + lockFile)
	if ok, err := lock.TryLock(); err != nil || !ok {
		return false
	}
	g.lock = lock
	return true
}

// ours reports whether Temp can be what a get has left beside Out. Nothing else
// is ever removed, whoever wrote the note.
func (n *Note) ours() bool {
	return durable.IsTemp(filepath.Base(n.Temp)) && filepath.IsAbs(n.Temp) && filepath.Dir(n.Temp) == filepath.Dir(n.Out)
}

// usable reports whether the temporary file is there, with all that counts.
func (n *Note) usable() bool {
	fi, err := os.Lstat(n.Temp)
	return err == nil && fi.Mode().IsRegular() && n.Done > 0 && fi.Size() >= n.Done && n.Done <= n.Size
}

// Before returns which object an interrupted get has brought how many bytes
// of; none is 0 bytes.
func (g *Get) Before() (datamesh.ObjectID, int64) { return g.note.Object, g.note.Done }

// Open begins the file out of the object of the given size and name, or, when
// from is not 0, goes on with the one that [Get.Before] told of.
// Kinds: IO, Full.
func (g *Get) Open(object datamesh.ObjectID, name string, size, from int64, out string, perm fs.FileMode) (err error) {
	if from > 0 {
		g.file, err = durable.Reopen(g.note.Temp, out, from)
	} else {
		g.forget()
		g.file, err = durable.Create(out, perm)
	}
	if err != nil {
		return err
	}
	temp, err := filepath.Abs(g.file.Temp()) // others who read the note are elsewhere
	if err == nil {
		out, err = filepath.Abs(out)
	}
	if err != nil {
		return errs.New(errs.IO, "%w", err)
	}
	g.note = Note{Version: version, Object: object, Name: name, Size: size, Out: out, Temp: temp, Done: from}
	g.next = from + step
	return nil
}

// Write appends to the file, with a checkpoint now and then, which goes on beside.
// Kinds: IO, Full.
func (g *Get) Write(p []byte) (int, error) {
	n, err := g.file.Write(p)
	g.note.Done += int64(n)
	if err != nil || g.note.Done < g.next || !g.resumable() {
		return n, err
	}
	if err := g.settle(); err != nil { // a disk that is slower than the mesh is waited for
		return n, err
	}
	g.next = g.note.Done + step
	done, note := make(chan error, 1), g.note
	go func() { done <- checkpoint(g.file, g.path, note) }()
	g.done = done
	return n, nil
}

// settle waits until no checkpoint is under way, and returns how one has failed: what it
// could not make durable no later one may take for that.
func (g *Get) settle() error {
	if g.done != nil {
		if err := <-g.done; g.failed == nil {
			g.failed = err
		}
		g.done = nil
	}
	return g.failed
}

// SetTime gives the file a time of modification, once all of it is written.
func (g *Get) SetTime(t time.Time) error { return g.file.SetTime(t) }

// Commit gives the file its name, as [durable.File.Commit] does.
func (g *Get) Commit(replace bool) error {
	defer g.Abort()
	if err := g.settle(); err != nil {
		return err
	}
	return g.file.Commit(replace)
}

// Leave ends the get so that it can be resumed, if that is worth while, and
// reports whether it can.
func (g *Get) Leave() bool {
	if g.file == nil || !g.resumable() || g.note.Done == 0 || g.settle() != nil || checkpoint(g.file, g.path, g.note) != nil {
		g.Abort()
		return false
	}
	g.file.Leave()
	g.file = nil
	g.unlock()
	return true
}

// Abort ends the get and leaves nothing behind of it. After Commit or Leave
// it does nothing.
func (g *Get) Abort() {
	if g.file != nil {
		g.settle() // of which nothing counts
		g.file.Abort()
		g.file = nil
		g.note.Temp = ""
		g.forget()
	}
	g.unlock()
}

// forget removes the note and what it tells of.
func (g *Get) forget() {
	if g.lock == nil {
		return
	}
	if g.note.Temp != "" {
		os.Remove(g.note.Temp)
	}
	os.Remove(g.path + noteFile)
}

func (g *Get) unlock() {
	if g.lock == nil {
		return
	}
	if _, err := os.Lstat(g.path + noteFile); errors.Is(err, fs.ErrNotExist) {
		os.Remove(g.lock.Path())
	}
	g.lock.Close()
	g.lock = nil
}

// resumable reports whether the get can be, and is worth it.
func (g *Get) resumable() bool { return g.lock != nil && g.note.Size >= Worth }

// checkpoint makes durable what was written of a file, and then that it was.
func checkpoint(file *durable.File, path string, note Note) error {
	if err := file.Sync(); err != nil {
		return err
	}
	note.At = time.Now().UTC()
	return durable.WriteFile(path+noteFile, 0o600, true, func(w io.Writer) error {
		return json.NewEncoder(w).Encode(note)
	})
}

// readNote reads a note. Kinds: FileNotFound, IO, Serialization.
func readNote(path string) (n Note, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return n, errs.New(errs.FileNotFound, "%w", err)
	}
	if err != nil {
		return n, errs.New(errs.IO, "%w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxNote+1))
	if err != nil {
		return n, errs.New(errs.IO, "%w", err)
	}
	if len(b) > maxNote || json.Unmarshal(b, &n) != nil || n.Version != version || !n.ours() {
		return Note{}, errs.New(errs.Serialization, "%s is not a note of version %d", path, version)
	}
	return n, nil
}

// A Left get is one that can be resumed.
type Left struct {
	ID string
	Note
}

// List returns the gets that were interrupted and can be resumed, the oldest
// first. Those that are under way are none of them.
func List(dir string) (left []Left, err error) {
	err = each(dir, func(id string, g *Get) {
		if g.note.usable() {
			left = append(left, Left{id, g.note})
		}
	})
	slices.SortFunc(left, func(a, b Left) int { return a.At.Compare(b.At) })
	return left, err
}

// Forget removes what an interrupted get has left. Kind: FileNotFound.
func Forget(dir, id string) error {
	found := false
	err := each(dir, func(have string, g *Get) {
		if have == id {
			g.forget()
			found = true
		}
	})
	if err == nil && !found {
		return errs.New(errs.FileNotFound, "there is no interrupted get %s", id)
	}
	return err
}

// Sweep removes what gets have left that were interrupted longer ago than age.
// That a file is not there is no reason: a service may see other files than
// the user.
func Sweep(dir string, age time.Duration) error {
	return each(dir, func(_ string, g *Get) {
		if time.Since(g.note.At) > age {
			g.forget()
		}
	})
}

// each visits the notes of gets that are not under way.
func each(dir string, visit func(id string, g *Get)) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return errs.New(errs.IO, "%w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), noteFile)
		if !ok || strings.HasPrefix(id, ".") {
			continue
		}
		g := &Get{path: filepath.Join(dir, id)}
		if !g.tryLock() {
			continue
		}
		if g.note, err = readNote(g.path + noteFile); err == nil {
			visit(id, g)
		}
		g.unlock()
	}
	return nil
}
