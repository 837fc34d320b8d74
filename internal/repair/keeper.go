package repair

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"datamesh"

	"golang.org/x/sync/semaphore"
)

// Events tells what a Keeper does. Any of its functions may be nil.
type Events struct {
	// Placed tells that a shard that was missing, or stood badly, is at a peer
	// now.
	Placed func(p Placed)

	// Restored tells that this member has made a segment whole that had lost
	// shards, and how long that was after it had found so first.
	Restored func(took time.Duration)

	// Read tells that so many bytes of a shard were read, to repair others.
	Read func(n int)

	// Refused tells of a peer that should have taken a shard and did not.
	Refused func(d *datamesh.Descriptor, index int, peer datamesh.PeerID, err error)

	// Unrepaired tells that a segment is not whole and could not be made so
	// now. It is tried again.
	Unrepaired func(segment datamesh.SegmentID, err error)

	// Compared tells that a registrar was told which shards this member holds,
	// and of how many ranges it had known something else.
	Compared func(differed int)

	// Dropped tells that a shard was given up here of which there is another.
	Dropped func(key datamesh.ShardKey)

	// Audited tells what came of asking a peer to prove a shard.
	Audited func(Answer)

	// Failed tells of something else that did not go as it should.
	Failed func(what string, err error)
}

func (e *Events) placed(p Placed) {
	if e.Placed != nil {
		e.Placed(p)
	}
}

func (e *Events) restored(took time.Duration) {
	if e.Restored != nil {
		e.Restored(took)
	}
}

func (e *Events) read(n int) {
	if e.Read != nil {
		e.Read(n)
	}
}

func (e *Events) compared(differed int) {
	if e.Compared != nil {
		e.Compared(differed)
	}
}

func (e *Events) refused(d *datamesh.Descriptor, index int, peer datamesh.PeerID, err error) {
	if e.Refused != nil {
		e.Refused(d, index, peer, err)
	}
}

func (e *Events) unrepaired(segment datamesh.SegmentID, err error) {
	if e.Unrepaired != nil {
		e.Unrepaired(segment, err)
	}
}

func (e *Events) dropped(key datamesh.ShardKey) {
	if e.Dropped != nil {
		e.Dropped(key)
	}
}

func (e *Events) failed(what string, err error) {
	if e.Failed != nil {
		e.Failed(what, err)
	}
}

// A Keeper keeps the segments whole that a member is a registrar of.
type Keeper struct {
	net    Net
	index  Index
	self   datamesh.PeerID
	pledge *pledges
	cfg    Config
	rate   rate
	events Events
	inbox  chan Event
	spare  chan datamesh.ShardKey
	lost   chan struct{}
	wg     sync.WaitGroup // effects that are being carried out

	audits audits
	untold failures    // members that could not be told what is held
	absent atomic.Bool // this member was away for so long that it asks before it tells what it holds

	now    func() time.Time
	driven bool // what could be done at once is done one after the other

	changes  atomic.Pointer[changes] // of who is there; nil while nobody is known
	full     sync.Map                // when a peer last had no room, a refusal by id
	memory   *semaphore.Weighted     // for shards that are rebuilt
	promises *semaphore.Weighted     // shards that are read to be pledged
	unproven atomic.Uint64           // times that a shard stayed since others were not proven
	waiting  atomic.Int64            // segments that are known not to be whole
	tracked  atomic.Int64            // segments that this member keeps track of
	gone     atomic.Int64            // of these, that have too few shards left

	call  atomic.Pointer[call] // of Now, or nil
	calls atomic.Uint64        // of Now, so far
	ended chan struct{}        // closed when Run returns
}

// NewKeeper returns a keeper, which the registry tells of what it hears. It
// reads at most so many bytes of shards a second; 0 is as many as it can.
func NewKeeper(net Net, registry *Registry, cfg Config, bytesPerSecond int64, events Events) *Keeper {
	k := &Keeper{net: net, index: registry.Index, self: cfg.Self, pledge: &registry.pledges, cfg: cfg, rate: rate{perSecond: bytesPerSecond},
		events: events, inbox: make(chan Event, 256), spare: make(chan datamesh.ShardKey, 1024), lost: make(chan struct{}, 1),
		memory: semaphore.NewWeighted(maxMemory), promises: semaphore.NewWeighted(2), ended: make(chan struct{}), now: time.Now}
	registry.keeper.Store(k)
	return k
}

// Lost tells the keeper that this member has lost shards.
func (k *Keeper) Lost() {
	select {
	case k.lost <- struct{}{}:
	default: // it will look anyway
	}
}

// Absent says that this member was away for so long that what it holds may have
// been deleted, and those who were told that may be others now. Before it tells
// anybody what it holds it asks for owners' words.
func (k *Keeper) Absent() { k.absent.Store(true) }

// IsAbsent reports whether this member has still to ask, as [Keeper.Absent] says.
func (k *Keeper) IsAbsent() bool { return k.absent.Load() }

// hear never waits: what the keeper has no time for it finds out later.
func (k *Keeper) hear(ev Event) {
	select {
	case k.inbox <- ev:
	default:
	}
}

// Waiting returns how many segments are known not to be whole.
func (k *Keeper) Waiting() int { return int(k.waiting.Load()) }

// Tracked returns how many segments this member keeps track of, and how many of
// those are lost as far as can be told now: those that are there have fewer
// shards of them than it takes.
func (k *Keeper) Tracked() (segments, lost int) {
	return int(k.tracked.Load()), int(k.gone.Load())
}

// Run works until ctx ends, and is called once. changed receives a value after
// the members have changed.
func (k *Keeper) Run(ctx context.Context, changed <-chan struct{}) {
	defer close(k.ended)
	defer k.wg.Wait()
	m := NewMachine(k.cfg)
	timer := time.NewTimer(0)
	defer timer.Stop()
	k.do(ctx, m.Step(time.Now(), Members{k.net.View()}))
	k.wg.Go(func() { k.giveUp(ctx) })
	for {
		changes := m.changes
		k.changes.Store(&changes)
		k.waiting.Store(int64(m.Waiting()))
		tracked, gone := m.Tracked()
		k.tracked.Store(int64(tracked))
		k.gone.Store(int64(gone))
		if at := m.Next(); !at.IsZero() {
			timer.Reset(time.Until(at))
		} else {
			timer.Stop()
		}
		select {
		case <-changed:
			k.do(ctx, m.Step(time.Now(), Members{k.net.View()}))
		case <-k.lost:
			k.do(ctx, m.Step(time.Now(), Lost{}))
		case ev := <-k.inbox:
			if _, ok := ev.(Hurry); ok { // of who is there now
				k.do(ctx, m.Step(time.Now(), Members{k.net.View()}))
			}
			k.do(ctx, m.Step(time.Now(), ev))
		case <-timer.C:
			k.do(ctx, m.Step(time.Now(), Tick{}))
		case <-ctx.Done():
			return
		}
	}
}

// do carries out effects, each on its own. What comes of one is told to the
// machine.
func (k *Keeper) do(ctx context.Context, effects []Effect) {
	for _, x := range effects {
		k.wg.Go(func() {
			ev := k.carryOut(ctx, x)
			if ev == nil {
				return
			}
			select {
			case k.inbox <- ev:
			case <-ctx.Done():
			}
		})
	}
}

func (k *Keeper) carryOut(ctx context.Context, x Effect) Event {
	switch x := x.(type) {
	case Review:
		return k.review(ctx, x)
	case Announce:
		return k.announce(ctx, x)
	case Survey:
		s := k.survey(ctx, x.Segment)
		if s.Err != nil && !s.Gone && ctx.Err() == nil {
			k.events.unrepaired(x.Segment, s.Err)
		}
		return s
	case Repair:
		done := k.repair(ctx, x)
		if done.Err != nil && ctx.Err() == nil {
			k.events.unrepaired(x.Descriptor.Segment, done.Err)
		}
		if slices.ContainsFunc(done.Placed, func(p Placed) bool { return p.Missing }) && done.Err == nil && !done.More {
			k.events.restored(k.now().Sub(x.Since))
		}
		return done
	case Over:
		k.over(x)
		return nil
	case Hint:
		k.hint(ctx, x.Segments)
		return nil
	case Forget:
		if err := k.index.Forget(ctx, x.Segments); err != nil && ctx.Err() == nil {
			k.events.failed("segments that others keep track of could not be forgotten", err)
		}
		return nil
	case Strike:
		k.strike(ctx, x.Holders)
		return nil
	}
	panic("repair: an effect of no kind")
}

// strike forgets that peers hold shards of segments.
func (k *Keeper) strike(ctx context.Context, holders []Holder) {
	for _, h := range holders {
		first, last := datamesh.ShardKey{Segment: h.Segment, Index: -1}, datamesh.ShardKey{Segment: h.Segment, Index: datamesh.MaxShards}
		if _, _, err := k.index.Correct(ctx, h.Peer, first, last, nil); err != nil {
			if ctx.Err() == nil {
				k.events.failed("holders that are gone could not be forgotten", err)
			}
			return
		}
	}
}

func (k *Keeper) review(ctx context.Context, x Review) Event {
	list, err := k.index.Track(ctx, x.After, page)
	if err != nil {
		if ctx.Err() == nil {
			k.events.failed("the registry could not be read", err)
		}
		return Reviewed{Last: true, Err: err}
	}
	k.audits.strip(list)
	return Reviewed{Segments: list, Last: len(list) < page}
}

// A rate bounds how many bytes are moved. Its zero value does not.
type rate struct {
	perSecond int64

	mu   sync.Mutex // guards free
	free time.Time  // when what was moved so far is paid for
}

// wait waits until it is time for n bytes more.
func (r *rate) wait(ctx context.Context, n int) error {
	if r.perSecond <= 0 {
		return ctx.Err()
	}
	r.mu.Lock()
	now := time.Now()
	at := r.free
	if at.Before(now) {
		at = now
	}
	r.free = at.Add(time.Duration(float64(n) / float64(r.perSecond) * float64(time.Second)))
	r.mu.Unlock()
	select {
	case <-time.After(at.Sub(now)):
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
