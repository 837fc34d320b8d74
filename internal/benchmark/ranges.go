package benchmark

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"datamesh/internal/errs"
	"datamesh/internal/metrics"
	"datamesh/internal/node"
)

// defaultRanges is how many ranges of an object are read.
const defaultRanges = 1000

// Ranged is what was measured of random ranges of an object: as they were read first,
// and the same again in another order, with what of them came from where.
type Ranged struct {
	Length int64    `json:"length"` // bytes of a range
	First  Measured `json:"first"`
	Again  Measured `json:"again"`
	Memory int      `json:"memory"` // frames that the cache had in memory as they were read again, and whoever else was served
	Disk   int      `json:"disk"`   // frames that it had on the disk
	Missed int      `json:"missed"` // frames that it did not have
}

// ranges reads random ranges of an object twice, and compares them.
func (b *Benchmark) ranges(ctx context.Context, of object) (*Ranged, error) {
	n := min(b.opt.Range, of.size)
	r := &Ranged{Length: n, First: Measured{FirstByte: new(Latency)}, Again: Measured{FirstByte: new(Latency)}}
	count := b.opt.Count
	if count == 0 {
		count = defaultRanges
	}
	all := make([]object, count)
	for i := range all {
		all[i] = of
		all[i].offset = rand.Int64N(of.size - n + 1)
	}
	read := func(ctx context.Context, o *object) (sample, error) { return b.getRange(ctx, o, n) }
	if err := b.phase(ctx, "range", n, all, &r.First, read); err != nil {
		return r, err
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	before, err := b.found(ctx)
	if err != nil {
		return r, err
	}
	if err := b.phase(ctx, "range again", n, all, &r.Again, read); err != nil {
		return r, err
	}
	after, err := b.found(ctx)
	r.Memory, r.Disk, r.Missed = after[0]-before[0], after[1]-before[1], after[2]-before[2]
	return r, err
}

// getRange reads n bytes of an object and compares them.
func (b *Benchmark) getRange(ctx context.Context, o *object, n int64) (s sample, err error) {
	began := time.Now()
	c := &comparer{want: b.noise.from(o.number, o.offset), left: n}
	_, err = b.mesh.Get(ctx, o.id.String(), node.GetOptions{Range: &node.Range{Offset: o.offset, Length: n}}, func(info node.ObjectInfo) (io.Writer, error) {
		if info.Size != o.size || info.From != o.offset {
			c.err = errs.New(errs.Integrity, "%d bytes from byte %d on are to come, and %d from %d on were asked for", info.Size, info.From, n, o.offset)
		}
		return c, c.err
	})
	s.whole, s.first = time.Since(began), c.first.Sub(began)
	if err = c.verdict(err); err != nil {
		return s, fmt.Errorf("get %d bytes from %d on of %s: %w", n, o.offset, o.name, err)
	}
	return s, nil
}

// found returns how many frames the cache had in memory and on the disk, and had not.
func (b *Benchmark) found(ctx context.Context) (counts [3]int, err error) {
	m, err := b.mesh.Metrics(ctx)
	if err != nil {
		return counts, err
	}
	for i, x := range []struct{ name, tier string }{{"hits", "memory"}, {"hits", "disk"}, {"misses", "disk"}} {
		at := slices.IndexFunc(m.Metrics, func(s metrics.Sample) bool {
			return s.Name == "datamesh_cache_"+x.name+"_total" && s.Labels["tier"] == x.tier
		})
		if at >= 0 {
			counts[i] = int(math.Round(m.Metrics[at].Value))
		}
	}
	return counts, nil
}
