package ring

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"datamesh"

	"github.com/google/go-cmp/cmp"
)

func TestRegistrarCount(t *testing.T) {
	for _, c := range []struct{ k, m, live, want int }{
		{4, 2, 0, 0}, {4, 2, 6, 6}, {4, 2, 8, 8}, {4, 2, 100, 8}, {10, 4, 100, 14}, {10, 4, 12, 12},
	} {
		if got := RegistrarCount(c.k, c.m, c.live); got != c.want {
			t.Errorf("%d+%d of %d: %d, want %d", c.k, c.m, c.live, got, c.want)
		}
	}
}

func TestRecordRegistrarCount(t *testing.T) {
	for live, want := range map[int]int{0: 0, 1: 1, 11: 11, 12: 12, 13: 12, 1000: 12} {
		if got := RecordRegistrarCount(live); got != want {
			t.Errorf("of %d: %d, want %d", live, got, want)
		}
	}
}

// crowd returns a view of n members, a tenth of them dead.
func crowd(n int) *View {
	r := rand.New(rand.NewPCG(1, 2))
	v := &View{members: make([]Member, n)}
	for i := range v.members {
		var id datamesh.PeerID
		for j := 0; j < len(id); j += 8 {
			binary.BigEndian.PutUint64(id[j:], r.Uint64())
		}
		rec := &Record{Mesh: testMesh, Peer: id}
		v.members[i] = Member{Record: rec, Placement: rec.Placement(), State: Alive}
		if i%10 == 9 {
			v.members[i].State = Dead
		}
	}
	return v
}

func TestRegistrarsAreTheNearestLiveMembers(t *testing.T) {
	v := crowd(500)
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{-1, 0, 1, 8, 449, 450, 451, 1000} {
		var key [32]byte
		binary.BigEndian.PutUint64(key[:], r.Uint64())
		type at struct{ id, distance [32]byte }
		var live []at
		for m := range v.All() {
			if m.State != Dead {
				d := m.Placement
				for i := range d {
					d[i] ^= key[i]
				}
				live = append(live, at{m.Record.Peer, d})
			}
		}
		slices.SortFunc(live, func(a, b at) int { return bytes.Compare(a.distance[:], b.distance[:]) })
		want := []datamesh.PeerID{}
		for _, a := range live[:max(0, min(n, len(live)))] {
			want = append(want, a.id)
		}
		if d := cmp.Diff(want, Registrars(v, key, n)); d != "" {
			t.Errorf("%d: %s", n, d)
		}
	}
}

func BenchmarkRegistrars(b *testing.B) {
	v := crowd(10_000)
	var key [32]byte
	for b.Loop() {
		key[0]++
		Registrars(v, key, 8)
	}
}
