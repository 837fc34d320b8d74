package node

import (
	"encoding/binary"
	"time"

	"datamesh/internal/repair"
	"datamesh/internal/store"
)

// purgePause is how often the trash is looked through, at most.
const purgePause = time.Minute

// alivePosition has when this node was last there, in seconds since 1970.
const alivePosition = "alive"

// purge empties the trash, and notes that this node is there, until the node is
// closed.
func (n *Node) purge(disk *store.Disk, keeper *repair.Keeper) {
	tick := time.NewTicker(max(min(purgePause, n.opt.Config.Store.Trash/4), time.Second))
	defer tick.Stop()
	for {
		if err := n.purgeOnce(disk, keeper); err != nil && n.ctx.Err() == nil {
			n.log.Warn("the trash could not be emptied", "error", err)
		}
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
	}
}

// purgeOnce removes what has been in the trash for long enough. Of a node that
// was away for long, and has not heard yet what was deleted meanwhile, it does
// not note that it is there: or it would tell what it holds without asking when
// it is started again.
func (n *Node) purgeOnce(disk *store.Disk, keeper *repair.Keeper) error {
	purged, err := disk.Purge(n.ctx, n.opt.Config.Store.Trash)
	if purged > 0 {
		n.log.Info("deleted shards were removed from the trash", "shards", purged)
	}
	if err != nil || keeper.IsAbsent() {
		return err
	}
	return disk.SetPosition(n.ctx, alivePosition, binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix())))
}

// wasAway reports whether this node was away for so long that others may have
// emptied their trash meanwhile, or may not know any more what was deleted. A
// clock that stands before the time when it was last there says nothing.
func (n *Node) wasAway(disk *store.Disk) (away bool, err error) {
	value, err := disk.Position(n.ctx, alivePosition)
	if err != nil {
		return false, err
	}
	if len(value) != 8 { // it was never there, or its index was made again
		return disk.Usage().Shards > 0, nil
	}
	gone := time.Since(time.Unix(int64(binary.BigEndian.Uint64(value)), 0))
	return gone > n.opt.Config.Store.Trash || gone < -time.Hour, nil
}
