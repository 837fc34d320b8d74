package object

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/ring"
	"datamesh/internal/step"

	"golang.org/x/sync/errgroup"
)

// Stored reports whether an object is known to its user. What a put has sent of
// one that is belongs to that object, whatever a journal still says.
type Stored func(datamesh.ObjectID) (bool, error)

func (s Stored) any(what map[datamesh.SegmentID]*leftover) (bool, error) {
	for id := range what {
		if ok, err := s(datamesh.ObjectID(id)); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// Sweep has deleted what failed puts, and those of processes that died, have
// left behind, except those whose object stored knows, and those that may
// still be resumed. What cannot be reached stays for the next sweep, and what
// a newer version has left for that. It returns how many segments it has had
// deleted. Kinds: IO, Configuration (a newer version has left something), and
// those of stored.
func (j *Journal) Sweep(ctx context.Context, net Net, stored Stored) (int, error) {
	swept, err := j.sweepOwn(ctx, net, stored)
	if err != nil {
		return swept, err
	}
	names, err := filepath.Glob(filepath.Join(j.dir, "*"+journalSuffix))
	if err != nil {
		return swept, errs.New(errs.IO, "journals: %w", err)
	}
	var newer error
	for _, name := range names {
		n, err := j.sweepFile(ctx, name, net, stored)
		swept += n
		switch {
		case errs.KindOf(err) == errs.Configuration:
			newer = err // which keeps nobody from the others
		case err != nil:
			return swept, err
		}
	}
	return swept, cmp.Or(ctx.Err(), newer)
}

// sweepOwn tries again to undo the failed puts of this process.
func (j *Journal) sweepOwn(ctx context.Context, net Net, stored Stored) (swept int, err error) {
	j.mu.Lock()
	left := j.left
	j.left = nil
	j.mu.Unlock()
	for i, e := range left {
		n, done, err := j.settle(ctx, net, e.what, false, stored)
		if swept += n; done {
			e.end()
			continue
		}
		j.mu.Lock()
		j.left = append(j.left, e)
		if err != nil {
			j.left = append(j.left, left[i+1:]...)
		}
		j.mu.Unlock()
		if err != nil {
			return swept, err
		}
	}
	return swept, nil
}

// sweepFile settles what a dead process has left in its journal, and removes
// that when nothing more is to be done.
func (j *Journal) sweepFile(ctx context.Context, name string, net Net, stored Stored) (swept int, err error) {
	release, ok := j.visit(ctx, name)
	if !ok {
		return 0, nil // its process lives
	}
	defer release()
	puts, err := readJournal(name)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(name)
	all, old := true, err == nil && time.Since(info.ModTime()) >= forgetTime
	for _, what := range puts {
		n, done, err := j.settle(ctx, net, what, old, stored)
		if err != nil {
			return swept, err
		}
		swept += n
		all = all && done
	}
	step.At("object: sweep: what was left is deleted")
	if all {
		os.Remove(name)
		step.At("object: sweep: the journal is removed")
		os.Remove(name + lockSuffix)
	}
	return swept, nil
}

// forgetTime is for how long the ring remembers the dead. A member that is not
// in the table sooner than that may have joined since the table was written.
const forgetTime = 7 * 24 * time.Hour

// settle deletes what a put has left behind, unless its object is stored or
// the put may be resumed. It reports how many segments were deleted, and
// whether nothing more is to be done.
func (j *Journal) settle(ctx context.Context, net Net, what map[datamesh.SegmentID]*leftover, old bool, stored Stored) (swept int, done bool, err error) {
	if ok, err := stored.any(what); ok || err != nil {
		return 0, ok, err
	}
	if j.resumable(what) {
		return 0, false, nil
	}
	if !deleteAll(ctx, net, what, old) {
		return 0, false, nil
	}
	return len(what), true, nil
}

// Segments returns the segments of puts that have not ended, in the journals of this
// home, of whatever process: they may yet become an object, or are deleted by a
// sweep. Kinds: IO, Configuration (a newer version has left something).
func (j *Journal) Segments() (map[datamesh.SegmentID]bool, error) {
	names, err := filepath.Glob(filepath.Join(j.dir, "*"+journalSuffix))
	if err != nil {
		return nil, errs.New(errs.IO, "journals: %w", err)
	}
	all := map[datamesh.SegmentID]bool{}
	for _, name := range names {
		puts, err := readJournal(name)
		if err != nil {
			return nil, err
		}
		for _, what := range puts {
			for segment := range what {
				all[segment] = true
			}
		}
	}
	return all, nil
}

// readJournal returns what each put that has not ended has sent. A torn or
// damaged end is where a crash has cut the file; what stands before it counts.
// Kinds: IO, Configuration (a newer version wrote it).
func readJournal(name string) (map[uint64]map[datamesh.SegmentID]*leftover, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // its process has ended in order since it was found
	}
	if err != nil {
		return nil, errs.New(errs.IO, "journal: %w", err)
	}
	defer f.Close()
	puts := map[uint64]map[datamesh.SegmentID]*leftover{}
	for r, err := range records(bufio.NewReader(f)) {
		if err != nil {
			return nil, errs.New(errs.Configuration, "%s: %w", name, err)
		}
		what := puts[r.Put]
		if what == nil {
			what = map[datamesh.SegmentID]*leftover{}
			puts[r.Put] = what
		}
		old := what[r.Segment]
		switch {
		case r.End:
			delete(puts, r.Put)
		case r.Given:
			delete(what, r.Segment)
		case old != nil && len(r.Kept) > 0:
			old.kept = keptOf(r)
		case old != nil:
			old.peers = append(old.peers, r.Peers...)
		default:
			if del, err := format.DecodeDeletion(r.Deletion); err == nil && del.Descriptor.Segment == r.Segment {
				what[r.Segment] = &leftover{deletion: del, peers: r.Peers}
			}
		}
	}
	return puts, nil
}

// records yields the whole records at the head of r, and an error for one of
// a newer version, which is the last.
func records(r io.Reader) iter.Seq2[*record, error] {
	return func(yield func(*record, error) bool) {
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
			if err := format.Newer("journal record", body, journalVersion); err != nil {
				yield(nil, err)
				return
			}
			rec := new(record)
			if format.Unmarshal("journal record", body, maxRecord, rec) != nil || rec.Version != journalVersion || !yield(rec, nil) {
				return
			}
		}
	}
}

// deleteAll sends each segment's deletion to all members that may know of it,
// and reports whether all of them have taken it. The dead are not tried. Those
// whom the table does not have are given up when what they know of is old.
func deleteAll(ctx context.Context, net Net, what map[datamesh.SegmentID]*leftover, old bool) bool {
	byPeer := map[datamesh.PeerID][]*datamesh.Deletion{}
	for _, l := range what {
		for _, peer := range l.peers {
			byPeer[peer] = append(byPeer[peer], cmp.Or(l.final, l.deletion))
		}
	}
	view, all := net.View(), true
	var group errgroup.Group
	group.SetLimit(16)
	for peer, deletions := range byPeer {
		m, known := view.Lookup(peer)
		if !known || m.State == ring.Dead {
			all = all && !known && old
			continue
		}
		group.Go(func() error {
			for _, del := range deletions {
				if err := net.Shards(peer).Drop(ctx, del); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait() == nil && all
}
