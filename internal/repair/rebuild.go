package repair

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/erasure"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
	"datamesh/internal/step"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// survey asks the registrars of a segment who holds its shards, and those
// whether they do.
func (k *Keeper) survey(ctx context.Context, segment datamesh.SegmentID) Surveyed {
	s := Surveyed{Segment: segment}
	d, holdings, err := k.index.Locate(ctx, segment)
	if err != nil {
		s.Gone, s.Err = errors.Is(err, errs.FileNotFound) || errors.Is(err, errs.Deleted), err
		return s
	}
	return k.surveyOf(ctx, d, holdings)
}

// surveyOf is the survey of a segment of which this is known already.
func (k *Keeper) surveyOf(ctx context.Context, d *datamesh.Descriptor, holdings []store.Holding) Surveyed {
	s := Surveyed{Segment: d.Segment, Descriptor: d}
	all := registrars(k.net.View(), d)
	if s.Err = k.gather(ctx, all, d.Segment, &holdings); s.Err != nil {
		s.Gone = errors.Is(s.Err, errs.Deleted)
		return s
	}
	s.Holders = k.believe(ctx, d, k.ask(ctx, d, holdings, slices.Contains(all, k.self)))
	return s
}

// gather adds what the other registrars know of who holds a segment. A majority
// of all, this one included, must answer. Kind Deleted: one of them has shown
// that the owner has deleted the segment.
func (k *Keeper) gather(ctx context.Context, all []datamesh.PeerID, segment datamesh.SegmentID, holdings *[]store.Holding) error {
	var mu sync.Mutex // guards the rest
	answered := 0
	var deleted error
	group := k.workers(0)
	for _, peer := range all {
		group.Go(func() error {
			if peer == k.self {
				mu.Lock()
				defer mu.Unlock()
				answered++
				return nil
			}
			_, more, err := k.net.Locate(ctx, peer, segment)
			shown := errors.Is(err, errs.Deleted) && k.deleted(ctx, peer, segment)
			mu.Lock()
			defer mu.Unlock()
			if shown {
				deleted = err
			}
			if err == nil || errors.Is(err, errs.FileNotFound) {
				answered++
				*holdings = append(*holdings, more...)
			}
			return nil
		})
	}
	group.Wait()
	if deleted == nil && answered < majority(len(all)) {
		return errs.New(errs.Unavailable, "%d of %d registrars answer", answered, len(all))
	}
	return deleted
}

// ask asks those that are said to hold shards, and are there, whether they do.
// It returns them by index, and corrects what the index says of them; it enters
// who does if this member is to keep track of that.
func (k *Keeper) ask(ctx context.Context, d *datamesh.Descriptor, holdings []store.Holding, enter bool) [][]datamesh.PeerID {
	said := map[datamesh.PeerID][]int{}
	view := k.net.View()
	for _, h := range holdings {
		if m, ok := view.Lookup(h.Peer); ok && m.State != ring.Dead && h.Index < len(d.Shards) && !slices.Contains(said[h.Peer], h.Index) {
			said[h.Peer] = append(said[h.Peer], h.Index)
		}
	}
	var mu sync.Mutex // guards holders
	holders := make([][]datamesh.PeerID, len(d.Shards))
	group := k.workers(atOnce)
	for _, peer := range slices.SortedFunc(maps.Keys(said), comparePeers) {
		indices := said[peer]
		group.Go(func() error {
			keys := make([]datamesh.ShardKey, len(indices))
			for i, index := range indices {
				keys[i] = datamesh.ShardKey{Segment: d.Segment, Index: index}
			}
			has, err := k.net.Shards(peer).Has(ctx, keys)
			if err != nil {
				return nil // silence is no proof
			}
			report := store.Report{Descriptor: d}
			for i, index := range indices {
				if !has[i] {
					k.index.Correct(ctx, peer, datamesh.ShardKey{Segment: d.Segment, Index: index - 1}, keys[i], nil)
					continue
				}
				report.Holdings = append(report.Holdings, store.Holding{Index: index, Peer: peer})
				mu.Lock()
				holders[index] = append(holders[index], peer)
				mu.Unlock()
			}
			if enter {
				k.index.Report(ctx, []store.Report{report})
			}
			return nil
		})
	}
	group.Wait()
	for _, who := range holders {
		slices.SortFunc(who, comparePeers)
	}
	return holders
}

// maxMemory bounds the bytes of shards that are worked on at once. A segment
// alone may have more.
const maxMemory = 96 << 20

// repair makes the copies that a plan asks for, and tells the registrars. It
// is an error when not all of them could be made.
func (k *Keeper) repair(ctx context.Context, r Repair) (done Repaired) {
	d := r.Descriptor
	done = begun(r)
	copies := k.withRoom(r)
	if len(copies) == 0 {
		done.Err = errNoRoom(d)
		return done
	}
	if most := max(1, maxMemory/2/d.ShardLen()-d.K); len(copies) > most {
		copies, done.More = copies[:most], true
	}
	weight := int64(min(maxMemory, (d.K+len(copies))*d.ShardLen()))
	if done.Err = k.memory.Acquire(ctx, weight); done.Err != nil {
		return done
	}
	defer k.memory.Release(weight)
	shards, err := k.shards(ctx, d, r.Holders, copies)
	if done.Err, done.Hopeless = err, errors.Is(err, errNoCode); len(shards) == 0 {
		return done
	}
	step.At("repair: rebuild: the shards are there")
	refused := map[datamesh.PeerID]bool{}
	var receipts []*datamesh.Receipt
	for _, c := range copies {
		if shards[c.Index] == nil {
			continue
		}
		peer, receipt, err := k.give(ctx, d, c, shards[c.Index], done.Holders, refused)
		if errors.Is(err, errs.Deleted) {
			done.Gone = true
			return done
		}
		if err != nil {
			done.Err = errors.Join(done.Err, err)
			continue
		}
		k.placed(done.place(c.Index, peer))
		if receipt != nil {
			receipts = append(receipts, receipt)
		}
		step.At("repair: rebuild: a shard is given away")
	}
	if err := k.report(ctx, d, done.Holders, receipts); err != nil {
		done.Err = errors.Join(done.Err, err)
	}
	step.At("repair: rebuild: the registrars know")
	return done
}

// begun is a repair of which nothing is done.
func begun(r Repair) Repaired {
	return Repaired{Segment: r.Descriptor.Segment, Descriptor: r.Descriptor, Holders: slices.Clone(r.Holders)}
}

func (k *Keeper) placed(p Placed) {
	k.events.placed(p)
	if c := k.call.Load(); c != nil && c.placed != nil {
		c.placed(p.Bytes)
	}
}

// withRoom returns the copies that are to be made, or, if some of their members
// have no room, those that others can be given in their stead.
func (k *Keeper) withRoom(r Repair) []Copy {
	full := func(peer datamesh.PeerID) bool { return !k.hasRoom(r.Descriptor, peer) }
	if !slices.ContainsFunc(r.Copies, func(c Copy) bool { return full(c.To) }) {
		return r.Copies
	}
	members := slices.DeleteFunc(ring.Candidates(k.net.View()), func(c placement.Candidate) bool { return full(c.Peer) })
	return Plan(members, r.Descriptor, r.Holders)
}

func errNoRoom(d *datamesh.Descriptor) error {
	return errs.New(errs.Full, "no member has room for a shard of %s", d.Segment)
}

// fullTime is for how long a member is not asked again that has refused a shard
// for want of room, unless it says something new of itself before.
const fullTime = time.Hour

// A refusal is that of a member that had no room.
type refusal struct {
	at  time.Time
	seq uint64 // of its record then
}

// hasRoom reports whether a member says that it has room for a shard.
func (k *Keeper) hasRoom(d *datamesh.Descriptor, peer datamesh.PeerID) bool {
	m, ok := k.net.View().Lookup(peer)
	if !ok || m.Record.Capacity-m.Record.Used < int64(d.ShardLen()) {
		return false
	}
	was, ok := k.full.Load(peer)
	return !ok || k.now().Sub(was.(refusal).at) >= fullTime || was.(refusal).seq != m.Record.Seq
}

// isFull takes note of a member that has refused a shard for want of room.
func (k *Keeper) isFull(peer datamesh.PeerID) {
	if m, ok := k.net.View().Lookup(peer); ok {
		k.full.Store(peer, refusal{k.now(), m.Record.Seq})
	}
}

// give gives a shard to the peer that is to have it, or the next one that
// takes it, and returns that one's receipt, or nil if it gives none. Kind Deleted: a peer has shown that the owner has deleted the
// segment.
func (k *Keeper) give(ctx context.Context, d *datamesh.Descriptor, c Copy, shard []byte, holders [][]datamesh.PeerID, refused map[datamesh.PeerID]bool) (datamesh.PeerID, *datamesh.Receipt, error) {
	for {
		var receipt *datamesh.Receipt
		err := k.rate.wait(ctx, len(shard))
		if err == nil {
			receipt, err = k.place(ctx, d, c, shard)
		}
		if err == nil {
			err = k.taken(ctx, d, c)
		}
		if err == nil || ctx.Err() != nil {
			return c.To, receipt, err
		}
		if errors.Is(err, errs.Deleted) && k.deleted(ctx, c.To, d.Segment) {
			return c.To, nil, err
		}
		refused[c.To] = true
		if errors.Is(err, errs.Full) {
			k.isFull(c.To)
		}
		k.events.refused(d, c.Index, c.To, err)
		next, ok := k.another(d, c.Index, holders, refused)
		if !ok {
			kind := errs.Unavailable
			if errors.Is(err, errs.Full) {
				kind = errs.Full
			}
			return c.To, nil, errs.New(kind, "no other member takes shard %s/%d: %v", d.Segment, c.Index, err)
		}
		c.To = next
	}
}

// deleted asks a peer that says that a segment is deleted to show that, and if
// it does drops what there is of it here. Whoever only says so is not believed,
// and who does not know that it was brought back is told.
func (k *Keeper) deleted(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) bool {
	w := transfer.Words{List: []transfer.Word{{Segment: segment}}}
	last, err := k.index.Deletion(ctx, segment)
	if err == nil {
		w.List[0] = transfer.NewWord(last)
	}
	wanted, newer, err := k.net.Words(ctx, peer, w)
	if err != nil {
		return false
	}
	if len(wanted) > 0 {
		k.net.Shards(peer).Drop(ctx, last) // if that is lost, it is told when they compare
	}
	for _, del := range newer {
		k.drop(ctx, del)
		last = del
	}
	return last != nil && last.Gone()
}

// another returns who should have a shard, of those that have room and have not
// refused one.
func (k *Keeper) another(d *datamesh.Descriptor, index int, holders [][]datamesh.PeerID, refused map[datamesh.PeerID]bool) (datamesh.PeerID, bool) {
	members := slices.DeleteFunc(ring.Candidates(k.net.View()), func(c placement.Candidate) bool { return refused[c.Peer] })
	for _, c := range Plan(members, d, holders) {
		if c.Index == index && k.hasRoom(d, c.To) {
			return c.To, true
		}
	}
	return datamesh.PeerID{}, false
}

// errNoCode says that there is no rebuilding what is missing.
var errNoCode = errors.New("what its owner has signed is not a code")

// shards returns the shards that are to be copied: read where there is one to
// read, and rebuilt from k others where there is not. All are checked. With an
// error, which may be errNoCode, it returns those that could be had.
func (k *Keeper) shards(ctx context.Context, d *datamesh.Descriptor, holders [][]datamesh.PeerID, copies []Copy) (map[int][]byte, error) {
	want := map[int][]byte{}
	missing := make([]bool, len(d.Shards))
	for _, c := range copies {
		shard, err := k.read(ctx, d, c.Index, holders[c.Index])
		if err == nil {
			want[c.Index] = shard
		} else {
			missing[c.Index] = true
		}
	}
	if !slices.Contains(missing, true) {
		return want, nil
	}
	code, err := erasure.New(d.K, d.M)
	if err != nil {
		return want, err
	}
	all, err := k.readAny(ctx, d, holders)
	if err != nil {
		return want, err
	}
	if err := code.RebuildSome(all, missing); err != nil {
		return want, err
	}
	for index, ok := range missing {
		if !ok {
			continue
		}
		if hash.Shard(all[index]) != d.Shards[index] {
			return want, errs.New(errs.Integrity, "shard %s/%d: %w of %d+%d", d.Segment, index, errNoCode, d.K, d.M)
		}
		want[index] = all[index]
	}
	return want, nil
}

// readAny reads k shards, those that are here first. The others are nil.
func (k *Keeper) readAny(ctx context.Context, d *datamesh.Descriptor, holders [][]datamesh.PeerID) ([][]byte, error) {
	var order []int
	for i, who := range holders {
		if slices.Contains(who, k.self) {
			order = slices.Insert(order, 0, i)
		} else if len(who) > 0 {
			order = append(order, i)
		}
	}
	var mu sync.Mutex // guards the rest
	all := make([][]byte, len(holders))
	n := 0
	var failed error
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(order) == 0 {
			return 0, false
		}
		i := order[0]
		order = order[1:]
		return i, true
	}
	readOne := func() error {
		for {
			i, ok := take()
			if !ok {
				return nil
			}
			shard, err := k.read(ctx, d, i, holders[i])
			mu.Lock()
			if err == nil {
				all[i] = shard
				n++
			} else {
				failed = errors.Join(failed, err)
			}
			mu.Unlock()
			if err == nil {
				return nil
			}
		}
	}
	group := k.workers(0)
	for range d.K {
		group.Go(readOne)
	}
	group.Wait()
	if n < d.K {
		return nil, errs.New(errs.Unavailable, "segment %s: %d of %d shards can be read: %w", d.Segment, n, d.K, failed)
	}
	return all, nil
}

// read reads a shard from the first of its holders that serves it.
func (k *Keeper) read(ctx context.Context, d *datamesh.Descriptor, index int, holders []datamesh.PeerID) (shard []byte, err error) {
	key := datamesh.ShardKey{Segment: d.Segment, Index: index}
	err = errs.New(errs.Unavailable, "shard %s/%d: nobody has it", d.Segment, index)
	for _, peer := range holders {
		if err := k.rate.wait(ctx, d.ShardLen()); err != nil {
			return nil, err
		}
		shard, err = k.readFrom(ctx, d, key, peer)
		if err == nil {
			return shard, nil
		}
	}
	return nil, err
}

// shardTime is how long a peer may take to send a shard.
const shardTime = 2 * time.Minute

func (k *Keeper) readFrom(ctx context.Context, d *datamesh.Descriptor, key datamesh.ShardKey, peer datamesh.PeerID) ([]byte, error) {
	ctx, cancel := k.within(ctx, shardTime)
	defer cancel()
	_, shard, err := k.net.Shards(peer).Get(ctx, key, make([]byte, d.ShardLen()))
	k.events.read(len(shard))
	switch {
	case err != nil:
		return nil, fmt.Errorf("shard %s/%d from %s: %w", key.Segment, key.Index, peer, err)
	case hash.Shard(shard) != d.Shards[key.Index]:
		return nil, errs.New(errs.Unavailable, "shard %s/%d from %s: the bytes are others", key.Segment, key.Index, peer)
	}
	return shard, nil
}

// report tells the registrars who holds a segment, with the receipts of those
// that were given shards. A majority must take it.
func (k *Keeper) report(ctx context.Context, d *datamesh.Descriptor, holders [][]datamesh.PeerID, receipts []*datamesh.Receipt) error {
	r := store.Report{Descriptor: d, Receipts: receipts}
	for index, who := range holders {
		for _, peer := range who {
			r.Holdings = append(r.Holdings, store.Holding{Index: index, Peer: peer})
		}
	}
	all := registrars(k.net.View(), d)
	var mu sync.Mutex // guards the rest
	var acks int
	var failed error
	group := k.workers(0)
	for _, peer := range all {
		group.Go(func() error {
			err := k.net.Report(ctx, peer, []store.Report{r})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = errors.Join(failed, err)
			} else {
				acks++
			}
			return nil
		})
	}
	group.Wait()
	if acks < majority(len(all)) {
		return errs.New(errs.Unavailable, "%d of %d registrars of %s took a report: %w", acks, len(all), d.Segment, failed)
	}
	return nil
}
