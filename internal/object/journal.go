package object

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/step"

	"github.com/gofrs/flock"
)

// A Journal remembers what the puts of this process have sent to whom, until
// they end, so that after a crash the next process can have it deleted. It is
// a file that its process holds locked; before a shard of a segment is sent to
// a peer, both are on the disk, with the owner's signed deletion, so that
// cleaning up needs no key. A file that could not be written takes no more
// puts: the next begins another one. It is safe for concurrent use.
type Journal struct {
	dir    string
	resume time.Duration

	mu     sync.Mutex // guards the rest
	files  []*journalFile
	left   []*entry // puts that failed, have left something behind, and so have not ended
	next   uint64   // number of the next put
	closed bool
	visits map[string]chan struct{} // of the journals of others; closed when one ends
}

// A journalFile is the file of some puts.
type journalFile struct {
	dir string

	syncing sync.Mutex // held while the file is synced, and taken before mu; guards synced
	synced  int64      // bytes that are on the disk

	mu      sync.Mutex // guards the rest
	lock    *flock.Flock
	file    *os.File // nil before the first record
	active  int      // puts that have not ended
	left    int      // of them, those that have failed
	waiting int      // records that are to be on the disk, and may not be yet
	written int64    // bytes of the file
	failed  error    // the file is no longer to be trusted
}

// A record is a line of the journal: what was planned, who was asked besides,
// what can be used again, or that the put, or a segment's part in it, has ended.
type record struct {
	Version  uint64             `cbor:"1,keyasint"`
	Put      uint64             `cbor:"2,keyasint"`
	Deletion []byte             `cbor:"3,keyasint,omitempty"`
	Segment  datamesh.SegmentID `cbor:"4,keyasint"`
	Peers    []datamesh.PeerID  `cbor:"5,keyasint,omitempty"`
	End      bool               `cbor:"6,keyasint,omitempty"`

	// Of a segment that is stored, and that a put of the same source can use.
	Source []byte `cbor:"7,keyasint,omitempty"`  // 32 bytes
	Place  int    `cbor:"8,keyasint,omitempty"`  // its number in the content
	Kept   []byte `cbor:"9,keyasint,omitempty"`  // its reference, in a sealed manifest
	Time   int64  `cbor:"10,keyasint,omitempty"` // Unix seconds

	Given bool `cbor:"11,keyasint,omitempty"` // the segment is another put's now
}

const (
	journalSuffix  = ".journal"
	lockSuffix     = ".lock"
	journalVersion = 1
	maxRecord      = 64 << 10
	checkLen       = 8 // bytes of a record's hash
)

// NewJournal returns the journal of this process in dir, where those of
// others may be. The file is made by the first put. What an interrupted put
// has stored is kept for resume, so that the same put can go on from there.
func NewJournal(dir string, resume time.Duration) *Journal { return &Journal{dir: dir, resume: resume} }

// Close gives the journal up. If a put has left something behind, its file
// stays for the next process.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	var all []error
	for _, f := range j.files {
		all = append(all, f.close())
	}
	return errors.Join(all...)
}

var errClosed = errs.New(errs.Unavailable, "the node is shutting down")

func (f *journalFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = errClosed
	return f.release(f.active == 0)
}

// release closes the file, and removes it if nothing in it is of use.
func (f *journalFile) release(remove bool) error {
	if f.file == nil {
		return nil
	}
	name := f.file.Name()
	err := f.file.Close()
	f.file = nil
	if remove {
		err = errors.Join(err, os.Remove(name))
	}
	err = errors.Join(err, f.lock.Close())
	if remove {
		os.Remove(f.lock.Path())
	}
	return err
}

// An entry is one put in the journal.
type entry struct {
	j   *Journal
	f   *journalFile
	put uint64

	left bool // it has failed, and does nothing any more

	mu   sync.Mutex // guards what
	what map[datamesh.SegmentID]*leftover
}

// A leftover is a segment of a put that has not ended.
type leftover struct {
	deletion *datamesh.Deletion // which can be undone, in case the journal is an old copy, of a put that has succeeded
	final    *datamesh.Deletion // known to the process that puts, and to no other
	peers    []datamesh.PeerID  // that may know of it
	kept     *kept              // nil: it is of no use to another put
}

func (j *Journal) begin() *entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.next++
	e := &entry{j: j, put: j.next, what: map[datamesh.SegmentID]*leftover{}}
	for _, f := range j.files {
		if f.join() {
			e.f = f
			return e
		}
	}
	e.f = &journalFile{dir: j.dir, active: 1}
	if j.closed {
		e.f.failed = errClosed
	}
	j.files = append(j.files, e.f)
	return e
}

// join adds a put to a file that can be trusted.
func (f *journalFile) join() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != nil {
		return false
	}
	f.active++
	return true
}

// broken reports whether the file takes no more records.
func (f *journalFile) broken() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed != nil
}

// segment records, durably, that shards of a segment will be sent to peers.
func (e *entry) segment(left leftover, peers []datamesh.PeerID) error {
	slices.SortFunc(peers, func(a, b datamesh.PeerID) int { return bytes.Compare(a[:], b[:]) })
	peers = slices.Compact(peers)
	e.mu.Lock()
	left.peers = slices.Clone(peers)
	e.what[left.deletion.Descriptor.Segment] = &left
	e.mu.Unlock()
	return e.f.record(e.sending(left.deletion, peers))
}

func (e *entry) sending(del *datamesh.Deletion, peers []datamesh.PeerID) record {
	return record{Put: e.put, Segment: del.Descriptor.Segment, Deletion: format.EncodeDeletion(del), Peers: peers}
}

// asked records, durably, that a peer will be sent a shard or a report, unless
// that is on the disk already.
func (e *entry) asked(segment datamesh.SegmentID, peer datamesh.PeerID) error {
	e.mu.Lock()
	known := slices.Contains(e.what[segment].peers, peer)
	e.mu.Unlock()
	if known {
		return nil
	}
	if err := e.f.record(record{Put: e.put, Segment: segment, Peers: []datamesh.PeerID{peer}}); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.what[segment].peers = append(e.what[segment].peers, peer) // only now may others rely on it
	return nil
}

// end records that nothing of the put needs to be deleted any more. That need
// not be durable: of an object that is stored nothing is deleted anyway.
func (e *entry) end() {
	if len(e.what) > 0 {
		e.f.write(record{Put: e.put, End: true})
	}
	if e.f.done(e.left) {
		return
	}
	e.j.mu.Lock()
	defer e.j.mu.Unlock()
	e.j.files = slices.DeleteFunc(e.j.files, func(f *journalFile) bool { return f == e.f })
}

// undo deletes what the put has sent. If that succeeds everywhere the put has
// ended; if not, it is left to the next sweep.
func (e *entry) undo(ctx context.Context, net Net) {
	e.forget(all) // if that is not recorded, the deletion goes on: whoever takes the segment over asks its holders
	if deleteAll(ctx, net, e.what, false) {
		e.end()
		return
	}
	e.leave()
}

// leave leaves what the put has sent to a put of the same source, or to a
// sweep.
func (e *entry) leave() {
	e.left = true
	e.f.leave()
	e.j.mu.Lock()
	defer e.j.mu.Unlock()
	e.j.left = append(e.j.left, e)
}

// leave notes that a put has failed, and not ended.
func (f *journalFile) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left++
}

// done empties the file when no put of it is on its way: it has signed
// deletions of what was stored, which nobody should find there. It is false
// when the file is of no more use.
func (f *journalFile) done(left bool) bool {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active--
	if left {
		f.left--
	}
	switch {
	case f.active > 0 || f.file == nil && f.failed == nil:
	case f.failed != nil:
		f.release(true) // its error is of no use either
		return false
	case f.file.Truncate(0) == nil:
		f.written, f.synced = 0, 0
		step.At("object: journal: the file is emptied")
	}
	return true
}

// record writes records and returns when they are on the disk.
func (f *journalFile) record(list ...record) error {
	upto, err := f.write(list...)
	if err != nil {
		return err
	}
	step.At("object: journal: a record is written")
	f.wait(1)
	defer f.wait(-1)
	f.syncing.Lock() // whoever waits here may find its record synced by another
	defer f.syncing.Unlock()
	if f.synced >= upto {
		return nil
	}
	f.gather()
	f.mu.Lock()
	all, file := f.written, f.file
	f.mu.Unlock()
	if err := file.Sync(); err != nil { // what a second try would say is not to be trusted
		f.mu.Lock()
		defer f.mu.Unlock()
		f.failed = errs.New(durable.KindOf(err), "journal: %w", err)
		return f.failed
	}
	f.synced = all
	step.At("object: journal: a record is durable")
	return nil
}

// When many puts are on their way, a sync is for one in journalCrowd of them at
// least, unless that takes longer than journalPatience.
const (
	journalCrowd    = 8
	journalPatience = 30 * time.Millisecond
)

// gather waits until enough wait for a sync.
func (f *journalFile) gather() {
	for began := time.Now(); f.lonely() && time.Since(began) < journalPatience; {
		time.Sleep(time.Millisecond)
	}
}

// lonely reports whether fewer wait than should.
func (f *journalFile) lonely() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting < (f.active-f.left)/journalCrowd
}

// wait counts who waits for a sync.
func (f *journalFile) wait(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting += n
}

// write appends records and returns how long the file is with them.
func (f *journalFile) write(list ...record) (upto int64, err error) {
	msg := encodeRecords(list)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.open(); err != nil {
		return 0, err
	}
	if _, err := f.file.Write(msg); err != nil {
		f.failed = errs.New(durable.KindOf(err), "journal: %w", err)
		return 0, f.failed
	}
	f.written += int64(len(msg))
	return f.written, nil
}

func encodeRecords(list []record) (all []byte) {
	for _, r := range list {
		all = append(all, r.encode()...)
	}
	return all
}

func (r record) encode() []byte {
	r.Version = journalVersion
	body := format.Marshal(r)
	sum := hash.Shard(body)
	msg := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	return append(append(msg, sum[:checkLen]...), body...)
}

// open makes and locks the file, durably.
func (f *journalFile) open() error {
	if f.file != nil || f.failed != nil {
		return f.failed
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return errs.New(durable.KindOf(err), "journal: %w", err)
	}
	var name [8]byte
	rand.Read(name[:])
	path := filepath.Join(f.dir, hex.EncodeToString(name[:])+journalSuffix)
	lock := flock.New(path + lockSuffix)
	if ok, err := lock.TryLock(); err != nil || !ok {
		return errs.New(durable.KindOf(err), "lock %s: %v", path, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		err = errors.Join(errs.New(durable.KindOf(err), "journal: %w", err), lock.Close())
		os.Remove(lock.Path())
		return err
	}
	f.lock, f.file = lock, file
	step.At("object: journal: the file is made")
	for _, dir := range []string{f.dir, filepath.Dir(f.dir)} {
		if err := durable.SyncDir(dir); err != nil {
			f.failed = fmt.Errorf("journal: %w", err)
			return f.failed
		}
	}
	return nil
}
