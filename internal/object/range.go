package object

import (
	"context"
	"fmt"

	"datamesh"
	"datamesh/internal/cache"
	"datamesh/internal/crypt"
	"datamesh/internal/format"

	"golang.org/x/sync/errgroup"
)

// maxFrames is up to how many frames of content are fetched, and kept in the cache,
// frame by frame.
const maxFrames = 16

// maxCuts is in up to how many segments those may be. As long as segments are large it is
// never more.
const maxCuts = 2

// A cut is some frames of a segment, one after the other.
type cut struct {
	ref    *format.SegmentRef
	first  int      // frame
	texts  [][]byte // contents of the frames; nil: it is not there
	lo, hi int      // of texts those that are fetched, from lo up to hi
}

// cutsOf returns the frames that have the n bytes of content from an offset on in
// the first of a few segments.
func cutsOf(refs []format.SegmentRef, from, n int64) (cuts []*cut) {
	for i := range refs {
		upto := min(from+n, int64(refs[i].Length))
		if n -= upto - from; upto == from {
			break
		}
		first := from / datamesh.FrameContent
		cuts = append(cuts, &cut{ref: &refs[i], first: int(first), texts: make([][]byte, (upto-1)/datamesh.FrameContent-first+1)})
		from = 0
	}
	return cuts
}

// frame names the frame that has a text.
func (c *cut) frame(i int) cache.Frame {
	i += c.first
	left := c.ref.Length - i*datamesh.FrameContent
	return cache.Frame{Segment: c.ref.ID, Key: c.ref.Key, Index: i, Length: min(left, datamesh.FrameContent), Last: left <= datamesh.FrameContent}
}

// look takes from the cache what is there, and has the frames from the first to the last
// that are not there be fetched.
func (c *cut) look(cached *cache.Cache, asked cache.Moment) {
	c.lo, c.hi = 0, 0
	for i := range c.texts {
		if c.texts[i] != nil {
			continue
		}
		if text, ok := cached.Frame(c.frame(i), asked); ok {
			c.texts[i] = text
			continue
		}
		if c.hi == 0 {
			c.lo = i
		}
		c.hi = i + 1
	}
}

// bounds returns where the frames to fetch lie among the sealed bytes of the segment.
func (c *cut) bounds() (begin, end int) {
	return (c.first + c.lo) * crypt.FrameLen, min((c.first+c.hi)*crypt.FrameLen, shapeOf(c.ref).length)
}

// alone reports whether the frames are fetched without the rest of the segment. That
// is fetched where they are most of it, or where the code is so wide that the shards a
// lost part is made of would take more memory than all of it.
func (c *cut) alone() bool {
	begin, end := c.bounds()
	shape := shapeOf(c.ref)
	return 2*(end-begin) < shape.length && (shape.slots()+1)*(end-begin) <= shape.bufferLen()
}

// bufferLen is the length of a buffer for what is fetched, and for the shards that lost
// ones are made of.
func (c *cut) bufferLen() int {
	begin, end := c.bounds()
	switch {
	case c.hi == 0:
		return 0
	case c.alone():
		return (shapeOf(c.ref).slots() + 1) * (end - begin)
	}
	return shapeOf(c.ref).bufferLen()
}

// frames writes the content from the first byte of a few segments on, and fetches of it,
// all at once, the frames that have the n bytes from an offset on: what stands before
// those is written as nothing.
func (g *get) frames(ctx context.Context, w *window, refs []format.SegmentRef, peers []datamesh.PeerID, from, n int64) error {
	cuts := cutsOf(refs, from, n)
	l, err := g.readCuts(ctx, cuts, peers)
	if err != nil {
		return err
	}
	if l != nil {
		defer l.end(true)
	}
	for i, c := range cuts {
		if i == 0 {
			w.skip -= int64(c.first) * datamesh.FrameContent
		}
		for _, text := range c.texts {
			if _, err := w.Write(text); err != nil {
				return err
			}
		}
	}
	return nil
}

// readCuts reads all frames of cuts. Those that had to be fetched lie in a loan, which
// is nil if none had to.
func (g *get) readCuts(ctx context.Context, cuts []*cut, peers []datamesh.PeerID) (*loan, error) {
	wanted := g.look(cuts)
	if wanted == nil {
		return nil, nil
	}
	done, err := g.o.Cache.Turn(ctx, wanted.frame(wanted.lo))
	if err != nil {
		return nil, err
	}
	if done != nil {
		defer done()
	}
	if g.look(cuts) == nil { // others have fetched it meanwhile
		return nil, nil
	}
	size := 0
	for _, c := range cuts {
		size += c.bufferLen()
	}
	l, err := g.o.take(ctx, g.o.getMemory, size)
	if err != nil {
		return nil, err
	}
	err = g.fetchCuts(ctx, cuts, peers, l.buf)
	if err != nil {
		l.end(true)
		return nil, err
	}
	return l, nil
}

// look takes from the cache what is there, and returns the first cut that is not whole.
func (g *get) look(cuts []*cut) (first *cut) {
	for _, c := range cuts {
		if c.look(g.o.Cache, g.asked); first == nil && c.hi > 0 {
			first = c
		}
	}
	return first
}

// fetchCuts fetches what is missing of cuts into buf, all at once, and opens it there.
func (g *get) fetchCuts(ctx context.Context, cuts []*cut, peers []datamesh.PeerID, buf []byte) error {
	lend := func(n int) (b []byte) {
		b, buf = buf[:n:n], buf[n:]
		return b
	}
	group, gctx := errgroup.WithContext(ctx)
	fetch := func(c *cut, p *part, room []byte, take func([]byte)) {
		group.Go(func() error {
			f := g.newFetch(gctx, c.ref.ID)
			defer f.close()
			f.expect(c.ref, peers)
			f.part = p
			b, err := f.run(room)
			if err == nil {
				take(b)
			}
			return err
		})
	}
	sealed := make([][]byte, len(cuts))
	for i, c := range cuts {
		begin, end := c.bounds()
		switch {
		case c.hi == 0:
		case c.alone():
			sealed[i] = lend(end - begin)
			shape := shapeOf(c.ref)
			size := shape.shardLen()
			for want := begin / size; want*size < end; want++ {
				p := &part{want: want, off: max(begin-want*size, 0)}
				p.n = min(end-want*size, size) - p.off
				to := sealed[i][want*size+p.off-begin:][:p.n]
				fetch(c, p, lend(shape.slots()*p.n), func(b []byte) { copy(to, b) })
			}
		default:
			fetch(c, nil, lend(shapeOf(c.ref).bufferLen()), func(b []byte) { sealed[i] = b[begin:end] })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, c := range cuts {
		if err := c.open(g.o.Cache, sealed[i], g.asked); err != nil {
			return err
		}
	}
	return nil
}

// open opens the frames that were fetched.
func (c *cut) open(cached *cache.Cache, sealed []byte, asked cache.Moment) (err error) {
	for i := c.lo; i < c.hi; i++ {
		n := min(crypt.FrameLen, len(sealed))
		if c.texts[i], err = cached.Open(c.frame(i), sealed[:n:n], asked); err != nil {
			return fmt.Errorf("segment %s: %w", c.ref.ID, err)
		}
		sealed = sealed[n:]
	}
	return nil
}
