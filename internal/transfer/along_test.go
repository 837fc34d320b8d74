package transfer

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/mesh"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

func TestSmallShardComesAlong(t *testing.T) {
	p := newPair(t)
	registry, shards := newRegistry(), store.NewMemory(64<<20)
	c := p.dialServer(t, shards, registry)
	for name, tt := range map[string]struct {
		shardLen int
		held     []int
		want     int // -1: none
	}{
		"a small one":            {1000, []int{1}, 1},
		"the first of two":       {1000, []int{2, 1}, 1},
		"one of 64 KiB":          {64 << 10, []int{0}, 0},
		"one of more":            {64<<10 + 1, []int{0}, -1},
		"none that is here":      {1000, nil, -1},
		"none, since it is gone": {1001, nil, -1},
	} {
		t.Run(name, func(t *testing.T) {
			s := storetest.Segment(t, uint64(len(name)), 2, 1, 2*tt.shardLen)
			after := storetest.Segment(t, uint64(len(name))+100, 2, 1, 2*tt.shardLen) // so that another segment's may be the next
			after.Put(t, shards, 0)
			holdings := []store.Holding{{Index: 1, Peer: anybody}}
			if err := registry.Report(t.Context(), anybody, []store.Report{{Descriptor: s.Descriptor, Holdings: holdings}}); err != nil {
				t.Fatal(err)
			}
			for _, i := range tt.held {
				s.Put(t, shards, i)
			}
			found, err := c.Find(t.Context(), p.member.ID(), s.Segment)
			if err != nil || found.Descriptor.Segment != s.Segment || !slices.Equal(found.Holdings, holdings) || found.Wrong != nil {
				t.Fatalf("got %+v, %v", found, err)
			}
			switch {
			case tt.want < 0 && found.Shard != nil:
				t.Errorf("%d bytes of shard %d came along", len(found.Shard), found.Index)
			case tt.want >= 0 && (found.Index != tt.want || !bytes.Equal(found.Shard, s.Bytes[tt.want])):
				t.Errorf("%d bytes of shard %d came along, want shard %d", len(found.Shard), found.Index, tt.want)
			}
			if d, got, err := c.Locate(t.Context(), p.member.ID(), s.Segment); err != nil || d.Segment != s.Segment || !slices.Equal(got, holdings) {
				t.Errorf("locate: got %v, %v, %v", d, got, err)
			}
		})
	}
	if _, err := c.Find(t.Context(), p.member.ID(), storetest.Segment(t, 99, 2, 1, 10).Segment); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("what nobody knows: got %v, want kind FileNotFound", err)
	}
}

// A server that knows by the reports which shard is its own looks for another only if it
// has lost that.
func TestReportedShardComesAlong(t *testing.T) {
	p := newPair(t)
	registry, shards := newRegistry(), store.NewMemory(1<<20)
	c := p.dialServer(t, shards, registry)
	s := storetest.Segment(t, 1, 2, 2, 1000)
	self := p.member.ID()
	if err := registry.Report(t.Context(), anybody, []store.Report{{Descriptor: s.Descriptor,
		Holdings: []store.Holding{{Index: 0, Peer: anybody}, {Index: 3, Peer: self}, {Index: 2, Peer: self}}}}); err != nil {
		t.Fatal(err)
	}
	s.Put(t, shards, 0)
	if found, err := c.Find(t.Context(), self, s.Segment); err != nil || found.Index != 0 || !bytes.Equal(found.Shard, s.Bytes[0]) {
		t.Errorf("what was reported is gone: %d bytes of shard %d came along, %v, want shard 0", len(found.Shard), found.Index, err)
	}
	s.Put(t, shards, 2)
	if found, err := c.Find(t.Context(), self, s.Segment); err != nil || found.Index != 2 || !bytes.Equal(found.Shard, s.Bytes[2]) {
		t.Errorf("%d bytes of shard %d came along, %v, want shard 2", len(found.Shard), found.Index, err)
	}
}

// Who reads a segment that he knows need not know that its owner wants it kept.
func TestWhoFindsDoesNotLookAtTheSignature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storetest.Segment(t, 1, 2, 1, 1000)
		d := *s.Descriptor
		d.Signature[0] ^= 1
		resp := response{Descriptor: format.EncodeDescriptor(&d), Keys: wireKeys(s.Keys()[1:2]), Length: s.ShardLen()}
		if found, err := lie(t, say(resp, s.Bytes[1])).Find(t.Context(), anybody, s.Segment); err != nil || !bytes.Equal(found.Shard, s.Bytes[1]) {
			t.Errorf("find: %d bytes came along, %v", len(found.Shard), err)
		}
		_, _, err := lie(t, say(response{Descriptor: resp.Descriptor}, nil)).Locate(t.Context(), anybody, s.Segment)
		wantKind(t, "locate", err, errs.Authentication)
	})
}

// A client that asks for no shard, as earlier versions do, gets none.
func TestNoShardComesAlongUnasked(t *testing.T) {
	s, shards := storetest.Segment(t, 1, 2, 1, 1000), store.NewMemory(1<<20)
	s.Put(t, shards, 0)
	registry := newRegistry()
	if err := registry.Report(t.Context(), anybody, []store.Report{{Descriptor: s.Descriptor}}); err != nil {
		t.Fatal(err)
	}
	server := NewServer(datamesh.PeerID{}, shards, nil, registry)
	raw := dial(t, func(from datamesh.PeerID, s mesh.Stream) { server.Handle(t.Context(), from, s) }).openRaw(t, anybody)
	for _, count := range []int{-1, 0, s.ShardLen() - 1} {
		req := request{Op: opLocate, Keys: []key{{Segment: s.Segment}}, Count: count}
		if got := exchangeRaw(t, raw, req, nil); got.Length != 0 || got.Keys != nil || got.Text != "" {
			t.Errorf("%d bytes taken: got %d, %v, %s", count, got.Length, got.Keys, got.Text)
		}
	}
}

func TestWhatComesAlongIsNotBelieved(t *testing.T) {
	sample, other := storetest.Segment(t, 1, 2, 1, 1000), storetest.Segment(t, 2, 2, 1, 1000)
	large := storetest.Segment(t, 3, 2, 1, 200_000)
	d, shard, one := format.EncodeDescriptor(sample.Descriptor), sample.Bytes[1], wireKeys(sample.Keys()[1:2])
	for name, tt := range map[string]struct {
		answer answer
		want   errs.Kind // 0: the answer holds, but for the shard
	}{
		"another shard":       {say(response{Descriptor: d, Keys: one, Length: len(shard)}, sample.Bytes[0]), 0},
		"a byte too few":      {say(response{Descriptor: d, Keys: one, Length: len(shard) - 1}, shard[1:]), errs.Integrity},
		"a byte too many":     {say(response{Descriptor: d, Keys: one, Length: len(shard) + 1}, append(bytes.Clone(shard), 0)), errs.Integrity},
		"far too many":        {say(response{Descriptor: d, Keys: one, Length: 1 << 40}, shard), errs.Serialization},
		"less than nothing":   {say(response{Descriptor: d, Keys: one, Length: -1}, shard), errs.Serialization},
		"no index":            {say(response{Descriptor: d, Length: len(shard)}, shard), errs.Integrity},
		"two indices":         {say(response{Descriptor: d, Keys: wireKeys(sample.Keys()[:2]), Length: len(shard)}, shard), errs.Integrity},
		"an index too great":  {say(response{Descriptor: d, Keys: []key{{Segment: sample.Segment, Index: 3}}, Length: len(shard)}, shard), errs.Integrity},
		"an index below 0":    {say(response{Descriptor: d, Keys: []key{{Segment: sample.Segment, Index: -1}}, Length: len(shard)}, shard), errs.Integrity},
		"of another segment":  {say(response{Descriptor: d, Keys: wireKeys(other.Keys()[1:2]), Length: len(shard)}, shard), errs.Integrity},
		"one that is large":   {say(response{Descriptor: format.EncodeDescriptor(large.Descriptor), Keys: wireKeys(large.Keys()[1:2]), Length: large.ShardLen()}, large.Bytes[1]), errs.Integrity},
		"another descriptor":  {say(response{Descriptor: format.EncodeDescriptor(other.Descriptor), Keys: one, Length: len(shard)}, shard), errs.Integrity},
		"no descriptor":       {say(response{Keys: one, Length: len(shard)}, shard), errs.Serialization},
		"half of it, silence": {say(response{Descriptor: d, Keys: one, Length: len(shard)}, shard[:10]), errs.Unavailable},
		"half of it, the end": {func(s mesh.Stream, _ request) {
			tell(s, response{Descriptor: d, Keys: one, Length: len(shard)}, shard[:10])
			s.Close()
		}, errs.Network},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				segment := sample.Segment
				if name == "one that is large" {
					segment = large.Segment
				}
				found, err := lie(t, tt.answer).Find(t.Context(), anybody, segment)
				switch {
				case found.Shard != nil:
					t.Errorf("%d bytes were taken", len(found.Shard))
				case tt.want == 0 && (err != nil || found.Index != 1 || !errors.Is(found.Wrong, errs.Integrity)):
					t.Errorf("got %+v, %v, want the holders, and that the shard is wrong", found, err)
				case tt.want != 0:
					wantKind(t, "find", err, tt.want)
				}
			})
		})
	}
}

// Of copies, which several servers are asked for at once, the first comes along.
func TestOneCopyComesAlong(t *testing.T) {
	p := newPair(t)
	registry, shards := newRegistry(), store.NewMemory(1<<20)
	c := p.dialServer(t, shards, registry)
	s := storetest.Segment(t, 1, 1, 2, 1000)
	for i := 2; i >= 0; i-- {
		s.Put(t, shards, i)
		for _, reported := range [][]store.Holding{nil, {{Index: i, Peer: p.member.ID()}}} {
			if err := registry.Report(t.Context(), anybody, []store.Report{{Descriptor: s.Descriptor, Holdings: reported}}); err != nil {
				t.Fatal(err)
			}
			if found, err := c.Find(t.Context(), p.member.ID(), s.Segment); err != nil || (found.Shard != nil) != (i == 0) {
				t.Errorf("copy %d is here: %d bytes came along, %v", i, len(found.Shard), err)
			}
		}
	}
}
