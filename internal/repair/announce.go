package repair

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// atOnce is how many members are talked to at once.
const atOnce = 8

// tellTries is how often a member may fail to be told before that is told of.
const tellTries = 8

// tellTime is how long a member may take to be told what is held.
const tellTime = time.Minute

// announce tells members which shards this one holds that they are registrars
// of, and which owners' words and records both keep, drops what they show to be
// deleted, and gives and takes records.
func (k *Keeper) announce(ctx context.Context, x Announce) Announced {
	if k.absent.Load() {
		if failed := k.catchUp(ctx); len(failed) > 0 {
			return Announced{Failed: failed}
		}
	}
	sums, err := k.sums(ctx, x)
	if err != nil {
		if ctx.Err() == nil {
			k.events.failed("what this node holds could not be read", err)
		}
		return Announced{Failed: x.To}
	}
	var mu sync.Mutex // guards done
	var done Announced
	group := k.workers(atOnce)
	for _, peer := range slices.SortedFunc(maps.Keys(sums), comparePeers) {
		group.Go(func() error {
			ctx, cancel := k.within(ctx, tellTime)
			defer cancel()
			err := k.tell(ctx, peer, sums[peer])
			if n := k.untold.note(peer, err); n >= tellTries && n&(n-1) == 0 && ctx.Err() == nil {
				k.events.failed("a member could not be told several times what this node holds", fmt.Errorf("peer %s, %d times: %w", peer, n, err))
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				done.Failed = append(done.Failed, peer)
			} else {
				done.Told = append(done.Told, peer)
			}
			return nil
		})
	}
	group.Wait()
	if len(x.To) == 0 {
		if err := k.handOver(ctx); err != nil && ctx.Err() == nil {
			k.events.failed("owners' words could not be handed over", err)
		}
		if err := k.handOverRecords(ctx); err != nil && ctx.Err() == nil {
			k.events.failed("owners' records could not be handed over", err)
		}
	}
	return done
}

var errTooFew = errs.New(errs.Unavailable, "too few of those answer who keep owners' words")

// catchUp asks for what owners have said while this member was away for so long
// that it may hold what nobody else remembers. It returns who is to be told
// later what is held: nobody, if enough have answered.
func (k *Keeper) catchUp(ctx context.Context) []datamesh.PeerID {
	all, err := k.askForWords(ctx)
	if err == nil && !all {
		err = errTooFew
	}
	if err != nil {
		if ctx.Err() == nil {
			k.events.failed("this node was away for long, and does not tell yet what it holds", err)
		}
		return partners(k.net.View(), k.self)
	}
	k.absent.Store(false)
	k.Lost() // all are told
	return nil
}

// sums returns for each member that is to be told the sums of the shards held
// here that it is a registrar of, and of the owners' words and records that both
// keep.
func (k *Keeper) sums(ctx context.Context, x Announce) (map[datamesh.PeerID]transfer.Sums, error) {
	view, n, to := k.net.View(), 0, map[datamesh.PeerID]bool{}
	all := len(x.To) == 0 && x.Since == nil
	if all {
		x.To = partners(view, k.self)
	}
	for _, peer := range x.To {
		to[peer] = true
	}
	concerned := func(registrars func(*ring.View) []datamesh.PeerID) {
		var peers []datamesh.PeerID
		switch {
		case all:
			peers = registrars(view)
		case x.Since != nil:
			peers = became(view, x.Since, registrars)
		}
		for _, peer := range peers {
			to[peer] = true
		}
	}
	err := k.held(ctx, datamesh.First, func(h *store.Held) {
		n++
		concerned(func(v *ring.View) []datamesh.PeerID { return registrars(v, h.Descriptor) })
	})
	if err != nil {
		return nil, err
	}
	err = k.kept(ctx, view, func(del *datamesh.Deletion) {
		n++
		concerned(func(v *ring.View) []datamesh.PeerID { return registrars(v, del.Descriptor) })
	})
	if err != nil {
		return nil, err
	}
	var place [32]byte
	err = k.keptRecords(ctx, view, func(key datamesh.RecordKey, _ []datamesh.PeerID) {
		n++
		if key.Place != place {
			place = key.Place
			concerned(func(v *ring.View) []datamesh.PeerID { return recordRegistrars(v, place, 0) })
		}
	})
	if err != nil || len(to) == 0 {
		return nil, err
	}
	var key [32]byte
	rand.Read(key[:])
	sums := map[datamesh.PeerID]transfer.Sums{}
	for peer := range to {
		sums[peer] = transfer.NewSums(key, n)
	}
	err = k.held(ctx, datamesh.First, func(h *store.Held) {
		for _, peer := range registrars(view, h.Descriptor) {
			if s, ok := sums[peer]; ok {
				s.Add(h.Key())
			}
		}
	})
	if err != nil {
		return nil, err
	}
	err = k.kept(ctx, view, func(del *datamesh.Deletion) {
		for _, peer := range registrars(view, del.Descriptor) {
			if s, ok := sums[peer]; ok && peer != k.self {
				s.AddWord(transfer.NewWord(del))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return sums, k.keptRecords(ctx, view, func(key datamesh.RecordKey, registrars []datamesh.PeerID) {
		for _, peer := range registrars {
			if s, ok := sums[peer]; ok && peer != k.self {
				s.AddRecord(key)
			}
		}
	})
}

// became returns those of the registrars of something that were none in an older
// table, or have begun anew since then.
func became(view, old *ring.View, registrars func(*ring.View) []datamesh.PeerID) []datamesh.PeerID {
	before := registrars(old)
	return slices.DeleteFunc(registrars(view), func(peer datamesh.PeerID) bool {
		is, _ := view.Lookup(peer)
		was, _ := old.Lookup(peer)
		return slices.Contains(before, peer) && !anotherLife(was.Record.Seq, is.Record.Seq)
	})
}

// held calls do with the shards held here after a key that are not known to be
// damaged.
func (k *Keeper) held(ctx context.Context, after datamesh.ShardKey, do func(*store.Held)) error {
	for {
		list, err := k.index.Held(ctx, after, page)
		if err != nil {
			return err
		}
		for i := range list {
			if !list[i].Damaged {
				do(&list[i])
			}
		}
		if len(list) < page {
			return nil
		}
		after = list[page-1].Key()
	}
}

// tell compares the sums of what is held with what a registrar knows, and tells
// it all of the ranges in which they differ. What it does not take of words and
// records does not keep it from being told of shards: of those that were deleted
// it shows the words.
func (k *Keeper) tell(ctx context.Context, peer datamesh.PeerID, sums transfer.Sums) error {
	ranges, err := k.net.Compare(ctx, peer, sums)
	if err != nil {
		return err
	}
	k.events.compared(len(ranges))
	var failed error
	for _, i := range ranges {
		after, upto := sums.Bounds(i)
		if peer != k.self {
			failed = cmp.Or(failed, k.tellRecords(ctx, peer, after.Segment, upto.Segment))
			failed = cmp.Or(failed, k.tellWords(ctx, peer, after.Segment, upto.Segment))
		}
		for after.Compare(upto) < 0 {
			if after, err = k.tellRange(ctx, peer, after, upto); err != nil {
				return err
			}
		}
	}
	return failed
}

// failures counts how often something has failed for a peer since it last did
// not. Its zero value is ready for use.
type failures struct {
	mu sync.Mutex // guards n
	n  map[datamesh.PeerID]int
}

func (f *failures) note(peer datamesh.PeerID, err error) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.n, peer)
		return 0
	}
	if f.n == nil {
		f.n = map[datamesh.PeerID]int{}
	}
	f.n[peer]++
	return f.n[peer]
}

// tellRange tells a registrar what is held from after on, up to upto at most,
// and returns up to where that went.
func (k *Keeper) tellRange(ctx context.Context, peer datamesh.PeerID, after, upto datamesh.ShardKey) (datamesh.ShardKey, error) {
	r := transfer.Range{After: after, Upto: upto}
	byKey := map[datamesh.SegmentID][]store.Held{}
	for at := after; len(r.Keys) < transfer.MaxRange; {
		list, err := k.index.Held(ctx, at, page)
		if err != nil {
			return after, err
		}
		view, beyond := k.net.View(), len(list) < page
		for _, h := range list {
			if at = h.Key(); at.Compare(upto) > 0 {
				beyond = true
				break
			}
			if !h.Damaged && mayTrack(view, h.Descriptor, peer) {
				r.Keys = append(r.Keys, at)
				byKey[at.Segment] = append(byKey[at.Segment], h)
			}
		}
		if beyond {
			break
		}
		if len(r.Keys) > transfer.MaxRange-page {
			r.Upto = at
			break
		}
	}
	unknown, deleted, err := k.net.Holds(ctx, peer, r)
	if err != nil {
		return after, err
	}
	for _, del := range deleted {
		k.drop(ctx, del) // if it cannot, they differ the next time
	}
	var reports []store.Report
	for _, segment := range unknown {
		held := byKey[segment]
		if len(held) == 0 {
			return after, errs.New(errs.Serialization, "peer %s asks for %s, which it was not told of", peer, segment)
		}
		report := store.Report{Descriptor: held[0].Descriptor}
		for _, h := range held {
			report.Holdings = append(report.Holdings, store.Holding{Index: h.Index, Peer: k.self})
		}
		reports = append(reports, report)
	}
	if len(reports) == 0 {
		return r.Upto, nil
	}
	if err := k.net.Report(ctx, peer, reports); err != nil && !errors.Is(err, errs.Deleted) {
		return after, err
	}
	return r.Upto, nil
}

// majority returns how many of n registrars must be heard.
func majority(n int) int { return n/2 + 1 }

// slack is by how many members the tables of two peers may differ without one
// taking out what the other keeps track of.
const slack = 2

// mayTrack reports whether a member is, or to its own eyes may be, a registrar
// of a segment.
func mayTrack(view *ring.View, d *datamesh.Descriptor, peer datamesh.PeerID) bool {
	n := ring.RegistrarCount(d.K, d.M, view.Live())
	return slices.Contains(ring.Registrars(view, d.Segment, n+slack), peer)
}
