package repair

import (
	"context"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
	"datamesh/internal/store"
)

// NewMender returns a keeper for one who keeps track of no segments, or leaves
// out that he does: it does not run, and is there for [Keeper.Mend].
func NewMender(net Net, self datamesh.PeerID, bytesPerSecond int64, events Events) *Keeper {
	return NewKeeper(net, &Registry{Index: nowhere{}, Self: self, View: net.View}, Config{Self: self}, bytesPerSecond, events)
}

// Mend looks at segments now, and has each that is not whole repaired once, or
// says what that would come to. Whoever asks does the work: it asks the
// registrars who holds what and those whether they do, reads, rebuilds and gives
// shards, and tells the registrars. That takes no more rights than a put. Its
// error is that of ctx.
func (k *Keeper) Mend(ctx context.Context, segments []datamesh.SegmentID, dryRun bool) (Round, error) {
	var mu sync.Mutex // guards all
	var all Round
	group := k.workers(together)
	for _, segment := range segments {
		group.Go(func() error {
			r := k.mend(ctx, segment, dryRun)
			mu.Lock()
			defer mu.Unlock()
			all.merge(r)
			return nil
		})
	}
	group.Wait()
	return all, ctx.Err()
}

// mend looks at one segment.
func (k *Keeper) mend(ctx context.Context, segment datamesh.SegmentID, dryRun bool) (r Round) {
	r.Segments = 1
	d, holdings, err := k.find(ctx, segment)
	var s Surveyed
	if err == nil {
		s = k.surveyOf(ctx, d, holdings)
		err = s.Err
	}
	if err != nil {
		r.Waiting = 1
		r.fail(segment, err)
		return r
	}
	members := ring.Candidates(k.net.View())
	if placement.Whole(s.Holders, len(members), d.K, d.M) {
		return r
	}
	r.Waiting = 1
	for more := true; more && err == nil; {
		x := Repair{d, s.Holders, Plan(members, d, s.Holders), k.now()}
		if len(x.Copies) == 0 {
			break
		}
		var done Repaired
		if dryRun {
			done = k.wouldRepair(x)
		} else {
			done = k.repair(ctx, x)
		}
		if r.given(done.Placed); done.Gone {
			return r
		}
		s.Holders, more, err = done.Holders, done.More, done.Err
	}
	if err == nil {
		err = flaw(members, d, s.Holders)
	}
	if err != nil {
		r.fail(segment, err)
	} else {
		r.Repaired = 1
	}
	return r
}

// Prove has holders of a segment, this member aside, prove their shards now,
// all at once, each a part that is drawn here. Kinds: FileNotFound, Unavailable.
func (k *Keeper) Prove(ctx context.Context, segment datamesh.SegmentID, holders [][]datamesh.PeerID) ([]Answer, error) {
	d, _, err := k.find(ctx, segment)
	if err != nil {
		return nil, err
	}
	if len(holders) != len(d.Shards) {
		return nil, errs.New(errs.Invalid, "%s has %d shards, not %d", segment, len(d.Shards), len(holders))
	}
	return k.challenge(ctx, d, holders), nil
}

// find asks those that are nearest to a segment for its descriptor, one after
// the other. Kinds: FileNotFound, Unavailable.
func (k *Keeper) find(ctx context.Context, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	view := k.net.View()
	err := errs.New(errs.Unavailable, "no member is there")
	for _, peer := range ring.Registrars(view, segment, ring.RegistrarCount(0, 0, view.Live())) {
		d, holdings, failed := k.net.Locate(ctx, peer, segment)
		if failed == nil {
			return d, holdings, nil
		}
		if err = failed; ctx.Err() != nil {
			break
		}
	}
	return nil, nil, err
}

// given takes in shards that were given to peers.
func (r *Round) given(placed []Placed) {
	for _, p := range placed {
		r.Shards++
		r.Bytes += int64(p.Bytes)
		if len(r.Placed) < MaxListed {
			r.Placed = append(r.Placed, p)
		}
	}
}

// fail takes in that a segment is still not whole.
func (r *Round) fail(segment datamesh.SegmentID, err error) {
	r.Failed++
	if len(r.Weak) < MaxListed {
		r.Weak = append(r.Weak, Weak{segment, err})
	}
}

// merge takes in what came of other segments.
func (r *Round) merge(o Round) {
	r.Segments += o.Segments
	r.Waiting += o.Waiting
	r.Repaired += o.Repaired
	r.Failed += o.Failed
	r.Shards += o.Shards
	r.Bytes += o.Bytes
	r.Placed = append(r.Placed, o.Placed[:min(len(o.Placed), MaxListed-len(r.Placed))]...)
	r.Weak = append(r.Weak, o.Weak[:min(len(o.Weak), MaxListed-len(r.Weak))]...)
}

// nowhere is the index of one who keeps track of nothing.
type nowhere struct{ Index }

func (nowhere) Locate(context.Context, datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	return nil, nil, errNowhere
}

func (nowhere) Correct(context.Context, datamesh.PeerID, datamesh.ShardKey, datamesh.ShardKey, []datamesh.ShardKey) ([]datamesh.SegmentID, []*datamesh.Deletion, error) {
	return nil, nil, nil
}

func (nowhere) Report(context.Context, []store.Report) error   { return nil }
func (nowhere) Drop(context.Context, *datamesh.Deletion) error { return nil }
func (nowhere) Proven(context.Context, []store.Proof) error    { return nil }

func (nowhere) Deletion(context.Context, datamesh.SegmentID) (*datamesh.Deletion, error) {
	return nil, errNowhere
}

var errNowhere = errs.New(errs.FileNotFound, "nothing is kept track of here")
