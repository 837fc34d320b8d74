package object

import (
	"bytes"
	"context"
	"io"
	"sync"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/format"

	"golang.org/x/sync/errgroup"
)

// content stores all that r gives, a few segments at a time, and returns the
// references to them, in order. Segments that an interrupted put has stored
// before are passed over. If there is a source, it keeps those that it stores
// for a put that resumes this one.
func (p *put) content(ctx context.Context, r io.Reader, source Source, before map[int]*reused) ([]format.SegmentRef, error) {
	var mu sync.Mutex // guards refs
	var refs []format.SegmentRef
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	length := p.o.segmentLen(p.opt.K, p.opt.M)
	read := func() (more bool, err error) {
		l, err := p.o.take(gctx, p.o.putMemory, bufferLen(length, p.opt.K, p.opt.M))
		if err != nil {
			return false, err
		}
		n, lost, err := await(gctx, func() (int, error) { return crypt.Fill(l.buf, r, length) })
		if err != nil || n == 0 {
			l.end(!lost)
			return false, err
		}
		mu.Lock()
		i := len(refs)
		refs = append(refs, format.SegmentRef{Length: n})
		mu.Unlock()
		if u := before[i]; u != nil && u.ref.Length == n {
			l.end(true)
			p.reuse(u)
			mu.Lock()
			defer mu.Unlock()
			refs[i] = u.ref
			return n == length, nil
		}
		group.Go(func() error {
			defer l.end(true)
			key, sealed := crypt.Seal(l.buf, n)
			p.opt.Events.sealed(n)
			d, err := p.segment(gctx, l.buf, len(sealed))
			if err != nil {
				return err
			}
			ref := format.SegmentRef{ID: d.Segment, Key: key, Length: n, K: d.K, M: d.M}
			mu.Lock()
			refs[i] = ref
			mu.Unlock()
			if source == (Source{}) {
				return nil
			}
			return p.keep(source, i, ref)
		})
		return n == length, nil
	}
	more, err := true, error(nil)
	for more && err == nil {
		more, err = read()
	}
	if err != nil && gctx.Err() == nil { // of the source: no more of it is needed
		group.Go(func() error { return err })
	}
	if gerr := group.Wait(); gerr != nil {
		err = gerr
	}
	return refs, err
}

// reuse takes over a segment that is stored already.
func (p *put) reuse(u *reused) {
	d := u.old.deletion.Descriptor
	p.opt.Events.sealed(u.ref.Length)
	for _, who := range u.holders {
		if len(who) > 0 {
			p.opt.Events.confirmed(d.ShardLen())
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resumed += int64(u.ref.Length)
	p.placed = append(p.placed, placed{d, u.holders})
}

// keep has a finished segment remembered.
func (p *put) keep(source Source, i int, ref format.SegmentRef) error {
	refs := []format.SegmentRef{ref}
	m := &format.Manifest{Name: p.opt.Name, Size: int64(ref.Length), Peers: p.hint(refs)}
	m.Segments = refs
	return p.entry.keep(source, i, m, p.keys.Recipient)
}

// await calls read, but does not wait for a source that gives nothing once
// ctx has ended. lost tells that the read may still go on, into its buffer.
func await(ctx context.Context, read func() (int, error)) (n int, lost bool, err error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := read()
		done <- result{n, err}
	}()
	select {
	case got := <-done:
		return got.n, false, got.err
	case <-ctx.Done():
		return 0, true, ctx.Err()
	}
}

// list puts the references into the manifest, or, when there are too many,
// into segments of their own.
func (p *put) list(ctx context.Context, m *format.Manifest, refs []format.SegmentRef) error {
	limit := p.opt.MaxList
	if limit == 0 {
		limit = format.MaxList
	}
	m.Peers = p.hint(refs)
	text, err := format.EncodeList(&format.SegmentList{Segments: refs, Peers: m.Peers})
	if err != nil {
		return err
	}
	if len(text) <= limit {
		m.Segments = refs
		return nil
	}
	list, err := p.content(ctx, bytes.NewReader(text), Source{}, nil)
	m.List, m.Peers = list, p.hint(list)
	return err
}

// hint writes into the references who took their shards.
func (p *put) hint(refs []format.SegmentRef) []datamesh.PeerID {
	p.mu.Lock()
	defer p.mu.Unlock()
	bySegment := make(map[datamesh.SegmentID][][]datamesh.PeerID, len(p.placed))
	for _, s := range p.placed {
		bySegment[s.desc.Segment] = s.holders
	}
	var peers []datamesh.PeerID
	place := map[datamesh.PeerID]uint32{}
	for i := range refs {
		holders := bySegment[refs[i].ID]
		refs[i].Hints = make([]uint32, len(holders))
		for index, who := range holders {
			if len(who) == 0 {
				refs[i].Hints[index] = format.NoHint
				continue
			}
			if _, ok := place[who[0]]; !ok {
				place[who[0]] = uint32(len(peers))
				peers = append(peers, who[0])
			}
			refs[i].Hints[index] = place[who[0]]
		}
	}
	return peers
}
