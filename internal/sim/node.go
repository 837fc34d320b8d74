package sim

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/repair"
	"datamesh/internal/ring"
)

// capacity is the room that each node has, in bytes.
const capacity = 1 << 30

// evict is how long the dead are remembered: not as long as they really are, so
// that it comes about while a test runs.
const evict = time.Hour

// A node is a member that runs, or did.
type node struct {
	w      *World
	number int
	id     datamesh.PeerID
	record *ring.Record
	place  [32]byte
	disk   *Disk

	up   bool
	gone bool // for good
	ctx  context.Context
	end  context.CancelFunc

	registry *repair.Registry
	driven   *repair.Driven
	guarded  datamesh.ShardStore // the disk as others reach it

	states []ring.State // of the members, as this one sees them, by number
	key    uint64       // of the view
	timer  time.Time    // when the next tick is; zero: none is
	ticks  int
	poked  bool // what was heard is about to be told
	giving bool // a shard is being given up
	writes []*write
}

// add adds a node that does not run yet.
func (w *World) add() error {
	key := ed25519.NewKeyFromSeed(w.bytes(ed25519.SeedSize))
	r := ring.Record{Mesh: w.mesh, Seq: 1, Role: ring.Storage, Capacity: capacity}
	if w.cfg.Sites > 0 {
		r.Labels.Site = fmt.Sprintf("site %d", len(w.nodes)%w.cfg.Sites)
	}
	record, err := ring.Sign(key, r)
	if err != nil {
		return err
	}
	n := &node{w: w, number: len(w.nodes), id: record.Peer, record: record, place: record.Placement()}
	n.newDisk()
	w.nodes = append(w.nodes, n)
	w.byPeer[n.id] = n
	return nil
}

// newDisk gives the node a disk with nothing on it.
func (n *node) newDisk() {
	n.disk = NewDisk(capacity)
	n.disk.trusted = func(d *datamesh.Descriptor) bool {
		s := n.w.byID[d.Segment]
		return s != nil && s.d == d
	}
	n.disk.put = func(key datamesh.ShardKey) { n.w.put(n, key) }
	n.disk.moved = func(key datamesh.ShardKey, back bool) { n.w.moved(n, key, back) }
	n.disk.removed = func(key datamesh.ShardKey) { n.w.gaveUp(n, key) }
}

// start starts the node, which sees at once who is there.
func (n *node) start() {
	w := n.w
	n.up = true
	n.ctx, n.end = context.WithCancel(context.Background())
	n.registry = &repair.Registry{Index: n.disk, Self: n.id, View: n.view}
	n.guarded = n.registry.Guard(n.disk)
	n.states, n.key = make([]ring.State, len(w.nodes)), 0
	for i, o := range w.nodes {
		switch {
		case o == n || w.reach(n, o) || o.ctx == nil:
			n.see(i, ring.Alive)
		case !o.gone:
			n.see(i, ring.Dead)
		}
	}
	cfg := repair.Config{Self: n.id, Grace: w.cfg.Grace, Interval: w.cfg.Interval, Seed: w.rand.Uint64()}
	k := repair.NewKeeper(&network{n}, n.registry, cfg, 0, repair.Events{
		Unrepaired: func(datamesh.SegmentID, error) { w.Stats.Unrepaired++ },
		Dropped:    func(datamesh.ShardKey) { w.Stats.Dropped++ },
		Failed:     func(string, error) { w.Stats.Failed++ },
	})
	n.driven, n.timer, n.poked, n.giving = k.Drive(w.Now), time.Time{}, false, false
	life := n.ctx
	w.after(0, func() {
		if life.Err() == nil {
			n.step(repair.Members{View: n.view()})
		}
	})
	n.mishaps()
}

// mishaps draws when something befalls the node.
func (n *node) mishaps() {
	w := n.w
	each := func(rate float64, do func()) {
		life := n.ctx
		var again func()
		again = func() {
			if d, ok := w.lifetime(rate); ok {
				w.after(d, func() {
					if life.Err() == nil && !w.calm {
						do()
						again()
					}
				})
			}
		}
		again()
	}
	each(w.cfg.Loss, n.die)
	each(w.cfg.Outages, n.leave)
	each(w.cfg.Disks, n.loseDisk)
	each(w.cfg.Rot, n.rot)
	each(w.cfg.Full, n.fill)
}

func (n *node) view() *ring.View { return n.w.view(n.key, n.states) }

// see takes note of another's state, and reports whether that is new.
func (n *node) see(number int, s ring.State) bool {
	for len(n.states) <= number {
		n.states = append(n.states, 0)
	}
	old := n.states[number]
	n.states[number] = s
	n.key ^= sum(number, old) ^ sum(number, s)
	return old != s
}

// look sees whether another is there.
func (n *node) look(o *node) {
	s := ring.Dead
	if n.w.reach(n, o) {
		s = ring.Alive
	}
	if n.see(o.number, s) {
		n.step(repair.Members{View: n.view()})
	}
}

// step tells the keeper what has happened, and has it do what follows.
func (n *node) step(ev repair.Event) {
	for _, x := range n.driven.Step(ev) {
		n.w.spawn(n, func(ctx context.Context) {
			if ev := n.driven.Do(ctx, x); ev != nil && ctx.Err() == nil {
				n.step(ev)
			}
		})
	}
	n.poke()
	next := n.driven.Next()
	if next.IsZero() || next.Equal(n.timer) {
		return
	}
	n.timer = next
	n.ticks++
	tick, life := n.ticks, n.ctx
	n.w.after(max(0, next.Sub(n.w.now)), func() {
		if life.Err() == nil && n.ticks == tick {
			n.timer = time.Time{}
			n.step(repair.Tick{})
		}
	})
}

// poke tells the keeper soon what its registry has heard.
func (n *node) poke() {
	if n.poked {
		return
	}
	n.poked = true
	life := n.ctx
	n.w.after(0, func() {
		if life.Err() != nil {
			return
		}
		n.poked = false
		for {
			ev, ok := n.driven.Heard()
			if !ok {
				break
			}
			n.step(ev)
		}
		n.giveUp()
	})
}

// giveUp gives up what is one too many, one after the other.
func (n *node) giveUp() {
	if n.giving {
		return
	}
	key, ok := n.driven.Spare()
	if !ok {
		return
	}
	n.giving = true
	n.w.spawn(n, func(ctx context.Context) {
		for ok && ctx.Err() == nil {
			n.driven.GiveUp(ctx, key)
			key, ok = n.driven.Spare()
		}
		if ctx.Err() == nil {
			n.giving = false
			n.poke()
		}
	})
}

// down ends what the node does.
func (n *node) down() {
	n.up = false
	n.end()
	n.crash()
	n.w.note('d', n.number, 0)
	n.w.noticed(n)
}

// leave takes the node away, until it returns as it was.
func (n *node) leave() {
	w := n.w
	w.Stats.Outages++
	n.down()
	w.affected(n, false)
	if w.cfg.Away > 0 {
		w.after(time.Duration(w.rand.ExpFloat64()*float64(w.cfg.Away)), n.back)
	}
}

// back has a node return that was away.
func (n *node) back() {
	if n.up || n.gone {
		return
	}
	n.start()
	n.w.noticed(n)
	n.w.affected(n, false)
}

// die takes the node away for good. Another one joins at once.
func (n *node) die() {
	w := n.w
	w.Stats.Deaths++
	n.gone = true
	n.down()
	w.affected(n, true)
	n.disk = nil
	w.after(evict, func() {
		for _, o := range w.nodes {
			if o.up && o.see(n.number, 0) {
				o.step(repair.Members{View: o.view()})
			}
		}
	})
	w.join()
}

// join has a new node join.
func (w *World) join() *node {
	if err := w.add(); err != nil {
		panic(err) // the same record was signed for others
	}
	n := w.nodes[len(w.nodes)-1]
	n.start()
	w.noticed(n)
	return n
}

// loseDisk takes all that the node has, and starts it anew, so soon that no
// one sees it gone.
func (n *node) loseDisk() {
	n.end()
	n.writes = nil
	n.w.note('l', n.number, 0)
	n.w.affected(n, true)
	n.newDisk()
	n.start()
}

// fill leaves no room on the node's disk for a while.
func (n *node) fill() {
	w, disk := n.w, n.disk
	if disk.full {
		return
	}
	w.Stats.Full++
	disk.full = true
	w.after(time.Duration(w.rand.ExpFloat64()*float64(w.cfg.Filled)), func() { disk.full = false })
}

// rot spoils a shard. It is found out when it is read, or by a scrub.
func (n *node) rot() {
	w := n.w
	keys, _ := n.disk.List(context.Background(), datamesh.First, len(n.disk.shards))
	if len(keys) == 0 {
		return
	}
	key := keys[w.rand.IntN(len(keys))]
	if !slices.Contains(w.byID[key.Segment].at[key.Index], n.number) {
		return // it was spoilt before
	}
	n.disk.rot(key, w.rand.IntN(8*shardLen))
	w.spoilt(n, key)
	n.scrub(key)
}

// scrub finds a shard that has rotted, some time or other while the node runs.
func (n *node) scrub(key datamesh.ShardKey) {
	w, disk := n.w, n.disk
	w.after(time.Duration(1+w.rand.Int64N(int64(w.cfg.Scrub)+1)), func() {
		if n.disk != disk {
			return
		}
		if !n.up {
			n.scrub(key)
			return
		}
		if _, _, err := disk.Get(n.ctx, key, nil); err != nil {
			disk.Remove(n.ctx, key)
			n.driven.Lost()
			n.poke()
		}
	})
}
