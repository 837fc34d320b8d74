package benchmark

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/node"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"
)

// Lock sees that one benchmark at a time runs in a home, which has the file path for
// that: a second one would measure the first, and take its objects for left behind. Kind: Locked.
func Lock(path string) (release func(), err error) {
	lock := flock.New(path, flock.SetPermissions(0o600))
	if locked, err := lock.TryLock(); err != nil {
		return nil, errs.New(durable.KindOf(err), "lock %s: %w", path, err)
	} else if !locked {
		return nil, errs.WithHint(errs.New(errs.Locked, "another benchmark runs in this home"), "wait until it has ended")
	}
	return func() { lock.Close() }, nil
}

const (
	abandoned = 24 * time.Hour        // after which what another home has left behind is deleted here
	endTime   = 30 * time.Second      // in which a node ends puts that were interrupted
	endEvery  = 20 * time.Millisecond // it is asked whether it has
	inVain    = 3                     // deletions that fail in a row, after which no others are tried
	together  = 8                     // deletions at once
)

// sweep deletes for good all objects of benchmarks of this home, and those that
// another home has left behind, and takes them off all lists. It returns how many
// it has deleted, and the names of those that may be there still.
func (b *Benchmark) sweep(ctx context.Context) (deleted int, left []string) {
	there := map[string]bool{} // what may be
	for _, name := range b.settle(ctx) {
		there[name] = true
	}
	var found []node.Object
	err := b.mesh.List(ctx, node.ListOptions{Pattern: Prefix, Type: MediaType}, func(o node.Object) error {
		if b.mine(o.Name, o.Created) {
			found = append(found, o)
			there[o.Name] = true
		}
		return nil
	})
	if err != nil {
		maps.Copy(there, b.begun) // as far as is known
	}
	if len(found) > 0 {
		b.mesh.Hear(ctx) // once for all; what it cannot hear nobody has said of these
	}
	b.opt.Events.begin("delete", 0, len(found))
	for _, o := range each(ctx, found, func(o node.Object) error {
		_, err := b.mesh.Delete(ctx, o.ID.String(), node.DeleteOptions{Now: true, Heard: true})
		if err != nil && !errors.Is(err, errs.Deleted) && !errors.Is(err, errs.FileNotFound) {
			return err
		}
		b.opt.Events.done()
		return nil
	}) {
		deleted++
		delete(there, o.Name)
	}
	b.forget(ctx, there)
	return deleted, append([]string{}, slices.Sorted(maps.Keys(there))...)
}

// forget takes what was deleted off the list of deletions, as a service does by
// itself after a while, and first goes on with deletions that were interrupted. It
// notes in there what becomes of these.
func (b *Benchmark) forget(ctx context.Context, there map[string]bool) {
	gone, err := b.mesh.Deleted(ctx)
	if err != nil {
		return // what that does not tell of is in there, or deleted
	}
	var done, begun []node.DeletedObject
	for _, o := range gone.Objects {
		switch {
		case !b.mine(o.Name, o.Deleted) || !o.Until.IsZero():
		case o.Done:
			done = append(done, o)
			delete(there, o.Name)
		default:
			begun = append(begun, o)
			there[o.Name] = true
		}
	}
	again := func(opt node.DeleteOptions) func(node.DeletedObject) error {
		return func(o node.DeletedObject) error {
			_, err := b.mesh.Delete(ctx, o.ID.String(), opt)
			return err
		}
	}
	for _, o := range each(ctx, begun, again(node.DeleteOptions{Resume: true})) {
		done = append(done, o)
		delete(there, o.Name)
	}
	each(ctx, done, again(node.DeleteOptions{Forget: true})) // else the next benchmark does that
}

// each does something with all of a list, a few at once, until ctx has ended or that
// has failed in vain, and returns those with which it did not fail, in their order.
func each[T any](ctx context.Context, list []T, do func(T) error) []T {
	var failed atomic.Int64 // in a row
	ok := make([]bool, len(list))
	var group errgroup.Group
	group.SetLimit(together)
	for i := range list {
		group.Go(func() error {
			switch {
			case failed.Load() >= inVain || ctx.Err() != nil:
			case do(list[i]) != nil:
				failed.Add(1)
			default:
				failed.Store(0)
				ok[i] = true
			}
			return nil
		})
	}
	group.Wait() // it has no error
	var done []T
	for i := range list {
		if ok[i] {
			done = append(done, list[i])
		}
	}
	return done
}

// mine reports whether an object of a benchmark, of that name and time, is one that
// this may delete.
func (b *Benchmark) mine(name string, at time.Time) bool {
	return strings.HasPrefix(name, b.home) || strings.HasPrefix(name, Prefix) && time.Since(at) > abandoned
}

// settle waits until a node has ended the puts of this run, which that of a service
// does a little after they were interrupted. It returns the names of those that go on.
func (b *Benchmark) settle(ctx context.Context) (running []string) {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	for {
		list, err := b.mesh.Transfers(ctx, "")
		if err != nil {
			return running
		}
		running = nil
		for _, t := range list.Transfers {
			if t.Kind == node.PutTransfer && t.State != node.Interrupted && strings.HasPrefix(t.Name, b.run) {
				running = append(running, t.Name)
			}
		}
		if len(running) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return running
		case <-time.After(endEvery):
		}
	}
}
