package node

import (
	"math/rand/v2"

	"datamesh"
	"datamesh/internal/repair"
)

// keeper returns what keeps the segments whole that this node is a registrar of.
func (n *Node) keeper(l *link) *repair.Keeper {
	c := n.opt.Config.Repair
	cfg := repair.Config{Self: l.self, Grace: c.Grace, Interval: c.Interval, Seed: rand.Uint64()}
	return repair.NewKeeper(&members{l}, l.registry, cfg, int64(c.Rate), repair.Events{
		Placed: func(d *datamesh.Descriptor, index int, peer datamesh.PeerID) {
			n.log.Info("a shard was repaired", "segment", d.Segment, "index", index, "peer", peer, "bytes", d.ShardLen())
		},
		Refused: func(d *datamesh.Descriptor, index int, peer datamesh.PeerID, err error) {
			n.log.Info("a peer did not take a repaired shard", "segment", d.Segment, "index", index, "peer", peer, "error", err)
		},
		Unrepaired: func(segment datamesh.SegmentID, err error) {
			n.log.Warn("a segment could not be repaired yet", "segment", segment, "error", err)
		},
		Dropped: func(key datamesh.ShardKey) {
			n.log.Info("a shard was dropped that another peer keeps", "segment", key.Segment, "index", key.Index)
		},
		Audited: n.audited,
		Failed: func(what string, err error) {
			n.log.Warn(what, "error", err)
		},
	})
}
