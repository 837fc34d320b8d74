package ring

import (
	"bytes"
	"errors"
	"testing"

	"datamesh"
	"datamesh/internal/errs"

	"github.com/google/go-cmp/cmp"
)

// messages has one message of each kind with all that it can have.
func messages(t testing.TB) []*Message {
	id := datamesh.PeerID{1, 2, 3}
	last := datamesh.PeerID{0xff}
	facts := []Fact{{Claim: alive, Record: fullRecord(t).Encode()}, {Claim: dead, Age: 60, Peer: &id, Seq: 7}}
	return []*Message{
		{Kind: KindPing, Facts: facts},
		{Kind: KindPong},
		{Kind: KindAsk, Target: &id},
		{Kind: KindTold, Alive: true},
		{Kind: KindDigest, Sums: make([]byte, 16)},
		{Kind: KindDiffer, Buckets: []byte{0, 1}},
		{Kind: KindPull, Facts: facts[1:], From: &id, To: &last},
		{Kind: KindPage, Facts: facts[:1], Want: []datamesh.PeerID{id}, Next: &last},
	}
}

func TestMessagesKeepTheirBytes(t *testing.T) {
	for _, m := range messages(t) {
		m.Version = Version
		golden(t, m.Kind.String()+".v1", m.Encode())
		got, err := DecodeMessage(m.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, got); d != "" {
			t.Error(d)
		}
	}
}

func TestMessagesThatAreNoneAreRefused(t *testing.T) {
	id, zero := datamesh.PeerID{1}, datamesh.PeerID{}
	for what, m := range map[string]Message{
		"version":         {Version: 2, Kind: KindPing},
		"kind":            {Version: 1, Kind: KindPage + 1},
		"no kind":         {Version: 1},
		"another field":   {Version: 1, Kind: KindPing, Target: &id},
		"no target":       {Version: 1, Kind: KindAsk},
		"no sums":         {Version: 1, Kind: KindDigest},
		"three sums":      {Version: 1, Kind: KindDigest, Sums: make([]byte, 24)},
		"half a sum":      {Version: 1, Kind: KindDigest, Sums: make([]byte, 12)},
		"too many sums":   {Version: 1, Kind: KindDigest, Sums: make([]byte, 8*512)},
		"no range":        {Version: 1, Kind: KindPull, From: &id},
		"range backwards": {Version: 1, Kind: KindPull, From: &id, To: &zero},
		"facts":           {Version: 1, Kind: KindPing, Facts: make([]Fact, maxFacts+1)},
		"empty fact":      {Version: 1, Kind: KindPing, Facts: make([]Fact, 1)},
		"both":            {Version: 1, Kind: KindPing, Facts: []Fact{{Peer: &id, Seq: 1, Record: []byte{1}}}},
		"claim":           {Version: 1, Kind: KindPing, Facts: []Fact{{Peer: &id, Seq: 1, Claim: dead + 1}}},
		"too long":        {Version: 1, Kind: KindPing, Facts: []Fact{{Record: make([]byte, MaxMessage)}}},
	} {
		if _, err := DecodeMessage(m.Encode()); !errors.Is(err, errs.Serialization) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzStep feeds any message to a machine, which must answer it with a
// message that can be read.
func FuzzStep(f *testing.F) {
	for _, m := range messages(f) {
		m.Version = Version
		f.Add(m.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, err := DecodeMessage(b)
		if err != nil {
			return
		}
		if !bytes.Equal(msg.Encode(), b) {
			t.Fatalf("%x encodes as %x", b, msg.Encode())
		}
		w := newWorld(t, 1)
		for range 2 {
			w.add(false)
		}
		n := w.nodes[0]
		n.meet(w.nodes[1])
		for _, ev := range []Event{Request{w.nodes[1].id, msg, 1}, Request{datamesh.PeerID{9}, msg, 2}, Response{1, msg, 0}, Tick{}} {
			for _, e := range n.m.Step(w.now, ev) {
				if r, ok := e.(Reply); ok && r.Message != nil {
					w.wire(n, r.Message)
				}
			}
		}
		n.m.View()
	})
}
