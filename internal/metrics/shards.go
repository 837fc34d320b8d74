package metrics

import (
	"context"
	"time"

	"datamesh"
)

// The stores that operations are counted for.
const (
	Local  = "local"  // the node's own
	Remote = "remote" // a peer's
)

// shardOperations are those of a ShardStore.
var shardOperations = []string{"put", "get", "range", "has", "list", "drop"}

// Shards returns a store that is inner, and counts what passes through it
// under [Local] or [Remote].
func (m *Metrics) Shards(store string, inner datamesh.ShardStore) datamesh.ShardStore {
	return counted{m, store, inner}
}

type counted struct {
	m     *Metrics
	store string
	inner datamesh.ShardStore
}

// ended counts an operation that began then.
func (c counted) ended(op string, began time.Time, err error) {
	c.m.shardOps.WithLabelValues(c.store, op, result(err)).Inc()
	c.m.shardSeconds.WithLabelValues(c.store, op).Observe(time.Since(began).Seconds())
}

// moved counts the bytes of an operation that went well.
func (c counted) moved(op string, n int, err error) {
	if err == nil {
		c.m.shardBytes.WithLabelValues(c.store, op).Add(float64(n))
	}
}

func (c counted) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	began := time.Now()
	err := c.inner.Put(ctx, d, index, shard)
	c.ended("put", began, err)
	c.moved("put", len(shard), err)
	return err
}

func (c counted) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	began := time.Now()
	d, shard, err := c.inner.Get(ctx, key, buf)
	c.ended("get", began, err)
	c.moved("get", len(shard), err)
	return d, shard, err
}

func (c counted) GetRange(ctx context.Context, key datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	began := time.Now()
	d, slice, err := c.inner.GetRange(ctx, key, off, n)
	c.ended("range", began, err)
	c.moved("get", n, err)
	return d, slice, err
}

func (c counted) Has(ctx context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	began := time.Now()
	has, err := c.inner.Has(ctx, keys)
	c.ended("has", began, err)
	return has, err
}

func (c counted) List(ctx context.Context, after datamesh.ShardKey, limit int) ([]datamesh.ShardKey, error) {
	began := time.Now()
	keys, err := c.inner.List(ctx, after, limit)
	c.ended("list", began, err)
	return keys, err
}

func (c counted) Drop(ctx context.Context, del *datamesh.Deletion) error {
	began := time.Now()
	err := c.inner.Drop(ctx, del)
	c.ended("drop", began, err)
	return err
}
