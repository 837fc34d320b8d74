package node

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/metrics"
	"datamesh/internal/scrub"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// Scrub reads all shards of this node's store at once, and tells which were
// damaged. Kinds: FileNotFound (it stores nothing), Locked (another call has
// not returned), Unavailable, IO, Database.
func (n *Node) Scrub(ctx context.Context, o ScrubOptions) (*Scrubbed, error) {
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	if l.scrub == nil {
		return nil, errNoStore("this node")
	}
	p := &progress{kind: ScrubTransfer}
	p.size.Store(l.disk.Usage().Used)
	defer n.board.begin(o.Transfer, p)()
	r, err := l.scrub.Now(ctx, func(n int) { p.received.Add(int64(n)) })
	if err != nil {
		return nil, err
	}
	return scrubbed(r), nil
}

func errNoStore(who string) error {
	return errs.WithHint(errs.New(errs.FileNotFound, "%s stores no shards", who),
		"shards are scrubbed on the machine that has them; name its home: --home DIR")
}

func scrubbed(r scrub.Result) *Scrubbed {
	s := &Scrubbed{Shards: r.Shards, Bytes: r.Bytes, Dropped: r.Dropped, Mended: r.Mended, Kept: r.Kept, Damaged: []DamagedShard{}}
	for _, d := range r.Damaged {
		s.Damaged = append(s.Damaged, DamagedShard{d.Key.Segment, d.Key.Index, fateOf(d.Fate), d.Reason.Error()})
	}
	return s
}

func fateOf(f store.Fate) string {
	switch f {
	case store.Dropped:
		return DroppedShard
	case store.Mended:
		return MendedShard
	}
	return KeptShard
}

// OpenStore opens the store of a home whose node does not run, and nothing
// else: of the node that it returns only Scrub, Transfers of one id and Close
// may be called. Kinds: FileNotFound (the home has no store), those of
// [store.Open].
func OpenStore(o Options) (*Node, error) {
	if _, err := os.Stat(o.Home.Store()); errors.Is(err, fs.ErrNotExist) {
		return nil, errNoStore("the home " + string(o.Home))
	}
	n := newNode(o, nil)
	disk, err := n.openDisk()
	if err != nil {
		return nil, errors.Join(err, n.Close(context.Background()))
	}
	n.link = &link{disk: disk, scrub: n.newScrub(disk, func() {}), client: transfer.NewClient(noStream)}
	return n, nil
}

// newScrub returns what scrubs the node's store, and calls dropped when it has
// dropped a shard.
func (n *Node) newScrub(disk *store.Disk, dropped func()) *scrub.Scrub {
	c := n.opt.Config.Scrub
	return scrub.New(disk, scrub.Options{Rate: int64(c.Rate), Interval: c.Interval, Events: n.scrubEvents(dropped)})
}

func (n *Node) scrubEvents(dropped func()) scrub.Events {
	return scrub.Events{
		Read: n.metrics.ScrubbedShard,
		Rotten: func(key datamesh.ShardKey, reason error) {
			n.metrics.DamagedShard(metrics.Dropped)
			n.log.Warn("a damaged shard was dropped", "segment", key.Segment, "index", key.Index, "error", reason)
			dropped()
		},
		Mended: func(key datamesh.ShardKey, reason error) {
			n.metrics.DamagedShard(metrics.Mended)
			n.log.Warn("the damaged file of a shard was written anew", "segment", key.Segment, "index", key.Index, "error", reason)
		},
		Kept: func(key datamesh.ShardKey, reason error) {
			n.metrics.DamagedShard(metrics.Kept)
			n.log.Warn("a shard could not be checked for damage", "segment", key.Segment, "index", key.Index, "error", reason)
		},
		Passed: func(r scrub.Result) {
			if r.Shards > 0 {
				n.log.Info("all shards were checked for damage", "shards", r.Shards, "bytes", r.Bytes,
					"dropped", r.Dropped, "mended", r.Mended, "kept", r.Kept)
			}
		},
		Failed: func(err error) {
			n.log.Warn("checking the shards for damage did not go on as it should", "error", err)
		},
	}
}
