package node

import (
	"encoding/binary"
	"time"

	"datamesh/internal/store"
)

// purgePause is how often the trash is looked through, at most.
const purgePause = time.Minute

// alivePosition has when this node was last there, in seconds since 1970.
const alivePosition = "alive"

// purge empties the trash of what has been there for long enough, and notes that
// this node is there, until the node is closed.
func (n *Node) purge(disk *store.Disk) {
	keep := n.opt.Config.Store.Trash
	tick := time.NewTicker(max(min(purgePause, keep/4), time.Second))
	defer tick.Stop()
	for {
		purged, err := disk.Purge(n.ctx, keep)
		if purged > 0 {
			n.log.Info("deleted shards were removed from the trash", "shards", purged)
		}
		if err == nil {
			err = disk.SetPosition(n.ctx, alivePosition, binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix())))
		}
		if err != nil && n.ctx.Err() == nil {
			n.log.Warn("the trash could not be emptied", "error", err)
		}
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
	}
}

// wasAway reports whether this node was away for so long that others may have
// emptied their trash meanwhile, or may not know any more what was deleted. A
// clock that stands before the time when it was last there says nothing.
func (n *Node) wasAway(disk *store.Disk) (away bool, err error) {
	value, err := disk.Position(n.ctx, alivePosition)
	if err != nil || len(value) != 8 {
		return false, err // it was never there, or never noted it
	}
	gone := time.Since(time.Unix(int64(binary.BigEndian.Uint64(value)), 0))
	return gone > n.opt.Config.Store.Trash || gone < -time.Hour, nil
}
