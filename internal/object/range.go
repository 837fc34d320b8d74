package object

import (
	"context"
	"fmt"
	"io"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/format"

	"golang.org/x/sync/errgroup"
)

// maxFrames is up to how many frames of content are fetched alone, without the
// segments that they are in.
const maxFrames = 16

// frames fetches the frames that have the n bytes of content from an offset on
// in the first of a few segments, and writes their content from the first byte of
// that segment on: what stands before those frames, as nothing.
func (g *get) frames(ctx context.Context, w *window, refs []format.SegmentRef, peers []datamesh.PeerID, from, n int64) error {
	for i := range refs {
		if n == 0 {
			break
		}
		upto := min(from+n, int64(refs[i].Length))
		if err := g.framesOf(ctx, w, &refs[i], peers, int(from), int(upto)); err != nil {
			return err
		}
		n -= upto - from
		from = 0
	}
	return nil
}

// framesOf is frames for one segment.
func (g *get) framesOf(ctx context.Context, w *window, ref *format.SegmentRef, peers []datamesh.PeerID, from, upto int) error {
	shape := shapeOf(ref)
	begin, end := crypt.Frames(from, upto, ref.Length)
	l, err := g.o.take(ctx, g.o.getMemory, (shape.slots()+1)*(end-begin))
	if err != nil {
		return err
	}
	defer l.end(true)
	sealed, rest := l.buf[:end-begin], l.buf[end-begin:]
	size := shape.shardLen()
	group, gctx := errgroup.WithContext(ctx)
	for want := begin / size; want*size < end; want++ {
		p := &part{want: want, off: max(begin-want*size, 0)}
		p.n = min(end-want*size, size) - p.off
		to := sealed[want*size+p.off-begin:][:p.n]
		buf := rest[:shape.slots()*p.n]
		rest = rest[len(buf):]
		group.Go(func() error {
			f := g.newFetch(gctx, ref.ID)
			defer f.close()
			f.expect(ref, peers)
			f.part = p
			b, err := f.run(buf)
			copy(to, b)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	first := begin / crypt.FrameLen
	w.skip -= int64(first) * datamesh.FrameContent
	for i := first; len(sealed) > 0; i++ {
		frame := sealed[:min(crypt.FrameLen, len(sealed))]
		sealed = sealed[len(frame):]
		text, err := crypt.OpenFrame(ref.Key, i, len(sealed) == 0 && end == shape.length, frame)
		if err != nil {
			return fmt.Errorf("segment %s: %w", ref.ID, err)
		}
		if _, err := io.Writer(w).Write(text); err != nil {
			return err
		}
	}
	return nil
}
