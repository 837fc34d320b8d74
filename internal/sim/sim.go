// Package sim runs a mesh of thousands of nodes in one goroutine, in a time of
// its own: the decisions and the effects of package repair as they are, above
// disks and a network in memory.
//
// Everything that happens is an event on one heap, so the same [Config] gives
// the same run, event for event; [World.Digest] tells. What an effect does
// takes time as its messages do, and others go on meanwhile. Membership is not
// simulated here, which package ring does: a node sees who is there, as it
// would, some time after that has changed.
//
// A World knows what no node knows, where all shards are, and notes each time
// that a promise is broken. [World.Check] has the rest of them, for when all
// is quiet.
package sim

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"iter"
	"math/rand/v2"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/ring"
)

// A Config says what is simulated. Rates are per node and year; 0 is never.
type Config struct {
	Seed     uint64
	Nodes    int
	Segments int
	K, M     int
	Sites    int // the nodes are spread over so many; 0: sites are not known

	Grace, Interval time.Duration // of repair
	Detect          time.Duration // from a death, or a return, until others see it; up to a fifth more or less
	Delay           time.Duration // of a message, at most

	Loss    float64       // of nodes, for good; another one joins at once, with nothing
	Outages float64       // after each of which the node returns with all that it has acknowledged
	Away    time.Duration // on average
	Sync    time.Duration // until a shard that has come is acknowledged; in an outage it may be there, torn or not
	Crashes float64       // the share of shards in the writing of which there is an outage
	Full    float64       // times at which there is no room on a node for more
	Filled  time.Duration // how long that lasts, on average
	Disks   float64       // losses of all that a node has, while it goes on
	Rot     float64       // shards of a node that rot
	Scrub   time.Duration // until a shard that has rotted, or was torn, is found and dropped, at most

	Deletes float64 // words of owners, by which they delete segments or bring them back

	Dropped float64       // the share of messages, requests and answers, that get nowhere
	Late    float64       // and of the requests that come late, after others and when nobody waits for an answer
	Behind  time.Duration // how late, at most
}

// year is the Julian year.
const year = 8766 * time.Hour

// shardLen is how many bytes each shard has. They are a real code.
const shardLen = 16

// A World is a mesh that is simulated. It is not safe for concurrent use.
type World struct {
	Stats Stats

	cfg      Config
	now      time.Time
	rand     *rand.Rand
	calendar calendar
	trace    hash.Hash
	calm     bool // nothing is lost any more

	mesh     datamesh.MeshID
	owner    ed25519.PrivateKey // of all segments
	nodes    []*node            // in the order in which they have joined
	byPeer   map[datamesh.PeerID]*node
	segments []*segment
	byID     map[datamesh.SegmentID]*segment
	cut      func(a, b int) bool // whether two nodes do not reach each other; nil: all do
	views    map[uint64]*ring.View
	running  map[*process]bool

	wrong []string // promises that were broken
}

// Stats count what has happened.
type Stats struct {
	Events  uint64
	Deaths  int // of nodes, for good
	Outages int
	Rotten  int // shards
	Crashes int // outages in the writing of a shard
	Torn    int // shards, half of which an outage has left
	Full    int // times at which there was no room on a node
	Silent  int // messages that got nowhere
	Late    int // requests that came late
	Words   int // of owners
	Lost    int // segments of which fewer than k shards were left

	Missing  int           // shards that were nowhere to be had when they were written
	Episodes int           // from a shard's going until each of the segment's is there again
	Longest  time.Duration // of those
	Total    time.Duration // of all together

	Reads, Writes int // of shards, for repair
	Proofs        int // parts of shards that were read
	Dropped       int // shards that were given up
	Compares      int // inventories compared
	Inventory     int // bytes of those, and of what was then told
	Located       int // questions who holds a segment
	Unrepaired    int // repairs that did not succeed at once
	Failed        int // other things that did not go as they should
}

// New returns a world in which all segments were just stored.
func New(cfg Config) (*World, error) {
	w := &World{cfg: cfg, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rand: rand.New(rand.NewPCG(cfg.Seed, 0)),
		trace: sha256.New(), mesh: datamesh.MeshID{'s', 'i', 'm'}, byPeer: map[datamesh.PeerID]*node{},
		byID: map[datamesh.SegmentID]*segment{}, views: map[uint64]*ring.View{}, running: map[*process]bool{}}
	for range cfg.Nodes {
		if err := w.add(); err != nil {
			return nil, err
		}
	}
	w.owner = ed25519.NewKeyFromSeed(w.bytes(ed25519.SeedSize))
	for range cfg.Segments {
		if err := w.store(w.owner); err != nil {
			return nil, err
		}
	}
	for _, n := range w.nodes {
		n.start()
	}
	w.change()
	return w, nil
}

// Close ends what is under way.
func (w *World) Close() {
	for p := range w.running {
		p.stop()
	}
}

// Now returns the time.
func (w *World) Now() time.Time { return w.now }

// Digest returns a sum of all that has happened.
func (w *World) Digest() [32]byte { return [32]byte(w.trace.Sum(nil)) }

// Run lets time go by.
func (w *World) Run(d time.Duration) {
	end := w.now.Add(d)
	for {
		e, ok := w.calendar.next(end)
		if !ok {
			break
		}
		w.now = e.at
		w.Stats.Events++
		w.note('e', int(e.seq), 0)
		e.do()
	}
	w.now = end
}

// Calm has nothing be lost from now on. Who is away returns, and there is room
// on all disks.
func (w *World) Calm() {
	w.calm = true
	w.Cut(nil)
	for _, n := range w.nodes {
		if n.disk != nil {
			n.disk.full = false
		}
		if !n.gone && !n.up {
			n.back()
		}
	}
}

func (w *World) after(d time.Duration, do func()) { w.calendar.add(w.now.Add(d), do) }

// note enters something that happened into the digest.
func (w *World) note(what byte, a, b int) {
	var buf [25]byte
	buf[0] = what
	binary.BigEndian.PutUint64(buf[1:], uint64(w.now.UnixNano()))
	binary.BigEndian.PutUint64(buf[9:], uint64(a))
	binary.BigEndian.PutUint64(buf[17:], uint64(b))
	w.trace.Write(buf[:])
}

// broken notes that a promise was broken.
func (w *World) broken(format string, args ...any) {
	if len(w.wrong) < 100 {
		w.wrong = append(w.wrong, fmt.Sprintf("%v: ", w.now.Format(time.DateTime))+fmt.Sprintf(format, args...))
	}
}

func (w *World) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.rand.Uint32())
	}
	return b
}

// lifetime draws how long something lasts that happens so often a year; false
// means for ever.
func (w *World) lifetime(rate float64) (time.Duration, bool) {
	if rate <= 0 {
		return 0, false
	}
	d := w.rand.ExpFloat64() / rate * float64(year)
	return time.Duration(d), d < 1e18
}

// about draws a time that is up to a fifth more or less.
func (w *World) about(d time.Duration) time.Duration {
	return d*4/5 + time.Duration(w.rand.Int64N(int64(d)*2/5+1))
}

// A process is an effect that is being carried out. While it waits others go on.
type process struct {
	next func() (time.Duration, bool)
	stop func()
}

type processKey struct{}

// spawn has a node do something. The context ends when the node does.
func (w *World) spawn(n *node, do func(ctx context.Context)) {
	ctx := n.ctx
	w.after(0, func() {
		if ctx.Err() != nil {
			return
		}
		p := new(process)
		p.next, p.stop = iter.Pull(func(yield func(time.Duration) bool) {
			do(context.WithValue(ctx, processKey{}, yield))
		})
		w.running[p] = true
		w.resume(p)
	})
}

func (w *World) resume(p *process) {
	if d, more := p.next(); more {
		w.after(d, func() { w.resume(p) })
	} else {
		delete(w.running, p)
	}
}

// wait lets the time go by that something takes, in a process.
func (w *World) wait(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if yield := ctx.Value(processKey{}).(func(time.Duration) bool); !yield(d) {
		return context.Canceled
	}
	return ctx.Err()
}

// reach reports whether a message gets from one node to another.
func (w *World) reach(a, b *node) bool {
	return b.up && (w.cut == nil || a == b || !w.cut(a.number, b.number))
}

// Cut parts nodes, which have numbers in the order in which they have joined,
// from each other; nil joins them again.
func (w *World) Cut(cut func(a, b int) bool) {
	w.cut = cut
	for _, n := range w.nodes {
		if !n.gone {
			w.noticed(n)
		}
	}
}

// noticed has all others see in time whether a node is there.
func (w *World) noticed(n *node) {
	for _, o := range w.nodes {
		if o == n || !o.up {
			continue
		}
		life := o.ctx
		w.after(w.about(w.cfg.Detect), func() {
			if life.Err() == nil {
				o.look(n)
			}
		})
	}
}

// view returns the table of members in these states, by number.
func (w *World) view(key uint64, states []ring.State) *ring.View {
	if v := w.views[key]; v != nil {
		return v
	}
	if len(w.views) > 256 {
		clear(w.views)
	}
	var members []ring.Member
	for i, s := range states {
		if s != 0 {
			members = append(members, ring.Member{Record: w.nodes[i].record, Placement: w.nodes[i].place, State: s})
		}
	}
	v := ring.NewView(members)
	w.views[key] = v
	return v
}

// sum returns what a state of a node adds to the key of a view.
func sum(number int, s ring.State) uint64 {
	if s == 0 {
		return 0
	}
	x := uint64(number)<<2 | uint64(s) // splitmix64
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// up returns the nodes that are there.
func (w *World) up() []*node {
	return slices.DeleteFunc(slices.Clone(w.nodes), func(n *node) bool { return !n.up })
}
