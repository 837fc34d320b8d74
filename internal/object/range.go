package object

import (
	"context"
	"fmt"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/format"

	"golang.org/x/sync/errgroup"
)

// maxFrames is up to how many frames of content are fetched alone, without the
// segments that they are in.
const maxFrames = 16

// A cut is some frames of a segment, one after the other.
type cut struct {
	ref        *format.SegmentRef
	begin, end int    // where they lie among its sealed bytes
	sealed     []byte // those, once they are there
}

// cutsOf returns the frames that have the n bytes of content from an offset on in
// the first of a few segments.
func cutsOf(refs []format.SegmentRef, from, n int64) (cuts []*cut) {
	for i := range refs {
		upto := min(from+n, int64(refs[i].Length))
		if n -= upto - from; upto == from {
			break
		}
		begin, end := crypt.Frames(int(from), int(upto), refs[i].Length)
		cuts = append(cuts, &cut{ref: &refs[i], begin: begin, end: end})
		from = 0
	}
	return cuts
}

// bufferLen is the length of a buffer for the frames, and for those of other shards
// that lost ones are made of.
func (c *cut) bufferLen() int { return (shapeOf(c.ref).slots() + 1) * (c.end - c.begin) }

// alone reports whether the frames can be fetched without the segment. Where the code
// is so wide that the shards a lost part is made of would take more memory than all
// of the segment, that is fetched.
func (c *cut) alone() bool { return c.bufferLen() <= shapeOf(c.ref).bufferLen() }

// frames fetches the frames that have the n bytes of content from an offset on
// in the first of a few segments, all at once, and writes their content from the
// first byte of that segment on: what stands before those frames, as nothing.
func (g *get) frames(ctx context.Context, w *window, refs []format.SegmentRef, peers []datamesh.PeerID, from, n int64) error {
	cuts, size := cutsOf(refs, from, n), 0
	for _, c := range cuts {
		if !c.alone() {
			return g.content(ctx, w, refs, peers)
		}
		size += c.bufferLen()
	}
	l, err := g.o.take(ctx, g.o.getMemory, size)
	if err != nil {
		return err
	}
	defer l.end(true)
	if err := g.fetchCuts(ctx, cuts, peers, l.buf); err != nil {
		return err
	}
	for i, c := range cuts {
		first := c.begin / crypt.FrameLen
		if i == 0 {
			w.skip -= int64(first) * datamesh.FrameContent
		}
		if err := c.open(w, first); err != nil {
			return err
		}
	}
	return nil
}

// open opens the frames, of which one is the first, and writes their content.
func (c *cut) open(w *window, first int) error {
	sealed := c.sealed
	for i := first; len(sealed) > 0; i++ {
		frame := sealed[:min(crypt.FrameLen, len(sealed))]
		sealed = sealed[len(frame):]
		text, err := crypt.OpenFrame(c.ref.Key, i, len(sealed) == 0 && c.end == shapeOf(c.ref).length, frame)
		if err != nil {
			return fmt.Errorf("segment %s: %w", c.ref.ID, err)
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// fetchCuts fetches cuts into buf, each shard's part of them beside the others.
func (g *get) fetchCuts(ctx context.Context, cuts []*cut, peers []datamesh.PeerID, buf []byte) error {
	lend := func(n int) (b []byte) {
		b, buf = buf[:n:n], buf[n:]
		return b
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, c := range cuts {
		shape := shapeOf(c.ref)
		size := shape.shardLen()
		c.sealed = lend(c.end - c.begin)
		for want := c.begin / size; want*size < c.end; want++ {
			p := &part{want: want, off: max(c.begin-want*size, 0)}
			p.n = min(c.end-want*size, size) - p.off
			to := c.sealed[want*size+p.off-c.begin:][:p.n]
			room := lend(shape.slots() * p.n)
			group.Go(func() error {
				f := g.newFetch(gctx, c.ref.ID)
				defer f.close()
				f.expect(c.ref, peers)
				f.part = p
				b, err := f.run(room)
				copy(to, b)
				return err
			})
		}
	}
	return group.Wait()
}
