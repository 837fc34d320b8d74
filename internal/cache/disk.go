package cache

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/durable"
	"datamesh/internal/errs"

	"github.com/maypok86/otter/v2"
)

const (
	block    = 4 << 10          // a file is counted as so many bytes, or several times that
	waiting  = 64               // frames that wait to be written; more are not kept
	lookTime = 10 * time.Second // between two looks at the room of the disk
)

// A disk is the tier of sealed frames, a file each, named after the segment and the
// number of the frame. Its index is in memory, and made of the names when it is opened.
type disk struct {
	dir   string
	limit int64
	room  func(used int64) error
	tell  Events
	index *otter.Cache[name, int] // bytes of the file
	queue chan sealedFrame

	failing bool // no file could be written the last time; run's alone

	mu        sync.Mutex    // held while a file is written, and while some are forgotten
	forgotten *atomic.Int64 // how often something was: the cache counts that
}

func (n name) String() string { return hex.EncodeToString(n.segment[:]) + "-" + strconv.Itoa(n.index) }

// parseName reads the name of a file, and reports whether it is one.
func parseName(s string) (n name, ok bool) {
	segment, index, _ := strings.Cut(s, "-")
	b, err := hex.DecodeString(segment)
	if err != nil || len(b) != len(n.segment) {
		return n, false
	}
	n.segment = datamesh.SegmentID(b)
	n.index, err = strconv.Atoi(index)
	return n, err == nil && n.String() == s
}

type sealedFrame struct {
	name
	sealed []byte
	asked  Moment
}

// openDisk makes the directory, takes in what is there, the oldest first, and removes
// what is no frame. Kinds: IO, Full.
func openDisk(o Options, forgotten *atomic.Int64) (*disk, error) {
	if err := durable.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, errs.New(errs.IO, "%w", err)
	}
	d := &disk{dir: o.Dir, limit: o.Disk, room: o.Room, tell: o.Events, queue: make(chan sealedFrame, waiting), forgotten: forgotten}
	d.index = otter.Must(&otter.Options[name, int]{
		MaximumWeight:    uint64(o.Disk),
		Weigher:          func(_ name, n int) uint32 { return uint32((n + block - 1) / block * block) },
		ExpiryCalculator: otter.ExpiryAccessing[name, int](o.TTL),
		Executor:         inline,
		OnDeletion: func(e otter.DeletionEvent[name, int]) {
			if e.Cause != otter.CauseReplacement {
				os.Remove(d.path(e.Key)) // what stays is removed at the next start
			}
		},
	})
	var infos []fs.FileInfo
	for _, e := range entries {
		_, ok := parseName(e.Name())
		info, err := e.Info()
		if !ok || err != nil || !info.Mode().IsRegular() || info.Size() <= datamesh.FrameTag || info.Size() > crypt.FrameLen || time.Since(info.ModTime()) > o.TTL {
			os.Remove(filepath.Join(o.Dir, e.Name()))
			continue
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range infos {
		n, _ := parseName(info.Name())
		d.index.Set(n, int(info.Size()))
	}
	return d, nil
}

func (d *disk) path(n name) string { return filepath.Join(d.dir, n.String()) }

// open reads a frame and opens it. What cannot be opened is removed.
func (d *disk) open(f Frame) ([]byte, bool) {
	n := f.name()
	size, ok := d.index.GetIfPresent(n)
	if !ok {
		return nil, false
	}
	sealed, err := readFile(d.path(n), size)
	if want := f.Length + datamesh.FrameTag; err == nil && size != want {
		err = errs.New(errs.Integrity, "%d bytes, not %d", size, want)
	}
	var text []byte
	if err == nil {
		text, err = crypt.OpenFrame(f.Key, f.Index, f.Last, sealed)
	}
	if err == nil {
		return text, true
	}
	d.index.Invalidate(n)
	if !errors.Is(err, fs.ErrNotExist) && d.tell.Damaged != nil {
		d.tell.Damaged()
	}
	return nil, false
}

// readFile reads a file that has n bytes.
func readFile(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, n+1)
	got, err := f.ReadAt(b, 0)
	if got != n {
		return nil, errs.New(errs.Integrity, "%d bytes, not %d: %w", got, n, err)
	}
	return b[:n], nil
}

// wants reports whether a frame is not there.
func (d *disk) wants(f Frame) bool {
	_, there := d.index.GetEntryQuietly(f.name())
	return !there && len(d.queue) < cap(d.queue)
}

// keep has a frame be written, if the disk is not too slow for that.
func (d *disk) keep(f Frame, sealed []byte, asked Moment) {
	select {
	case d.queue <- sealedFrame{f.name(), sealed, asked}:
	default:
	}
}

// forget removes the first frames of a segment. All that wait are given up, some of which
// may be of it.
func (d *disk) forget(id datamesh.SegmentID, frames int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range frames {
		d.index.Invalidate(name{id, i})
	}
}

func (d *disk) run(ctx context.Context) {
	look := time.NewTicker(lookTime)
	defer look.Stop()
	spare := d.look()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			spare = d.look()
		case s := <-d.queue:
			if spare {
				spare = d.write(s)
			}
		}
	}
}

// look reports whether the disk has room to spare, and removes all if not.
func (d *disk) look() bool {
	if d.room == nil {
		return true
	}
	err := d.room(int64(d.index.WeightedSize()))
	if err != nil {
		d.giveUp(err)
	}
	return err == nil
}

// giveUp removes all. That no file can be written is told once, until one is.
func (d *disk) giveUp(err error) {
	tell := d.index.EstimatedSize() > 0
	if errs.KindOf(err) != errs.Full {
		tell, d.failing = !d.failing, true
	}
	if tell && d.tell.Full != nil {
		d.tell.Full(err)
	}
	d.index.InvalidateAll()
}

// write writes a file, which is there whole or not at all as long as the machine runs;
// after a power cut it may be anything. It reports whether to go on writing.
func (d *disk) write(s sealedFrame) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, there := d.index.GetEntryQuietly(s.name); there || s.asked != Moment(d.forgotten.Load()) {
		return true
	}
	temp := filepath.Join(d.dir, "new")
	err := os.WriteFile(temp, s.sealed, 0o600)
	if errors.Is(err, fs.ErrNotExist) { // somebody has removed the directory
		if err = durable.MkdirAll(d.dir, 0o700); err == nil {
			err = os.WriteFile(temp, s.sealed, 0o600)
		}
	}
	if err == nil {
		err = os.Rename(temp, d.path(s.name))
	}
	if err != nil {
		os.Remove(temp)
		d.giveUp(errs.New(durable.KindOf(err), "%w", err))
		return false
	}
	d.index.Set(s.name, len(s.sealed))
	d.failing = false
	return true
}
