package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"datamesh/internal/api"
	"datamesh/internal/node"
)

const (
	showAfter = time.Second            // a transfer that ends before shows no progress
	barsEvery = 200 * time.Millisecond // on a terminal
	lineEvery = 30 * time.Second       // elsewhere
	stateTime = 5 * time.Second        // for the node to tell how far it is
	overEvery = 20 * time.Millisecond  // a node that ends a transfer is asked whether it has
)

// newTransfer returns an id to follow a transfer by.
func newTransfer() string { return rand.Text()[:10] }

// follow shows people how a transfer goes on until stop is called: bars on a
// terminal, a line now and then elsewhere, and a line whenever a signal asks.
func (c *cli) follow(ctx context.Context, ops api.Operations, id string) (stop func()) {
	return c.tell(ctx, &follower{ops: ops, id: id, out: c.err})
}

// A teller shows how far something is: as a line, or as bars on a terminal,
// which close takes away.
type teller interface {
	line(ctx context.Context)
	draw(ctx context.Context)
	close()
}

// tell has people shown how far something is until stop is called, as follow
// does.
func (c *cli) tell(ctx context.Context, t teller) (stop func()) {
	if c.json {
		return func() {}
	}
	every, show := lineEvery, t.line
	switch {
	case c.quiet:
		every = 0 // only when asked
	case isTerminal(c.err) && os.Getenv("TERM") != "dumb":
		every, show = barsEvery, t.draw
	}
	ctx, cancel := context.WithCancel(ctx)
	asked := make(chan os.Signal, 1)
	if len(stateSignals) > 0 {
		signal.Notify(asked, stateSignals...)
	}
	var running sync.WaitGroup
	running.Go(func() {
		defer t.close()
		showing(ctx, every, show, asked, t.line)
	})
	return func() {
		cancel()
		running.Wait()
		signal.Stop(asked)
	}
}

// showing shows the state each time that every has gone by, unless it is 0, and
// in a line whenever it is asked for.
func showing(ctx context.Context, every time.Duration, show func(context.Context), asked <-chan os.Signal, line func(context.Context)) {
	var next <-chan time.Time
	if every > 0 {
		next = time.After(max(showAfter, every))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			line(ctx)
		case <-next:
			next = time.After(every)
			show(ctx)
		}
	}
}

// A follower shows how one transfer goes on.
type follower struct {
	ops  api.Operations
	id   string
	out  io.Writer
	bars *bars // nil until there is something to show
}

// state returns the present state, if there is one.
func (f *follower) state(ctx context.Context) (node.Transfer, bool) {
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	list, err := f.ops.Transfers(ctx, f.id)
	if err != nil || len(list.Transfers) == 0 {
		return node.Transfer{}, false // it has not begun, or has ended
	}
	return list.Transfers[0], true
}

// line writes one line, above the bars if there are any.
func (f *follower) line(ctx context.Context) {
	t, ok := f.state(ctx)
	if !ok {
		return
	}
	text := fmt.Sprintf("get: %s received", part(t.Received, t.Size))
	switch t.Kind {
	case node.ScrubTransfer:
		text = fmt.Sprintf("scrub: %s read", part(t.Received, t.Size))
	case node.RepairTransfer:
		text = fmt.Sprintf("repair: %s restored", size(t.Received))
	case node.PutTransfer:
		text = fmt.Sprintf("put: %s sealed, %s sent, %s confirmed", part(t.Sealed, t.Size), part(t.Sent, t.Total), part(t.Confirmed, t.Total))
	}
	out := f.out
	if f.bars != nil {
		out = f.bars
	}
	fmt.Fprintf(out, "%s after %s\n", text, time.Since(t.Began).Round(time.Second))
}

// part says how much of what is done.
func part(n, of int64) string {
	if of <= 0 {
		return size(n)
	}
	n = min(n, of)
	return fmt.Sprintf("%s of %s (%d %%)", size(n), size(of), n*100/of)
}

func (f *follower) draw(ctx context.Context) {
	t, ok := f.state(ctx)
	if !ok {
		return
	}
	if f.bars == nil {
		f.bars = newBars(f.out, t.Kind)
	}
	f.bars.set(t)
}

func (f *follower) close() {
	if f.bars != nil {
		f.bars.close()
	}
}
