package repair

import (
	"context"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

const (
	// pledgeTime is for how long a member keeps a shard that it has pledged to
	// keep. It has to outlast no more than the other giving up its own: after
	// that, whoever would give up this one finds the other gone.
	pledgeTime = time.Minute

	maxPledges = 1 << 16 // of one member at once
)

// pledges has what a member has pledged to keep, and what it is about to give
// up. Its zero value is ready for use.
type pledges struct {
	mu    sync.Mutex // guards the rest
	until map[datamesh.ShardKey]time.Time
	going map[datamesh.ShardKey]bool
	clock func() time.Time // nil: time.Now
}

func (p *pledges) now() time.Time {
	if p.clock != nil {
		return p.clock()
	}
	return time.Now()
}

// make pledges a shard, unless it is about to go.
func (p *pledges) make(key datamesh.ShardKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if len(p.until) >= maxPledges {
		for k, until := range p.until {
			if until.Before(now) {
				delete(p.until, k)
			}
		}
	}
	if p.going[key] || len(p.until) >= maxPledges {
		return false
	}
	if p.until == nil {
		p.until = map[datamesh.ShardKey]time.Time{}
	}
	p.until[key] = now.Add(pledgeTime)
	return true
}

// unmake takes a pledge back.
func (p *pledges) unmake(key datamesh.ShardKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.until, key)
}

// begin notes that a shard is about to go, unless it is pledged.
func (p *pledges) begin(key datamesh.ShardKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.going[key] || p.until[key].After(p.now()) {
		return false
	}
	if p.going == nil {
		p.going = map[datamesh.ShardKey]bool{}
	}
	p.going[key] = true
	return true
}

// end notes that a shard has gone, or stays after all.
func (p *pledges) end(key datamesh.ShardKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.going, key)
}

func (p *pledges) goes(key datamesh.ShardKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.going[key]
}

// Guard returns a member's store as others may reach it: shards that are about
// to be given up are not served. Otherwise whoever is to prove that he has one
// could answer with what he has just been given here.
func (r *Registry) Guard(inner datamesh.ShardStore) datamesh.ShardStore {
	return &guard{inner, r, &r.pledges}
}

type guard struct {
	datamesh.ShardStore
	registry *Registry
	pledges  *pledges
}

// Drop has the registrars told of what an owner's word has brought back.
func (g *guard) Drop(ctx context.Context, del *datamesh.Deletion) error {
	back, err := carryOut(ctx, g.ShardStore, g.registry.Index, del)
	if k := g.registry.keeper.Load(); k != nil && back {
		k.Lost()
	}
	return err
}

func errGoing(key datamesh.ShardKey) error {
	return errs.New(errs.Unavailable, "shard %s/%d is about to go", key.Segment, key.Index)
}

func (g *guard) Has(ctx context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	has, err := g.ShardStore.Has(ctx, keys)
	for i := range has {
		has[i] = has[i] && !g.pledges.goes(keys[i])
	}
	return has, err
}

func (g *guard) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	if key := (datamesh.ShardKey{Segment: d.Segment, Index: index}); g.pledges.goes(key) {
		return errGoing(key)
	}
	return g.ShardStore.Put(ctx, d, index, shard)
}

func (g *guard) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	if g.pledges.goes(key) {
		return nil, nil, errGoing(key)
	}
	return g.ShardStore.Get(ctx, key, buf)
}

func (g *guard) GetRange(ctx context.Context, key datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	if g.pledges.goes(key) {
		return nil, nil, errGoing(key)
	}
	return g.ShardStore.GetRange(ctx, key, off, n)
}
