package object

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/placement"
	"datamesh/internal/store"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// PutOptions says how and under what an object is stored.
type PutOptions struct {
	Name        string
	Tags        []string
	Mode        uint32
	ModTime     time.Time
	To          []crypt.Recipient // beside the owner
	K, M        int               // the code
	MinSurvives int               // the bar for success; negative: half of m, or the best possible
	MaxList     int               // bytes of a segment list inside the manifest; 0: format.MaxList
}

// PutResult is what came of a put.
type PutResult struct {
	ID          datamesh.ObjectID
	Size        int64
	StoredBytes int64 // of the acknowledged shards
	Segments    int   // with the manifest's
	Shards      int   // acknowledged
	Missing     int   // not acknowledged within the grace
	Peers       int   // distinct ones that acknowledged
	Survives    int
}

// Put stores what r gives until its end. When enough peers have acknowledged,
// it calls commit, which makes the object known to its user, and only if that
// succeeds is the object stored; in all other cases its shards are deleted.
// Kinds: Unavailable (too few peers took it; the error says who did not and
// why), Full, Invalid, and those of r and commit.
func (o *Objects) Put(ctx context.Context, r io.Reader, opt PutOptions, commit func(PutResult) error) (PutResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &put{o: o, opt: opt, entry: o.journal.begin(), slow: map[datamesh.PeerID]bool{}, created: time.Now()}
	id, size, err := p.run(ctx, r)
	result := p.result(id, size)
	if err == nil {
		err = commit(result)
	}
	if err != nil {
		p.undo(context.WithoutCancel(ctx))
		return PutResult{}, err
	}
	p.entry.end()
	return result, nil
}

// A put is one put on its way.
type put struct {
	o       *Objects
	opt     PutOptions
	entry   *entry // in the journal
	created time.Time

	mu     sync.Mutex // guards the rest
	placed []placed
	slow   map[datamesh.PeerID]bool // that have failed this put: asked last
}

// placed is a segment with the peers that acknowledged each of its shards.
type placed struct {
	desc    *datamesh.Descriptor
	holders [][]datamesh.PeerID
}

func (p *put) run(ctx context.Context, r io.Reader) (id datamesh.ObjectID, size int64, err error) {
	m := &format.Manifest{Name: p.opt.Name, Tags: p.opt.Tags, Mode: p.opt.Mode,
		ModTime: format.UnixNano(p.opt.ModTime), Created: format.UnixNano(p.created)}
	head := make([]byte, format.MaxInline+1)
	n, _, err := await(ctx, func() (int, error) { return io.ReadFull(r, head) })
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		m.Inline, m.Size = head[:n], int64(n)
	case err != nil:
		return id, 0, err
	default:
		refs, err := p.content(ctx, io.MultiReader(bytes.NewReader(head), r))
		if err != nil {
			return id, 0, err
		}
		m.Size = format.Content(refs)
		if err := p.list(ctx, m, refs); err != nil {
			return id, 0, err
		}
	}
	sealed, err := format.SealManifest(m, append([]crypt.Recipient{p.o.ring.Recipient}, p.opt.To...))
	if err != nil {
		return id, 0, err
	}
	buf := make([]byte, bufferLen(len(sealed), p.opt.K, p.opt.M))
	d, err := p.segment(ctx, buf, copy(buf, sealed))
	if err != nil {
		return id, 0, err
	}
	return datamesh.ObjectID(d.Segment), m.Size, p.report(ctx)
}

// content stores all that r gives, a few segments at a time, and returns the
// references to them, in order.
func (p *put) content(ctx context.Context, r io.Reader) ([]format.SegmentRef, error) {
	var mu sync.Mutex // guards refs
	var refs []format.SegmentRef
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	read := func() (more bool, err error) {
		l, err := p.o.take(gctx, p.o.putMemory, bufferLen(datamesh.MaxContent, p.opt.K, p.opt.M))
		if err != nil {
			return false, err
		}
		n, lost, err := await(gctx, func() (int, error) { return crypt.Fill(l.buf, r, datamesh.MaxContent) })
		if err != nil || n == 0 {
			l.end(!lost)
			return false, err
		}
		mu.Lock()
		i := len(refs)
		refs = append(refs, format.SegmentRef{Length: n})
		mu.Unlock()
		group.Go(func() error {
			defer l.end(true)
			key, sealed := crypt.Seal(l.buf, n)
			d, err := p.segment(gctx, l.buf, len(sealed))
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			refs[i].ID, refs[i].Key, refs[i].K, refs[i].M = d.Segment, key, d.K, d.M
			return nil
		})
		return n == datamesh.MaxContent, nil
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
	text := format.EncodeList(&format.SegmentList{Segments: refs, Peers: m.Peers})
	if len(text) <= limit {
		m.Segments = refs
		return nil
	}
	list, err := p.content(ctx, bytes.NewReader(text))
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

// segment codes the n sealed bytes at the head of buf and spreads the shards.
func (p *put) segment(ctx context.Context, buf []byte, n int) (*datamesh.Descriptor, error) {
	code, err := codeFor(n, p.opt.K, p.opt.M)
	if err != nil {
		return nil, err
	}
	shards, err := code.Encode(buf, n)
	if err != nil {
		return nil, err
	}
	d, err := describe(p.o.ring.Owner, code, n, shards)
	if err != nil {
		return nil, err
	}
	holders, err := p.spread(ctx, d, shards)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.placed = append(p.placed, placed{d, holders})
	return d, nil
}

// report tells the registrars of every segment who holds it. It returns when
// a majority of each segment's has taken it down, and the others have had a
// moment more. Kind: Unavailable.
func (p *put) report(ctx context.Context) error {
	view := p.o.net.View()
	reports := map[datamesh.PeerID][]store.Report{}
	missing := map[datamesh.SegmentID]int{} // acknowledgements to a majority
	for _, s := range p.placed {
		peers := registrars(view, s.desc)
		missing[s.desc.Segment] = len(peers)/2 + 1
		for _, peer := range peers {
			reports[peer] = append(reports[peer], reportOf(s))
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type ack struct {
		peer datamesh.PeerID
		err  error
	}
	acks := make(chan ack, len(reports))
	limit := semaphore.NewWeighted(16)
	for peer, list := range reports {
		go func() {
			err := limit.Acquire(ctx, 1)
			if err == nil {
				err = p.o.net.Report(ctx, peer, list)
				limit.Release(1)
			}
			acks <- ack{peer, err}
		}()
	}
	failed := map[datamesh.PeerID]error{}
	open := len(missing) // segments without a majority
	var moment <-chan time.Time
	for left := len(reports); left > 0; left-- {
		select {
		case a := <-acks:
			if a.err != nil {
				failed[a.peer] = a.err
				continue
			}
			for _, r := range reports[a.peer] {
				if missing[r.Descriptor.Segment]--; missing[r.Descriptor.Segment] == 0 {
					open--
				}
			}
			if open == 0 && moment == nil {
				moment = time.After(reportTime)
			}
		case <-moment:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for segment, n := range missing {
		if n > 0 {
			return errs.New(errs.Unavailable, "too few of the peers that keep track of %s answered: %s", segment, reasons(failed))
		}
	}
	return nil
}

// reportTime is how long the last registrars have once a majority has answered.
const reportTime = 500 * time.Millisecond

func reportOf(s placed) store.Report {
	r := store.Report{Descriptor: s.desc}
	for index, peers := range s.holders {
		for _, peer := range peers {
			r.Holdings = append(r.Holdings, store.Holding{Index: index, Peer: peer})
		}
	}
	return r
}

// undo deletes what the put has stored so far. What cannot be reached now
// stays in the journal.
func (p *put) undo(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, undoTime)
	defer cancel()
	p.entry.undo(ctx, p.o.net)
}

// undoTime is how long a failed put tries to clean up before it leaves that
// to the next start.
const undoTime = 5 * time.Second

func (p *put) result(id datamesh.ObjectID, size int64) PutResult {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := PutResult{ID: id, Size: size, Segments: len(p.placed), Survives: datamesh.MaxShards}
	peers := map[datamesh.PeerID]bool{}
	for _, s := range p.placed {
		for _, who := range s.holders {
			if len(who) == 0 {
				r.Missing++
			}
			for _, peer := range who {
				peers[peer] = true
				r.Shards++
				r.StoredBytes += int64(s.desc.ShardLen())
			}
		}
		r.Survives = min(r.Survives, placement.Survives(s.holders, s.desc.K))
	}
	r.Peers = len(peers)
	return r
}

// reasons lists who failed and why, in a stable order and not too long.
func reasons(failed map[datamesh.PeerID]error) string {
	var lines []string
	for peer, err := range failed {
		lines = append(lines, fmt.Sprintf("%s: %v", peer, err))
	}
	slices.Sort(lines)
	return join(lines)
}
