package object

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/compress"
	"datamesh/internal/crypt"
	"datamesh/internal/erasure"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/placement"
	"datamesh/internal/step"
)

// PutOptions says how and under what an object is stored.
type PutOptions struct {
	Name        string
	Tags        []string
	Mode        uint32
	ModTime     time.Time
	Type        string            // media type
	To          []crypt.Recipient // beside the owner
	K, M        int               // the code
	Compress    compress.Mode     // of the content, where it pays
	MinSurvives int               // the bar for success; negative: half of m, or the best possible
	MaxList     int               // bytes of a segment list inside the manifest; 0: format.MaxList
	Source      Source            // of the content; zero: it comes once, and the put cannot be resumed
	Stored      Stored            // asked before an interrupted put is taken over; nil: none is
	ToFirst     bool              // sealed to the owner's recipient of epoch 0, which whoever has the root knows
	Events      PutEvents
}

// PutEvents are told how a put goes on, from many goroutines at once. Nil ones
// are not.
type PutEvents struct {
	Sealed    func(n int) // bytes of content, ready to be sent
	Sent      func(n int) // bytes of shards, on their way to a peer; again for each peer; never less than Confirmed
	Confirmed func(n int) // bytes of shards that a peer has acknowledged
}

func (f PutEvents) sealed(n int) {
	if f.Sealed != nil {
		f.Sealed(n)
	}
}

func (f PutEvents) sent(n int) {
	if f.Sent != nil && n > 0 {
		f.Sent(n)
	}
}

func (f PutEvents) confirmed(n int) {
	if f.Confirmed != nil {
		f.Confirmed(n)
	}
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
	Resumed     int64 // bytes of content that an interrupted put had stored before
	Epoch       int   // of the owner's recipient that the manifest is sealed to
}

// Put stores what r gives until its end. When enough peers have acknowledged,
// it calls commit, which makes the object known to its user, and only if that
// succeeds is the object stored; in all other cases its shards are deleted, or,
// when the same put may go on later, kept for that as the journal says.
// When ctx has ended, a read from r may go on after Put has returned. Kinds:
// Unavailable (too few peers took it; the error says who did not and why),
// Full, Invalid, and those of r and commit.
func (o *Objects) Put(ctx context.Context, r io.Reader, opt PutOptions, commit func(PutResult) error) (PutResult, error) {
	if _, err := erasure.New(opt.K, opt.M); err != nil {
		return PutResult{}, err
	}
	keys, err := o.keys()
	if err != nil {
		return PutResult{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &put{o: o, opt: opt, keys: keys, entry: o.journal.begin(), slow: map[datamesh.PeerID]time.Time{}, created: time.Now()}
	p.source = p.journalSource(o.segmentLen(opt.K, opt.M))
	id, size, err := p.run(ctx, r)
	if err == nil {
		err = p.stillThere(ctx)
	}
	return p.finish(ctx, p.result(id, size), err, commit)
}

// finish commits what was stored, or gives it up.
func (p *put) finish(ctx context.Context, result PutResult, err error, commit func(PutResult) error) (PutResult, error) {
	if err == nil {
		step.At("object: put: all is stored and reported")
		err = commit(result)
	}
	if err != nil {
		if p.canGoOn(ctx, err) {
			p.entry.leave()
		} else {
			p.undo(context.WithoutCancel(ctx))
		}
		return PutResult{}, err
	}
	step.At("object: put: the object is known to its user")
	p.entry.end()
	return result, nil
}

// A put is one put on its way.
type put struct {
	o       *Objects
	opt     PutOptions
	keys    *keyring.Ring
	entry   *entry // in the journal
	created time.Time
	source  Source // as the journal knows it
	found   int    // registrars that know who holds the manifest, of which nothing else tells

	mu      sync.Mutex // guards the rest
	placed  []placed
	resumed int64
	slow    map[datamesh.PeerID]time.Time // when a peer last kept this put waiting
}

// placed is a segment with the peers that acknowledged each of its shards.
type placed struct {
	desc    *datamesh.Descriptor
	holders [][]datamesh.PeerID
}

func (p *put) run(ctx context.Context, r io.Reader) (id datamesh.ObjectID, size int64, err error) {
	m := &format.Manifest{Name: p.opt.Name, Tags: p.opt.Tags, Mode: p.opt.Mode, Type: p.opt.Type,
		ModTime: format.UnixNano(p.opt.ModTime), Created: format.UnixNano(p.created)}
	var head []byte // a source that is cut off has another error than io.EOF
	n, _, err := await(ctx, func() (n int, err error) {
		head, err = io.ReadAll(io.LimitReader(r, format.MaxInline+1))
		return len(head), err
	})
	switch {
	case err != nil:
		return id, 0, err
	case n <= format.MaxInline:
		m.Inline, m.Size = head, int64(n)
		p.opt.Events.sealed(n)
	default:
		before, err := p.resume(ctx)
		if err != nil {
			return id, 0, err
		}
		refs, err := p.content(ctx, io.MultiReader(bytes.NewReader(head), r), p.opt.Compress, p.source, before)
		if err != nil {
			return id, 0, err
		}
		m.Size = format.Content(refs)
		if err := p.list(ctx, m, refs); err != nil {
			return id, 0, err
		}
	}
	id, err = p.manifest(ctx, m)
	return id, m.Size, err
}

// manifest seals and spreads the manifest, and reports all that was spread.
func (p *put) manifest(ctx context.Context, m *format.Manifest) (id datamesh.ObjectID, err error) {
	owner := p.keys.Recipient
	if p.opt.ToFirst {
		owner = p.keys.First
	}
	sealed, err := format.SealManifest(m, append([]crypt.Recipient{owner}, p.opt.To...))
	if err != nil {
		return id, err
	}
	buf := make([]byte, bufferLen(len(sealed), p.opt.K, p.opt.M))
	d, err := p.segment(ctx, buf, copy(buf, sealed))
	if err != nil {
		return id, err
	}
	return datamesh.ObjectID(d.Segment), p.report(ctx)
}

// longPut is how long a put may take, with what it has gone on from, without
// asking whether its segments are still wanted. It is less than the time after
// which another home of the owner may take them for left over.
const longPut = 10 * time.Minute

// stillThere reports with an error that segments of a put that took very long were
// deleted meanwhile. Kind: Unavailable.
func (p *put) stillThere(ctx context.Context) error {
	took := time.Now().Round(0).Sub(p.created.Round(0)) // also while the machine slept
	if p.resumed > 0 {
		took += p.o.journal.resume
	}
	if took < p.o.long && took >= 0 {
		return nil
	}
	for some := range slices.Chunk(p.placed, strayChunk) {
		all := make([]*sentence, len(some))
		for i := range some {
			all[i] = &sentence{d: some[i].desc}
		}
		if err := p.o.recall(ctx, all); err != nil {
			return err
		}
		for _, s := range all {
			if s.last != nil && s.last.Gone() {
				return errs.WithHint(errs.New(errs.Unavailable, "put: segment %s was deleted meanwhile, as what is left over of a put", s.d.Segment),
					"put it again, and let no other home clean up meanwhile")
			}
		}
	}
	return nil
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
	d, err := describe(p.keys.Owner, code, n, shards)
	if err != nil {
		return nil, err
	}
	holders, err := p.spread(ctx, d, shards)
	if err != nil {
		return nil, err
	}
	step.At("object: put: a segment is stored")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.placed = append(p.placed, placed{d, holders})
	return d, nil
}

// canGoOn reports whether the put ended for a reason that may pass, and has
// stored something by then that is worth keeping.
func (p *put) canGoOn(ctx context.Context, err error) bool {
	return p.source != (Source{}) && (ctx.Err() != nil || errs.Retryable(err)) && p.o.journal.resumable(p.entry.what)
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
	r := PutResult{ID: id, Size: size, Resumed: p.resumed, Epoch: p.keys.Epoch, Segments: len(p.placed), Survives: p.found - 1}
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
