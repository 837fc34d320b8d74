package object

import (
	"context"
	"errors"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
)

// checksAtOnce is how many shards of a segment are read at once.
const checksAtOnce = 3

// A Check is what reading every shard of an object has come to.
type Check struct {
	Shards  int        // that there should be
	Missing int        // of which nobody has served a whole one, nor a damaged one
	Bad     []BadShard // that a peer has served damaged
}

// Check reads every shard of an object, those of its manifest and the parity ones
// included, from each peer that is said to hold it. A shard that somebody else has
// whole is bad all the same where it is damaged. Kinds: as [Objects.Get].
func (o *Objects) Check(ctx context.Context, id datamesh.ObjectID) (*Check, error) {
	g := o.newGet(ctx)
	defer g.findings()
	s, err := g.segmentsOf(id)
	c := &Check{}
	for _, f := range s.fetches {
		if err == nil {
			err = g.check(f, c)
		}
		f.close()
	}
	return c, ofObject(id, err)
}

// check reads the shards of a segment.
func (g *get) check(f *fetch, c *Check) error {
	if err := f.survey(); err != nil {
		return err
	}
	size := f.shape.shardLen()
	l, err := g.o.take(g.ctx, g.o.getMemory, checksAtOnce*size)
	if err != nil {
		return err
	}
	buffers := make(chan []byte, checksAtOnce)
	for i := range checksAtOnce {
		buffers <- l.buf[i*size : (i+1)*size : (i+1)*size]
	}
	met := make([]bool, f.shape.k+f.shape.m)
	var mu sync.Mutex // guards met and c
	var reading sync.WaitGroup
	for _, p := range f.places {
		if p.index >= len(met) {
			continue
		}
		buf := <-buffers
		reading.Go(func() {
			defer func() { buffers <- buf }()
			key := datamesh.ShardKey{Segment: f.id, Index: p.index}
			d, _, err := g.o.net.Shards(p.peer).Get(g.ctx, key, buf)
			if err == nil && d.Segment != f.id {
				err = errs.New(errs.Integrity, "it is of another segment")
			}
			mu.Lock()
			defer mu.Unlock()
			bad := errors.Is(err, errs.Integrity)
			met[p.index] = met[p.index] || err == nil || bad
			if bad {
				c.Bad = append(c.Bad, BadShard{Key: key, Peer: p.peer, Reason: err})
			}
		})
	}
	reading.Wait()
	l.end(true)
	c.Shards += len(met)
	for _, ok := range met {
		if !ok {
			c.Missing++
		}
	}
	slices.SortFunc(c.Bad, func(a, b BadShard) int { return a.Key.Compare(b.Key) })
	return g.ctx.Err()
}
