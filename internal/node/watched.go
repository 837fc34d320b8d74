package node

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

// watched is a store whose operator is told what needs one: that the disk has
// changed a shard, and that there is no room for another.
type watched struct {
	datamesh.ShardStore
	log  *slog.Logger
	full atomic.Int64 // when it was last told, in Unix seconds
}

// fullInterval is how often a full store is spoken of: it may refuse many
// shards in a second.
const fullInterval = time.Minute

func (w *watched) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	err := w.ShardStore.Put(ctx, d, index, shard)
	if errors.Is(err, errs.Full) {
		last, now := w.full.Load(), time.Now().Unix()
		if now-last >= int64(fullInterval/time.Second) && w.full.CompareAndSwap(last, now) {
			w.log.Warn("the store is full: it refuses shards until there is room", "segment", d.Segment, "index", index, "bytes", len(shard), "error", err)
		}
	}
	return err
}

func (w *watched) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	d, shard, err := w.ShardStore.Get(ctx, key, buf)
	w.damaged(key, err)
	return d, shard, err
}

func (w *watched) GetRange(ctx context.Context, key datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	d, slice, err := w.ShardStore.GetRange(ctx, key, off, n)
	w.damaged(key, err)
	return d, slice, err
}

func (w *watched) damaged(key datamesh.ShardKey, err error) {
	if errors.Is(err, errs.Integrity) {
		w.log.Error("a shard in the store is damaged: check the disk", "segment", key.Segment, "index", key.Index, "error", err)
	}
}
