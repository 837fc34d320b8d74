package repair

import (
	"context"
	"errors"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/erasure"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
	"datamesh/internal/store"

	"golang.org/x/sync/errgroup"
)

// survey asks the registrars of a segment who holds its shards, and those
// whether they do.
func (k *Keeper) survey(ctx context.Context, segment datamesh.SegmentID) Surveyed {
	s := Surveyed{Segment: segment}
	d, holdings, err := k.index.Locate(ctx, segment)
	if err != nil {
		s.Gone, s.Err = errors.Is(err, errs.FileNotFound), err
		return s
	}
	s.Descriptor = d
	all := registrars(k.net.View(), d)
	if s.Gone, err = k.gather(ctx, all, segment, &holdings); err != nil || s.Gone {
		s.Err = err
		return s
	}
	s.Holders = k.ask(ctx, d, holdings)
	return s
}

// gather adds what the other registrars know of who holds a segment. A majority
// of all, this one included, must answer. gone reports that one of them says
// that the segment is deleted, which the next inventory tells more of.
func (k *Keeper) gather(ctx context.Context, all []datamesh.PeerID, segment datamesh.SegmentID, holdings *[]store.Holding) (gone bool, err error) {
	var mu sync.Mutex // guards the rest
	answered := 0
	var group errgroup.Group
	for _, peer := range all {
		group.Go(func() error {
			if peer == k.self {
				mu.Lock()
				defer mu.Unlock()
				answered++
				return nil
			}
			_, more, err := k.net.Locate(ctx, peer, segment)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil || errors.Is(err, errs.FileNotFound):
				answered++
				*holdings = append(*holdings, more...)
			case errors.Is(err, errs.Deleted):
				gone = true
			}
			return nil
		})
	}
	group.Wait()
	if answered < majority(len(all)) && !gone {
		return false, errs.New(errs.Unavailable, "%d of %d registrars answer", answered, len(all))
	}
	return gone, nil
}

// ask asks those that are said to hold shards, and are there, whether they do.
// It returns them by index, and corrects what the index says of them.
func (k *Keeper) ask(ctx context.Context, d *datamesh.Descriptor, holdings []store.Holding) [][]datamesh.PeerID {
	said := map[datamesh.PeerID][]int{}
	view := k.net.View()
	for _, h := range holdings {
		if m, ok := view.Lookup(h.Peer); ok && m.State != ring.Dead && h.Index < len(d.Shards) && !slices.Contains(said[h.Peer], h.Index) {
			said[h.Peer] = append(said[h.Peer], h.Index)
		}
	}
	var mu sync.Mutex // guards holders
	holders := make([][]datamesh.PeerID, len(d.Shards))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for peer, indices := range said {
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
			k.index.Report(ctx, []store.Report{report})
			return nil
		})
	}
	group.Wait()
	for _, who := range holders {
		slices.SortFunc(who, comparePeers)
	}
	return holders
}

// repair makes the copies that a plan asks for, and tells the registrars. It
// is an error when not all of them could be made.
func (k *Keeper) repair(ctx context.Context, r Repair) Repaired {
	d := r.Descriptor
	done := Repaired{Segment: d.Segment}
	shards, err := k.shards(ctx, d, r.Holders, r.Copies)
	if err != nil {
		done.Err = err
		return done
	}
	holders := slices.Clone(r.Holders)
	refused := map[datamesh.PeerID]bool{}
	for _, c := range r.Copies {
		peer, err := k.give(ctx, d, c, shards[c.Index], holders, refused)
		if errors.Is(err, errs.Deleted) {
			done.Gone = true
			return done
		}
		if err != nil {
			done.Err = errors.Join(done.Err, err)
			continue
		}
		holders[c.Index] = append(slices.Clone(holders[c.Index]), peer)
		k.events.placed(d, c.Index, peer)
	}
	if err := k.report(ctx, d, holders); err != nil {
		done.Err = errors.Join(done.Err, err)
	}
	return done
}

// give gives a shard to the peer that is to have it, or the next one that
// takes it.
func (k *Keeper) give(ctx context.Context, d *datamesh.Descriptor, c Copy, shard []byte, holders [][]datamesh.PeerID, refused map[datamesh.PeerID]bool) (datamesh.PeerID, error) {
	for {
		var err error
		if !refused[c.To] {
			if err = k.net.Shards(c.To).Put(ctx, d, c.Index, shard); err == nil || errors.Is(err, errs.Deleted) || ctx.Err() != nil {
				return c.To, err
			}
			refused[c.To] = true
			k.events.refused(d, c.Index, c.To, err)
		}
		next, ok := k.next(d, c.Index, holders, refused)
		if !ok {
			if err == nil {
				err = errs.New(errs.Unavailable, "no other member takes shard %s/%d", d.Segment, c.Index)
			}
			return c.To, err
		}
		c.To = next
	}
}

// next returns who should have a shard, of those that have not refused one.
func (k *Keeper) next(d *datamesh.Descriptor, index int, holders [][]datamesh.PeerID, refused map[datamesh.PeerID]bool) (datamesh.PeerID, bool) {
	members := slices.DeleteFunc(ring.Candidates(k.net.View()), func(c placement.Candidate) bool { return refused[c.Peer] })
	for _, c := range Plan(members, d, holders) {
		if c.Index == index {
			return c.To, true
		}
	}
	return datamesh.PeerID{}, false
}

// shards returns the shards that are to be copied: read where there is one to
// read, and rebuilt from k others where there is not. All are checked.
func (k *Keeper) shards(ctx context.Context, d *datamesh.Descriptor, holders [][]datamesh.PeerID, copies []Copy) (map[int][]byte, error) {
	code, err := erasure.New(d.K, d.M)
	if err != nil {
		return nil, err
	}
	want := map[int][]byte{}
	rebuild := false
	for _, c := range copies {
		if len(holders[c.Index]) == 0 {
			rebuild = true
			continue
		}
		if want[c.Index], err = k.read(ctx, d, c.Index, holders[c.Index], nil); err != nil {
			return nil, err
		}
	}
	if !rebuild {
		return want, nil
	}
	all := code.Cut(make([]byte, code.BufferLen(d.Length)), d.Length)
	have, err := k.readAny(ctx, d, holders, all)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if !have[i] {
			all[i] = all[i][:0]
		}
	}
	if err := code.Rebuild(all, false); err != nil {
		return nil, err
	}
	for _, c := range copies {
		if len(holders[c.Index]) > 0 {
			continue
		}
		if hash.Shard(all[c.Index]) != d.Shards[c.Index] {
			return nil, errs.New(errs.Integrity, "shard %s/%d cannot be rebuilt: what its owner has signed is not a code of %d+%d", d.Segment, c.Index, d.K, d.M)
		}
		want[c.Index] = all[c.Index]
	}
	return want, nil
}

// readAny reads k shards, those that are here first, each into its place.
func (k *Keeper) readAny(ctx context.Context, d *datamesh.Descriptor, holders [][]datamesh.PeerID, into [][]byte) (have []bool, err error) {
	have = make([]bool, len(into))
	order := make([]int, 0, len(into))
	for i, who := range holders {
		if slices.Contains(who, k.self) {
			order = slices.Insert(order, 0, i)
		} else if len(who) > 0 {
			order = append(order, i)
		}
	}
	var mu sync.Mutex // guards have, order, and failed
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
	var group errgroup.Group
	for range d.K {
		group.Go(func() error {
			for {
				i, ok := take()
				if !ok {
					return nil
				}
				_, err := k.read(ctx, d, i, holders[i], into[i])
				mu.Lock()
				if have[i] = err == nil; err != nil {
					failed = errors.Join(failed, err)
				}
				mu.Unlock()
				if err == nil {
					return nil
				}
			}
		})
	}
	group.Wait()
	n := 0
	for _, ok := range have {
		if ok {
			n++
		}
	}
	if n < d.K {
		return nil, errs.New(errs.Unavailable, "segment %s: %d of %d shards can be read: %w", d.Segment, n, d.K, failed)
	}
	return have, nil
}

// read reads a shard from the first of its holders that serves it.
func (k *Keeper) read(ctx context.Context, d *datamesh.Descriptor, index int, holders []datamesh.PeerID, into []byte) (shard []byte, err error) {
	key := datamesh.ShardKey{Segment: d.Segment, Index: index}
	for _, peer := range holders {
		if err := k.rate.wait(ctx, d.ShardLen()); err != nil {
			return nil, err
		}
		var failed error
		if _, shard, failed = k.net.Shards(peer).Get(ctx, key, into[:0:len(into)]); failed == nil && hash.Shard(shard) == d.Shards[index] {
			if into != nil && len(shard) > 0 && &into[0] != &shard[0] {
				copy(into, shard)
			}
			return shard, nil
		}
		err = errors.Join(err, errs.New(errs.Unavailable, "shard %s/%d from %s: %w", d.Segment, index, peer, failed))
	}
	return nil, err
}

// report tells the registrars who holds a segment. A majority must take it.
func (k *Keeper) report(ctx context.Context, d *datamesh.Descriptor, holders [][]datamesh.PeerID) error {
	r := store.Report{Descriptor: d}
	for index, who := range holders {
		for _, peer := range who {
			r.Holdings = append(r.Holdings, store.Holding{Index: index, Peer: peer})
		}
	}
	all := registrars(k.net.View(), d)
	var mu sync.Mutex // guards the rest
	var acks int
	var failed error
	var group errgroup.Group
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
