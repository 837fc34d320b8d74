package repair

import (
	"context"
	"slices"
	"sync"
	"time"

	"datamesh/internal/errs"
)

// A call is one of Now that has not returned.
type call struct {
	number uint64
	placed func(bytes int) // may be nil
	over   chan Over       // has room for the one that comes
}

func errEnds() error { return errs.New(errs.Unavailable, "the node is shutting down") }

// Now looks at all segments, and has those that are not whole repaired without
// waiting for the grace. It returns when each was tried once, and tells placed
// meanwhile of what members were given, of several shards at once, if that is
// not nil. If ctx ends before, what was begun goes on. Kinds: Locked (another
// call has not returned), Unavailable, and those of [Index]'s Track.
func (k *Keeper) Now(ctx context.Context, placed func(bytes int)) (Round, error) {
	c := &call{number: k.calls.Add(1), placed: placed, over: make(chan Over, 1)}
	if !k.call.CompareAndSwap(nil, c) {
		return Round{}, errs.WithHint(errs.New(errs.Locked, "this node is at it already: another repair was asked for"),
			`wait until that has ended; "datamesh transfers" tells how far it is`)
	}
	defer k.call.Store(nil)
	k.full.Clear() // whoever asks may have made room
	select {
	case k.inbox <- Hurry{c.number}:
	case <-k.ended:
		return Round{}, errEnds()
	case <-ctx.Done():
		return Round{}, ctx.Err()
	}
	select {
	case x := <-c.over:
		return x.Round, x.Err
	case <-k.ended:
		return Round{}, errEnds()
	case <-ctx.Done():
		return Round{}, ctx.Err()
	}
}

// over tells whoever waits for a round what came of it.
func (k *Keeper) over(x Over) {
	if c := k.call.Load(); c != nil && c.number == x.Number {
		c.over <- x
	}
}

// Look returns what Now would do, and does nothing of it: it asks registrars
// and holders, as that does, and takes what each is to be given for granted.
func (k *Keeper) Look(ctx context.Context) (Round, error) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, inbox := NewMachine(k.cfg), make(chan Event)
	effects := slices.Concat(m.Step(time.Now(), Members{k.net.View()}), m.Step(time.Now(), Hurry{}))
	for {
		for _, x := range effects {
			if x, ok := x.(Over); ok {
				return x.Round, x.Err
			}
			wg.Go(func() {
				ev := k.lookOut(ctx, x)
				if ev == nil {
					return
				}
				select {
				case inbox <- ev:
				case <-ctx.Done():
				}
			})
		}
		select {
		case ev := <-inbox:
			effects = m.Step(time.Now(), ev)
		case <-ctx.Done():
			return Round{}, ctx.Err()
		}
	}
}

// lookOut carries out those effects that tell nobody anything.
func (k *Keeper) lookOut(ctx context.Context, x Effect) Event {
	switch x := x.(type) {
	case Review:
		return k.review(ctx, x)
	case Survey:
		return k.survey(ctx, x.Segment)
	case Repair:
		return k.wouldRepair(x)
	}
	return nil
}

// wouldRepair is what a repair comes to in which each takes what it is given.
func (k *Keeper) wouldRepair(x Repair) Repaired {
	done := begun(x)
	for _, c := range k.withRoom(x) {
		done.place(c.Index, c.To)
	}
	if len(done.Placed) == 0 {
		done.Err = errNoRoom(x.Descriptor)
	}
	return done
}
