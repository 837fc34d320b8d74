package transfer

import (
	"testing"

	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// The shards of a full segment, one after the other, to and from the memory
// of a peer over loopback. Both ends are in this process.
const benchSize = 4 << 20

func BenchmarkPut(b *testing.B) {
	p := newPair(b)
	memory := store.NewMemory(1 << 40)
	shards := p.dialServer(b, memory, newRegistry()).Shards(p.member.ID())
	s := storetest.Segment(b, 1, 1, 0, benchSize)
	b.SetBytes(benchSize)
	for b.Loop() {
		s.Put(b, shards, 0)
	}
}

func BenchmarkGet(b *testing.B) {
	p := newPair(b)
	shards := p.dialServer(b, store.NewMemory(1<<30), newRegistry()).Shards(p.member.ID())
	s := storetest.Segment(b, 1, 1, 0, benchSize)
	s.Put(b, shards, 0)
	buf := make([]byte, benchSize)
	b.SetBytes(benchSize)
	for b.Loop() {
		if _, _, err := shards.Get(b.Context(), s.Key(0), buf); err != nil {
			b.Fatal(err)
		}
	}
}
