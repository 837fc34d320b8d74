package repair

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
	"datamesh/internal/ring"
	"datamesh/internal/store"
)

const (
	answerTime = 30 * time.Second // for a proof
	auditPause = time.Second      // from one audit to the next, at least
	lookPause  = 10 * time.Minute // until the segments are looked at again, at most
	madeUpFor  = time.Hour        // that the audits are late, at most
	maxDoubts  = 1 << 16
)

// An Outcome is what came of asking a peer for a proof.
type Outcome uint8

// The outcomes.
const (
	Silent  Outcome = iota // there was no answer, or one that says nothing of the shard
	Proven                 // the peer showed the part that it was asked for
	Refuted                // it answered, and has no such shard, or a damaged one, or showed what is not part of it
)

// An Answer is what a peer that is said to hold a shard showed of it.
type Answer struct {
	Peer    datamesh.PeerID
	Key     datamesh.ShardKey
	Outcome Outcome
	Reason  error // nil if it was proven
}

// Audits counts the answers of a peer since this member has started.
type Audits struct {
	Proofs, Failures, Silences int64
	Proof, Failure             time.Time // when the last one was; zero: there was none
}

// An AuditResult is what an audit of one peer has shown.
type AuditResult struct {
	Before  Audits // it began
	Answers []Answer
}

func (e *Events) audited(a Answer) {
	if e.Audited != nil {
		e.Audited(a)
	}
}

// RunAudits has the holders of all segments that this member keeps track of
// prove what they hold, each segment about once in the interval, until ctx
// ends. It is called beside Run.
//
// Other registrars do so too, at other times, and do not compare notes: a
// segment is audited as often in an interval as it has registrars.
func (k *Keeper) RunAudits(ctx context.Context, interval time.Duration) {
	h := hand{interval: interval, at: time.Now()}
	crand.Read(h.after[:])
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			timer.Reset(k.auditNext(ctx, &h))
		case <-ctx.Done():
			return
		}
	}
}

// auditNext audits the next segment, if it is its turn, and returns how long to
// wait then.
func (k *Keeper) auditNext(ctx context.Context, h *hand) time.Duration {
	t, err := k.following(ctx, h.after)
	if err != nil {
		if ctx.Err() == nil {
			k.events.failed("the registry could not be read", err)
		}
		return time.Minute
	}
	if t == nil {
		return min(h.interval, lookPause)
	}
	now := time.Now()
	if wait := h.due(t.Descriptor.Segment).Sub(now); wait > 0 {
		return min(wait, lookPause)
	}
	h.move(now, t.Descriptor.Segment)
	holders := k.believe(ctx, t.Descriptor, k.live(t)) // whoever was refuted may have been given the shard since
	if !slices.ContainsFunc(holders, func(who []datamesh.PeerID) bool { return len(who) > 0 }) {
		return 0
	}
	k.heed(ctx, k.challenge(ctx, t.Descriptor, holders))
	return auditPause - min(time.Since(now), auditPause)
}

// following returns the segment that comes after one, round the ring of ids;
// nil if there is none at all.
func (k *Keeper) following(ctx context.Context, after datamesh.SegmentID) (*store.Tracked, error) {
	for _, from := range []datamesh.SegmentID{after, {}} {
		list, err := k.index.Track(ctx, from, 1)
		if err != nil {
			return nil, err
		}
		if len(list) > 0 {
			return &list[0], nil
		}
	}
	return nil, nil
}

// live returns those of a segment's holders that are not dead, this member
// aside.
func (k *Keeper) live(t *store.Tracked) [][]datamesh.PeerID {
	view := k.net.View()
	holders := make([][]datamesh.PeerID, len(t.Descriptor.Shards))
	for _, h := range t.Holdings {
		m, ok := view.Lookup(h.Peer)
		if ok && m.State != ring.Dead && h.Peer != k.self && !slices.Contains(holders[h.Index], h.Peer) {
			holders[h.Index] = append(holders[h.Index], h.Peer)
		}
	}
	return holders
}

// A hand goes round the ring of segment ids once in the interval, as that of a
// clock, and points at the segment whose turn it is. Ids are hashes, so that
// the turns are spread evenly however many segments there are.
type hand struct {
	interval time.Duration
	after    datamesh.SegmentID // where it was
	at       time.Time          // then
}

// due returns when the hand reaches a segment.
func (h *hand) due(segment datamesh.SegmentID) time.Time {
	way := 1.0 // all round
	if segment != h.after {
		way = float64(placeOf(segment)-placeOf(h.after)) / (1 << 64)
	}
	return h.at.Add(time.Duration(way * float64(h.interval)))
}

// move puts the hand to a segment that it has reached. If it is late it hurries
// until it is not, but not for all that a machine that was asleep has missed.
func (h *hand) move(now time.Time, segment datamesh.SegmentID) {
	at := h.due(segment)
	if earliest := now.Add(-madeUpFor); at.Before(earliest) {
		at = earliest
	}
	h.after, h.at = segment, at
}

// placeOf returns where on the ring a segment is.
func placeOf(segment datamesh.SegmentID) uint64 { return binary.BigEndian.Uint64(segment[:]) }

// Audit has a peer prove up to n of the shards that it is said to hold, drawn
// at random, and heeds what comes of it as the audits in the background do. A
// peer that is silent is soon asked for no more. Kinds: Unavailable, Database.
func (k *Keeper) Audit(ctx context.Context, peer datamesh.PeerID, n int) (AuditResult, error) {
	result := AuditResult{Before: k.audits.of(peer)}
	shards, err := k.draw(ctx, peer, n)
	if err != nil {
		return result, err
	}
	silent := true
	for some := range slices.Chunk(shards, atOnce) {
		answers := make([]Answer, len(some))
		var group sync.WaitGroup
		for i, h := range some {
			group.Go(func() { answers[i] = k.demand(ctx, h.Descriptor, h.Index, peer) })
		}
		group.Wait()
		if err := ctx.Err(); err != nil {
			return result, err
		}
		silent = silent && !slices.ContainsFunc(answers, func(a Answer) bool { return a.Outcome != Silent })
		result.Answers = append(result.Answers, k.heed(ctx, answers)...)
		if silent {
			break
		}
	}
	return result, nil
}

// draw draws up to n of the shards that a peer is said to hold.
func (k *Keeper) draw(ctx context.Context, peer datamesh.PeerID, n int) (drawn []store.Held, err error) {
	seen := 0
	for after := datamesh.First; ; {
		list, err := k.index.Reported(ctx, peer, after, page)
		if err != nil {
			return nil, err
		}
		for _, h := range list {
			seen++
			if len(drawn) < n {
				drawn = append(drawn, h)
			} else if i := rand.IntN(seen); i < n {
				drawn[i] = h
			}
		}
		if len(list) < page {
			break
		}
		after = list[page-1].Key()
	}
	rand.Shuffle(len(drawn), func(i, j int) { drawn[i], drawn[j] = drawn[j], drawn[i] })
	return drawn, nil
}

// challenge has holders, this member aside, prove their shards of a segment,
// all at once: what is proven is what there is at one moment, and not one copy
// that is handed from one to the next.
func (k *Keeper) challenge(ctx context.Context, d *datamesh.Descriptor, holders [][]datamesh.PeerID) []Answer {
	var answers []Answer
	for index, who := range holders {
		for _, peer := range who {
			if peer != k.self {
				answers = append(answers, Answer{Peer: peer, Key: datamesh.ShardKey{Segment: d.Segment, Index: index}})
			}
		}
	}
	group := k.workers(datamesh.MaxShards)
	for i, a := range answers {
		group.Go(func() error {
			answers[i] = k.demand(ctx, d, a.Key.Index, a.Peer)
			return nil
		})
	}
	group.Wait()
	return answers
}

// demand asks a peer for a part of a shard that is drawn here and now, as no
// one can show who does not have it at hand.
func (k *Keeper) demand(ctx context.Context, d *datamesh.Descriptor, index int, peer datamesh.PeerID) Answer {
	ctx, cancel := k.within(ctx, answerTime)
	defer cancel()
	a := Answer{Peer: peer, Key: datamesh.ShardKey{Segment: d.Segment, Index: index}}
	off := hash.Group * rand.IntN((d.ShardLen()+hash.Group-1)/hash.Group) // else it would take two groups
	n := min(hash.Group, d.ShardLen()-off)
	got, slice, err := k.net.Shards(peer).GetRange(ctx, a.Key, off, n)
	if err == nil {
		if _, ok := hash.Open(slice, off, n, d.Shards[index]); !ok || got.Segment != d.Segment {
			err = errs.New(errs.Integrity, "what it shows is not a part of the shard")
		}
	}
	a.Outcome, a.Reason = outcomeOf(ctx, err), err
	return a
}

// demandAll asks a peer for a whole shard.
func (k *Keeper) demandAll(ctx context.Context, d *datamesh.Descriptor, index int, peer datamesh.PeerID) Answer {
	a := Answer{Peer: peer, Key: datamesh.ShardKey{Segment: d.Segment, Index: index}}
	err := k.rate.wait(ctx, d.ShardLen())
	ctx, cancel := k.within(ctx, shardTime) // one that is slow on purpose does not stop all others
	defer cancel()
	if err == nil {
		var shard []byte
		_, shard, err = k.net.Shards(peer).Get(ctx, a.Key, nil)
		if err == nil && hash.Shard(shard) != d.Shards[index] {
			err = errs.New(errs.Integrity, "what it serves is not the shard")
		}
	}
	a.Outcome, a.Reason = outcomeOf(ctx, err), err
	return a
}

func outcomeOf(ctx context.Context, err error) Outcome {
	switch {
	case err == nil:
		return Proven
	case ctx.Err() == nil && (errors.Is(err, errs.FileNotFound) || errors.Is(err, errs.Integrity)):
		return Refuted
	}
	return Silent
}

// heed draws the conclusions from answers: what was refuted is taken out of the
// index, and not believed again until it is shown whole. A refutation of what the
// index says no more is none: the peer has said so itself meanwhile, or the
// segment was deleted. It returns the other answers.
func (k *Keeper) heed(ctx context.Context, answers []Answer) []Answer {
	if ctx.Err() != nil {
		return nil
	}
	answers = slices.DeleteFunc(answers, func(a Answer) bool { return a.Outcome == Refuted && !k.says(ctx, a) })
	corrected := false
	var proofs []store.Proof
	for _, a := range answers {
		k.audits.note(k.net.View(), a)
		k.events.audited(a)
		switch a.Outcome {
		case Proven:
			proofs = append(proofs, store.Proof{Key: a.Key, Peer: a.Peer, At: k.now()})
		case Refuted:
			k.takeOut(ctx, a)
			corrected = true
		}
	}
	k.proven(ctx, proofs)
	if corrected {
		k.hear(Corrected{})
	}
	return answers
}

// proven takes down what was proven.
func (k *Keeper) proven(ctx context.Context, proofs []store.Proof) {
	if len(proofs) == 0 {
		return
	}
	if err := k.index.Proven(ctx, proofs); err != nil && ctx.Err() == nil {
		k.events.failed("what an audit has shown could not be written down", err)
	}
}

// takeOut takes a peer out of the holders of a shard.
func (k *Keeper) takeOut(ctx context.Context, a Answer) {
	before := datamesh.ShardKey{Segment: a.Key.Segment, Index: a.Key.Index - 1}
	if _, _, err := k.index.Correct(ctx, a.Peer, before, a.Key, nil); err != nil && ctx.Err() == nil {
		k.events.failed("what an audit has shown could not be written down", err)
	}
}

// says reports whether the index says that a peer holds what it was asked for.
func (k *Keeper) says(ctx context.Context, a Answer) bool {
	_, holdings, err := k.index.Locate(ctx, a.Key.Segment)
	return err == nil && slices.Contains(holdings, store.Holding{Index: a.Key.Index, Peer: a.Peer})
}

// Audits returns how a peer has answered so far.
func (k *Keeper) Audits(peer datamesh.PeerID) Audits { return k.audits.of(peer) }

// believe takes out of the holders those whose word was refuted before and who
// do not show their shard now, all of it: a part that is whole says little of
// one that was found damaged. So a peer finds out, too, which has not noticed
// what its disk has done.
func (k *Keeper) believe(ctx context.Context, d *datamesh.Descriptor, holders [][]datamesh.PeerID) [][]datamesh.PeerID {
	for index, who := range holders {
		holders[index] = slices.DeleteFunc(who, func(peer datamesh.PeerID) bool {
			x := claim{peer, datamesh.ShardKey{Segment: d.Segment, Index: index}}
			if !k.audits.doubts(x) {
				return false
			}
			a := k.demandAll(ctx, d, index, peer)
			switch a.Outcome {
			case Proven:
				k.audits.clear(x)
			case Refuted:
				k.takeOut(ctx, a)
			}
			return a.Outcome != Proven
		})
	}
	return holders
}

// taken makes sure of a shard that was given to a peer which claimed to have it
// before, and had not. Kind: Unavailable.
func (k *Keeper) taken(ctx context.Context, d *datamesh.Descriptor, c Copy) error {
	x := claim{c.To, datamesh.ShardKey{Segment: d.Segment, Index: c.Index}}
	if !k.audits.doubts(x) {
		return nil
	}
	a := k.demand(ctx, d, c.Index, c.To)
	if a.Outcome != Proven {
		return errs.New(errs.Unavailable, "it was given the shard, and does not prove it: %w", a.Reason)
	}
	k.audits.clear(x)
	return nil
}

// A claim is that a peer holds a shard.
type claim struct {
	peer datamesh.PeerID
	key  datamesh.ShardKey
}

// audits has what audits have shown. Its zero value is ready for use.
type audits struct {
	mu      sync.Mutex // guards the rest
	peers   map[datamesh.PeerID]*Audits
	refuted map[claim]bool // and not shown whole since
}

// note takes note of an answer, and forgets those who are members no more.
func (a *audits) note(view *ring.View, x Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.peers[x.Peer]
	if p == nil {
		a.forget(view)
		p = new(Audits)
		a.peers[x.Peer] = p
	}
	switch x.Outcome {
	case Silent:
		p.Silences++
	case Proven:
		p.Proofs++
		p.Proof = time.Now()
	case Refuted:
		p.Failures++
		p.Failure = time.Now()
		for c := range a.refuted {
			if len(a.refuted) < maxDoubts {
				break
			}
			delete(a.refuted, c)
		}
		a.refuted[claim{x.Peer, x.Key}] = true
	}
}

func (a *audits) forget(view *ring.View) {
	if a.peers == nil {
		a.peers, a.refuted = map[datamesh.PeerID]*Audits{}, map[claim]bool{}
	}
	for peer := range a.peers {
		if _, ok := view.Lookup(peer); !ok {
			delete(a.peers, peer)
		}
	}
	for c := range a.refuted {
		if _, ok := view.Lookup(c.peer); !ok {
			delete(a.refuted, c)
		}
	}
}

func (a *audits) of(peer datamesh.PeerID) Audits {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.peers[peer]; p != nil {
		return *p
	}
	return Audits{}
}

func (a *audits) doubts(c claim) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refuted[c]
}

func (a *audits) clear(c claim) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.refuted, c)
}

// strip takes out of what the index says of segments what is not believed.
func (a *audits) strip(list []store.Tracked) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.refuted) == 0 {
		return
	}
	for i := range list {
		t := &list[i]
		t.Holdings = slices.DeleteFunc(t.Holdings, func(h store.Holding) bool {
			return a.refuted[claim{h.Peer, datamesh.ShardKey{Segment: t.Descriptor.Segment, Index: h.Index}}]
		})
	}
}
