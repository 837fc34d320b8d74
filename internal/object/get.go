package object

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/cache"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// Get reads an object. It calls open once it knows the manifest, and writes
// the content from the offset that open returns on, all of it authenticated,
// to the writer that open returns. On an error what was written so far is a
// true part of the content from there and no more.
// What went wrong on the way, and was made good, is returned in both cases.
// Kinds: FileNotFound, Unavailable, Decryption, Integrity, and those of open
// and its writer.
func (o *Objects) Get(ctx context.Context, id datamesh.ObjectID, open func(*format.Manifest) (w io.Writer, from int64, err error)) ([]BadShard, error) {
	return o.GetRange(ctx, id, toTheEnd(open))
}

// toTheEnd has all be written from an offset on.
func toTheEnd(open func(*format.Manifest) (io.Writer, int64, error)) func(*format.Manifest) (w io.Writer, from, n int64, err error) {
	return func(m *format.Manifest) (io.Writer, int64, int64, error) {
		w, from, err := open(m)
		return w, from, m.Size, err
	}
}

// GetRange reads n bytes of an object from an offset on, as [Objects.Get] does all
// of it, and fewer if it ends before. Of few bytes it fetches not much more than
// those. Kinds: as [Objects.Get], and Invalid.
func (o *Objects) GetRange(ctx context.Context, id datamesh.ObjectID, open func(*format.Manifest) (w io.Writer, from, n int64, err error)) ([]BadShard, error) {
	g := o.newGet(ctx)
	err := g.run(ctx, id, open)
	return g.findings(), ofObject(id, err)
}

// Manifest reads the manifest of an object. Kinds: as [Objects.Get].
func (o *Objects) Manifest(ctx context.Context, id datamesh.ObjectID) (*format.Manifest, error) {
	g := o.newGet(ctx)
	defer g.findings()
	return g.manifest(ctx, id)
}

// A get is one get on its way.
type get struct {
	o      *Objects
	ctx    context.Context  // the caller's
	asides sync.WaitGroup   // what goes on beside it
	over   chan struct{}    // closed when nobody waits for probes any more
	ids    []crypt.Identity // that open the manifest; nil: the user's
	asked  cache.Moment     // when it began, before it asked for keys

	mu     sync.Mutex // guards the rest
	bad    []BadShard
	silent map[datamesh.PeerID]bool // that did not answer the last question
}

func (o *Objects) newGet(ctx context.Context) *get {
	return &get{o: o, ctx: ctx, over: make(chan struct{}), asked: o.Cache.Moment(), silent: map[datamesh.PeerID]bool{}}
}

func (g *get) run(ctx context.Context, id datamesh.ObjectID, open func(*format.Manifest) (io.Writer, int64, int64, error)) error {
	x, err := g.index(ctx, id)
	if err != nil {
		return err
	}
	w, from, n, err := open(x.Manifest)
	m, refs, peers := x.Manifest, x.Segments, x.Peers
	switch {
	case err != nil:
		return err
	case from < 0 || from > m.Size:
		return errs.New(errs.Invalid, "there is no byte %d in %d", from, m.Size)
	case n < 0:
		return errs.New(errs.Invalid, "a range of %d bytes", n)
	}
	n = min(n, m.Size-from)
	if len(refs) == 0 {
		_, err := w.Write(m.Inline[from : from+n])
		return err
	}
	for len(refs) > 0 && from >= int64(refs[0].Length) {
		from -= int64(refs[0].Length)
		refs = refs[1:]
	}
	all := from + n
	for i := range refs {
		if all -= int64(refs[i].Length); all <= 0 {
			refs = refs[:i+1]
			break
		}
	}
	part := &window{w, from, n}
	if n <= maxFrames*datamesh.FrameContent && len(refs) <= maxCuts && !slices.ContainsFunc(refs, packed) { // of what is packed no frame opens alone
		err = g.frames(ctx, part, refs, peers, from, n)
	} else {
		err = g.content(ctx, part, refs, peers)
	}
	if err != nil {
		g.o.Cache.ForgetObject(id) // its segments may be gone, or elsewhere
	}
	return err
}

// index returns the manifest of an object and its segments, which the user may have
// read lately.
func (g *get) index(ctx context.Context, id datamesh.ObjectID) (*cache.Object, error) {
	if g.ids != nil || g.o.Cache == nil {
		return g.readIndex(ctx, id)
	}
	keys, err := g.o.keys()
	if err != nil {
		return nil, err
	}
	reader := cache.Reader{Owner: keys.OwnerKey(), Epoch: keys.Epoch, Identities: len(keys.Identities)}
	if x, ok := g.o.Cache.Object(id, reader); ok {
		return x, nil
	}
	g.ids = keys.Identities
	x, err := g.readIndex(ctx, id)
	if err == nil {
		g.o.Cache.KeepObject(id, reader, x, g.asked)
	}
	return x, err
}

func (g *get) readIndex(ctx context.Context, id datamesh.ObjectID) (*cache.Object, error) {
	m, err := g.manifest(ctx, id)
	if err != nil {
		return nil, err
	}
	refs, peers, err := g.segments(ctx, m)
	return &cache.Object{Manifest: m, Segments: refs, Peers: peers}, err
}

// A window writes n bytes of what it is given, after the first skip.
type window struct {
	w       io.Writer
	skip, n int64
}

func (t *window) Write(p []byte) (int, error) {
	skip := min(t.skip, int64(len(p)))
	part := p[skip:]
	part = part[:min(t.n, int64(len(part)))]
	t.skip -= skip
	t.n -= int64(len(part))
	if len(part) > 0 {
		if m, err := t.w.Write(part); err != nil {
			return int(skip) + m, err
		}
	}
	return len(p), nil
}

func (g *get) manifest(ctx context.Context, id datamesh.ObjectID) (*format.Manifest, error) {
	ids := g.ids
	if ids == nil {
		keys, err := g.o.keys()
		if err != nil {
			return nil, err
		}
		ids = keys.Identities
	}
	var m *format.Manifest
	err := g.segment(ctx, datamesh.SegmentID(id), func(sealed []byte) (err error) {
		if m, err = format.OpenManifest(sealed, ids); err != nil {
			return fmt.Errorf("manifest of %s: %w", id, err)
		}
		return nil
	})
	return m, err
}

// segments returns the references to the content's segments, which are in
// the manifest or in a list of their own.
func (g *get) segments(ctx context.Context, m *format.Manifest) ([]format.SegmentRef, []datamesh.PeerID, error) {
	if len(m.List) == 0 {
		return m.Segments, m.Peers, nil
	}
	if n := format.Content(m.List); n > format.MaxSegmentList {
		return nil, nil, errs.New(errs.Serialization, "segment list of %d bytes", n)
	}
	var text bytes.Buffer
	if err := g.content(ctx, &text, m.List, m.Peers); err != nil {
		return nil, nil, err
	}
	list, err := format.DecodeList(text.Bytes())
	if err != nil {
		return nil, nil, err
	}
	if n := int64(len(m.Inline)) + format.Content(list.Segments); n != m.Size {
		return nil, nil, errs.New(errs.Integrity, "the segments have %d bytes, the manifest says %d", n, m.Size)
	}
	return list.Segments, list.Peers, nil
}

// An opened segment is content in a loan: n bytes of it in the frames at its head, or,
// if it was compressed, in one piece.
type opened struct {
	loan  *loan
	n     int
	whole []byte
	err   error
}

// writeTo writes the content, at most a frame at a time.
func (s *opened) writeTo(w io.Writer) error {
	for b := range slices.Chunk(s.whole, datamesh.FrameContent) {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	if s.whole != nil {
		return nil
	}
	return crypt.Drain(w, s.loan.buf, s.n)
}

// packed reports whether a segment is compressed: only all of it can be read.
func packed(ref format.SegmentRef) bool { return ref.Codec != 0 }

// spare is what makes decompressing faster behind the content.
const spare = 16

// loanFor returns how much memory it takes to fetch a segment and to open it: of one that
// is compressed no less than if it were not, so that buffers fit many.
func loanFor(ref *format.SegmentRef) int {
	if !packed(*ref) {
		return shapeOf(ref).bufferLen()
	}
	plain := shape{ref.K, ref.M, crypt.SealedLen(ref.Length)}
	return max(plain.bufferLen(), shapeOf(ref).length+ref.Length+spare)
}

// content fetches segments, a few ahead of the writer, and writes their
// content in order, up to the first that cannot be had.
func (g *get) content(ctx context.Context, w io.Writer, refs []format.SegmentRef, peers []datamesh.PeerID) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	queue := make(chan chan opened, inFlight-1)
	var fetchers sync.WaitGroup
	defer fetchers.Wait()
	fetchers.Go(func() {
		defer close(queue)
		for i := range refs {
			next := make(chan opened, 1)
			queue <- next // at most inFlight are fetched, or fetched and not yet written
			l, err := g.o.take(ctx, g.o.getMemory, loanFor(&refs[i]))
			if err != nil {
				next <- opened{err: err}
				return
			}
			fetchers.Go(func() {
				s := opened{loan: l}
				s.err = g.open(ctx, &refs[i], peers, &s)
				next <- s
			})
		}
	})
	return drain(w, queue, stop)
}

// drain writes what comes out of the queue, and gives all buffers back. After
// an error it stops the fetching and writes no more.
func drain(w io.Writer, queue <-chan chan opened, stop func()) (err error) {
	for next := range queue {
		s := <-next
		if err == nil {
			if err = s.err; err == nil {
				err = s.writeTo(w)
			}
			if err != nil {
				stop()
			}
		}
		if s.loan != nil {
			s.loan.end(true)
		}
	}
	return err
}

// open fetches a segment into the loan of s, and opens it there. What is compressed is
// looked at only once all of it is known to be what its author has sealed.
func (g *get) open(ctx context.Context, ref *format.SegmentRef, peers []datamesh.PeerID, s *opened) error {
	f := g.newFetch(ctx, ref.ID)
	defer f.close()
	f.expect(ref, peers)
	buf := s.loan.buf
	sealed, err := f.run(buf[:f.shape.bufferLen()])
	if err != nil {
		return err
	}
	s.n, err = crypt.Open(ref.Key, sealed)
	if err == nil && packed(*ref) {
		s.whole = buf[len(sealed) : len(sealed)+ref.Length]
		err = g.o.codec.Expand(s.whole, crypt.Join(sealed, s.n))
	}
	if err != nil {
		return fmt.Errorf("segment %s: %w", ref.ID, err)
	}
	return nil
}

// segment fetches a segment of which nothing but the id is known.
// use gets its sealed bytes for as long as it runs.
func (g *get) segment(ctx context.Context, id datamesh.SegmentID, use func([]byte) error) error {
	err := g.segmentBy(ctx, id, true, use)
	if errors.Is(err, errNoCodeWord) { // of the shards that came along; those that are asked for may all be data
		err = g.segmentBy(ctx, id, false, use)
	}
	return err
}

// segmentBy does so, with shards that come along or without.
func (g *get) segmentBy(ctx context.Context, id datamesh.SegmentID, along bool, use func([]byte) error) error {
	f := g.newFetch(ctx, id)
	defer f.close()
	f.along, f.dataFirst = along, !along
	if err := f.locate(); err != nil {
		return err
	}
	l, err := g.o.take(ctx, g.o.getMemory, f.shape.bufferLen())
	if err != nil {
		return err
	}
	defer l.end(true)
	defer f.close() // before the buffer is lent to another
	sealed, err := f.run(l.buf)
	if err != nil {
		return err
	}
	return use(sealed)
}
