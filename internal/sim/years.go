package sim

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/placement"
	"datamesh/internal/repair"
)

// Years is a mesh without messages, for object-years by the thousand: of a node
// that is lost for good each segment is repaired after an exponential time, in
// one go, to where [repair.Plan] says. It is what [durability.Model] computes,
// with the placement and the plans of the program.
type Years struct {
	Seed     uint64
	Nodes    int // each that is lost is replaced at once by an empty one
	Segments int
	K, M     int
	Loss     float64       // of each node, per year
	Repair   time.Duration // on average, from when a segment is not whole any more
}

// A Tally is what has come of it. A segment that is lost begins anew.
type Tally struct {
	Years   float64 // of all segments together
	Losses  int     // of segments
	Deaths  int     // of nodes
	Repairs int     // of segments, for each of which k shards are read
	Shards  int     // that were rebuilt, and written
	Uneven  int     // repairs after which a segment survived less than m losses
}

// Moved returns how many shards were read and written.
func (t Tally) Moved(k int) int { return k*t.Repairs + t.Shards }

// MostYears is how many years each segment can be followed for.
const MostYears = 25_000

// Run runs for so many years of all segments together, at most [MostYears] of
// each. It tells played now and then how many of them have gone by, unless that
// is nil, and ends early with the error of ctx.
func (y Years) Run(ctx context.Context, years float64, played func(years float64)) (Tally, error) {
	r := &yearsRun{Years: y, rand: rand.New(rand.NewPCG(y.Seed, 0)), holds: make([][]place, y.Nodes), peers: map[datamesh.PeerID]int{}}
	for i := range y.Nodes {
		r.nodes = append(r.nodes, placement.Candidate{})
		r.replace(i)
	}
	for i := range y.Segments {
		r.segments = append(r.segments, &lasting{number: i})
		r.begin(r.segments[i])
	}
	end := r.at(years / float64(y.Segments))
	r.tally.Years = years
	for n := 0; ; n++ {
		e, ok := r.calendar.next(end)
		if !ok {
			return r.tally, nil
		}
		r.now = e.at
		e.do()
		if n%1000 != 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return Tally{}, err
		}
		if played != nil {
			played(years * float64(r.now.Sub(time.Time{})) / float64(end.Sub(time.Time{})))
		}
	}
}

type yearsRun struct {
	Years
	rand     *rand.Rand
	calendar calendar
	now      time.Time
	nodes    []placement.Candidate
	peers    map[datamesh.PeerID]int // their places in nodes
	holds    [][]place               // by node: what it was given; some of it it does not have any more
	segments []*lasting
	tally    Tally
}

type place struct{ segment, index int }

// A lasting segment knows which nodes hold its shards; -1 is none.
type lasting struct {
	number int
	d      *datamesh.Descriptor
	at     []int
	lives  int // how often it has begun
	broken bool
}

// at returns the time after so many years. Time is in hundreds of nanoseconds
// here, so that thousands of years have room.
func (r *yearsRun) at(years float64) time.Time {
	return time.Time{}.Add(time.Duration(years * float64(year/100)))
}

func (r *yearsRun) after(years float64, do func()) {
	r.calendar.add(r.now.Add(time.Duration(years*float64(year/100))), do)
}

func (r *yearsRun) draw() (id [32]byte) {
	for i := 0; i < len(id); i += 8 {
		binary.BigEndian.PutUint64(id[i:], r.rand.Uint64())
	}
	return id
}

// replace puts a new node into the place of another.
func (r *yearsRun) replace(i int) {
	delete(r.peers, r.nodes[i].Peer)
	r.nodes[i] = placement.Candidate{Peer: r.draw(), ID: r.draw(), Capacity: capacity}
	r.peers[r.nodes[i].Peer] = i
	r.after(r.rand.ExpFloat64()/r.Loss, func() { r.die(i) })
}

func (r *yearsRun) die(i int) {
	r.tally.Deaths++
	held := r.holds[i]
	r.holds[i] = nil
	r.replace(i)
	for _, p := range held {
		s := r.segments[p.segment]
		if s.at[p.index] != i {
			continue
		}
		s.at[p.index] = -1
		left := 0
		for _, x := range s.at {
			if x >= 0 {
				left++
			}
		}
		switch {
		case left < r.K:
			r.tally.Losses++
			r.begin(s)
		case !s.broken:
			s.broken = true
			life := s.lives
			r.after(r.rand.ExpFloat64()*float64(r.Repair)/float64(year), func() {
				if s.lives == life {
					r.repair(s)
				}
			})
		}
	}
}

// begin stores a segment.
func (r *yearsRun) begin(s *lasting) {
	s.lives++
	s.broken = false
	s.d = &datamesh.Descriptor{Segment: r.draw(), K: r.K, M: r.M, Length: r.K * shardLen, Shards: make([]datamesh.ShardID, r.K+r.M)}
	s.at = make([]int, r.K+r.M)
	order := placement.Holders(r.nodes, s.d.Segment, r.K+r.M, r.M, s.d.ShardLen())
	for index := range s.at {
		r.give(s, index, order[index%len(order)].Peer)
	}
}

func (r *yearsRun) give(s *lasting, index int, peer datamesh.PeerID) {
	i := r.peers[peer]
	s.at[index] = i
	r.holds[i] = append(r.holds[i], place{s.number, index})
}

func (r *yearsRun) repair(s *lasting) {
	r.tally.Repairs++
	s.broken = false
	for _, c := range repair.Plan(r.nodes, s.d, r.holders(s)) {
		r.tally.Shards++
		r.give(s, c.Index, c.To)
	}
	if slices.Contains(s.at, -1) || placement.Survives(r.holders(s), r.K) < r.M {
		r.tally.Uneven++
	}
}

func (r *yearsRun) holders(s *lasting) [][]datamesh.PeerID {
	holders := make([][]datamesh.PeerID, len(s.at))
	for i, x := range s.at {
		if x >= 0 {
			holders[i] = []datamesh.PeerID{r.nodes[x].Peer}
		}
	}
	return holders
}
