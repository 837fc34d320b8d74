package repair

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/placement"
)

func key(kind byte, n int) (k [32]byte) {
	seed := [32]byte{kind}
	binary.LittleEndian.PutUint64(seed[1:], uint64(n))
	rand.NewChaCha8(seed).Read(k[:])
	return k
}

// candidates returns n members with room.
func candidates(n int) []placement.Candidate {
	all := make([]placement.Candidate, n)
	for i := range all {
		all[i] = placement.Candidate{Peer: datamesh.PeerID(key(1, i)), ID: key(2, i), Capacity: 1 << 40}
	}
	return all
}

// descriptor is of a segment of 4 KiB shards.
func descriptor(n, k, m int) *datamesh.Descriptor {
	return &datamesh.Descriptor{Segment: key(3, n), K: k, M: m, Length: k << 12, Shards: make([]datamesh.ShardID, k+m)}
}

// A plan asks for no more than is missing where there are members enough, and
// what it asks for is as safe as the members allow.
func TestPlanMakesASegmentAsSafeAsItCanBe(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		k, m := 1+rnd.IntN(5), rnd.IntN(4)
		d := descriptor(rnd.Int(), k, m)
		members := candidates(1 + rnd.IntN(2*(k+m)))
		holders := make([][]datamesh.PeerID, k+m)
		missing := 0
		for i := range holders {
			if rnd.IntN(4) == 0 {
				missing++
				continue
			}
			holders[i] = append(holders[i], members[rnd.IntN(len(members))].Peer)
		}
		copies := Plan(members, d, holders)
		if m+k-missing < k {
			if copies != nil {
				t.Fatalf("seed %d: what cannot be read is planned for: %v", seed, copies)
			}
			continue
		}
		moved := 0
		given := map[int]bool{}
		for _, c := range copies {
			if given[c.Index] || slices.Contains(holders[c.Index], c.To) {
				t.Fatalf("seed %d: shard %d is given twice: %v", seed, c.Index, copies)
			}
			given[c.Index] = true
			if len(holders[c.Index]) > 0 {
				moved++
			}
			holders[c.Index] = []datamesh.PeerID{c.To} // what it was copied from is of no more use
		}
		if len(copies)-moved != missing {
			t.Fatalf("seed %d: %d of %d missing shards are given: %v", seed, len(copies)-moved, missing, copies)
		}
		if got, want := placement.Survives(holders, k), placement.BestSurvives(len(members), k, m); got < want {
			t.Fatalf("seed %d: %d+%d on %d members survives %d, want %d: %v", seed, k, m, len(members), got, want, holders)
		}
		if again := Plan(members, d, holders); len(again) > 0 {
			t.Fatalf("seed %d: what is whole is planned for: %v", seed, again)
		}
	}
}

func TestPlanAsksMembersThatHaveRoom(t *testing.T) {
	d := descriptor(1, 4, 2)
	members := candidates(9)
	for i := range 7 {
		members[i].Used = members[i].Capacity
	}
	holders := make([][]datamesh.PeerID, 6)
	for i := range 5 {
		holders[i] = []datamesh.PeerID{members[i].Peer}
	}
	for _, c := range Plan(members, d, holders) {
		if c.Index != 5 || c.To != members[7].Peer && c.To != members[8].Peer {
			t.Errorf("%+v", c)
		}
	}
	holders[5] = []datamesh.PeerID{members[4].Peer} // who has one too many, and is full
	copies := Plan(members, d, holders)
	if len(copies) != 1 || copies[0].Index < 4 {
		t.Errorf("%+v", copies)
	}
	for i := range members {
		members[i].Used = members[i].Capacity
	}
	if copies := Plan(members, d, holders); len(copies) > 0 {
		t.Errorf("nobody has room, and yet: %+v", copies)
	}
}

// Of each shard one copy is left, and the segment survives what it should.
func TestSurplusLeavesOneOfEach(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		k, m := 1+rnd.IntN(5), rnd.IntN(4)
		d := descriptor(rnd.Int(), k, m)
		members := candidates(k + m + rnd.IntN(4))
		holders := make([][]datamesh.PeerID, k+m)
		for i, at := range rnd.Perm(len(members))[:k+m] { // it is whole
			holders[i] = append(holders[i], members[at].Peer)
		}
		for range rnd.IntN(4) { // and somebody has one more
			i, peer := rnd.IntN(k+m), members[rnd.IntN(len(members))].Peer
			if !slices.Contains(holders[i], peer) {
				holders[i] = append(holders[i], peer)
			}
		}
		for _, x := range Surplus(members, d, holders) {
			holders[x.Index] = slices.DeleteFunc(holders[x.Index], func(p datamesh.PeerID) bool { return p == x.At })
		}
		for i, who := range holders {
			if len(who) != 1 {
				t.Errorf("seed %d: %d+%d: shard %d is left %d times", seed, k, m, i, len(who))
			}
		}
		if got := placement.Survives(holders, k); got != m {
			t.Errorf("seed %d: %d+%d survives %d", seed, k, m, got)
		}
	}
	d := descriptor(1, 4, 2)
	members := candidates(6)
	holders := make([][]datamesh.PeerID, 6)
	for i := range 5 {
		holders[i] = []datamesh.PeerID{members[i].Peer, members[5].Peer}
	}
	if spare := Surplus(members, d, holders); len(spare) > 0 {
		t.Errorf("a segment that is not whole has too much: %v", spare)
	}
}

// Whoever holds what, in the end each shard is at one member and the segment as
// safe as it can be. Copies may be placed so that it is so safe only as long as
// all of them stay: those are not for good.
func TestNothingIsDoubledForGood(t *testing.T) {
	members := candidates(9)
	at := func(peers ...int) (who []datamesh.PeerID) {
		for _, i := range peers {
			who = append(who, members[i].Peer)
		}
		return who
	}
	settles(t, "three that had two shards each, of which another has two now", members, descriptor(1, 4, 2),
		[][]datamesh.PeerID{at(0, 3), at(1, 3), at(2, 4), at(0), at(1), at(2)})
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		k, m := 1+rnd.IntN(5), rnd.IntN(4)
		members := candidates(1 + rnd.IntN(2*(k+m)))
		holders := make([][]datamesh.PeerID, k+m)
		for i := range holders {
			for range 1 + rnd.IntN(3) {
				if peer := members[rnd.IntN(len(members))].Peer; !slices.Contains(holders[i], peer) {
					holders[i] = append(holders[i], peer)
				}
			}
		}
		settles(t, fmt.Sprint("seed ", seed), members, descriptor(rnd.Int(), k, m), holders)
	}
}

// settles carries out plans, and gives up what is too much, until nothing is left
// to do.
func settles(t *testing.T, what string, members []placement.Candidate, d *datamesh.Descriptor, holders [][]datamesh.PeerID) {
	t.Helper()
	for range 3 {
		for _, c := range Plan(members, d, holders) {
			if slices.Contains(holders[c.Index], c.To) {
				t.Fatalf("%s: a member is given what it has: %v", what, c)
			}
			holders[c.Index] = append(holders[c.Index], c.To)
		}
		before := placement.Survives(holders, d.K)
		for _, x := range Surplus(members, d, holders) {
			holders[x.Index] = slices.DeleteFunc(holders[x.Index], func(p datamesh.PeerID) bool { return p == x.At })
		}
		if best := placement.BestSurvives(len(members), d.K, d.M); placement.Survives(holders, d.K) < min(before, best) {
			t.Fatalf("%s: what was given up was needed: %v", what, holders)
		}
	}
	if got, want := placement.Survives(holders, d.K), placement.BestSurvives(len(members), d.K, d.M); got != want {
		t.Errorf("%s: %d+%d survives %d at %d members, want %d", what, d.K, d.M, got, len(members), want)
	}
	for i, who := range holders {
		if len(who) != 1 {
			t.Fatalf("%s: %d+%d at %d members: shard %d is at %d", what, d.K, d.M, len(members), i, len(who))
		}
	}
}

// What is rebuilt does not gather in one site.
func TestPlanKeepsDomainsApart(t *testing.T) {
	for n := range 200 {
		d := descriptor(n, 4, 2)
		members := candidates(30)
		for i := range members {
			members[i].Site = string(rune('a' + i%3))
		}
		holders := make([][]datamesh.PeerID, 6)
		for i, c := range placement.Holders(members, d.Segment, 6, 2, d.ShardLen())[:6] {
			holders[i] = []datamesh.PeerID{c.Peer}
		}
		for death := range 8 {
			dead := holders[death%6][0]
			holders[death%6] = nil
			members = slices.DeleteFunc(members, func(c placement.Candidate) bool { return c.Peer == dead })
			for _, c := range Plan(members, d, holders) {
				holders[c.Index] = []datamesh.PeerID{c.To}
			}
			count := map[string]int{}
			for _, c := range members {
				for _, who := range holders {
					if who[0] == c.Peer {
						count[c.Site]++
					}
				}
			}
			for site, n := range count {
				if n > 2 {
					t.Errorf("after %d deaths site %s has %d shards of a segment", death+1, site, n)
				}
			}
		}
	}
}
