package repair

import (
	"context"
	"time"

	"datamesh"

	"golang.org/x/sync/errgroup"
)

// A Driven keeper has no clock, and starts no goroutine: its driver, a
// simulation, does what [Keeper.Run] does. Whatever a keeper could do at once
// it does one after the other, always in the same order. It has no limit of
// bytes.
type Driven struct {
	keeper  *Keeper
	machine *Machine
}

// Drive returns the keeper as one that is driven, and does not run, at the
// times that now tells.
func (k *Keeper) Drive(now func() time.Time) *Driven {
	k.now, k.driven, k.pledge.clock, k.rate.perSecond = now, true, now, 0
	return &Driven{k, NewMachine(k.cfg)}
}

// Step tells the machine what happened. Each of the effects is for [Driven.Do].
func (d *Driven) Step(ev Event) []Effect {
	effects := d.machine.Step(d.keeper.now(), ev)
	changes := d.machine.changes
	d.keeper.changes.Store(&changes)
	return effects
}

// Next returns when a Tick is wanted, if nothing happens before; the zero time
// if none is.
func (d *Driven) Next() time.Time { return d.machine.Next() }

// Waiting returns how many segments are known not to be whole.
func (d *Driven) Waiting() int { return d.machine.Waiting() }

// Do carries out an effect. The machine is to be told what comes of it, unless
// that is nil.
func (d *Driven) Do(ctx context.Context, x Effect) Event { return d.keeper.carryOut(ctx, x) }

// Heard returns the next of the events that the registry has heard, if there is
// one. The machine is to be told of it.
func (d *Driven) Heard() (ev Event, ok bool) {
	select {
	case <-d.keeper.lost:
		return Lost{}, true
	default:
	}
	select {
	case ev = <-d.keeper.inbox:
		return ev, true
	default:
		return nil, false
	}
}

// Spare returns the next of the shards that may be one too many, if there is
// one. It is for GiveUp.
func (d *Driven) Spare() (key datamesh.ShardKey, ok bool) {
	select {
	case key = <-d.keeper.spare:
		return key, true
	default:
		return key, false
	}
}

// GiveUp gives up a shard if it is one too many. It is called once at a time.
func (d *Driven) GiveUp(ctx context.Context, key datamesh.ShardKey) { d.keeper.giveUpNext(ctx, key) }

// Lost tells the keeper that this member has lost shards.
func (d *Driven) Lost() { d.keeper.Lost() }

// within returns a context that ends after some time. In a keeper that is
// driven it does not: its driver sees to it that all ends.
func (k *Keeper) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if k.driven {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// workers do what can be done at once, or one after the other in a keeper that
// is driven.
type workers struct {
	inTurn bool
	group  errgroup.Group
}

// workers returns as many as that; 0 is any number.
func (k *Keeper) workers(n int) *workers {
	w := &workers{inTurn: k.driven}
	if n > 0 {
		w.group.SetLimit(n)
	}
	return w
}

// Go has a function called, which returns nil.
func (w *workers) Go(f func() error) {
	if w.inTurn {
		f()
		return
	}
	w.group.Go(f)
}

// Wait waits until all have returned.
func (w *workers) Wait() { w.group.Wait() }
