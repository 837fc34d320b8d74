package sim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/erasure"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
	"datamesh/internal/store"
)

// A segment is one that was stored, and where its shards truly are.
type segment struct {
	d      *datamesh.Descriptor
	data   []byte
	at     [][]int   // by index the numbers of the nodes that have the shard unspoilt, those that are away too
	stored bool      // all shards were put, and the registrars told
	lost   bool      // fewer than k are left
	since  time.Time // since when a shard is nowhere to be had; zero: all are there

	known []time.Time // by index since when it can be known that the shard is gone for good; zero: it cannot

	deleted    bool    // as the owner knows
	saying     bool    // the owner is about to say otherwise
	generation uint64  // of the last word that was acknowledged
	trash      [][]int // as at, of shards that were deleted
}

// store stores a segment as a put does.
func (w *World) store(owner ed25519.PrivateKey) error {
	k, m := w.cfg.K, w.cfg.M
	code, err := erasure.New(k, m)
	if err != nil {
		return err
	}
	data := w.bytes(k * shardLen)
	buf := make([]byte, code.BufferLen(len(data)))
	copy(buf, data)
	shards, err := code.Encode(buf, len(data))
	if err != nil {
		return err
	}
	ids := make([]datamesh.ShardID, len(shards))
	for i, shard := range shards {
		ids[i] = hash.Shard(shard)
	}
	d, err := format.NewDescriptor(owner, k, m, len(data), ids)
	if err != nil {
		return err
	}
	s := &segment{d: d, data: data, at: make([][]int, k+m), trash: make([][]int, k+m), known: make([]time.Time, k+m)}
	w.segments = append(w.segments, s)
	w.byID[d.Segment] = s
	view := w.truth()
	order := placement.Holders(ring.Candidates(view), d.Segment, k+m, m, d.ShardLen())
	report := store.Report{Descriptor: d}
	ctx := context.Background()
	for i, shard := range shards {
		peer := order[i%len(order)].Peer
		if err := w.byPeer[peer].disk.Put(ctx, d, i, shard); err != nil {
			return err
		}
		report.Holdings = append(report.Holdings, store.Holding{Index: i, Peer: peer})
	}
	for _, peer := range w.registrars(d) {
		if err := w.byPeer[peer].disk.Report(ctx, []store.Report{report}); err != nil {
			return err
		}
	}
	s.stored = true
	return nil
}

// truth returns the members that are there.
func (w *World) truth() *ring.View {
	states, key := make([]ring.State, len(w.nodes)), uint64(0)
	for i, n := range w.nodes {
		if n.up || n.ctx == nil {
			states[i] = ring.Alive
			key ^= sum(i, ring.Alive)
		}
	}
	return w.view(key, states)
}

func (w *World) registrars(d *datamesh.Descriptor) []datamesh.PeerID {
	view := w.truth()
	return ring.Registrars(view, d.Segment, ring.RegistrarCount(d.K, d.M, view.Live()))
}

// put notes that a shard is somewhere.
func (w *World) put(n *node, key datamesh.ShardKey) {
	s := w.byID[key.Segment]
	w.note('+', n.number, key.Index)
	if !s.there(w, key.Index) && !s.since.IsZero() {
		w.Stats.Missing++
	}
	s.at[key.Index] = append(s.at[key.Index], n.number)
	s.known[key.Index] = time.Time{}
	w.judge(s)
}

// gaveUp notes that a node has given up a shard.
func (w *World) gaveUp(n *node, key datamesh.ShardKey) {
	s := w.byID[key.Segment]
	w.note('-', n.number, key.Index)
	if !slices.Contains(s.at[key.Index], n.number) { // it was spoilt
		w.known(s, key.Index)
		return
	}
	s.remove(key.Index, n.number)
	if !s.there(w, key.Index) && !s.deleted && !s.saying {
		w.broken("node %d gave up the last copy of %s/%d", n.number, key.Segment, key.Index)
	}
	w.judge(s)
}

// spoilt notes that a shard is worth nothing any more.
func (w *World) spoilt(n *node, key datamesh.ShardKey) {
	w.Stats.Rotten++
	s := w.byID[key.Segment]
	w.note('*', n.number, key.Index)
	s.remove(key.Index, n.number)
	w.judge(s)
}

func (s *segment) remove(index, number int) { s.at[index] = without(s.at[index], number) }

func without(list []int, number int) []int {
	return slices.DeleteFunc(list, func(x int) bool { return x == number })
}

// affected judges the segments of which a node has shards, after it has gone,
// with its shards, or has come back.
func (w *World) affected(n *node, gone bool) {
	for _, key := range n.disk.sorted(datamesh.First, len(n.disk.shards)) {
		s := w.byID[key.Segment]
		if gone {
			s.remove(key.Index, n.number)
			w.known(s, key.Index)
		}
		w.judge(s)
	}
	if !gone {
		return
	}
	for key := range n.disk.trash { // whose order does not matter
		s := w.byID[key.Segment]
		s.trash[key.Index] = without(s.trash[key.Index], n.number)
	}
}

// known notes that it can be known that a shard is gone, if nobody has it.
func (w *World) known(s *segment, index int) {
	if len(s.at[index]) == 0 && s.known[index].IsZero() {
		s.known[index] = w.now
	}
}

// inTime is how long repair may take beyond the grace, whatever befalls it.
const inTime = 10 * time.Minute

// excuse notes that a promise was broken if a segment was lost of which a shard
// could have been rebuilt in time. More than m losses at once, some of them rot
// that nobody has found yet, are no fault of repair.
func (w *World) excuse(s *segment) {
	for i, at := range s.known {
		if len(s.at[i]) == 0 && !at.IsZero() && w.now.Sub(at) > w.cfg.Detect+w.cfg.Grace+inTime {
			w.broken("%s is lost, and its shard %d was not rebuilt in %v", s.d.Segment, i, w.now.Sub(at))
		}
	}
}

// there reports whether a shard is to be had from a node that is there.
func (s *segment) there(w *World, index int) bool {
	return slices.ContainsFunc(s.at[index], func(x int) bool { return w.nodes[x].up })
}

// toBeHad returns how many of the shards are.
func (s *segment) toBeHad(w *World) (n int) {
	for i := range s.at {
		if s.there(w, i) {
			n++
		}
	}
	return n
}

// judge notes whether a segment is whole, or lost.
func (w *World) judge(s *segment) {
	if !s.stored || s.deleted || s.saying {
		return
	}
	left, whole := 0, true
	for i, who := range s.at {
		if len(who)+len(s.trash[i]) > 0 { // what is brought back comes by and by
			left++
		}
		whole = whole && s.there(w, i)
	}
	switch {
	case s.lost:
	case left < s.d.K:
		s.lost = true
		w.Stats.Lost++
		w.excuse(s)
	case !whole && s.since.IsZero():
		s.since = w.now
	case whole && !s.since.IsZero():
		took := w.now.Sub(s.since)
		s.since = time.Time{}
		w.Stats.Episodes++
		w.Stats.Total += took
		w.Stats.Longest = max(w.Stats.Longest, took)
	}
}

// read returns an error unless a segment's bytes can be had from the nodes that
// are there.
func (w *World) read(s *segment) error {
	code, err := erasure.New(s.d.K, s.d.M)
	if err != nil {
		return err
	}
	shards := make([][]byte, len(s.at))
	have := 0
	for i, who := range s.at {
		for _, x := range who {
			n := w.nodes[x]
			if !n.up {
				continue
			}
			_, shard, err := n.disk.Get(n.ctx, datamesh.ShardKey{Segment: s.d.Segment, Index: i}, nil)
			if err != nil {
				return fmt.Errorf("node %d has shard %d: %w", x, i, err)
			}
			if have < s.d.K {
				shards[i] = shard
				have++
			}
			break
		}
	}
	if err := code.Rebuild(shards, true); err != nil {
		return err
	}
	if !bytes.Equal(bytes.Join(shards[:s.d.K], nil)[:s.d.Length], s.data) {
		return fmt.Errorf("wrong bytes")
	}
	return nil
}

// Check returns what is not as it should be: promises that were broken, and
// segments that are not to be read, or give other bytes, though never more than
// m of their shards were lost at one time. If all is quiet, every segment that
// was not lost must be whole, with no shard too many, and its registrars, and no
// one else, must know exactly who holds it: nobody who is gone.
func (w *World) Check(quiet bool) (wrong []string) {
	wrong = slices.Clone(w.wrong)
	bad := func(s *segment, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("%s: ", s.d.Segment)+fmt.Sprintf(format, args...))
	}
	for _, s := range w.segments {
		if s.lost || s.saying {
			continue
		}
		if s.deleted {
			if quiet {
				w.checkGone(s, bad)
			}
			continue
		}
		if err := w.read(s); err != nil && (quiet || s.toBeHad(w) >= s.d.K) {
			bad(s, "not to be read: %v", err)
		}
		if quiet {
			w.checkQuiet(s, bad)
		}
	}
	return wrong
}

func (w *World) checkQuiet(s *segment, bad func(s *segment, format string, args ...any)) {
	view := w.truth()
	held := map[store.Holding]bool{}
	holders := make([][]datamesh.PeerID, len(s.at))
	for i, who := range s.at {
		for _, x := range who {
			if n := w.nodes[x]; n.up {
				held[store.Holding{Index: i, Peer: n.id}] = true
				holders[i] = append(holders[i], n.id)
			}
		}
		if len(holders[i]) != 1 {
			bad(s, "shard %d is held by %d nodes", i, len(holders[i]))
		}
	}
	if got, want := placement.Survives(holders, s.d.K), placement.BestSurvives(view.Live(), s.d.K, s.d.M); got < want {
		bad(s, "survives %d, want %d", got, want)
	}
	track := w.registrars(s.d)
	for _, n := range w.up() {
		r := n.disk.segments[s.d.Segment]
		mine := slices.Contains(track, n.id)
		if r == nil {
			if mine {
				bad(s, "node %d does not know it, and is a registrar", n.number)
			}
			continue
		}
		said := map[store.Holding]bool{}
		for _, h := range r.holdings() {
			if o := w.byPeer[h.Peer]; !o.up {
				bad(s, "node %d still says that node %d holds shard %d, which is gone for good", n.number, o.number, h.Index)
				continue
			}
			said[h] = true
		}
		if !mine {
			if len(said) > 0 {
				bad(s, "node %d keeps track of it, and is no registrar", n.number)
			}
			continue
		}
		for h := range said {
			if !held[h] {
				bad(s, "node %d says that node %d holds shard %d", n.number, w.byPeer[h.Peer].number, h.Index)
			}
		}
		for h := range held {
			if !said[h] {
				bad(s, "node %d does not know that node %d holds shard %d", n.number, w.byPeer[h.Peer].number, h.Index)
			}
		}
	}
}
