package placement

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"datamesh"
)

func peer(n int) datamesh.PeerID { return datamesh.PeerID{byte(n), byte(n >> 8)} }

// held makes holders of the numbers of peers.
func held(numbers [][]int) [][]datamesh.PeerID {
	out := make([][]datamesh.PeerID, len(numbers))
	for i, list := range numbers {
		for _, n := range list {
			out[i] = append(out[i], peer(n))
		}
	}
	return out
}

func TestSurvives(t *testing.T) {
	for _, tt := range []struct {
		what    string
		holders [][]int
		k       int
		want    int
	}{
		{"six on six", [][]int{{1}, {2}, {3}, {4}, {5}, {6}}, 4, 2},
		{"five acknowledged", [][]int{{1}, {2}, {3}, {4}, {5}, {}}, 4, 1},
		{"four acknowledged", [][]int{{1}, {}, {3}, {4}, {5}, {}}, 4, 0},
		{"three acknowledged", [][]int{{1}, {}, {3}, {4}, {}, {}}, 4, -1},
		{"none", [][]int{{}, {}}, 1, -1},
		{"two each on three", [][]int{{1}, {2}, {3}, {1}, {2}, {3}}, 4, 1},
		{"three each on two", [][]int{{1}, {2}, {1}, {2}, {1}, {2}}, 4, 0},
		{"4+4, four each on two", [][]int{{1}, {2}, {1}, {2}, {1}, {2}, {1}, {2}}, 4, 1},
		{"all on one", [][]int{{1}, {1}, {1}, {1}, {1}, {1}}, 4, 0},
		{"copies on three", [][]int{{1}, {2}, {3}}, 1, 2},
		{"one shard everywhere", [][]int{{1, 2, 3}}, 1, 2},
		{"every shard twice", [][]int{{1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 1}}, 4, 3},
		{"a second holder who has another shard", [][]int{{1, 2}, {2}, {3}, {4}, {5}, {6}}, 4, 2},
		{"a second holder who has none", [][]int{{1, 7}, {2}, {3}, {4}, {5}, {6}}, 4, 2},
		{"one named twice", [][]int{{1, 1}, {2, 2}}, 1, 1},
		{"no shard to spare", [][]int{{1, 2}, {3, 4}}, 2, 1},
	} {
		if got := Survives(held(tt.holders), tt.k); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.what, got, tt.want)
		}
	}
}

// bruteSurvives tries every set of peers.
func bruteSurvives(holders [][]int, k, peers int) int {
	worst := peers + 1 // the fewest peers whose loss leaves less than k
	for gone := range 1 << peers {
		left := 0
		for _, list := range holders {
			if slices.ContainsFunc(list, func(p int) bool { return gone>>p&1 == 0 }) {
				left++
			}
		}
		if left < k {
			worst = min(worst, bits.OnesCount(uint(gone)))
		}
	}
	return worst - 1
}

func TestSurvivesIsWhatTryingEveryLossGives(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		peers, n := 1+r.IntN(9), 1+r.IntN(10)
		k := 1 + r.IntN(n)
		most := 1 + r.IntN(4)
		holders := make([][]int, n)
		for i := range holders {
			for range r.IntN(most + 1) {
				holders[i] = append(holders[i], r.IntN(peers))
			}
		}
		if got, want := Survives(held(holders), k), bruteSurvives(holders, k, peers); got != want {
			t.Fatalf("seed %d: %v with k=%d: got %d, want %d", seed, holders, k, got, want)
		}
	}
}

func TestALongSearchGivesALowerBound(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 5 {
		const k, m, peers = 60, 60, 14
		holders := make([][]int, k+m)
		for i := range holders {
			holders[i] = r.Perm(peers)[:4]
		}
		got, most := Survives(held(holders), k), bruteSurvives(holders, k, peers)
		if got > most || got < 0 {
			t.Errorf("seed %d: got %d, at most %d survive", seed, got, most)
		}
	}
}

func TestBestSurvives(t *testing.T) {
	for _, tt := range []struct{ peers, k, m, want int }{
		{0, 4, 2, -1}, {1, 4, 2, 0}, {2, 4, 2, 0}, {2, 4, 4, 1}, {3, 4, 2, 1}, {4, 4, 2, 1}, {5, 4, 2, 1}, {6, 4, 2, 2}, {100, 4, 2, 2},
		{1, 1, 2, 0}, {2, 1, 2, 1}, {3, 1, 2, 2}, {100, 1, 2, 2}, {5, 10, 4, 1}, {14, 10, 4, 4}, {6, 4, 0, 0},
	} {
		got := BestSurvives(tt.peers, tt.k, tt.m)
		if got != tt.want {
			t.Errorf("%d+%d on %d: got %d, want %d", tt.k, tt.m, tt.peers, got, tt.want)
		}
		holders := make([][]int, tt.k+tt.m)
		for i := range holders {
			if tt.peers > 0 {
				holders[i] = []int{i % tt.peers}
			}
		}
		if spread := Survives(held(holders), tt.k); spread != got {
			t.Errorf("%d+%d on %d: %d, but spread evenly it survives %d", tt.k, tt.m, tt.peers, got, spread)
		}
	}
}

func TestBarIsHalfOfMOrTheBestPossible(t *testing.T) {
	for _, tt := range []struct{ peers, k, m, want int }{
		{6, 4, 2, 1}, {3, 4, 2, 1}, {2, 4, 2, 0}, {1, 4, 2, 0}, {2, 4, 4, 1}, {100, 4, 4, 2}, {100, 4, 5, 3}, {100, 4, 0, 0}, {100, 1, 2, 1},
	} {
		if got := Bar(tt.peers, tt.k, tt.m); got != tt.want {
			t.Errorf("%d+%d on %d: got %d, want %d", tt.k, tt.m, tt.peers, got, tt.want)
		}
	}
}

func TestShardsAreWholeWhenTheMembersAllowNoMore(t *testing.T) {
	for _, c := range []struct {
		holders       [][]int
		members, k, m int
		want          bool
	}{
		{[][]int{{0}, {1}, {2}, {3}, {4}, {5}}, 6, 4, 2, true},
		{[][]int{{0}, {1}, {2}, {3}, {4}, {0}}, 5, 4, 2, true},
		{[][]int{{0}, {1}, {2}, {3}, {4}, {0}}, 6, 4, 2, false}, // one member has none
		{[][]int{{0}, {1}, {2}, {3}, {4}, {}}, 5, 4, 2, false},  // it survives as much, and lacks one
		{[][]int{{}, {}, {}}, 3, 1, 2, false},
	} {
		if got := Whole(held(c.holders), c.members, c.k, c.m); got != c.want {
			t.Errorf("%v with %d members, %d+%d: got %v", c.holders, c.members, c.k, c.m, got)
		}
	}
}
