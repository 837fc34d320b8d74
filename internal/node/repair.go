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

// Repair looks at all segments that this node is a registrar of, and has those
// repaired at once that are not whole, or says what that would come to. Kinds:
// NoNode (it is no member of a mesh), Locked (another call has not returned),
// Unavailable, Database.
func (n *Node) Repair(ctx context.Context, o RepairOptions) (*Repaired, error) {
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
	return repair.NewKeeper(&members{l}, l.registry, cfg, int64(c.Rate), repair.Events{
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
	})
}
