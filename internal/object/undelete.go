package object

import (
	"context"
	"errors"
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
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// Undelete brings back an object that was deleted, from what its holders have
// in the trash. It has succeeded when all segments can be read, and returns how
// many losses they survive: repair does the rest. If it fails the object is
// deleted as before. Kinds: FileNotFound (nobody knows of a deletion), Deleted
// (it was final), Authentication (another owner has stored it), Unavailable, and those of [Objects.Get].
func (o *Objects) Undelete(ctx context.Context, id datamesh.ObjectID) (survives int, err error) {
	u := &undelete{o: o, survives: datamesh.MaxShards}
	if u.keys, err = o.keys(); err != nil {
		return 0, err
	}
	if err := u.run(ctx, id); err != nil {
		u.undo(context.WithoutCancel(ctx))
		return 0, err
	}
	return u.survives, nil
}

// Return is as Undelete of what is listed: what it cannot bring back whole it
// leaves as far as it is, since another device may have brought it back.
func (o *Objects) Return(ctx context.Context, id datamesh.ObjectID) (survives int, err error) {
	u := &undelete{o: o, survives: datamesh.MaxShards}
	if u.keys, err = o.keys(); err != nil {
		return 0, err
	}
	return u.survives, u.run(ctx, id)
}

// An undelete is one on its way.
type undelete struct {
	o        *Objects
	keys     *keyring.Ring
	back     []*sentence // that were brought back by now
	survives int
}

func (u *undelete) run(ctx context.Context, id datamesh.ObjectID) error {
	first, err := u.o.Word(ctx, id)
	if errors.Is(err, errs.FileNotFound) {
		return u.rest(ctx, id, err)
	}
	if err != nil {
		return err
	}
	if err := ownedBy(u.keys, first.Descriptor); err != nil {
		return err
	}
	if err := u.bringBack(ctx, []*sentence{{d: first.Descriptor, last: first}}); err != nil {
		return err
	}
	return u.content(ctx, id)
}

// content brings back all but the manifest.
func (u *undelete) content(ctx context.Context, id datamesh.ObjectID) error {
	g := u.o.newGet(ctx)
	defer g.findings()
	m, err := g.manifest(ctx, id)
	if err != nil {
		return err
	}
	if err := u.segments(ctx, m.List); err != nil {
		return err
	}
	refs, _, err := g.segments(ctx, m)
	if err != nil {
		return err
	}
	return u.segments(ctx, refs)
}

// rest brings back what was deleted of an object whose manifest was not. If
// nothing was, it returns the error none. In the end it says of the manifest,
// too, that it shall be there, so that the deletion, which was interrupted, does
// not go on.
func (u *undelete) rest(ctx context.Context, id datamesh.ObjectID, none error) error {
	c, err := u.o.Condemn(ctx, id)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(c.all, func(s *sentence) bool { return s.last != nil && s.last.Gone() }) {
		return none
	}
	if err := u.content(ctx, id); err != nil {
		return err
	}
	return u.bringBack(ctx, c.all[:1])
}

func (u *undelete) segments(ctx context.Context, refs []format.SegmentRef) error {
	all, err := u.o.lastWords(ctx, refs)
	if err != nil {
		return err
	}
	return u.bringBack(ctx, all)
}

// undo says again that what was brought back shall be gone, the manifest last.
func (u *undelete) undo(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, undoTime)
	defer cancel()
	for _, s := range slices.Backward(u.back) {
		u.o.say(ctx, []*sentence{s}, func(s *sentence) *datamesh.Deletion { // what does not hear it is told when it is deleted again
			next, _ := datamesh.NextGeneration(s.last.Generation, true)
			return format.NewDeletion(u.keys.Owner, s.d, next)
		})
	}
}

// Word asks for the owner's last word on the manifest of an object. Kinds:
// FileNotFound, Unavailable.
func (o *Objects) Word(ctx context.Context, id datamesh.ObjectID) (*datamesh.Deletion, error) {
	return o.lastWord(ctx, datamesh.SegmentID(id), datamesh.MaxShards, 0) // whatever its code is
}

// lastWord asks all registrars of a segment that has a code of at most k+m for
// its owner's last word. As many must answer as are a majority when all members
// are alive: whatever was said and acknowledged then is known to one of those.
// Kinds: FileNotFound, Unavailable.
func (o *Objects) lastWord(ctx context.Context, segment datamesh.SegmentID, k, m int) (*datamesh.Deletion, error) {
	view := o.net.View()
	peers := ring.Registrars(view, segment, ring.RegistrarCount(k, m, view.Live()))
	need := ring.RegistrarCount(k, m, known(view))/2 + 1
	var mu sync.Mutex // guards the rest
	var last *datamesh.Deletion
	answered, failed := map[datamesh.PeerID]bool{}, map[datamesh.PeerID]error{}
	each(len(peers), func(i int) {
		_, words, err := o.net.Words(ctx, peers[i], transfer.Words{List: []transfer.Word{{Segment: segment}}})
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed[peers[i]] = err
			return
		}
		answered[peers[i]] = true
		for _, del := range words {
			if last == nil || last.Generation < del.Generation {
				last = del
			}
		}
	})
	switch {
	case len(answered) < need, k == datamesh.MaxShards && !enough(peers, answered):
		return nil, errors.Join(ctx.Err(), errs.New(errs.Unavailable, "%d of the peers that keep track of %s answered, which are too few: %s", len(answered), segment, reasons(failed)))
	case last != nil:
		return last, nil
	}
	return nil, errs.WithHint(errs.New(errs.FileNotFound, "nobody knows that %s was deleted", datamesh.ObjectID(segment)),
		`see what was deleted with "datamesh list --deleted"`)
}

// enough reports whether of the peers that may keep track of a segment, nearest
// first, enough have answered for its owner's last word to be known, whatever its
// code is: by that some of them do, at least 8, the nearest, of which more than
// half have what was acknowledged.
func enough(peers []datamesh.PeerID, answered map[datamesh.PeerID]bool) bool {
	n := 0
	for i, p := range peers {
		if answered[p] {
			n++
		}
		if i+1 >= ring.RegistrarCount(1, 0, len(peers)) && 2*n <= i+1 {
			return false
		}
	}
	return true
}

// lastWords asks for the owner's last words on segments.
func (o *Objects) lastWords(ctx context.Context, refs []format.SegmentRef) ([]*sentence, error) {
	all := make([]*sentence, len(refs))
	failed := make([]error, len(refs))
	each(len(refs), func(i int) {
		var del *datamesh.Deletion
		if del, failed[i] = o.lastWord(ctx, refs[i].ID, refs[i].K, refs[i].M); failed[i] == nil {
			all[i] = &sentence{d: del.Descriptor, last: del}
		}
		if errors.Is(failed[i], errs.FileNotFound) { // it was not reached when the others were deleted
			failed[i] = nil
		}
	})
	return slices.DeleteFunc(all, func(s *sentence) bool { return s == nil }), errors.Join(failed...)
}

// bringBack says that segments shall be there after all, to everybody, since
// who has them in the trash is known to nobody else, and tells the registrars
// who has them then.
func (u *undelete) bringBack(ctx context.Context, all []*sentence) error {
	var gone []*sentence
	for _, s := range all {
		if s.last != nil && s.last.Final() {
			return errs.New(errs.Deleted, "%s was deleted for good", s.d.Segment)
		}
		for m := range u.o.net.View().All() {
			s.to = append(s.to, m.Record.Peer)
		}
		if s.last == nil || s.last.Gone() {
			gone = append(gone, s)
		}
	}
	for _, s := range gone {
		next, _ := datamesh.NextGeneration(s.generation(), false)
		s.last = format.NewDeletion(u.keys.Owner, s.d, next)
	}
	u.back = append(u.back, gone...)
	if err := u.o.say(ctx, gone, func(s *sentence) *datamesh.Deletion { return s.last }); err != nil {
		return err
	}
	step.At("object: undelete: segments are brought back")
	found := u.o.holdersOf(ctx, all)
	for _, s := range found {
		n := placement.Survives(s.holders, s.desc.K)
		if u.survives = min(u.survives, n); n < 0 {
			return errs.WithHint(errs.New(errs.Unavailable, "segment %s: too few of its shards are still in the trash of those who answer", s.desc.Segment),
				"try again when more of the mesh answers")
		}
	}
	err := u.o.tell(ctx, found)
	step.At("object: undelete: the registrars know who holds them")
	return err
}

// holdersOf asks all members which shards of segments they have.
func (o *Objects) holdersOf(ctx context.Context, all []*sentence) (found []placed) {
	byPeer := map[datamesh.PeerID][]datamesh.ShardKey{}
	for m := range o.net.View().All() {
		if m.State == ring.Dead {
			continue
		}
		for _, s := range all {
			for i := range s.d.Shards {
				byPeer[m.Record.Peer] = append(byPeer[m.Record.Peer], datamesh.ShardKey{Segment: s.d.Segment, Index: i})
			}
		}
	}
	live := askPeers(ctx, o.net, byPeer)
	for _, s := range all {
		p := placed{s.d, make([][]datamesh.PeerID, len(s.d.Shards))}
		for peer := range byPeer {
			for i := range s.d.Shards {
				if live[held{peer, datamesh.ShardKey{Segment: s.d.Segment, Index: i}}] {
					p.holders[i] = append(p.holders[i], peer)
				}
			}
		}
		found = append(found, p)
	}
	return found
}

// tell tells the registrars who holds segments. A majority of each one's must
// take it. Kind: Unavailable.
func (o *Objects) tell(ctx context.Context, all []placed) error {
	view := o.net.View()
	reports := map[datamesh.PeerID][]store.Report{}
	acks := newTally()
	for _, p := range all {
		peers := registrars(view, p.desc)
		acks.want(p.desc.Segment, len(peers)/2+1)
		for _, peer := range peers {
			reports[peer] = append(reports[peer], reportOf(p))
		}
	}
	acks.collect(maps.Keys(reports), func(peer datamesh.PeerID) error {
		if err := o.net.Report(ctx, peer, reports[peer]); err != nil {
			return err
		}
		for _, r := range reports[peer] {
			acks.count(r.Descriptor.Segment)
		}
		return nil
	})
	return acks.err(ctx)
}
