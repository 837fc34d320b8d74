package node

import (
	"math"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/durability"
	"datamesh/internal/object"

	"github.com/google/go-cmp/cmp"
)

// held is a segment k+m of which index i is held by the peers of that number.
func held(k, m int, holders ...[]byte) object.SegmentState {
	s := object.SegmentState{ID: datamesh.SegmentID{byte(k), byte(m)}, K: k, M: m}
	for index, who := range holders {
		for _, n := range who {
			s.Shards = append(s.Shards, object.ShardState{Index: index, Peer: datamesh.PeerID{n}, Live: true})
		}
	}
	return s
}

// one is a segment 4+2 whose shards are with these peers.
func one(peers ...byte) object.SegmentState {
	var holders [][]byte
	for _, n := range peers {
		if n == 0 {
			holders = append(holders, nil)
		} else {
			holders = append(holders, []byte{n})
		}
	}
	return held(4, 2, holders...)
}

func TestDomainsSurviveWhatTheirLabelsSay(t *testing.T) {
	in := func(labels ...string) func(datamesh.PeerID) string {
		return func(peer datamesh.PeerID) string { return labels[peer[0]-1] }
	}
	spread := one(1, 2, 3, 4, 5, 6)
	for _, c := range []struct {
		what     string
		segments []object.SegmentState
		label    func(datamesh.PeerID) string
		want     DomainSafety
	}{
		{"each alone", []object.SegmentState{spread}, in("a", "b", "c", "d", "e", "f"), DomainSafety{true, 2, 6, 0}},
		{"two and two", []object.SegmentState{spread}, in("a", "a", "b", "b", "c", "c"), DomainSafety{true, 1, 3, 0}},
		{"three and three", []object.SegmentState{spread}, in("a", "a", "a", "b", "b", "b"), DomainSafety{true, 0, 2, 0}},
		{"no labels", []object.SegmentState{spread}, in("", "", "", "", "", ""), DomainSafety{false, 0, 0, 6}},
		{"one without, which may be in any", []object.SegmentState{spread}, in("a", "b", "c", "d", "e", ""), DomainSafety{true, 1, 5, 1}},
		{"two without", []object.SegmentState{spread}, in("a", "b", "c", "d", "", ""), DomainSafety{true, 0, 4, 2}},
		{"too few with", []object.SegmentState{spread}, in("a", "b", "c", "", "", ""), DomainSafety{true, 0, 3, 3}},
		{"cannot be read", []object.SegmentState{one(1, 2, 3, 0, 0, 0)}, in("a", "b", "c", "", "", ""), DomainSafety{true, -1, 3, 0}},
		{"the least of two", []object.SegmentState{spread, one(1, 2, 3, 4, 5, 0)}, in("a", "b", "c", "d", "e", "f"), DomainSafety{true, 1, 6, 0}},
		{"a shard twice", []object.SegmentState{held(1, 1, []byte{1, 2}, []byte{3})}, in("a", "a", "b"), DomainSafety{true, 1, 2, 0}},
	} {
		if got := domainsOf(c.segments, c.label); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.what, got, c.want)
		}
	}
}

func TestShardsAreAsOldAsTheirProofs(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	s := held(1, 2, []byte{1}, []byte{2, 3}, nil)
	proof := func(n byte, index int) holder {
		return holder{datamesh.PeerID{n}, datamesh.ShardKey{Segment: s.ID, Index: index}}
	}
	for _, c := range []struct {
		what   string
		proofs map[holder]time.Time
		want   ShardSafety
	}{
		{"none", nil, ShardSafety{Live: 2, Total: 3}},
		{"one", map[holder]time.Time{proof(1, 0): now}, ShardSafety{Live: 2, Total: 3, Proven: 1, LastProof: now}},
		{"all, one of them twice", map[holder]time.Time{proof(1, 0): now.Add(-time.Hour), proof(2, 1): now.Add(-3 * time.Hour), proof(3, 1): now.Add(-2 * time.Hour)},
			ShardSafety{Live: 2, Total: 3, Proven: 2, LastProof: now.Add(-time.Hour), OldestProof: now.Add(-2 * time.Hour)}},
		{"of one that has it no more", map[holder]time.Time{proof(4, 2): now}, ShardSafety{Live: 2, Total: 3}},
	} {
		if diff := cmp.Diff(c.want, shardsOf([]object.SegmentState{s}, c.proofs)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
	all := Safety{Shards: ShardSafety{Live: 2, Total: 3, Proven: 2, LastProof: now, OldestProof: now.Add(-time.Hour)}, Modelled: 3}
	all.least(Safety{Hosts: unread.Hosts, Sites: unread.Sites, Shards: ShardSafety{Total: 3}, Modelled: 1})
	if s := all.Shards; s.Live != 2 || s.Total != 6 || !s.OldestProof.Equal(now.Add(-time.Hour)) || all.Modelled != 1 || all.Hosts.Survives != -1 {
		t.Errorf("with one that cannot be read: got %+v", all)
	}
	all.least(Safety{Shards: ShardSafety{Live: 1, Total: 1}})
	if s := all.Shards; !s.OldestProof.IsZero() || !s.LastProof.Equal(now) {
		t.Errorf("with one that was never proven: got %+v", s)
	}
}

// near reports whether two nines are the same but for their rounding.
func near(got, exact float64) bool { return got <= exact+1e-6 && got > exact-0.0101 }

func exactNines(t *testing.T, m durability.Model) float64 {
	t.Helper()
	p, err := m.AnnualLoss()
	if err != nil {
		t.Fatal(err)
	}
	return durability.Nines(p)
}

func TestModelledNinesAreThoseOfTheModel(t *testing.T) {
	host := func(labels ...string) func(datamesh.PeerID) Labels {
		return func(peer datamesh.PeerID) Labels {
			if int(peer[0]) > len(labels) {
				return Labels{}
			}
			return Labels{Host: labels[peer[0]-1]}
		}
	}
	base := durability.Model{K: 4, M: 2, Loss: assumedLoss, Repair: assumedRepair}
	with := func(change func(*durability.Model)) float64 {
		m := base
		change(&m)
		return exactNines(t, m)
	}
	alone := exactNines(t, base)
	for _, c := range []struct {
		what    string
		segment object.SegmentState
		labels  func(datamesh.PeerID) Labels
		want    float64
	}{
		{"no labels", one(1, 2, 3, 4, 5, 6), host(), alone},
		{"a host each", one(1, 2, 3, 4, 5, 6), host("a", "b", "c", "d", "e", "f"), alone},
		{"two on a host", one(1, 2, 3, 4, 5, 6), host("a", "a", "c", "d", "e", "f"), with(func(m *durability.Model) {
			m.Domains, m.DomainLoss = []int{2, 1, 1, 1, 1}, assumedHostLoss
		})},
		{"all on a host", one(1, 2, 3, 4, 5, 6), host("a", "a", "a", "a", "a", "a"), with(func(m *durability.Model) {
			m.Domains, m.DomainLoss = []int{6}, assumedHostLoss
		})},
		{"two on a peer", one(1, 1, 3, 4, 5, 6), host(), with(func(m *durability.Model) {
			m.Loss, m.Domains, m.DomainLoss = 0, []int{2, 1, 1, 1, 1}, assumedLoss
		})},
		{"two on a peer of a host with another", one(1, 1, 3, 4, 5, 6), host("a", "", "a", "d", "e", "f"), with(func(m *durability.Model) {
			m.Loss, m.Domains, m.DomainLoss = 0, []int{3, 1, 1, 1}, assumedHostLoss+2*assumedLoss
		})},
		{"one is missing", one(1, 2, 3, 4, 5, 0), host(), with(func(m *durability.Model) { m.M = 1 })},
		{"two are missing", one(1, 2, 3, 4, 0, 0), host(), with(func(m *durability.Model) { m.M = 0 })},
		{"too few", one(1, 2, 3, 0, 0, 0), host(), 0},
	} {
		got := newReckoning(nil, c.labels).modelled([]object.SegmentState{c.segment})
		if !near(got, c.want) {
			t.Errorf("%s: got %v nines, the model has %v", c.what, got, c.want)
		}
	}
	segments := make([]object.SegmentState, 100)
	for i := range segments {
		segments[i] = one(1, 2, 3, 4, 5, 6)
	}
	if got := newReckoning(nil, host()).modelled(segments); !near(got, alone-2) {
		t.Errorf("of 100 segments: got %v nines, want two less than %v", got, alone)
	}
	small := held(1, 20, [][]byte{{1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}, {10}, {11}, {12}, {13}, {14}, {15}, {16}, {17}, {18}, {19}, {20}, {21}}...)
	if got := newReckoning(nil, host()).modelled([]object.SegmentState{small}); got != durability.MostNines {
		t.Errorf("got %v nines, want no more than %d", got, durability.MostNines)
	}
}

// What was seen counts once it is enough.
func TestReckoningGoesByWhatWasSeen(t *testing.T) {
	const hour, aYear = 3600, 8766 * 3600
	for _, c := range []struct {
		what         string
		seen         *seen
		loss         float64
		lossFrom     string
		hours        float64
		repairFrom   string
		demonstrated string
		years        float64
	}{
		{"no node", nil, assumedLoss, FromAssumed, 24, FromAssumed, FromObjects, 0},
		{"a new one", &seen{}, assumedLoss, FromAssumed, 24, FromAssumed, FromObjects, 0},
		{"too little", &seen{memberSeconds: aYear, losses: 2, repairs: 2, repairSeconds: hour}, assumedLoss, FromAssumed, 24, FromAssumed, FromObjects, 0},
		{"three losses", &seen{memberSeconds: aYear, losses: 3}, 7.75, FromObserved, 24, FromAssumed, FromObjects, 0},
		{"more losses than can be", &seen{memberSeconds: hour, losses: 9}, mostLoss, FromObserved, 24, FromAssumed, FromObjects, 0},
		{"no losses for long", &seen{memberSeconds: 100 * aYear}, 0.03, FromObserved, 24, FromAssumed, FromObjects, 0},
		{"repairs, and segments", &seen{repairs: 4, repairSeconds: 2 * hour, segmentSeconds: 5 * aYear}, assumedLoss, FromAssumed, 0.5, FromObserved, FromSegments, 5},
	} {
		b := newReckoning(c.seen, nil).basis
		if math.Abs(b.MemberLoss/c.loss-1) > 0.01 || b.MemberLossFrom != c.lossFrom || math.Abs(b.RepairHours-c.hours) > 1e-9 || b.RepairFrom != c.repairFrom ||
			b.DemonstratedFrom != c.demonstrated || math.Abs(b.Years-c.years) > 1e-9 || (b.Seen == nil) != (c.seen == nil) {
			t.Errorf("%s: got %+v, want %+v", c.what, b, c)
		}
	}
}

func TestDemonstratedNinesAreOfWhatWasWatched(t *testing.T) {
	now := time.Now()
	put := func(n int) *reckoning {
		r := newReckoning(nil, nil)
		for range n {
			r.watched(now.Add(-year), now, false)
		}
		return r
	}
	if got := put(0).demonstrated(1); got != 0 {
		t.Errorf("of nothing: got %v nines", got)
	}
	if got := put(10_000).demonstrated(50); !near(got, 3.523) {
		t.Errorf("of 10,000 objects for a year: got %v nines", got)
	}
	lost := put(10_000)
	lost.watched(now, now, true)
	lost.watched(time.Time{}, now, false) // nobody knows since when
	if got := lost.demonstrated(50); !near(got, 3.324) || lost.basis.DemonstratedLost != 1 {
		t.Errorf("with one that is lost: got %v nines", got)
	}
	node := newReckoning(&seen{segmentSeconds: 10_000 * 8766 * 3600}, nil)
	node.watched(now.Add(-year), now, true) // the node has watched more than this
	if got := node.demonstrated(1); !near(got, 3.523) {
		t.Errorf("of 10,000 segments for a year: got %v nines", got)
	}
	if got := node.demonstrated(10); !near(got, 2.523) {
		t.Errorf("of ten segments each: got %v nines", got)
	}
}
