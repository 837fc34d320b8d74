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

	"github.com/gofrs/flock"
)

// A Journal remembers what the puts of this process have sent to whom, until
// they end, so that after a crash the next process can have it deleted. It is
// a file that its process holds locked; before a shard of a segment is sent to
// a peer, both are on the disk, with the owner's signed deletion, so that
// cleaning up needs no key. It is safe for concurrent use.
type Journal struct {
	dir    string
	resume time.Duration

	syncing sync.Mutex // held while the file is synced, and taken before mu; guards synced
	synced  int64      // bytes that are on the disk

	mu      sync.Mutex // guards the rest
	lock    *flock.Flock
	file    *os.File
	active  int                      // puts that have not ended
	left    []*entry                 // those of them that failed, and have left something behind
	written int64                    // bytes of the file
	next    uint64                   // number of the next put
	failed  error                    // the file is no longer to be trusted
	visits  map[string]chan struct{} // of the journals of others; closed when one ends
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

// Close gives the journal up. If a put has left something behind, the file
// stays for the next process.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	name, left := j.file.Name(), j.active > 0
	err := j.file.Close()
	j.file, j.failed = nil, errs.New(errs.Unavailable, "the node is shutting down")
	if !left {
		err = errors.Join(err, os.Remove(name))
	}
	err = errors.Join(err, j.lock.Close())
	if !left {
		os.Remove(j.lock.Path())
	}
	return err
}

// An entry is one put in the journal.
type entry struct {
	j   *Journal
	put uint64

	mu   sync.Mutex // guards what
	what map[datamesh.SegmentID]*leftover
}

// A leftover is a segment of a put that has not ended.
type leftover struct {
	deletion *datamesh.Deletion
	peers    []datamesh.PeerID // that may know of it
	kept     *kept             // nil: it is of no use to another put
}

func (j *Journal) begin() *entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.next++
	j.active++
	return &entry{j: j, put: j.next, what: map[datamesh.SegmentID]*leftover{}}
}

// segment records, durably, that shards of a segment will be sent to peers.
func (e *entry) segment(del *datamesh.Deletion, peers []datamesh.PeerID) error {
	slices.SortFunc(peers, func(a, b datamesh.PeerID) int { return bytes.Compare(a[:], b[:]) })
	peers = slices.Compact(peers)
	id := del.Descriptor.Segment
	e.mu.Lock()
	e.what[id] = &leftover{deletion: del, peers: slices.Clone(peers)}
	e.mu.Unlock()
	return e.j.record(record{Put: e.put, Segment: id, Deletion: format.EncodeDeletion(del), Peers: peers})
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
	if err := e.j.record(record{Put: e.put, Segment: segment, Peers: []datamesh.PeerID{peer}}); err != nil {
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
		e.j.write(record{Put: e.put, End: true})
	}
	e.j.done()
}

// undo deletes what the put has sent. If that succeeds everywhere the put has
// ended; if not, it is left to the next sweep.
func (e *entry) undo(ctx context.Context, net Net) {
	if deleteAll(ctx, net, e.what, false) {
		e.end()
		return
	}
	e.leave()
}

// leave leaves what the put has sent to a put of the same source, or to a
// sweep.
func (e *entry) leave() {
	e.j.mu.Lock()
	defer e.j.mu.Unlock()
	e.j.left = append(e.j.left, e)
}

// done empties the file when no put is on its way: it has signed deletions of
// what was stored, which nobody should find there.
func (j *Journal) done() {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.active--; j.active == 0 && j.file != nil {
		if err := j.file.Truncate(0); err == nil {
			j.written, j.synced = 0, 0
		}
	}
}

// record writes a record and returns when it is on the disk.
func (j *Journal) record(r record) error {
	upto, err := j.write(r)
	if err != nil {
		return err
	}
	j.syncing.Lock() // whoever waits here may find its record synced by another
	defer j.syncing.Unlock()
	if j.synced >= upto {
		return nil
	}
	j.mu.Lock()
	all, file := j.written, j.file
	j.mu.Unlock()
	if err := file.Sync(); err != nil { // what a second try would say is not to be trusted
		j.mu.Lock()
		defer j.mu.Unlock()
		j.failed = errs.New(errs.IO, "journal: %w", err)
		return j.failed
	}
	j.synced = all
	return nil
}

// write appends a record and returns how long the file is with it.
func (j *Journal) write(r record) (upto int64, err error) {
	msg := r.encode()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.open(); err != nil {
		return 0, err
	}
	if _, err := j.file.Write(msg); err != nil {
		j.failed = errs.New(errs.IO, "journal: %w", err)
		return 0, j.failed
	}
	j.written += int64(len(msg))
	return j.written, nil
}

func (r record) encode() []byte {
	r.Version = journalVersion
	body := format.Marshal(r)
	sum := hash.Shard(body)
	msg := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	return append(append(msg, sum[:checkLen]...), body...)
}

// open makes and locks the file of this process, durably.
func (j *Journal) open() error {
	if j.file != nil || j.failed != nil {
		return j.failed
	}
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return errs.New(errs.IO, "journal: %w", err)
	}
	var name [8]byte
	rand.Read(name[:])
	path := filepath.Join(j.dir, hex.EncodeToString(name[:])+journalSuffix)
	lock := flock.New(path + lockSuffix)
	if ok, err := lock.TryLock(); err != nil || !ok {
		return errs.New(errs.IO, "lock %s: %v", path, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return errors.Join(errs.New(errs.IO, "journal: %w", err), lock.Close())
	}
	j.lock, j.file = lock, f
	for _, dir := range []string{j.dir, filepath.Dir(j.dir)} {
		if err := durable.SyncDir(dir); err != nil {
			j.failed = fmt.Errorf("journal: %w", err)
			return j.failed
		}
	}
	return nil
}
