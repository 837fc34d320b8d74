package store

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"

	"github.com/gofrs/flock"
)

// Options of a Disk. The zero value is the default.
type Options struct {
	// Capacity is how many bytes of the disk may be used, the reserve
	// included. 0 means what is used at [Open] and what the file system has
	// free then.
	Capacity int64

	// Reserve is how many bytes of the capacity no shard may take, so that
	// there is room for deletes and repair. 0 means 5 % of the capacity, but
	// at most 1 GiB.
	Reserve int64

	// Now tells the time; nil is [time.Now].
	Now func() time.Time

	Events Events
}

// Events tells what happens on the way. Any of its functions may be nil. They
// must not call the Disk.
type Events struct {
	// Rebuilt tells that the index was missing or damaged and has been made
	// again from so many files. A damaged one was moved aside, to that path,
	// and so many of the shards that it had as rows were saved.
	Rebuilt func(aside string, files, rows int)

	// Lost tells of a shard whose file is gone, and which is now forgotten.
	Lost func(key datamesh.ShardKey)

	// Strange tells of a file among the shards that is not one of this store.
	// It is left alone and does not count.
	Strange func(path string, err error)

	// Committed tells that so many puts, drops and reports have become
	// durable in one transaction.
	Committed func(changes int)
}

// Disk is a ShardStore in a folder:
//
//	node.lock      held while the store is open
//	node.db        the index, shards of at most 64 KiB, and positions
//	node.spare     room that is given up for a drop, or an Open, on a full disk
//	shards/xx/…    one file for each larger shard, see [fileVersion]
//	tmp/           files that are being written
//
// A shard is acknowledged when its file, the folder of that file and the
// index have been synced; puts that are in flight together share the last two.
type Disk struct {
	dir    string
	events Events
	lock   *flock.Flock
	index  *index
	room   *room
	age    age

	healing sync.Mutex // held while a damaged shard is replaced or removed
	damaged damaged

	// life is held for reading by every call, and for writing by Close.
	life   sync.RWMutex
	closed bool

	changes   chan *change  // closed by Close, when no call is left
	committed chan struct{} // closed by commitAll, when it is done
}

// Open opens the store in dir, which it makes if need be, and brings index
// and files into agreement: that takes a moment after a crash, and longer
// when the index is lost. Kinds: Locked (another process has it open),
// Configuration (a newer version wrote it), Database, IO.
func Open(dir string, opt Options) (*Disk, error) {
	if opt.Capacity < 0 || opt.Reserve < 0 || opt.Capacity > 0 && opt.Reserve > opt.Capacity {
		return nil, errs.New(errs.Configuration, "store %s: capacity %d, reserve %d", dir, opt.Capacity, opt.Reserve)
	}
	if err := makeDir(dir); err != nil {
		return nil, errs.New(kindOf(err), "store: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "node.lock"), flock.SetPermissions(0o600))
	switch ok, err := lock.TryLock(); {
	case err != nil:
		return nil, errs.New(kindOf(err), "store: lock: %w", err)
	case !ok:
		return nil, errs.New(errs.Locked, "store %s: another process has it open", dir)
	}
	d := &Disk{
		dir:       dir,
		events:    opt.Events,
		lock:      lock,
		changes:   make(chan *change, maxBatch),
		committed: make(chan struct{}),
	}
	if err := d.start(opt); err != nil {
		d.release()
		return nil, err
	}
	go d.commitAll()
	return d, nil
}

// start prepares the folders and the index of a store that is locked.
func (d *Disk) start(opt Options) (err error) {
	d.giveSpare() // what is not there is no help
	if err := d.makeFolders(); err != nil {
		return err
	}
	if err := d.recover(); err != nil {
		return err
	}
	d.makeSpare()
	if d.room, err = d.newRoom(opt); err != nil {
		return err
	}
	return d.age.start(d, opt.Now)
}

// Close waits for the calls in progress and closes the store. Later calls
// are answered Unavailable; another Close does nothing.
func (d *Disk) Close() error {
	d.life.Lock()
	defer d.life.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	close(d.changes)
	<-d.committed
	return d.release()
}

// spareSize is the room in bytes that is kept for deletes.
const spareSize = 4 << 20

// spare is a file that keeps the room that the log and its index need, so
// that the store can be opened, and things dropped, on a full disk.
func (d *Disk) spare() string { return filepath.Join(d.dir, "node.spare") }

// makeSpare takes as much of the spare room as there is.
func (d *Disk) makeSpare() {
	if info, err := os.Stat(d.spare()); err != nil || info.Size() < spareSize {
		os.WriteFile(d.spare(), make([]byte, spareSize), 0o600)
	}
}

// giveSpare gives the spare room up, and reports whether there was any.
func (d *Disk) giveSpare() bool { return os.Remove(d.spare()) == nil }

// release gives back what an open store holds.
func (d *Disk) release() error {
	var err error
	if d.index != nil {
		err = d.index.close()
	}
	d.makeSpare()
	if e := d.lock.Unlock(); err == nil && e != nil {
		err = errs.New(kindOf(e), "store: unlock: %w", e)
	}
	return err
}

// enter begins a call; the caller defers leave. Kind: Unavailable.
func (d *Disk) enter() error {
	d.life.RLock()
	if d.closed {
		d.life.RUnlock()
		return errs.New(errs.Unavailable, "store %s is closed", d.dir)
	}
	return nil
}

func (d *Disk) leave() { d.life.RUnlock() }

// Usage is how the room of a store is divided. All but Shards are bytes, and
// Used + Trash + Reserve + Free = Capacity always holds.
type Usage struct {
	Capacity int64
	Reserve  int64
	Used     int64 // by shards: whole files, and rows' bytes
	Trash    int64 // by those that were dropped and can be brought back
	Free     int64
	Shards   int // without those in the trash
}

// Usage returns the division at this moment. Shards that are being put count
// as used.
func (d *Disk) Usage() Usage { return d.room.usage() }

// Spare returns how many bytes the file system has free beside the reserve, which is less
// than 0 if it has not even that. Kind: IO.
func (d *Disk) Spare() (int64, error) {
	free, err := freeSpace(d.dir)
	if err != nil {
		return 0, errs.New(kindOf(err), "free space: %w", err)
	}
	return free - d.room.reserve, nil
}

// Offer returns how many bytes shards may take, and how many of them are taken:
// by shards, or by whatever else has filled the file system, on which a put
// needs room too.
func (d *Disk) Offer() (capacity, taken int64) { return d.room.offer() }
