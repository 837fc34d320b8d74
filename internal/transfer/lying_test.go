package transfer

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/mesh"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// An answer is how a server that is up to no good serves a stream. The
// request has been read.
type answer func(s mesh.Stream, req request)

// lie returns a client of a server that answers so.
func lie(t *testing.T, a answer) *Client {
	return dial(t, func(_ datamesh.PeerID, s mesh.Stream) {
		for {
			req, _, ok := asked(t, s)
			if !ok {
				return
			}
			a(s, req)
		}
	})
}

// say answers with one response and the bytes behind it.
func say(resp response, body []byte) answer {
	return func(s mesh.Stream, _ request) { tell(s, resp, body) }
}

func TestGetBelievesNothing(t *testing.T) {
	sample, other := storetest.Segment(t, 1, 2, 1, 2_000_000), storetest.Segment(t, 2, 2, 1, 2_000_000)
	d, shard := format.EncodeDescriptor(sample.Descriptor), sample.Bytes[1]
	forged := *sample.Descriptor
	forged.Shards = other.Shards
	for _, tt := range []struct {
		name   string
		answer answer
		want   errs.Kind
	}{
		{"nothing", say(response{}, nil), errs.Serialization},
		{"no bytes", say(response{Descriptor: d}, nil), errs.Integrity},
		{"a byte too few", say(response{Descriptor: d, Length: len(shard) - 1}, shard[1:]), errs.Integrity},
		{"a byte too many", say(response{Descriptor: d, Length: len(shard) + 1}, append(bytes.Clone(shard), 0)), errs.Integrity},
		{"far too many", say(response{Descriptor: d, Length: 1 << 40}, shard), errs.Serialization},
		{"less than nothing", say(response{Descriptor: d, Length: -1}, shard), errs.Serialization},
		{"another shard", say(response{Descriptor: d, Length: len(shard)}, sample.Bytes[0]), errs.Integrity},
		{"another segment", say(response{Descriptor: format.EncodeDescriptor(other.Descriptor), Length: len(shard)}, other.Bytes[1]), errs.Integrity},
		{"a forged descriptor", say(response{Descriptor: format.EncodeDescriptor(&forged), Length: len(shard)}, other.Bytes[1]), errs.Authentication},
		{"no descriptor", say(response{Length: len(shard)}, shard), errs.Serialization},
		{"progress", say(response{More: true, Received: 1 << 20}, nil), errs.Serialization},
		{"wait, for ever", func(s mesh.Stream, _ request) {
			for tell(s, response{More: true}, nil) == nil {
				pass(getSilence / 2)
			}
		}, errs.Unavailable},
		{"another version", say(response{Version: 2, Descriptor: d, Length: len(shard)}, shard), errs.Serialization},
		{"a header too long", func(s mesh.Stream, _ request) { s.Write([]byte{0, 4, 0, 1}) }, errs.Serialization},
		{"no CBOR", func(s mesh.Stream, _ request) { s.Write([]byte{0, 0, 0, 2, 0xff, 0xff}) }, errs.Serialization},
		{"half a shard", func(s mesh.Stream, _ request) {
			tell(s, response{Descriptor: d, Length: len(shard)}, shard[:len(shard)/2])
			s.Close()
		}, errs.Network},
		{"half a header", func(s mesh.Stream, _ request) {
			s.Write([]byte{0, 0, 0, 9, 1})
			s.Close()
		}, errs.Network},
		{"silence", func(mesh.Stream, request) {}, errs.Unavailable},
		{"silence in the middle", func(s mesh.Stream, _ request) {
			tell(s, response{Descriptor: d, Length: len(shard)}, shard[:len(shard)/2])
		}, errs.Unavailable},
		{"a trickle", func(s mesh.Stream, _ request) {
			tell(s, response{Descriptor: d, Length: len(shard)}, nil)
			for i := range shard {
				pass(getSilence / 2)
				if _, err := s.Write(shard[i : i+1]); err != nil {
					return
				}
			}
		}, errs.Unavailable},
		{"an error", say(response{Kind: uint8(errs.FileNotFound), Text: "not here"}, nil), errs.FileNotFound},
		{"an error of a newer version", say(response{Kind: 200, Text: "odd"}, nil), errs.Other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shards := lie(t, tt.answer).Shards(anybody)
				_, _, err := shards.Get(t.Context(), sample.Key(1), nil)
				if err == nil {
					t.Fatal("no error")
				}
				wantKind(t, "get", err, tt.want)
			})
		})
	}
}

// Of a shard whose bytes were wrong no more comes: what is sent in their stead
// is no progress of whoever waits for it.
func TestSecondAnswerIsNoProgress(t *testing.T) {
	sample := storetest.Segment(t, 1, 2, 1, 2_000_000)
	d := format.EncodeDescriptor(sample.Descriptor)
	synctest.Test(t, func(t *testing.T) {
		received := 0
		ctx := datamesh.WithReceived(t.Context(), func(n int) { received += n })
		wrong := say(response{Descriptor: d, Length: len(sample.Bytes[1])}, sample.Bytes[0])
		_, _, err := lie(t, wrong).Shards(anybody).Get(ctx, sample.Key(1), nil)
		wantKind(t, "get", err, errs.Integrity)
		if received != len(sample.Bytes[1]) {
			t.Errorf("%d bytes of a shard of %d have come", received, len(sample.Bytes[1]))
		}
	})
}

// What a descriptor says is the word of whoever made it, and not of those who
// expect a short shard.
func TestShardLongerThanTheBufferIsRefused(t *testing.T) {
	sample := storetest.Segment(t, 1, 1, 0, 16<<20)
	d := format.EncodeDescriptor(sample.Descriptor)
	synctest.Test(t, func(t *testing.T) {
		shards := lie(t, say(response{Descriptor: d, Length: 16 << 20}, nil)).Shards(anybody)
		got, _, err := shards.Get(t.Context(), sample.Key(0), make([]byte, 1000))
		wantKind(t, "get", err, errs.Integrity) // and not silence: nothing was read
		if got == nil || got.Segment != sample.Descriptor.Segment {
			t.Errorf("descriptor: got %v, want that of the segment", got)
		}
	})
}

// A peer that always says to wait is given up in time, however seldom it says so.
func TestBusyPeerIsNotWaitedForForEver(t *testing.T) {
	sample := storetest.Segment(t, 1, 1, 0, 500_000)
	for name, step := range map[string]time.Duration{"often": waitStep / 10, "seldom": getSilence - time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shards := dial(t, func(_ datamesh.PeerID, s mesh.Stream) {
					if readMessage(s, "request", new(request)) != nil {
						return
					}
					for tell(s, response{More: true}, nil) == nil {
						pass(step)
					}
				}).Shards(anybody)
				getting, cancel := context.WithTimeout(t.Context(), maxWait+getSilence)
				defer cancel()
				_, _, err := shards.Get(getting, sample.Key(0), nil)
				wantKind(t, "get", err, errs.Unavailable)
				putting, cancel := context.WithTimeout(t.Context(), maxWait+putSilence)
				defer cancel()
				wantKind(t, "put", shards.Put(putting, sample.Descriptor, 0, sample.Bytes[0]), errs.Unavailable)
			})
		})
	}
}

// Only shards need memory that a server may lack.
func TestSmallRequestsAreNotToldToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := lie(t, func(s mesh.Stream, _ request) {
			tell(s, response{More: true}, nil)
			tell(s, response{Has: []bool{true}}, nil)
		})
		_, err := c.Shards(anybody).Has(t.Context(), oneKey)
		wantKind(t, "has", err, errs.Serialization)
	})
}

func TestSlowButSteadyPeerIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sample := storetest.Segment(t, 1, 1, 0, 500_000)
		shards := lie(t, func(s mesh.Stream, _ request) {
			tell(s, response{Descriptor: format.EncodeDescriptor(sample.Descriptor), Length: 500_000}, nil)
			for piece := range slices.Chunk(sample.Bytes[0], leastStep) {
				pass(getSilence - time.Millisecond)
				s.Write(piece)
			}
		}).Shards(anybody)
		sample.Check(t, shards, 0)
	})
}

func TestRangeBelievesNothing(t *testing.T) {
	sample := storetest.Segment(t, 1, 2, 1, 2_000_000)
	d := format.EncodeDescriptor(sample.Descriptor)
	memory := store.NewMemory(8 << 20)
	sample.Put(t, memory, 1)
	_, slice, err := memory.GetRange(t.Context(), sample.Key(1), 100, 1000)
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(slice)
	wrong[len(wrong)-1] ^= 1
	for _, tt := range []struct {
		name   string
		off, n int
		answer answer
		want   errs.Kind
	}{
		{"the truth", 100, 1000, say(response{Descriptor: d, Length: len(slice)}, slice), errs.Other},
		{"a flipped bit", 100, 1000, say(response{Descriptor: d, Length: len(slice)}, wrong), errs.Integrity},
		{"a shorter slice", 100, 1000, say(response{Descriptor: d, Length: len(slice) - 1}, slice[1:]), errs.Integrity},
		{"another range", 20_000, 1000, say(response{Descriptor: d, Length: len(slice)}, slice), errs.Integrity},
		{"no bytes", 100, 1000, say(response{Descriptor: d}, nil), errs.Integrity},
		{"far too many", 100, 1000, say(response{Descriptor: d, Length: 1 << 20}, make([]byte, 1<<20)), errs.Integrity},
		{"an answer to what makes no sense", -5, 1 << 62, say(response{Descriptor: d, Length: len(slice)}, slice), errs.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := lie(t, tt.answer).Shards(anybody).GetRange(t.Context(), sample.Key(1), tt.off, tt.n)
			wantKind(t, "range", err, tt.want)
			if tt.want == errs.Other && err != nil {
				t.Errorf("range: %v", err)
			}
		})
	}
}

func TestPutBelievesNothing(t *testing.T) {
	sample := storetest.Segment(t, 1, 2, 1, 2_000_000)
	size := len(sample.Bytes[0])
	for _, tt := range []struct {
		name  string
		serve func(s mesh.Stream) // after the header of the request was read
		want  errs.Kind
	}{
		{"success before all was sent", func(s mesh.Stream) { tell(s, response{}, nil) }, errs.Unavailable},
		{"a refusal before all was sent", func(s mesh.Stream) { tell(s, failure(errs.New(errs.Full, "no room")), nil) }, errs.Full},
		{"silence before all was sent", func(mesh.Stream) {}, errs.Unavailable},
		{"silence after all was sent", func(s mesh.Stream) { readShard(discard{s}, make([]byte, size)) }, errs.Unavailable},
		{"progress for ever", func(s mesh.Stream) {
			go readShard(discard{s}, make([]byte, size))
			for n := 1; tell(s, response{More: true, Received: n}, nil) == nil; n++ {
				pass(putSilence / 2)
			}
		}, errs.Serialization},
		{"the same progress for ever", func(s mesh.Stream) {
			go readShard(discard{s}, make([]byte, size))
			for tell(s, response{More: true, Received: size}, nil) == nil {
				pass(putSilence / 2)
			}
		}, errs.Serialization},
		{"progress that begins anew", func(s mesh.Stream) {
			go readShard(discard{s}, make([]byte, size))
			for tell(s, response{More: true, Received: leastStep}, nil) == nil && tell(s, response{More: true}, nil) == nil {
				pass(putSilence / 2)
			}
		}, errs.Serialization},
		{"progress beyond the end", func(s mesh.Stream) { tell(s, response{More: true, Received: size + leastStep}, nil) }, errs.Serialization},
		{"progress below nothing", func(s mesh.Stream) { tell(s, response{More: true, Received: -size}, nil) }, errs.Serialization},
		{"a shard", func(s mesh.Stream) {
			readShard(discard{s}, make([]byte, size))
			tell(s, response{Length: 5}, make([]byte, 5))
		}, errs.Serialization},
		{"the end", func(s mesh.Stream) { s.Close() }, errs.Network},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := dial(t, func(_ datamesh.PeerID, s mesh.Stream) {
					if readMessage(s, "request", new(request)) == nil {
						tt.serve(s)
					}
				})
				err := c.Shards(anybody).Put(t.Context(), sample.Descriptor, 0, sample.Bytes[0])
				if err == nil {
					t.Fatal("no error")
				}
				wantKind(t, "put", err, tt.want)
			})
		})
	}
}

// discard is a stream whose reader does not say how far it is.
type discard struct{ mesh.Stream }

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func TestPutOverASlowLineIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sample := storetest.Segment(t, 1, 1, 0, 1_000_000)
		c := dial(t, func(_ datamesh.PeerID, s mesh.Stream) {
			if readMessage(s, "request", new(request)) != nil {
				return
			}
			buf := make([]byte, maxPiece)
			for left := 1_000_000; left > 0; { // and no word of progress
				pass(putSilence - time.Millisecond)
				n, err := s.Read(buf)
				if err != nil {
					return
				}
				left -= n
			}
			tell(s, response{}, nil)
		})
		if err := c.Shards(anybody).Put(t.Context(), sample.Descriptor, 0, sample.Bytes[0]); err != nil {
			t.Errorf("put: %v", err)
		}
	})
}

func TestSmallRequestsBelieveNothing(t *testing.T) {
	sample := storetest.Segment(t, 1, 2, 1, 1000)
	d := format.EncodeDescriptor(sample.Descriptor)
	wire := wireKeys(sample.Keys())
	has := func(c *Client) error {
		_, err := c.Shards(anybody).Has(t.Context(), sample.Keys())
		return err
	}
	list := func(c *Client) error {
		_, err := c.Shards(anybody).List(t.Context(), sample.Key(0), 2)
		return err
	}
	locate := func(c *Client) error {
		_, _, err := c.Locate(t.Context(), anybody, sample.Segment)
		return err
	}
	for _, tt := range []struct {
		name string
		ask  func(*Client) error
		resp response
		want errs.Kind
	}{
		{"has with too few answers", has, response{Has: []bool{true, true}}, errs.Serialization},
		{"has with too many answers", has, response{Has: make([]bool, 4)}, errs.Serialization},
		{"list out of order", list, response{Keys: []key{wire[2], wire[1]}}, errs.Serialization},
		{"list from before", list, response{Keys: wire[:1]}, errs.Serialization},
		{"list of too many", list, response{Keys: append(wire[1:], key{Segment: datamesh.SegmentID{0xff, 0xff}})}, errs.Serialization},
		{"locate without a descriptor", locate, response{Holders: []holding{{Peer: anybody}}}, errs.Serialization},
		{"locate of another segment", locate, response{Descriptor: format.EncodeDescriptor(storetest.Segment(t, 2, 2, 1, 1000).Descriptor)}, errs.Integrity},
		{"locate of a shard that there is not", locate, response{Descriptor: d, Holders: []holding{{Index: 3, Peer: anybody}}}, errs.Serialization},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.ask(lie(t, say(tt.resp, nil)))
			if err == nil {
				t.Fatal("no error")
			}
			wantKind(t, "", err, tt.want)
		})
	}
}

func TestTextOfAPeerIsShortAndHarmless(t *testing.T) {
	long := strings.Repeat("ü\x1b[31m", 1000)
	_, _, err := lie(t, say(response{Kind: uint8(errs.Full), Text: long}, nil)).Shards(anybody).Get(t.Context(), datamesh.ShardKey{}, nil)
	if text := err.Error(); len(text) > 500 || strings.ContainsRune(text, '\x1b') || !strings.HasPrefix(text, "ü[31mü") {
		t.Errorf("got %d bytes: %q", len(text), text)
	}
}

func TestFailureIsNeverTakenForSuccess(t *testing.T) {
	for _, err := range []error{errors.New(""), errors.New("\x00\x1b"), errs.New(errs.Full, "")} {
		r := failure(err)
		if got := r.err(); got == nil || errs.KindOf(got) != errs.KindOf(err) {
			t.Errorf("%q arrives as %v", err, got)
		}
	}
	cut := failure(errors.New(strings.Repeat("x", 499) + "ü"))
	if err := format.Unmarshal("response", format.Marshal(response{Version: version, Kind: cut.Kind, Text: cut.Text}), maxHeader, new(response)); err != nil {
		t.Errorf("a text that is cut within a letter: %v", err)
	}
}
