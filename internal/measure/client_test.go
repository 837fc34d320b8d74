package measure

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"datamesh/internal/errs"
	"datamesh/internal/mesh"
)

// lie returns a stream to a server that answers the first request so.
func lie(t *testing.T, answer func(s mesh.Stream)) mesh.Stream {
	client, server := pipe(t)
	go func() {
		if _, err := readRequest(server); err != nil {
			t.Error(err)
		}
		answer(server)
	}()
	return client
}

// say answers with responses, and takes what comes between them.
func say(all ...response) func(mesh.Stream) {
	return func(s mesh.Stream) {
		for i, r := range all {
			if i > 0 {
				s.Read(make([]byte, 1000))
			}
			respond(s, r)
		}
	}
}

func raw(b ...byte) func(mesh.Stream) { return func(s mesh.Stream) { s.Write(b) } }

// calls has each thing that a client asks for.
var calls = map[string]func(context.Context, mesh.Stream) error{
	"clock":     func(ctx context.Context, s mesh.Stream) error { _, err := Clock(ctx, s); return err },
	"send":      func(ctx context.Context, s mesh.Stream) error { _, err := Send(ctx, s, 1000); return err },
	"receive":   func(ctx context.Context, s mesh.Stream) error { _, err := Receive(ctx, s, 1000); return err },
	"dial back": func(ctx context.Context, s mesh.Stream) error { _, _, err := DialBack(ctx, s); return err },
}

func TestLiesAreNotBelieved(t *testing.T) {
	type row struct {
		call, lie string
		answer    func(mesh.Stream)
		want      errs.Kind
	}
	rows := []row{
		{"send", "fewer came", say(response{}, response{Bytes: 999}), errs.Serialization},
		{"send", "more came", say(response{}, response{Bytes: 1001}), errs.Serialization},
		{"send", "it is full", say(response{Kind: uint8(errs.Full), Text: "no"}), errs.Full},
		{"receive", "fewer will come", say(response{Bytes: 999}), errs.Serialization},
		{"receive", "far more will come", say(response{Bytes: math.MaxInt64}), errs.Serialization},
		{"receive", "less than nothing will come", say(response{Bytes: -1000}), errs.Serialization},
		{"receive", "they end early", func(s mesh.Stream) {
			respond(s, response{Bytes: 1000})
			s.Write(make([]byte, 999))
			s.Close()
		}, errs.Network},
		{"dial back", "from nowhere", say(response{}), errs.Serialization},
		{"dial back", "from a name", say(response{Seen: "localhost"}), errs.Serialization},
	}
	for call := range calls {
		rows = append(rows,
			row{call, "another version", func(s mesh.Stream) { write(s, response{Version: 2}) }, errs.Serialization},
			row{call, "beyond the limit", raw(0, 0, 0x20, 1), errs.Serialization},
			row{call, "no CBOR", raw(0, 0, 0, 1, 0xff), errs.Serialization},
			row{call, "half an answer", func(s mesh.Stream) { s.Write([]byte{0, 0, 0, 9, 1}); s.Close() }, errs.Network},
			row{call, "a kind that is not known", say(response{Kind: 250, Text: "x"}), errs.Other})
	}
	for _, r := range rows {
		t.Run(r.call+"/"+r.lie, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := calls[r.call](t.Context(), lie(t, r.answer)); err == nil || errs.KindOf(err) != r.want {
					t.Errorf("got %v, want %s", err, r.want.Name())
				}
			})
		})
	}
}

func TestWhatAStrangerTellsIsHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, clock := range []int64{math.MaxInt64, math.MinInt64} {
			r, err := Clock(t.Context(), lie(t, say(response{Clock: clock})))
			if err != nil || r.Offset.Abs() < 100*365*24*time.Hour {
				t.Errorf("a clock at %d ms is %v away, %v", clock, r.Offset, err)
			}
		}
		ip, _, err := DialBack(t.Context(), lie(t, say(response{Seen: "fe80::1%\x1b[31m"})))
		if err != nil || ip.String() != "fe80::1" {
			t.Errorf("got %q, %v", ip, err)
		}
		_, err = Clock(t.Context(), lie(t, say(response{Kind: uint8(errs.IO), Text: strings.Repeat("\x1b[31m", 1000)})))
		if errs.KindOf(err) != errs.IO || strings.ContainsRune(err.Error(), '\x1b') {
			t.Errorf("got %q", err)
		}
	})
}

func TestNobodyWaitsForASilentServer(t *testing.T) {
	for call, f := range calls {
		for silence, answer := range map[string]func(mesh.Stream){
			"at all":         func(mesh.Stream) {},
			"in an answer":   raw(0, 0),
			"after a begin":  say(response{}),
			"after an offer": say(response{Bytes: 1000}),
		} {
			if silence[:2] == "af" && (call == "clock" || call == "dial back") {
				continue // that is an answer
			}
			t.Run(call+"/"+silence, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					err := f(t.Context(), lie(t, answer))
					if kind := errs.KindOf(err); kind != errs.Unavailable && !(call == "receive" && silence == "after a begin" && kind == errs.Serialization) {
						t.Errorf("got %v, want Unavailable", err)
					}
				})
			})
		}
		t.Run(call+"/until it is called off", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- f(ctx, lie(t, func(mesh.Stream) {})) }()
				synctest.Wait()
				cancel()
				synctest.Wait() // without a step of the clock
				select {
				case err := <-done:
					if !errors.Is(err, context.Canceled) {
						t.Errorf("got %v, want that it was called off", err)
					}
				default:
					t.Error("it goes on")
					<-done
				}
			})
		})
	}
}
