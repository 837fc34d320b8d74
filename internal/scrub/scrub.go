// Package scrub reads what a store keeps, over and over and slowly, so that
// what the disk has changed is found before somebody needs it.
//
// A shard that is not what it should be is read once more before anything
// befalls it, and one that merely cannot be read now is left alone. Where a
// pass is, and when the last one ended, is kept in the store, so that a pass
// goes on over restarts. It leaves to its callers who restores what was
// dropped.
package scrub

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/step"
	"datamesh/internal/store"
)

// A Store is what is scrubbed. [store.Disk] is one.
type Store interface {
	List(ctx context.Context, after datamesh.ShardKey, limit int) ([]datamesh.ShardKey, error)
	Verify(ctx context.Context, key datamesh.ShardKey, buf []byte) (read []byte, err error)
	Mend(ctx context.Context, key datamesh.ShardKey) (store.Fate, error)
	Position(ctx context.Context, name string) ([]byte, error)
	SetPosition(ctx context.Context, name string, value []byte) error
}

// Options of a Scrub.
type Options struct {
	Rate     int64         // bytes that are read in a second, at most; 0: as fast as it goes
	Interval time.Duration // from the end of a pass to the begin of the next
	Events   Events
}

// Events tells what happens on the way. Any of its functions may be nil. They
// must not call the Scrub.
type Events struct {
	// Read tells that a shard was read, and how many bytes that were.
	Read func(n int)

	// Rotten tells of a shard that was damaged, for that reason, and is
	// dropped.
	Rotten func(key datamesh.ShardKey, reason error)

	// Mended tells of a shard that was whole in a file that was not: that was
	// written anew.
	Mended func(key datamesh.ShardKey, reason error)

	// Kept tells of a shard that could not be read, or not be dropped or
	// mended, and was left as it is.
	Kept func(key datamesh.ShardKey, reason error)

	// Passed tells that all shards have been read. Of a pass that began before
	// the process did it counts what was read since.
	Passed func(Result)

	// Failed tells that the store could not be listed, or a position not be
	// read or kept. It is tried again.
	Failed func(err error)
}

// A Result is what a pass has found.
type Result struct {
	Shards  int64 // that were read, or tried to
	Bytes   int64 // that were read
	Dropped int64 // shards
	Mended  int64
	Kept    int64    // damaged, or not readable
	Damaged []Damage // the first [MaxDamaged] of these three
}

// MaxDamaged bounds the list in a Result: a disk that fails may spoil all.
const MaxDamaged = 1000

// A Damage is what was wrong with a shard, and what became of it.
type Damage struct {
	Key    datamesh.ShardKey
	Fate   store.Fate
	Reason error
}

const (
	pageSize  = 256
	leastRead = 4 << 10               // bytes that a shard counts as at least: what a disk reads
	leastWait = 10 * time.Millisecond // shorter ones are saved up
	longWait  = time.Hour             // longer ones are parted, as a clock may be set and a machine may sleep
	keepEvery = time.Minute           // the position
	failPause = time.Minute           // before another try
	name      = "scrub"               // of the position
)

// A Scrub reads the shards of one store. It is safe for concurrent use.
type Scrub struct {
	store Store
	opt   Options
	ended atomic.Int64 // when the last whole pass did, in Unix seconds; 0: none is known

	asked chan struct{} // has a place for the one call of Now
	turn  chan struct{} // has a place for the one who reads, and who owns what follows

	loaded bool // whether the position was read
	at     position
	kept   time.Time           // when the position was
	page   []datamesh.ShardKey // that come next
	result Result              // of the pass in the background
	buf    []byte
	pace   pace
}

// New returns a Scrub of a store, which reads nothing until it runs.
func New(s Store, opt Options) *Scrub {
	return &Scrub{store: s, opt: opt, asked: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		at: position{after: datamesh.First}, pace: pace{rate: opt.Rate}}
}

// Run scrubs until ctx ends, and returns ctx's error. It is called once at a
// time.
func (s *Scrub) Run(ctx context.Context) error {
	for take(ctx, s.turn) == nil {
		wait := s.step(ctx)
		give(s.turn)
		if sleep(ctx, min(wait, longWait)) != nil {
			break
		}
	}
	select {
	case s.turn <- struct{}{}:
		s.keep(context.WithoutCancel(ctx))
		give(s.turn)
	default: // Now is about to end, and to keep another
	}
	return ctx.Err()
}

// step reads the next shard, if it is time to, and returns how long to wait
// until the next step.
func (s *Scrub) step(ctx context.Context) time.Duration {
	s.load(ctx)
	if s.at.between() {
		if wait := s.due(); wait > 0 {
			return wait
		}
	}
	if len(s.page) == 0 {
		var err error
		if s.page, err = s.store.List(ctx, s.at.after, pageSize); err != nil {
			s.failed(ctx, err)
			return failPause
		}
		if len(s.page) == 0 {
			s.passed(ctx, s.result)
			return 0
		}
	}
	wait := s.check(ctx, s.page[0], &s.result)
	if ctx.Err() != nil {
		return 0 // it may not have been read
	}
	s.at.after, s.page = s.page[0], s.page[1:]
	if time.Since(s.kept) >= keepEvery {
		s.keep(ctx)
	}
	return wait
}

// due returns how long it takes until a pass is to begin. A clock that was set
// back does not put it off for longer than the interval.
func (s *Scrub) due() time.Duration {
	if s.at.ended.IsZero() {
		return 0
	}
	return min(time.Until(s.at.ended.Add(s.opt.Interval)), s.opt.Interval)
}

// Now makes one whole pass at once, at the rate of all passes, and tells read
// of all bytes if that is not nil. The pass in the background waits, and is
// over when this one is: it has nothing left to find. Kinds: Locked (another
// call has not returned), those of the store's List.
func (s *Scrub) Now(ctx context.Context, read func(n int)) (r Result, err error) {
	select {
	case s.asked <- struct{}{}:
		defer give(s.asked)
	default:
		return r, errs.WithHint(errs.New(errs.Locked, "the store is being scrubbed already"),
			`wait until that has ended; "datamesh transfers" tells how far it is`)
	}
	if err := take(ctx, s.turn); err != nil {
		return r, err
	}
	defer give(s.turn)
	s.load(ctx)
	for after := datamesh.First; ; {
		page, err := s.store.List(ctx, after, pageSize)
		if err != nil {
			return r, err
		}
		if len(page) == 0 {
			s.passed(ctx, r)
			return r, nil
		}
		for _, after = range page {
			before := r.Bytes
			wait := s.check(ctx, after, &r)
			if read != nil {
				read(int(r.Bytes - before))
			}
			if err := sleep(ctx, wait); err != nil {
				return r, err
			}
		}
	}
}

// Ended returns when the last whole pass ended, or zero if none is known to.
func (s *Scrub) Ended() time.Time {
	if seconds := s.ended.Load(); seconds > 0 {
		return time.Unix(seconds, 0)
	}
	return time.Time{}
}

// check reads a shard, and returns how long to wait after that. If ctx ends it
// may not have read it.
func (s *Scrub) check(ctx context.Context, key datamesh.ShardKey, r *Result) time.Duration {
	began := time.Now()
	read, err := s.store.Verify(ctx, key, s.buf)
	if cap(read) > cap(s.buf) {
		s.buf = read
	}
	if errors.Is(err, errs.Integrity) {
		err = s.mend(ctx, key, err, r)
	}
	if ctx.Err() != nil || errors.Is(err, errs.FileNotFound) {
		return 0 // it has been given up meanwhile
	}
	if err != nil {
		r.Kept++
		s.damaged(r, Damage{key, store.Kept, err}, s.opt.Events.Kept)
	}
	r.Shards++
	r.Bytes += int64(len(read))
	if s.opt.Events.Read != nil {
		s.opt.Events.Read(len(read))
	}
	return s.pace.after(began, max(len(read), leastRead))
}

// mend takes care of a shard that is damaged for that reason. Its error is
// that nothing could be done.
func (s *Scrub) mend(ctx context.Context, key datamesh.ShardKey, reason error, r *Result) error {
	fate, err := s.store.Mend(ctx, key)
	step.At("scrub: a damaged shard is mended or dropped")
	if err != nil {
		return err
	}
	switch fate {
	case store.Dropped:
		r.Dropped++
		s.damaged(r, Damage{key, fate, reason}, s.opt.Events.Rotten)
	case store.Mended:
		r.Mended++
		s.damaged(r, Damage{key, fate, reason}, s.opt.Events.Mended)
	}
	return nil // else it has read well
}

func (s *Scrub) damaged(r *Result, d Damage, tell func(datamesh.ShardKey, error)) {
	if len(r.Damaged) < MaxDamaged {
		r.Damaged = append(r.Damaged, d)
	}
	if tell != nil {
		tell(d.Key, d.Reason)
	}
}

// passed ends a pass.
func (s *Scrub) passed(ctx context.Context, r Result) {
	s.at = position{after: datamesh.First, ended: time.Unix(time.Now().Unix(), 0)}
	s.ended.Store(s.at.ended.Unix())
	s.page, s.result, s.buf = nil, Result{}, nil
	s.keep(ctx)
	if s.opt.Events.Passed != nil {
		s.opt.Events.Passed(r)
	}
}

// load reads the position once. Without one a pass begins anew.
func (s *Scrub) load(ctx context.Context) {
	if s.loaded {
		return
	}
	b, err := s.store.Position(ctx, name)
	if err == nil && b != nil {
		var at position
		if at, err = decodePosition(b); err == nil {
			s.at = at
		}
	}
	if err != nil {
		s.failed(ctx, err)
	}
	if ctx.Err() != nil {
		return
	}
	s.loaded, s.kept = true, time.Now()
	if !s.at.ended.IsZero() {
		s.ended.Store(s.at.ended.Unix())
	}
}

// keep writes the position down, once it has been read.
func (s *Scrub) keep(ctx context.Context) {
	if !s.loaded {
		return
	}
	s.kept = time.Now()
	if err := s.store.SetPosition(ctx, name, s.at.encode()); err != nil {
		s.failed(ctx, err)
	}
	step.At("scrub: the position is written down")
}

func (s *Scrub) failed(ctx context.Context, err error) {
	if ctx.Err() == nil && s.opt.Events.Failed != nil {
		s.opt.Events.Failed(err)
	}
}

// take waits for the one place in a channel, and give leaves it.
func take(ctx context.Context, place chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case place <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func give(place chan struct{}) { <-place }
