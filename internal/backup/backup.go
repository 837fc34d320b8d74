// Package backup keeps trees in the mesh as snapshots that share what they have
// in common, and brings them back.
//
// Files are cut into chunks where their content says so; chunks go into packs,
// and a snapshot says which chunks of which packs its files consist of. Packs
// and snapshots are ordinary objects of their owner. A snapshot needs nothing
// but its packs to be restored: the index of chunks is a cache.
//
// A backup that has returned without an error is acknowledged: whatever other
// devices of the owner delete, believing that nobody needs it, none of the
// packs of a snapshot is lost. For that a pack that somebody's word deletes is
// not used again, the words are asked for once more when the snapshot is in the
// mesh, and a pack goes only when all devices were heard, before and after, and
// none of their snapshots needs it.
package backup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"datamesh"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/node"

	"github.com/gofrs/flock"
)

// A Mesh is what backups need of a node: see [api.Operations].
type Mesh interface {
	Put(ctx context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error)
	Get(ctx context.Context, ref string, o node.GetOptions, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error)
	Delete(ctx context.Context, ref string, o node.DeleteOptions) (*node.Removed, error)
	Undelete(ctx context.Context, ref string) (*node.Undeleted, error)
	BackupObjects(ctx context.Context, learn bool) (*node.BackupObjects, error)
	Gone(ctx context.Context, ids []datamesh.ObjectID) (*node.Gone, error)
	Info(ctx context.Context, ref string, prove bool) (*node.Info, error)
	Check(ctx context.Context, ref string) (*node.Checked, error)
}

// Keys are those of an owner's backups.
type Keys struct {
	Cuts [32]byte // of the table by which content is cut into chunks
	IDs  [32]byte // of the ids of chunks
}

// Events tells what happens on the way. Any of its functions may be nil.
type Events struct {
	Waits func()            // another backup of this home is under way
	Note  func(text string) // something that was made good, or that the user should know

	Total func(files, bytes int64) // what a restore has, once that is known
	Done  func(files, bytes int64) // what a backup has read or known, or a restore written or found, since it told last
}

func (e *Events) total(files, bytes int64) {
	if e.Total != nil {
		e.Total(files, bytes)
	}
}

func (e *Events) done(files, bytes int64) {
	if e.Done != nil {
		e.Done(files, bytes)
	}
}

func (e *Events) note(text string) {
	if e.Note != nil {
		e.Note(text)
	}
}

// A Failure is a file, directory or link that is not in a snapshot, or not as it
// is in one.
type Failure struct {
	Path  string `json:"path"`
	Error string `json:"error"`
}

// Failures are those of one operation.
type Failures struct {
	Failed   int       `json:"failed"`
	Failures []Failure `json:"failures"` // the first 1000
}

const maxFailures = 1000

func (f *Failures) add(path string, err error) {
	if f.Failed++; len(f.Failures) < maxFailures {
		f.Failures = append(f.Failures, Failure{strings.ToValidUTF8(path, "\uFFFD"), err.Error()})
	}
}

const (
	// packSize is from how many bytes on a pack is closed.
	packSize = 48 << 20
	// packChunks is how many chunks a pack has at most, so that what is known of
	// one while it is made has a limit, too.
	packChunks = 1 << 14
	// idleTime is for how long no snapshot must have needed a pack before it goes.
	idleTime = 24 * time.Hour
	// unknownTime is the same for a pack of which this home has never seen that a
	// snapshot needed it: another device may just be making that.
	unknownTime = 30 * 24 * time.Hour
)

// limits say how content is cut, chunks are packed, and packs are deleted.
type limits struct {
	least, average, most, pack, chunks int
	puts                               int // packs that are put at once
	idle, unknown                      time.Duration
}

// An Archive is what one home knows of its owner's backups. It is for one
// operation at a time.
type Archive struct {
	Events Events

	dir    string
	keys   Keys
	mesh   Mesh
	index  *index
	now    func() time.Time
	limits limits
}

// Open opens the archive of a home in the directory dir, which it makes if need
// be. It is to be closed. Kinds: IO, Full, Database.
func Open(ctx context.Context, dir string, keys Keys, mesh Mesh) (*Archive, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	index, err := openIndex(ctx, filepath.Join(dir, "index.db"))
	if err != nil {
		return nil, err
	}
	return &Archive{dir: dir, keys: keys, mesh: mesh, index: index, now: time.Now,
		limits: limits{format.MinChunk, format.AverageChunk, format.MaxChunk, packSize, packChunks, 2, idleTime, unknownTime}}, nil
}

// Close closes the archive.
func (a *Archive) Close() error { return a.index.close() }

// lock waits until no other process of this home makes a backup.
func (a *Archive) lock(ctx context.Context) (release func(), err error) {
	lock := flock.New(filepath.Join(a.dir, "lock"))
	ok, err := lock.TryLock()
	if err == nil && !ok {
		if a.Events.Waits != nil {
			a.Events.Waits()
		}
		ok, err = lock.TryLockContext(ctx, time.Second)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil || !ok:
		return nil, errs.New(errs.IO, "lock the backups of this home: %w", err)
	}
	return func() { lock.Close() }, nil
}

// A scratch is a directory for what an operation keeps beside its memory.
type scratch string

const (
	scratchPrefix = "work-"
	scratchAge    = 7 * 24 * time.Hour // of one that nobody can still be using
)

// newScratch makes a scratch, and removes those that processes have left that
// were killed long ago.
func (a *Archive) newScratch() (scratch, error) {
	old, _ := filepath.Glob(filepath.Join(a.dir, scratchPrefix+"*"))
	for _, dir := range old {
		if recent := touched(dir); time.Since(recent) > scratchAge {
			os.RemoveAll(dir)
		}
	}
	var random [8]byte
	rand.Read(random[:]) // never fails
	dir := filepath.Join(a.dir, scratchPrefix+hex.EncodeToString(random[:]))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", errs.New(durable.KindOf(err), "make %s: %w", dir, err)
	}
	return scratch(dir), nil
}

// touched returns when something in a directory was written last.
func touched(dir string) (last time.Time) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return time.Now()
	}
	if info, err := os.Stat(dir); err == nil {
		last = info.ModTime()
	}
	for _, e := range list {
		if info, err := e.Info(); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}

func (s scratch) remove() { os.RemoveAll(string(s)) }

func (s scratch) path(name string) string { return filepath.Join(string(s), name) }

// read calls take with what an object has, from a byte on. What take reads no
// more it need not.
func read(ctx context.Context, mesh Mesh, id datamesh.ObjectID, from int64, take func(io.Reader) error) (*node.Fetched, error) {
	o := node.GetOptions{}
	if from > 0 {
		o.Resume = &node.Resume{ID: id, From: from}
	}
	r, w := io.Pipe()
	ended := make(chan struct{})
	var fetched *node.Fetched
	var failed error
	go func() {
		defer close(ended)
		fetched, failed = mesh.Get(ctx, id.String(), o, func(info node.ObjectInfo) (io.Writer, error) {
			if info.From != from {
				return nil, errs.New(errs.Other, "it began at byte %d, not %d", info.From, from)
			}
			return w, nil
		})
		w.CloseWithError(failed) // io.EOF if it has not
	}()
	err := take(r)
	r.CloseWithError(errEnough)
	<-ended
	switch {
	case err == nil && errors.Is(failed, errEnough):
		return fetched, nil
	case err == nil || errors.Is(err, failed):
		return fetched, failed
	}
	return fetched, err
}

var errEnough = errors.New("no more of it is needed")
