package sim

import (
	"context"
	"slices"
	"time"

	"datamesh"
)

// A write is a shard that has come to a node and is not acknowledged before it
// is synced.
type write struct {
	to     *node
	d      *datamesh.Descriptor
	key    datamesh.ShardKey
	bytes  []byte
	at     time.Time // when it is synced
	synced bool
	err    error // then
}

// write begins to write a shard.
func (n *node) write(d *datamesh.Descriptor, index int, shard []byte) *write {
	w, life := n.w, n.ctx
	x := &write{to: n, d: d, key: datamesh.ShardKey{Segment: d.Segment, Index: index}, bytes: slices.Clone(shard), at: w.now.Add(w.cfg.Sync)}
	n.writes = append(n.writes, x)
	if w.mishap(w.cfg.Crashes, &w.Stats.Crashes) {
		w.after(time.Duration(w.rand.Int64N(int64(w.cfg.Sync))), func() {
			if life.Err() == nil {
				n.leave()
			}
		})
	}
	w.after(w.cfg.Sync, func() {
		if life.Err() != nil {
			return
		}
		n.writes = slices.DeleteFunc(n.writes, func(y *write) bool { return y == x })
		x.synced, x.err = true, n.guarded.Put(life, d, index, x.bytes)
	})
	return x
}

// crash leaves of what was being written nothing, or half, or all.
func (n *node) crash() {
	for _, x := range n.writes {
		switch n.w.rand.IntN(3) {
		case 0:
			if n.disk.tear(x.d, x.key, x.bytes) {
				n.w.Stats.Torn++
				n.scrub(x.key)
			}
		case 1:
			n.disk.Put(context.Background(), x.d, x.key.Index, x.bytes)
		}
	}
	n.writes = nil
}
