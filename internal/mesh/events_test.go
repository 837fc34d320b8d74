package mesh

import (
	"testing"
	"time"

	"datamesh/internal/ring"
)

func TestEventsTellOfRingMessages(t *testing.T) {
	t.Parallel()
	type message struct {
		out, in int
		err     error
	}
	called, served := make(chan message, 1000), make(chan message, 1000)
	tell := func(to chan message, m message) {
		select {
		case to <- m:
		default: // enough have been seen
		}
	}
	cfg := first(t)
	cfg.Events = Events{
		RingCalled: func(out, in int, err error) { tell(called, message{out, in, err}) },
		RingServed: func(in, out int) { tell(served, message{out, in, nil}) },
	}
	a := start(t, cfg)
	b := start(t, through(t, a))
	a.waitFor(t, "the other", func(v *ring.View) bool { return stateOf(v, b.ID()) == ring.Alive })
	guard := time.After(hang)
	await := func(what string, from chan message, is func(message) bool) {
		t.Helper()
		for {
			select {
			case m := <-from:
				if is(m) {
					return
				}
			case <-guard:
				t.Fatalf("waited in vain for %s", what)
			}
		}
	}
	whole := func(m message) bool { return m.out > 0 && m.in > 0 && m.err == nil }
	await("a question of the other that was answered", served, whole)
	await("an answer of the other", called, whole)
	stop(t, b)
	await("a question without an answer", called, func(m message) bool { return m.in == 0 && m.err != nil })
}
