package node

import (
	"context"
	"math/rand/v2"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/metrics"
	"datamesh/internal/repair"
)

// Repair looks at all segments that this node is a registrar of, or at those of
// one object, and has those repaired at once that are not whole, or says what
// that would come to. Kinds: NoNode (it is no member of a mesh), Locked (another
// call for all has not returned), Unavailable, Database; for an object as
// [object.Objects.Get].
func (n *Node) Repair(ctx context.Context, o RepairOptions) (*Repaired, error) {
	if o.Object != "" {
		return n.repairObject(ctx, o)
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	if l.keeper == nil {
		return nil, errs.New(errs.NoNode, "this node is no member of a mesh")
	}
	var r repair.Round
	if o.DryRun {
		r, err = l.keeper.Look(ctx)
	} else {
		p := &progress{kind: RepairTransfer}
		p.size.Store(-1)
		defer n.board.begin(o.Transfer, p)()
		r, err = l.keeper.Now(ctx, func(bytes int) { p.received.Add(int64(bytes)) })
	}
	if err != nil {
		return nil, err
	}
	return repaired(r, o.DryRun), nil
}

// repairObject does itself what it takes to make the segments of an object
// whole. It need not be a registrar of them, nor a member.
func (n *Node) repairObject(ctx context.Context, o RepairOptions) (*Repaired, error) {
	id, err := n.resolve(ctx, o.Object)
	if err != nil {
		return nil, err
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	if l.net == nil {
		return nil, errs.WithHint(errs.New(errs.NoNode, "this home has no mesh: there is nobody to give shards to"),
			`join one with "datamesh networks use PEER_ID@ADDR"`)
	}
	state, err := l.objects.Info(ctx, id)
	if err != nil {
		return nil, l.absent(err)
	}
	var segments []datamesh.SegmentID
	for _, s := range state.Segments {
		segments = append(segments, s.ID)
	}
	p := &progress{kind: RepairTransfer}
	p.size.Store(-1)
	if !o.DryRun {
		defer n.board.begin(o.Transfer, p)()
	}
	events := n.repairEvents(l)
	placed := events.Placed
	events.Placed = func(x repair.Placed) {
		p.received.Add(int64(x.Bytes))
		placed(x)
	}
	r, err := repair.NewMender(&members{l}, l.self, int64(n.opt.Config.Repair.Rate), events).Mend(ctx, segments, o.DryRun)
	if err != nil {
		return nil, err
	}
	return repaired(r, o.DryRun), nil
}

func repaired(r repair.Round, dryRun bool) *Repaired {
	all := &Repaired{Segments: r.Segments, Waiting: r.Waiting, Repaired: r.Repaired, Unrepaired: r.Failed,
		Shards: r.Shards, Bytes: r.Bytes, Placed: []PlacedShard{}, Weak: []WeakSegment{}, DryRun: dryRun}
	for _, p := range r.Placed {
		all.Placed = append(all.Placed, PlacedShard{p.Segment, p.Index, p.At, p.Bytes, causeOf(p)})
	}
	for _, w := range r.Weak {
		all.Weak = append(all.Weak, WeakSegment{w.Segment, w.Reason.Error()})
	}
	return all
}

func causeOf(p repair.Placed) string {
	if p.Missing {
		return metrics.Missing
	}
	return metrics.Spread
}

// detection is within how many times ring.probe a member that has died is known
// to be dead, and what it held to be missing.
const detection = 6

// newKeeper returns what keeps the segments whole that this node is a registrar of.
func (n *Node) newKeeper(l *link) *repair.Keeper {
	c := n.opt.Config.Repair
	cfg := repair.Config{Self: l.self, Grace: c.Grace, Interval: c.Interval, Seed: rand.Uint64()}
	return repair.NewKeeper(&members{l}, l.registry, cfg, int64(c.Rate), n.repairEvents(l))
}

// repairEvents counts what is repaired, and tells the operator.
func (n *Node) repairEvents(l *link) repair.Events {
	return repair.Events{
		Placed: func(p repair.Placed) {
			n.metrics.RepairedShard(causeOf(p), p.Bytes)
			n.log.Info("a shard was repaired", "segment", p.Segment, "index", p.Index, "peer", p.At, "bytes", p.Bytes)
		},
		Restored: func(took time.Duration) { l.experience.repaired(took + n.opt.Config.Ring.Probe*detection) },
		Read:     n.metrics.RepairRead,
		Refused: func(d *datamesh.Descriptor, index int, peer datamesh.PeerID, err error) {
			n.log.Info("a peer did not take a repaired shard", "segment", d.Segment, "index", index, "peer", peer, "error", err)
		},
		Unrepaired: func(segment datamesh.SegmentID, err error) {
			n.metrics.RepairFailed()
			n.log.Warn("a segment could not be repaired yet", "segment", segment, "error", err)
		},
		Compared: n.metrics.InventoryTold,
		Dropped: func(key datamesh.ShardKey) {
			n.metrics.SurplusShard()
			n.log.Info("a shard was dropped that another peer keeps", "segment", key.Segment, "index", key.Index)
		},
		Audited: n.audited,
		Failed: func(what string, err error) {
			n.log.Warn(what, "error", err)
		},
	}
}
