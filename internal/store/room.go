package store

import (
	"fmt"
	"sync"

	"datamesh/internal/errs"
)

const (
	maxReserve     = 1 << 30
	reservePercent = 5
)

// room keeps account of the bytes that shards take, and lets no put begin
// that would not fit.
type room struct {
	dir      string // on the file system in question
	capacity int64
	reserve  int64

	mu      sync.Mutex // guards what follows
	used    int64
	trash   int64 // by shards that were dropped and can be brought back
	shards  int   // without those
	writing int64 // of used, what the disk does not have yet
}

// newRoom counts what the index says is there.
func (d *Disk) newRoom(opt Options) (*room, error) {
	r := &room{dir: d.dir, capacity: opt.Capacity, reserve: opt.Reserve}
	row := d.index.read.QueryRow(`SELECT count(*), ifnull(sum(size), 0) FROM shards`)
	if err := row.Scan(&r.shards, &r.used); err != nil {
		return nil, errs.New(kindOf(err), "store: count shards: %w", err)
	}
	row = d.index.read.QueryRow(`SELECT ifnull(sum(size), 0) FROM trash`)
	if err := row.Scan(&r.trash); err != nil {
		return nil, errs.New(kindOf(err), "store: count trash: %w", err)
	}
	if r.capacity == 0 {
		free, err := freeSpace(d.dir)
		if err != nil {
			return nil, errs.New(kindOf(err), "store %s: free space: %w", d.dir, err)
		}
		r.capacity = free + r.used + r.trash
	}
	r.reserve = Reserve(r.reserve, r.capacity)
	return r, nil
}

// take claims n bytes for a shard before any of them is written. A claim that
// does not become a shard is given back. Each is followed by written. Kind:
// Full.
func (r *room) take(n int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fitsDisk(r.writing+n, r.reserve); err != nil {
		return err
	}
	if err := r.fits(n); err != nil {
		return err
	}
	r.used += n
	r.writing += n
	r.shards++
	return nil
}

// fits reports with an error of kind Full that n bytes are more than the
// capacity allows.
func (r *room) fits(n int64) error {
	free := r.capacity - r.used - r.trash
	if n <= free-r.reserve {
		return nil
	}
	trash := ""
	if r.trash > 0 {
		trash = fmt.Sprintf(", %s can still be undeleted", size(r.trash))
	}
	return errs.WithHint(
		errs.New(errs.Full, "the store has no room for %s: of %s it may take, %s are free, and %s are kept free%s",
			size(n), size(r.capacity), size(max(free, 0)), size(r.reserve), trash),
		"add a node that has room, or give the store more: datamesh config set store.capacity SIZE")
}

// written says that n bytes of a claim are on the disk, or will not be.
func (r *room) written(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writing -= n
}

// fitsDisk reports with an error of kind Full that the disk, whoever has
// filled it, would have less than so much left after n more bytes.
func (r *room) fitsDisk(n, left int64) error {
	free, err := freeSpace(r.dir)
	if err != nil {
		return errs.New(kindOf(err), "free space: %w", err)
	}
	if free-left < n {
		return noSpaceFor(n, free, left)
	}
	return nil
}

// minIndex is how many bytes of records any store takes.
const minIndex = 64 << 20

// fitsRecords reports with an error of kind Full that an index of so many bytes
// is to take no records on segments, or of owners, of which nothing is here:
// anybody can sign those. They may use half of the reserve of the disk, and,
// beside as much as there is of shards, since the small ones lie in the index, a
// quarter of the capacity: one share. With two they may use three quarters of the
// reserve.
func (r *room) fitsRecords(index, shares int64) error {
	r.mu.Lock()
	limit := shares*max(r.capacity/4, minIndex) + r.used + r.trash
	r.mu.Unlock()
	if index > limit {
		return errs.WithHint(errs.New(errs.Full, "the records of segments and owners take %s, and may take %s", size(index), size(limit)),
			"add a node that has room, or give the store more: datamesh config set store.capacity SIZE")
	}
	return r.fitsDisk(0, max(r.reserve>>shares, claimed))
}

// noSpaceFor says that a disk with so much free, of which so much is to be
// left, has no room for n bytes. What is said reaches who typed a put.
func noSpaceFor(n, free, left int64) error {
	what := "the disk is full"
	if free > left {
		what = "the disk has no room for " + size(n)
	}
	return errs.WithHint(errs.New(errs.Full, "%s: %s are free, and %s are kept free", what, size(free), size(left)),
		"free some disk space or add a node that has room, or keep less free: datamesh config set store.reserve SIZE")
}

// size returns a number of bytes as people read it.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for f >= 1023.95 && unit < 6 { // which would be printed as 1024.0
		f, unit = f/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", f, " KMGTPE"[unit])
}

// give takes the bytes of so many shards off the account.
func (r *room) give(n int64, shards int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
	r.shards -= shards
}

// discard moves so many shards to the trash; negative numbers bring them back.
func (r *room) discard(n int64, shards int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
	r.trash += n
	r.shards -= shards
}

// purge takes the bytes of trash off the account.
func (r *room) purge(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trash -= n
}

// usage divides the capacity. Where more is used than the operator now
// allows, the reserve is what is left, and the capacity at least what is used.
func (r *room) usage() Usage {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.used + r.trash
	capacity := max(r.capacity, taken)
	reserve := min(r.reserve, capacity-taken)
	return Usage{
		Capacity: capacity,
		Reserve:  reserve,
		Used:     r.used,
		Trash:    r.trash,
		Free:     capacity - reserve - taken,
		Shards:   r.shards,
	}
}

func (r *room) offer() (capacity, taken int64) {
	u := r.usage()
	capacity, room := u.Capacity-u.Reserve, u.Free
	if free, err := freeSpace(r.dir); err == nil {
		room = min(room, max(0, free-r.reserve))
	}
	return capacity, capacity - room
}
