package object

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/ring"
	"datamesh/internal/step"
)

// A Stray is a segment that the mesh has of an owner, and that he does not know.
type Stray struct {
	Descriptor *datamesh.Descriptor
	Peers      []datamesh.PeerID // that have something of it, or keep track of it

	heard bool               // whether enough have said what his last word is
	last  *datamesh.Deletion // nil: none
}

// Bytes returns how many bytes all its shards have.
func (s *Stray) Bytes() int64 {
	return int64(len(s.Descriptor.Shards)) * int64(s.Descriptor.ShardLen())
}

// Gone reports whether its owner has deleted it, and those who have it have not
// heard of that. It is known after [Objects.RecallStrays].
func (s *Stray) Gone() bool { return s.last != nil && s.last.Gone() }

// Heard reports whether enough have said what its owner's last word is.
func (s *Stray) Heard() bool { return s.heard }

// Strays are what members have told of.
type Strays struct {
	List     []*Stray // by segment
	Asked    int      // members that are not dead
	Answered int      // of these, with all that they have
}

// strayTime is how long a member may take to list an owner's segments.
const strayTime = 10 * time.Minute

// Strays asks all members for the segments of the owner whose keys are in use, and
// returns those that isKnown does not know. A member that does not answer, or that
// lies, can hide some, and invent none. Kinds: those of isKnown and the keys, and
// ctx's error.
func (o *Objects) Strays(ctx context.Context, isKnown func([]datamesh.SegmentID) ([]bool, error)) (*Strays, error) {
	keys, err := o.keys()
	if err != nil {
		return nil, err
	}
	var peers []datamesh.PeerID
	for m := range o.net.View().All() {
		if m.State != ring.Dead {
			peers = append(peers, m.Record.Peer)
		}
	}
	found := &Strays{Asked: len(peers)}
	var mu sync.Mutex // guards found, all and failed
	all := map[datamesh.SegmentID]*Stray{}
	var failed error
	each(len(peers), func(i int) {
		ctx, cancel := context.WithTimeout(ctx, strayTime)
		defer cancel()
		for list, err := range o.owned(ctx, peers[i], keys.Owner) {
			if err != nil {
				return
			}
			known, err := isKnown(list.ids())
			mu.Lock()
			for j, d := range list {
				if err == nil && !known[j] {
					s := all[d.Segment]
					if s == nil {
						s = &Stray{Descriptor: d}
						all[d.Segment] = s
					}
					s.Peers = append(s.Peers, peers[i])
				}
			}
			failed = errors.Join(failed, err)
			mu.Unlock()
			if err != nil {
				return
			}
		}
		mu.Lock()
		defer mu.Unlock()
		found.Answered++
	})
	found.List = slices.SortedFunc(maps.Values(all), func(a, b *Stray) int {
		return bytes.Compare(a.Descriptor.Segment[:], b.Descriptor.Segment[:])
	})
	return found, errors.Join(failed, ctx.Err())
}

type descriptors []*datamesh.Descriptor

func (l descriptors) ids() (ids []datamesh.SegmentID) {
	for _, d := range l {
		ids = append(ids, d.Segment)
	}
	return ids
}

// owned yields what a peer has of an owner, some at a time. It ends after an error.
func (o *Objects) owned(ctx context.Context, peer datamesh.PeerID, owner ed25519.PrivateKey) iter.Seq2[descriptors, error] {
	return func(yield func(descriptors, error) bool) {
		after := datamesh.SegmentID{}
		for more := true; more; {
			var list []*datamesh.Descriptor
			var err error
			list, after, more, err = o.net.Owned(ctx, peer, owner, after)
			if !yield(list, err) || err != nil {
				return
			}
		}
	}
}

// Parts returns the segments that an object consists of, with the manifest's and
// those of the list of them. Kinds: as [Objects.Get].
func (o *Objects) Parts(ctx context.Context, id datamesh.ObjectID) ([]datamesh.SegmentID, error) {
	g := o.newGet(ctx)
	defer g.findings()
	m, err := g.manifest(ctx, id)
	if err != nil {
		return nil, ofObject(id, err)
	}
	parts, err := g.parts(ctx, id, m)
	return parts, ofObject(id, err)
}

func (g *get) parts(ctx context.Context, id datamesh.ObjectID, m *format.Manifest) ([]datamesh.SegmentID, error) {
	parts := []datamesh.SegmentID{datamesh.SegmentID(id)}
	for _, ref := range m.List {
		parts = append(parts, ref.ID)
	}
	refs, _, err := g.segments(ctx, m)
	for _, ref := range refs {
		parts = append(parts, ref.ID)
	}
	return parts, err
}

// A LostObject is one that is in the mesh, and in no catalog.
type LostObject struct {
	ID       datamesh.ObjectID
	Manifest *format.Manifest
	Parts    []datamesh.SegmentID // as [Objects.Parts]
}

// Lost tries to open a stray as a manifest: then it is an object that was lost, and
// is returned. It is nil for what certainly is no manifest that anybody can read:
// it has not the form of one, or nobody is known who could have enough of its
// shards. Kind of the error: Unavailable (whether it is one cannot be told now, or
// its parts cannot).
func (o *Objects) Lost(ctx context.Context, s *Stray) (*LostObject, error) {
	if s.Descriptor.Length > format.MaxSealedManifest {
		return nil, nil
	}
	keys, err := o.keys()
	if err != nil {
		return nil, err
	}
	g := o.newGet(ctx)
	defer g.findings()
	lost := &LostObject{ID: datamesh.ObjectID(s.Descriptor.Segment)}
	undecided := func(err error) error {
		return errors.Join(ctx.Err(), errs.New(errs.Unavailable, "%s may be an object that no catalog has, and cannot be read now: %w", lost.ID, err))
	}
	sealed, possible, err := g.sealed(ctx, s.Descriptor)
	if err != nil && !possible && ctx.Err() == nil {
		return nil, nil
	}
	if err != nil {
		return nil, undecided(err)
	}
	if lost.Manifest, err = format.OpenManifest(sealed, keys.Identities); err != nil {
		if format.LooksSealed(sealed) {
			return nil, undecided(err)
		}
		return nil, nil
	}
	lost.Parts, err = g.parts(ctx, lost.ID, lost.Manifest)
	if err != nil && !errors.Is(err, errs.Deleted) { // what comes before the list of them was deleted before it
		return nil, undecided(err)
	}
	return lost, nil
}

// sealed fetches a segment whose descriptor is known. With an error it reports
// whether it is possible that it can be read at another time: whether members are
// said to have enough of its shards, be they reached or not.
func (g *get) sealed(ctx context.Context, d *datamesh.Descriptor) (sealed []byte, possible bool, err error) {
	f := g.newFetch(ctx, d.Segment)
	defer f.close()
	f.shape = shape{d.K, d.M, d.Length}
	l, err := g.o.take(ctx, g.o.getMemory, f.shape.bufferLen())
	if err != nil {
		return nil, true, err
	}
	defer l.end(true)
	defer f.close() // before the buffer is lent to another
	b, err := f.run(l.buf)
	if err == nil {
		return bytes.Clone(b), true, nil
	}
	said := map[int]bool{}
	for p := range f.claims {
		said[p.index] = true
	}
	return nil, len(said) >= d.K || errors.Is(err, errs.Deleted), err
}

// sentenceOf returns what there is to say of a stray.
func (s *Stray) sentence() *sentence {
	return &sentence{d: s.Descriptor, last: s.last, to: s.Peers}
}

// RecallStrays asks those who keep the owner's words what the last one on each
// stray is. Of those of which too few answer nothing can be told.
func (o *Objects) RecallStrays(ctx context.Context, strays []*Stray) error {
	for some := range slices.Chunk(strays, strayChunk) {
		all := make([]*sentence, len(some))
		for i, s := range some {
			all[i] = s.sentence()
		}
		answers := o.ask(ctx, all)
		for i, s := range some {
			s.last, s.heard = all[i].last, answers.enough(s.Descriptor.Segment)
		}
	}
	return ctx.Err()
}

// strayChunk is how many segments are deleted at once, or brought back.
const strayChunk = 128

// Discard puts strays into the trash, by words that can be undone, and returns those
// words that enough of those have who keep them; of the strays, only those count
// of which the last word is known. Note is told of the words before the first is
// sent. What the owner has deleted before is only said again to those who have not
// heard it: that is among again, and not noted. Kinds: those of note, and ctx's
// error.
func (o *Objects) Discard(ctx context.Context, strays []*Stray, note func([]*datamesh.Deletion) error) (acked, again []*datamesh.Deletion, err error) {
	keys, err := o.keys()
	if err != nil {
		return nil, nil, err
	}
	for some := range slices.Chunk(strays, strayChunk) {
		var all []*sentence
		var fresh []*datamesh.Deletion
		words := map[datamesh.SegmentID]*datamesh.Deletion{}
		old := map[datamesh.SegmentID]bool{}
		for _, s := range some {
			if !s.heard || ownedBy(keys, s.Descriptor) != nil {
				continue
			}
			x := s.sentence()
			switch next := x.next(false); {
			case s.Gone():
				words[s.Descriptor.Segment], old[s.Descriptor.Segment] = s.last, true
			case next >= datamesh.Final:
				continue // it could not be undone
			default:
				word := format.NewDeletion(keys.Owner, s.Descriptor, next)
				words[s.Descriptor.Segment] = word
				fresh = append(fresh, word)
			}
			all = append(all, x)
		}
		if len(fresh) > 0 {
			if err := note(fresh); err != nil {
				return acked, again, err
			}
			step.At("object: discard: the words are noted")
		}
		told := o.tellWords(ctx, all, func(s *sentence) *datamesh.Deletion { return words[s.d.Segment] })
		for _, s := range all {
			switch segment := s.d.Segment; {
			case !told.enough(segment):
			case old[segment]:
				again = append(again, words[segment])
			default:
				acked = append(acked, words[segment])
			}
		}
		step.At("object: discard: some segments are in the trash")
		if err := ctx.Err(); err != nil {
			return acked, again, err
		}
	}
	return acked, again, nil
}

// Restore brings back what words have deleted that were said by Discard, unless
// their owner has deleted it by another one since, and returns those that need no
// more to be done: enough of those who keep the owner's words know that it shall
// be there, or deleted by that other word. Kinds: those of the keys, Unavailable
// (the registrars could not be told who has the shards: repair does that), and
// ctx's error.
func (o *Objects) Restore(ctx context.Context, words []*datamesh.Deletion) (back, elsewhere []datamesh.SegmentID, err error) {
	keys, err := o.keys()
	if err != nil {
		return nil, nil, err
	}
	var failed error
	for some := range slices.Chunk(words, strayChunk) {
		said := map[datamesh.SegmentID]*datamesh.Deletion{}
		var all []*sentence
		for _, w := range some {
			said[w.Descriptor.Segment] = w
			all = append(all, &sentence{d: w.Descriptor})
		}
		answers := o.ask(ctx, all)
		all = slices.DeleteFunc(all, func(s *sentence) bool {
			w := said[s.d.Segment]
			if !answers.enough(s.d.Segment) {
				return true
			}
			if s.last != nil && s.last.Gone() && s.last.Generation > w.Generation {
				elsewhere = append(elsewhere, s.d.Segment)
				return true
			}
			if s.last == nil || s.last.Generation < w.Generation {
				s.last = w // a minority may have it
			}
			return false
		})
		for _, s := range all {
			for m := range o.net.View().All() {
				s.to = append(s.to, m.Record.Peer)
			}
			if next, ok := datamesh.NextGeneration(s.last.Generation, false); ok && s.last.Gone() {
				s.last = format.NewDeletion(keys.Owner, s.d, next)
			}
		}
		told := o.tellWords(ctx, all, func(s *sentence) *datamesh.Deletion { return s.last })
		all = slices.DeleteFunc(all, func(s *sentence) bool { return s.last.Gone() || !told.enough(s.d.Segment) })
		step.At("object: restore: some segments are back from the trash")
		failed = errors.Join(failed, o.tell(ctx, o.holdersOf(ctx, all)))
		for _, s := range all {
			back = append(back, s.d.Segment)
		}
		if err := ctx.Err(); err != nil {
			return back, elsewhere, err
		}
	}
	if failed != nil {
		failed = fmt.Errorf("the segments are back, and not all who keep track of them know who has them yet: %w", failed)
	}
	return back, elsewhere, failed
}
