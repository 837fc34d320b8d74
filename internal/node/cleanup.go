package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
	"datamesh/internal/object"
	"datamesh/internal/step"
)

const (
	strayAge   = 30 * 24 * time.Hour // for which this home must have seen what is to go
	strayPause = 24 * time.Hour      // between two looks of a service
)

// Cleanup puts into the trash what the mesh has of this home's owner, and what no
// catalog of his has known since this home saw it first, at least 30 days ago. What
// he can open as a manifest is kept, with all that it refers to. Kinds: KeyManagement
// (this home has no owner), Unavailable (what is known is not all, or too few
// answer: nothing is put into the trash), and those of the catalog. With Undo it
// brings back what Cleanup has put there in the last 7 days.
func (n *Node) Cleanup(ctx context.Context, o CleanupOptions) (*Cleaned, error) {
	n.cleaning.Lock()
	defer n.cleaning.Unlock()
	keys, err := n.heldKeys()
	if errors.Is(err, errs.FileNotFound) {
		return nil, errs.WithHint(errs.New(errs.KeyManagement, "this home has no identity, and so has stored nothing"), "see whose keys are in use: datamesh id")
	}
	if err != nil {
		return nil, err
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	if o.Undo {
		return n.restore(ctx, l)
	}
	s, err := n.look(ctx, l, keys)
	if err != nil {
		return nil, err
	}
	done := &Cleaned{Found: []FoundObject{}, Asked: s.Asked, Answered: s.Answered, DryRun: o.DryRun}
	if err := l.objects.RecallStrays(ctx, s.List); err != nil {
		return nil, err
	}
	if err := n.keepLost(ctx, l, s, done); err != nil {
		return nil, err
	}
	due := n.oldEnough(s, done)
	if o.DryRun {
		return done, nil
	}
	return done, n.discard(ctx, l, due, done)
}

// strays are the segments that no catalog knows, and when this home has first seen
// each.
type strays struct {
	*object.Strays
	seen map[datamesh.SegmentID]time.Time
}

// look learns what all devices of the owner know, asks the members what they have,
// and notes what is unknown. Kinds: Unavailable (what is known is not all), and those
// of the catalog.
func (n *Node) look(ctx context.Context, l *link, keys *keyring.Ring) (*strays, error) {
	puts, err := n.journal.Segments() // before the catalog: what ends meanwhile is there
	if err != nil {
		return nil, err
	}
	known, err := n.knowAll(ctx, l, keys)
	if err != nil {
		return nil, err
	}
	isKnown := func(segments []datamesh.SegmentID) ([]bool, error) { return n.areKnown(ctx, known, puts, segments) }
	err = n.restoreThose(ctx, l, func(segment datamesh.SegmentID) (bool, error) {
		what, err := n.whatIs(ctx, known, segment)
		return what == catalog.Listed, err
	})
	if err != nil {
		return nil, err
	}
	found, err := l.objects.Strays(ctx, isKnown)
	if err != nil {
		return nil, err
	}
	if err := n.knowSince(ctx, l, known, puts); err != nil {
		return nil, err
	}
	var all, list []datamesh.SegmentID
	for _, s := range found.List {
		all = append(all, s.Descriptor.Segment)
	}
	is, err := isKnown(all)
	if err != nil {
		return nil, err
	}
	unknown := found.List[:0]
	for i, s := range found.List {
		if !is[i] {
			unknown, list = append(unknown, s), append(list, all[i])
		}
	}
	found.List = unknown
	seen, err := n.catalog.SeeStrays(ctx, n.now(), list, found.Answered == found.Asked, isKnown)
	step.At("node: cleanup: what is unknown is noted")
	return &strays{found, seen}, err
}

// areKnown reports which segments are of an object, or of a put that has not ended.
func (n *Node) areKnown(ctx context.Context, known map[datamesh.ObjectID]catalog.Known, puts map[datamesh.SegmentID]bool, segments []datamesh.SegmentID) ([]bool, error) {
	is := make([]bool, len(segments))
	for i, segment := range segments {
		what, err := n.whatIs(ctx, known, segment)
		if err != nil {
			return nil, err
		}
		// A manifest of what is deleted is looked at: it may have been brought back, unheard.
		is[i] = puts[segment] || what != catalog.Unknown && known[datamesh.ObjectID(segment)] != catalog.Left
	}
	return is, nil
}

// knowSince adds what puts of this home have begun to send since, or have ended. Kinds: as
// those of look.
func (n *Node) knowSince(ctx context.Context, l *link, known map[datamesh.ObjectID]catalog.Known, puts map[datamesh.SegmentID]bool) error {
	now, err := n.journal.Segments() // before the catalog, here too
	if err != nil {
		return err
	}
	maps.Copy(puts, now)
	all, err := n.catalog.KnownObjects(ctx)
	if err != nil {
		return err
	}
	maps.DeleteFunc(all, func(id datamesh.ObjectID, _ catalog.Known) bool {
		_, before := known[id]
		return before
	})
	maps.Copy(known, all)
	return n.knowParts(ctx, l, all)
}

// whatIs returns what is known of the object that a segment is of.
func (n *Node) whatIs(ctx context.Context, known map[datamesh.ObjectID]catalog.Known, segment datamesh.SegmentID) (catalog.Known, error) {
	what := known[datamesh.ObjectID(segment)]
	objects, err := n.catalog.PartOf(ctx, segment)
	for _, id := range objects {
		if is := known[id]; what == catalog.Unknown || is != catalog.Unknown && is < what {
			what = is
		}
	}
	return what, err
}

// incomplete says that not all is known, and why.
func incomplete(err error) error {
	return errs.WithHint(errs.New(errs.Unavailable, "not all is known that the devices of this owner have stored, and so not what is left over: %w", err),
		"see who answers, and try again then: datamesh peers")
}

// knowAll learns what all devices of the owner know, and of which segments that
// consists. Kinds: Unavailable (some of it cannot be learnt), and those of the
// catalog.
func (n *Node) knowAll(ctx context.Context, l *link, keys *keyring.Ring) (map[datamesh.ObjectID]catalog.Known, error) {
	if err := n.publish(ctx, l); err != nil {
		return nil, incomplete(fmt.Errorf("what this home says is not in the mesh yet: %w", err))
	}
	learned, err := n.learnNames(ctx, l, keys)
	if err != nil {
		return nil, incomplete(err)
	}
	if learned.Missing > 0 {
		return nil, incomplete(fmt.Errorf("%d records of the catalogs are missing", learned.Missing))
	}
	if err := n.reconcile(ctx, l); err != nil {
		return nil, incomplete(err)
	}
	known, err := n.catalog.KnownObjects(ctx)
	if err != nil {
		return nil, err
	}
	for _, run := range learned.runs {
		known[run] = catalog.Listed
	}
	if err := n.knowParts(ctx, l, known); err != nil {
		return nil, err
	}
	return known, n.catalog.KeepParts(ctx, func(id datamesh.ObjectID) bool {
		_, is := known[id]
		return is
	})
}

// partsAtOnce is how many manifests are read at once.
const partsAtOnce = 8

// someAtOnce calls do with each of a list, some at once, until one fails, and returns
// what failed when all have ended.
func someAtOnce[T any](list []T, do func(int, T) error) error {
	var group sync.WaitGroup
	var mu sync.Mutex // guards failed
	var failed error
	free := make(chan struct{}, partsAtOnce)
	for i, x := range list {
		free <- struct{}{}
		mu.Lock()
		end := failed != nil
		mu.Unlock()
		if end {
			break
		}
		group.Go(func() {
			defer func() { <-free }()
			if err := do(i, x); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = cmp.Or(failed, err)
			}
		})
	}
	group.Wait()
	return failed
}

// knowParts reads of which segments objects consist, once of each: that never
// changes. One that cannot be read leaves what is known incomplete. Of one that is
// deleted, or about to be, the words on its segments say as much.
func (n *Node) knowParts(ctx context.Context, l *link, known map[datamesh.ObjectID]catalog.Known) error {
	var needed []datamesh.ObjectID
	for id, what := range known {
		if what < catalog.Left {
			needed = append(needed, id)
		}
	}
	var mu sync.Mutex // guards unread
	var unread []error
	err := someAtOnce(needed, func(_ int, id datamesh.ObjectID) error {
		whole, err := n.catalog.IsWhole(ctx, id)
		if err != nil || whole {
			return err
		}
		if shared, err := n.catalog.IsShare(ctx, id); err != nil || shared {
			return err // it is sealed for somebody else, and of one segment
		}
		parts, err := l.objects.Parts(ctx, id)
		switch {
		case err == nil:
			return n.catalog.SetParts(ctx, id, parts)
		case ctx.Err() != nil:
			return ctx.Err()
		case known[id] == catalog.Leaving && errors.Is(err, errs.Deleted):
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		unread = append(unread, fmt.Errorf("of which segments %s consists cannot be read: %w", id, err))
		return nil
	})
	switch {
	case err != nil || len(unread) == 0:
		return err
	case len(unread) > 1:
		return incomplete(fmt.Errorf("%w; nor of %d others", unread[0], len(unread)-1))
	}
	return incomplete(unread[0])
}

// keepLost takes out of strays what is a lost object, and all segments of that, of
// which it brings back what is in the trash.
// Kind: Unavailable (whether something is one cannot be told).
func (n *Node) keepLost(ctx context.Context, l *link, s *strays, done *Cleaned) error {
	lost := make([]*object.LostObject, len(s.List))
	err := someAtOnce(s.List, func(i int, x *object.Stray) (err error) {
		if !x.Gone() {
			lost[i], err = l.objects.Lost(ctx, x)
		}
		return err
	})
	if err != nil {
		return errs.WithHint(err, "see who answers, and try again then: datamesh peers")
	}
	kept := map[datamesh.SegmentID]bool{}
	for _, o := range lost {
		if o == nil {
			continue
		}
		for _, segment := range o.Parts {
			kept[segment] = true
		}
		done.Found = append(done.Found, FoundObject{ID: o.ID, Name: o.Manifest.Name, Size: o.Manifest.Size, Segments: len(o.Parts)})
	}
	s.List = slices.DeleteFunc(s.List, func(x *object.Stray) bool { return kept[x.Descriptor.Segment] })
	if len(kept) == 0 {
		return nil
	}
	return n.restoreThose(ctx, l, func(segment datamesh.SegmentID) (bool, error) { return kept[segment], nil })
}

// oldEnough returns the strays that were seen for long enough, and counts them and the
// others.
func (n *Node) oldEnough(s *strays, done *Cleaned) (due []*object.Stray) {
	now := n.now()
	for _, x := range s.List {
		first, noted := s.seen[x.Descriptor.Segment]
		at := first.Add(strayAge)
		if !noted || now.Before(at) {
			if x.Gone() {
				continue // its owner has said so, and whoever has it will hear that
			}
			done.Waiting++
			done.WaitingBytes += x.Bytes()
			if done.First.IsZero() || at.Before(done.First) {
				done.First = at
			}
			if at.After(done.Last) {
				done.Last = at
			}
			continue
		}
		due = append(due, x)
		switch {
		case x.Gone():
			done.Deleted++
		case !x.Heard():
			done.Failed++
		default:
			done.add(x.Bytes(), first)
		}
	}
	return due
}

func (c *Cleaned) add(bytes int64, first time.Time) {
	c.Segments++
	c.Bytes += bytes
	if c.Oldest.IsZero() || first.Before(c.Oldest) {
		c.Oldest = first
	}
}

// discard puts strays into the trash, and counts what was acknowledged.
func (n *Node) discard(ctx context.Context, l *link, due []*object.Stray, done *Cleaned) error {
	if len(due) == 0 {
		return nil
	}
	planned := done.Segments + done.Deleted + done.Failed
	done.Segments, done.Bytes, done.Deleted = 0, 0, 0
	now := n.now()
	acked, again, err := l.objects.Discard(ctx, due, func(words []*datamesh.Deletion) error {
		return n.catalog.Discard(ctx, now, words)
	})
	for _, w := range acked {
		done.Segments++
		done.Bytes += int64(len(w.Descriptor.Shards)) * int64(w.Descriptor.ShardLen())
	}
	done.Deleted = len(again)
	done.Failed = planned - done.Segments - done.Deleted
	if done.Until = now.UTC().Add(trashTime); done.Segments == 0 {
		done.Oldest, done.Until = time.Time{}, time.Time{}
	}
	if noted := n.catalog.DiscardDone(context.WithoutCancel(ctx), slices.Concat(acked, again)); err == nil {
		err = noted
	}
	step.At("node: cleanup: the catalog knows what is in the trash")
	return err
}

// restore brings back from the trash what this home's cleanups have put there.
func (n *Node) restore(ctx context.Context, l *link) (*Cleaned, error) {
	list, err := n.catalog.Discards(ctx, n.now().Add(-trashTime))
	if err != nil {
		return nil, err
	}
	done := &Cleaned{Found: []FoundObject{}}
	if len(list) == 0 {
		return done, nil
	}
	back, elsewhere, err := n.restoreWords(ctx, l, list)
	done.Restored, done.Failed = len(back), len(list)-len(back)-len(elsewhere)
	if done.Restored == 0 && err != nil {
		return nil, err
	}
	if err != nil {
		n.log.Warn("what was brought back from the trash is not known everywhere yet", "error", err)
	}
	return done, nil
}

func (n *Node) restoreWords(ctx context.Context, l *link, list []catalog.Discarded) (back, elsewhere []datamesh.SegmentID, err error) {
	var words []*datamesh.Deletion
	for _, d := range list {
		words = append(words, d.Word)
	}
	back, elsewhere, err = l.objects.Restore(ctx, words)
	if noted := n.catalog.ForgetDiscards(context.WithoutCancel(ctx), slices.Concat(back, elsewhere)); err == nil {
		err = noted
	}
	return back, elsewhere, err
}

// restoreThose brings back what was put into the trash and has turned out to be of
// an object since, as of one that a device has told of that was away for long.
func (n *Node) restoreThose(ctx context.Context, l *link, isOfObject func(datamesh.SegmentID) (bool, error)) error {
	list, err := n.catalog.Discards(ctx, n.now().Add(-trashTime))
	if err != nil {
		return err
	}
	var some []catalog.Discarded
	for _, d := range list {
		is, err := isOfObject(d.Word.Descriptor.Segment)
		if err != nil {
			return err
		}
		if is {
			some = append(some, d)
		}
	}
	if len(some) == 0 {
		return nil
	}
	back, _, err := n.restoreWords(ctx, l, some)
	n.log.Warn("segments that a cleanup had put into the trash are of an object after all, and were brought back", "segments", len(back))
	return err
}

// keepLooking notes each day what the mesh has and no catalog of the owner knows,
// until the node is closed, so that the time has passed when somebody asks. It puts
// nothing into the trash.
func (n *Node) keepLooking(l *link) {
	for {
		pause := lookPause + rand.N(lookPause)
		select {
		case <-time.After(pause):
		case <-n.ctx.Done():
			return
		}
		if err := n.lookOnce(n.ctx, l); err != nil && n.ctx.Err() == nil {
			n.log.Info("what is left over in the mesh could not be looked for", "error", err)
		}
	}
}

// lookPause is how often a service sees whether it is time to look, at least.
const lookPause = time.Hour

// lookOnce looks if that was not done for a day.
func (n *Node) lookOnce(ctx context.Context, l *link) error {
	n.cleaning.Lock()
	defer n.cleaning.Unlock()
	last, err := n.catalog.Looked(ctx)
	if now := n.now(); err != nil || !now.Before(last) && now.Before(last.Add(strayPause)) { // a clock may have been ahead
		return err
	}
	keys, err := n.heldKeys()
	if errors.Is(err, errs.FileNotFound) {
		return nil
	}
	if err == nil {
		_, err = n.look(ctx, l, keys)
	}
	return err
}
