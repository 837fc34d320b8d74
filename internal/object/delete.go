package object

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
	"datamesh/internal/step"
	"datamesh/internal/transfer"

	"golang.org/x/sync/errgroup"
)

// A Condemned object is one of which all is known that it takes to delete it.
// Nothing of it is deleted yet.
type Condemned struct {
	Manifest    *format.Manifest
	Segments    int   // with the manifest's
	StoredBytes int64 // of all shards

	o    *Objects
	keys *keyring.Ring
	all  []*sentence // the manifest's first
	list int         // how many follow that have the list of the others
}

// A sentence is a segment, and what its owner has said of it last.
type sentence struct {
	d    *datamesh.Descriptor
	last *datamesh.Deletion // nil: nothing
	to   []datamesh.PeerID  // beside the registrars, who are to be told more
}

// Condemn finds out what an object consists of, who has it, and what its owner
// has said of it before. Where a Delete of it has ended at the very end it says
// that again. Kinds: as [Objects.Get], Authentication (another owner has stored
// it), Unavailable (too few of those answer who keep owners' words), Deleted.
func (o *Objects) Condemn(ctx context.Context, id datamesh.ObjectID) (*Condemned, error) {
	g := o.newGet(ctx)
	defer g.findings()
	keys, err := o.keys()
	if err != nil {
		return nil, err
	}
	found, err := g.segmentsOf(id)
	switch {
	case found.manifest == nil:
		return nil, cmp.Or(o.finish(ctx, id), err)
	case err != nil && !errors.Is(err, errs.Deleted): // else all is that is on the list
		for _, f := range found.fetches {
			f.close()
		}
		return nil, err
	}
	c := &Condemned{Manifest: found.manifest, Segments: len(found.fetches), o: o, keys: keys, all: make([]*sentence, len(found.fetches)),
		list: len(found.manifest.List)}
	failed := make([]error, len(found.fetches))
	each(len(found.fetches), func(i int) {
		c.all[i], failed[i] = found.fetches[i].sentence()
	})
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	for _, s := range c.all {
		c.StoredBytes += int64(len(s.d.Shards)) * int64(s.d.ShardLen())
		if err := ownedBy(keys, s.d); err != nil {
			return nil, err
		}
	}
	if err := o.recall(ctx, c.all); err != nil {
		return nil, err
	}
	return c, nil
}

// ownedBy is nil if the words of the owner of a ring count for a segment. Kind:
// Authentication.
func ownedBy(keys *keyring.Ring, d *datamesh.Descriptor) error {
	if string(d.Owner[:]) == string(keys.Owner.Public().(ed25519.PublicKey)) {
		return nil
	}
	return errs.WithHint(errs.New(errs.Authentication, "%s was stored by another owner, who alone can delete it, or bring it back", datamesh.ObjectID(d.Segment)),
		`see whose keys are in use with "datamesh id"`)
}

// finish has an object deleted whose manifest is, and so cannot be read. All
// else of it was deleted before. Its error is nil if it is not deleted, and has
// the kind Deleted if it is.
func (o *Objects) finish(ctx context.Context, id datamesh.ObjectID) error {
	last, err := o.Word(ctx, id)
	if err != nil || !last.Gone() {
		return nil
	}
	err = o.say(ctx, []*sentence{{d: last.Descriptor, last: last}}, func(s *sentence) *datamesh.Deletion { return s.last })
	return cmp.Or(err, errDeleted(id))
}

// sentence finds out the descriptor of a segment and who may have its shards.
func (f *fetch) sentence() (*sentence, error) {
	defer f.close()
	if err := f.survey(); err != nil {
		return nil, err
	}
	s := &sentence{d: f.desc}
	for p := range f.claims {
		if !slices.Contains(s.to, p.peer) {
			s.to = append(s.to, p.peer)
		}
	}
	if s.d != nil {
		return s, nil
	}
	for p := range f.claims { // the registrars do not know it
		if d, _, err := f.g.o.net.Shards(p.peer).GetRange(f.ctx, datamesh.ShardKey{Segment: f.id, Index: p.index}, 0, 1); err == nil && d.Segment == f.id {
			s.d = d
			return s, nil
		}
	}
	del, err := f.g.o.lastWord(f.ctx, f.id, f.shape.k, f.shape.m)
	if err != nil {
		return nil, err
	}
	s.d = del.Descriptor
	return s, nil
}

// recall asks the registrars of segments for their owner's last words. Of each
// segment's a majority must answer: whatever was said and acknowledged is known
// to one of those. Kind: Unavailable.
func (o *Objects) recall(ctx context.Context, all []*sentence) error {
	return o.ask(ctx, all).err(ctx)
}

// ask asks the registrars of segments for their owner's last words, and counts
// their answers on each.
func (o *Objects) ask(ctx context.Context, all []*sentence) *tally {
	view := o.net.View()
	bySegment := map[datamesh.SegmentID]*sentence{}
	lists := map[datamesh.PeerID][]transfer.Word{}
	answers := newTally()
	for _, s := range all {
		bySegment[s.d.Segment] = s
		peers := registrars(view, s.d)
		answers.want(s.d.Segment, len(peers)/2+1)
		for _, peer := range peers {
			lists[peer] = append(lists[peer], transfer.Word{Segment: s.d.Segment})
		}
	}
	var mu sync.Mutex // guards the sentences
	answers.collect(maps.Keys(lists), func(peer datamesh.PeerID) error {
		list := lists[peer]
		slices.SortFunc(list, func(a, b transfer.Word) int { return bytes.Compare(a.Segment[:], b.Segment[:]) })
		for some := range slices.Chunk(list, transfer.MaxWords) {
			_, words, err := o.net.Words(ctx, peer, transfer.Words{List: some})
			if err != nil {
				return err
			}
			mu.Lock()
			for _, del := range words {
				if s := bySegment[del.Descriptor.Segment]; s.last == nil || s.last.Generation < del.Generation {
					s.last = del
				}
			}
			mu.Unlock()
			for _, w := range some {
				answers.count(w.Segment)
			}
		}
		return nil
	})
	return answers
}

// Delete says that all segments shall be gone, first those of the content, then
// those of the list of them, and then the manifest's, so that it can be said
// again if it fails in between. It has succeeded when
// those who keep the owner's words have them, as many as with any other record;
// who has shards and cannot be reached learns it from them. What is final is
// gone at once and for ever. Kind: Unavailable.
func (c *Condemned) Delete(ctx context.Context, final bool) error {
	word := func(s *sentence) *datamesh.Deletion {
		generation := s.next(final)
		if s.last != nil && s.last.Generation == generation {
			return s.last
		}
		return format.NewDeletion(c.keys.Owner, s.d, generation)
	}
	if err := c.o.say(ctx, c.all[1+c.list:], word); err != nil {
		return err
	}
	step.At("object: delete: the content is deleted")
	if err := c.o.say(ctx, c.all[1:1+c.list], word); err != nil {
		return err
	}
	step.At("object: delete: the list of the content is deleted")
	err := c.o.say(ctx, c.all[:1], word)
	step.At("object: delete: the manifest is deleted")
	return err
}

// next returns the generation of the word by which a segment is deleted: that of
// the last one, if that deletes it.
func (s *sentence) next(final bool) uint64 {
	if s.last != nil && (s.last.Final() || s.last.Gone() && !final) {
		return s.last.Generation
	}
	if next, ok := datamesh.NextGeneration(s.generation(), true); ok && !final {
		return next
	}
	return datamesh.Final
}

// generation returns that of the last word on a segment.
func (s *sentence) generation() uint64 {
	if s.last == nil {
		return 0
	}
	return s.last.Generation
}

// Word returns the generation of the word by which Delete deletes the manifest.
func (c *Condemned) Word(final bool) uint64 { return c.all[0].next(final) }

// BroughtBackSince reports whether the owner has said, after a word of that
// generation on the manifest, that the object shall be there after all.
func (c *Condemned) BroughtBackSince(word uint64) bool {
	last := c.all[0].last
	return last != nil && !last.Gone() && last.Generation > word
}

// say sends the owner's words on segments to those who keep them, and to those
// who have shards. Of each segment's registrars a majority must take it, and
// one more than may vanish.
func (o *Objects) say(ctx context.Context, all []*sentence, word func(*sentence) *datamesh.Deletion) error {
	if len(all) == 0 {
		return nil
	}
	return o.tellWords(ctx, all, word).err(ctx)
}

// tellWords is as say, and counts who has taken the word on each segment. The cache
// forgets them before, and after, as they may be read until the last has heard.
func (o *Objects) tellWords(ctx context.Context, all []*sentence, word func(*sentence) *datamesh.Deletion) *tally {
	forget := func() {
		for _, s := range all {
			o.Cache.Forget(s.d.Segment, s.d.Length)
		}
	}
	forget()
	defer forget()
	view := o.net.View()
	lists := map[datamesh.PeerID][]*datamesh.Deletion{}
	keeps := map[datamesh.PeerID]map[datamesh.SegmentID]bool{}
	acks := newTally()
	for _, s := range all {
		del, peers := word(s), registrars(view, s.d)
		acks.want(s.d.Segment, max(len(peers)/2, placement.Bar(known(view), s.d.K, s.d.M))+1)
		for _, peer := range peers {
			if keeps[peer] == nil {
				keeps[peer] = map[datamesh.SegmentID]bool{}
			}
			keeps[peer][s.d.Segment] = true
			lists[peer] = append(lists[peer], del)
		}
		for _, peer := range s.to {
			if m, ok := view.Lookup(peer); ok && m.State != ring.Dead && !slices.Contains(peers, peer) {
				lists[peer] = append(lists[peer], del)
			}
		}
	}
	acks.collect(maps.Keys(lists), func(peer datamesh.PeerID) error {
		var group errgroup.Group
		group.SetLimit(8)
		for _, del := range lists[peer] {
			group.Go(func() error {
				err := o.net.Shards(peer).Drop(ctx, del)
				if err == nil && keeps[peer][del.Descriptor.Segment] {
					acks.count(del.Descriptor.Segment)
				}
				return err
			})
		}
		return group.Wait()
	})
	return acks
}

// A tally counts the answers on each segment.
type tally struct {
	mu      sync.Mutex // guards the rest
	missing map[datamesh.SegmentID]int
	failed  map[datamesh.PeerID]error
}

func newTally() *tally {
	return &tally{missing: map[datamesh.SegmentID]int{}, failed: map[datamesh.PeerID]error{}}
}

func (t *tally) want(segment datamesh.SegmentID, n int) { t.missing[segment] = n }

func (t *tally) count(segment datamesh.SegmentID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.missing[segment]--
}

// enough reports whether a segment has as many answers as are wanted.
func (t *tally) enough(segment datamesh.SegmentID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	missing, wanted := t.missing[segment]
	return wanted && missing <= 0
}

// collect calls ask for each of the peers, some at once.
func (t *tally) collect(peers iter.Seq[datamesh.PeerID], ask func(datamesh.PeerID) error) {
	all := slices.Collect(peers)
	each(len(all), func(i int) {
		if err := ask(all[i]); err != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.failed[all[i]] = err
		}
	})
}

// err returns an error of kind Unavailable if some segment has not enough answers.
func (t *tally) err(ctx context.Context) error {
	for segment, n := range t.missing {
		if n > 0 {
			return errors.Join(ctx.Err(), errs.New(errs.Unavailable, "too few of the peers that keep track of %s answered: %s", segment, reasons(t.failed)))
		}
	}
	return nil
}
