package object

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"
)

// A Journal remembers what the puts of this process have sent to whom, until
// they end, so that after a crash the next process can have it deleted. It is
// a file that its process holds locked; the record of a segment is on the
// disk before the first of its shards is sent, and carries the owner's signed
// deletion, so that cleaning up needs no key.
type Journal struct {
	dir string

	mu      sync.Mutex // guards the rest
	lock    *flock.Flock
	file    *os.File
	active  int    // puts that have not ended
	written int64  // bytes of the file
	next    uint64 // number of the next put
	failed  error  // the file is no longer to be trusted

	syncing sync.Mutex // held while the file is synced; guards synced
	synced  int64      // bytes that are on the disk
}

// A record is a line of the journal: what was planned, who was asked besides,
// or that the put has ended.
type record struct {
	Version  uint64             `cbor:"1,keyasint"`
	Put      uint64             `cbor:"2,keyasint"`
	Deletion []byte             `cbor:"3,keyasint,omitempty"`
	Segment  datamesh.SegmentID `cbor:"4,keyasint"`
	Peers    []datamesh.PeerID  `cbor:"5,keyasint,omitempty"`
	End      bool               `cbor:"6,keyasint,omitempty"`
}

const (
	journalSuffix  = ".journal"
	journalVersion = 1
	maxRecord      = 64 << 10
	checkLen       = 8 // bytes of a record's hash
)

// NewJournal returns the journal of this process in dir, where those of
// others may be. The file is made by the first put.
func NewJournal(dir string) *Journal { return &Journal{dir: dir} }

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
	e.what[id] = &leftover{del, peers}
	e.mu.Unlock()
	return e.j.write(record{Put: e.put, Segment: id, Deletion: format.EncodeDeletion(del), Peers: peers}, true)
}

// asked records that one more peer is sent a shard.
func (e *entry) asked(segment datamesh.SegmentID, peer datamesh.PeerID) {
	e.mu.Lock()
	e.what[segment].peers = append(e.what[segment].peers, peer)
	e.mu.Unlock()
	// Not synced: it matters only when this process dies, not the machine.
	e.j.write(record{Put: e.put, Segment: segment, Peers: []datamesh.PeerID{peer}}, false)
}

// end records that nothing of the put needs to be deleted any more.
func (e *entry) end() {
	e.j.write(record{Put: e.put, End: true}, false)
	e.j.done()
}

// undo deletes what the put has sent. If that succeeds everywhere the put has
// ended; if not, its records stay for the next start.
func (e *entry) undo(ctx context.Context, net Net) {
	e.mu.Lock()
	what := e.what
	e.mu.Unlock()
	if len(what) == 0 || deleteAll(ctx, net, what) {
		e.end()
	}
}

// done lets the file shrink when no put is on its way.
func (j *Journal) done() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.active--; j.active == 0 && j.file != nil && j.written > 1<<20 {
		j.syncing.Lock()
		defer j.syncing.Unlock()
		if err := j.file.Truncate(0); err == nil {
			j.written, j.synced = 0, 0
		}
	}
}

func (j *Journal) write(r record, durable bool) error {
	r.Version = journalVersion
	j.mu.Lock()
	if err := j.open(); err != nil {
		j.mu.Unlock()
		return err
	}
	body := format.Marshal(r)
	sum := hash.Shard(body)
	msg := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	msg = append(append(msg, sum[:checkLen]...), body...)
	if _, err := j.file.Write(msg); err != nil {
		j.failed = errs.New(errs.IO, "journal: %w", err)
		j.mu.Unlock()
		return j.failed
	}
	j.written += int64(len(msg))
	upto, file := j.written, j.file
	j.mu.Unlock()
	if !durable {
		return nil
	}
	j.syncing.Lock() // whoever waits here may find its record synced by another
	defer j.syncing.Unlock()
	if j.synced >= upto {
		return nil
	}
	j.mu.Lock()
	all := j.written
	j.mu.Unlock()
	if err := file.Sync(); err != nil {
		return errs.New(errs.IO, "journal: %w", err)
	}
	j.synced = all
	return nil
}

// open makes and locks the file of this process.
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
	lock := flock.New(path + ".lock")
	if ok, err := lock.TryLock(); err != nil || !ok {
		return errs.New(errs.IO, "lock %s: %v", path, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return errs.New(errs.IO, "journal: %w", err)
	}
	j.lock, j.file = lock, f
	return nil
}

// Sweep has deleted what puts of dead processes have left behind, except
// those whose object stored knows. What cannot be reached stays for the next
// sweep. It returns how many segments it has had deleted.
func Sweep(ctx context.Context, dir string, net Net, stored func(datamesh.ObjectID) (bool, error)) (int, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+journalSuffix))
	if err != nil {
		return 0, errs.New(errs.IO, "journals: %w", err)
	}
	swept := 0
	for _, name := range names {
		n, err := sweepFile(ctx, name, net, stored)
		if swept += n; err != nil {
			return swept, err
		}
	}
	return swept, ctx.Err()
}

func sweepFile(ctx context.Context, name string, net Net, stored func(datamesh.ObjectID) (bool, error)) (int, error) {
	lock := flock.New(name + ".lock")
	if ok, err := lock.TryLock(); err != nil || !ok {
		return 0, nil // its process lives
	}
	defer lock.Close()
	puts, err := readJournal(name)
	if err != nil {
		return 0, err
	}
	swept, all := 0, true
	for _, what := range puts {
		done, err := anyStored(what, stored)
		if err != nil {
			return swept, err
		}
		if done {
			continue
		}
		if deleteAll(ctx, net, what) {
			swept += len(what)
		} else {
			all = false
		}
	}
	if all {
		os.Remove(name)
		os.Remove(lock.Path())
	}
	return swept, nil
}

func anyStored(what map[datamesh.SegmentID]*leftover, stored func(datamesh.ObjectID) (bool, error)) (bool, error) {
	for id := range what {
		if ok, err := stored(datamesh.ObjectID(id)); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// readJournal returns what each put that has not ended has sent. A torn or
// damaged end is where a crash has cut the file; what stands before it counts.
func readJournal(name string) (map[uint64]map[datamesh.SegmentID]*leftover, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, errs.New(errs.IO, "journal: %w", err)
	}
	defer f.Close()
	puts := map[uint64]map[datamesh.SegmentID]*leftover{}
	for r := range records(bufio.NewReader(f)) {
		what := puts[r.Put]
		if what == nil {
			what = map[datamesh.SegmentID]*leftover{}
			puts[r.Put] = what
		}
		if r.End {
			delete(puts, r.Put)
		} else if old := what[r.Segment]; old != nil {
			old.peers = append(old.peers, r.Peers...)
		} else if del, err := format.DecodeDeletion(r.Deletion); err == nil && del.Descriptor.Segment == r.Segment {
			what[r.Segment] = &leftover{del, r.Peers}
		}
	}
	return puts, nil
}

// records yields the whole records at the head of r.
func records(r io.Reader) func(func(*record) bool) {
	return func(yield func(*record) bool) {
		for {
			var head [4 + checkLen]byte
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return
			}
			n := binary.BigEndian.Uint32(head[:4])
			if n > maxRecord {
				return
			}
			body := make([]byte, n)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			if sum := hash.Shard(body); !bytes.Equal(sum[:checkLen], head[4:]) {
				return
			}
			rec := new(record)
			if format.Unmarshal("journal record", body, maxRecord, rec) != nil || rec.Version != journalVersion || !yield(rec) {
				return
			}
		}
	}
}

// deleteAll sends each segment's deletion to all peers that may know of it,
// and reports whether all of them have taken it.
func deleteAll(ctx context.Context, net Net, what map[datamesh.SegmentID]*leftover) bool {
	byPeer := map[datamesh.PeerID][]*datamesh.Deletion{}
	for _, l := range what {
		for _, peer := range l.peers {
			byPeer[peer] = append(byPeer[peer], l.deletion)
		}
	}
	var group errgroup.Group
	group.SetLimit(16)
	for peer, deletions := range byPeer {
		group.Go(func() error {
			for _, del := range deletions {
				if err := net.Shards(peer).Drop(ctx, del); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait() == nil
}
