package object

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"sync"

	"datamesh"
	"datamesh/internal/compress"
	"datamesh/internal/crypt"
	"datamesh/internal/erasure"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"

	"golang.org/x/sync/errgroup"
)

// content stores all that r gives, a few segments at a time, and returns the
// references to them, in order. Segments that an interrupted put has stored
// before are passed over if they are of this content. If there is a source, it keeps those that it stores
// for a put that resumes this one.
func (p *put) content(ctx context.Context, r io.Reader, mode compress.Mode, source Source, before map[int]*reused) ([]format.SegmentRef, error) {
	var mu sync.Mutex // guards refs
	var refs []format.SegmentRef
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	length := p.o.segmentLen(p.opt.K, p.opt.M)
	size := bufferLen(length, p.opt.K, p.opt.M)
	if mode != compress.Off {
		size = max(size, crypt.SealedLen(length)+compress.Room)
	}
	read := func() (more bool, err error) {
		l, err := p.o.take(gctx, p.o.putMemory, size)
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
		if u := before[i]; u != nil {
			group.Go(func() error {
				defer l.end(true)
				if err := p.reuse(u, l.buf, n); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				refs[i] = u.ref
				return nil
			})
			return n == length, nil
		}
		group.Go(func() error {
			defer l.end(true)
			sum := sealedSum
			if source != (Source{}) && p.o.codec.Promises(mode, l.buf, n) {
				var err error
				if sum, err = sumOf(l.buf, n); err != nil {
					return err
				}
			}
			ref := format.SegmentRef{Length: n}
			packed, err := p.o.codec.Shorten(gctx, mode, l.buf, n)
			if err != nil {
				return err
			}
			if packed > 0 {
				ref.Codec, ref.Packed = format.Zstd, packed
			}
			key, sealed := crypt.Seal(l.buf, ref.Text())
			p.opt.Events.sealed(n)
			d, err := p.segment(gctx, l.buf, len(sealed))
			if err != nil {
				return err
			}
			ref.ID, ref.Key, ref.K, ref.M = d.Segment, key, d.K, d.M
			mu.Lock()
			refs[i] = ref
			mu.Unlock()
			if source == (Source{}) {
				return nil
			}
			return p.keep(source, i, ref, sum)
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
	for i := range before {
		if err == nil && i >= len(refs) {
			err = errChanged
		}
	}
	return refs, err
}

// errChanged ends a put whose content is not that of the one which it goes on
// with, although its source is: all of both is deleted.
var errChanged = errs.WithHint(errs.New(errs.IO, "the content is not what it was when the put of it was interrupted"),
	"put it again: it begins anew")

// reuse takes over a segment that is stored already, if that is the n bytes of
// content in buf. Kind: IO.
func (p *put) reuse(u *reused, buf []byte, n int) error {
	d := u.old.deletion.Descriptor
	if same, err := u.has(buf, n); err != nil {
		return err
	} else if !same {
		return errChanged
	}
	p.opt.Events.sealed(u.ref.Length)
	for _, who := range u.holders {
		if len(who) > 0 {
			p.opt.Events.sent(d.ShardLen()) // before
			p.opt.Events.confirmed(d.ShardLen())
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resumed += int64(u.ref.Length)
	p.placed = append(p.placed, placed{d, u.holders})
	return nil
}

// has reports whether the segment has the n bytes of content in buf, which are gone then.
func (u *reused) has(buf []byte, n int) (same bool, err error) {
	switch {
	case n != u.ref.Length:
		return false, nil
	case u.sum != sealedSum:
		sum, err := sumOf(buf, n)
		return sum == u.sum, err
	}
	d := u.old.deletion.Descriptor
	code, err := erasure.New(d.K, d.M)
	if err != nil {
		return false, err
	}
	same = crypt.SealsTo(u.ref.Key, buf, n, func(sealed []byte) bool {
		var shards [][]byte
		if shards, err = code.Encode(buf, len(sealed)); err != nil {
			return false
		}
		for i, shard := range shards[:d.K] { // all that is sealed is in them
			if hash.Shard(shard) != d.Shards[i] {
				return false
			}
		}
		return true
	})
	return same, err
}

// sealedSum is what a journal has for content that was sealed as it is: if it is
// sealed again under the same key, the shards are the same. So a put that nothing
// interrupts, as most are, hashes its content only as shards.
const sealedSum = "sealed"

// sumContext separates what a journal knows content by that may be compressed in
// another way the next time.
const sumContext = "datamesh v1 frames of a kept segment"

// sumPrefix tells such a sum from those of journals before, which are of the
// content as a whole: that took as long as to seal it.
const sumPrefix = "frames:"

// sumOf returns a hash of the n bytes of content in buf, where [crypt.Fill] has
// put them: of the hashes of its frames.
func sumOf(buf []byte, n int) (string, error) {
	var all sums
	if err := crypt.Drain(&all, buf, n); err != nil {
		return "", err
	}
	sum := hash.Derive(sumContext, all)
	return sumPrefix + hex.EncodeToString(sum[:]), nil
}

// sums are the hashes of the slices that were written, one after the other.
type sums []byte

func (s *sums) Write(b []byte) (int, error) {
	id := hash.Shard(b)
	*s = append(*s, id[:]...)
	return len(b), nil
}

// keep has a finished segment remembered, with what its content is known by as
// the tag of a manifest.
func (p *put) keep(source Source, i int, ref format.SegmentRef, sum string) error {
	refs := []format.SegmentRef{ref}
	m := &format.Manifest{Name: p.opt.Name, Tags: []string{sum}, Size: int64(ref.Length), Peers: p.hint(refs)}
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
	list, err := p.content(ctx, bytes.NewReader(text), compress.Off, Source{}, nil)
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
