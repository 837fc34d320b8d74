package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/object"
	"datamesh/internal/step"
)

// A revocation is what there is to do to keep those out who have the keys of an
// object's content.
type revocation struct {
	old      catalog.Entry // zero if it is deleted by now
	original *object.Original
	code     config.Code
	kept     []catalog.Contact // who shall read it still
	begun    *catalog.Rekeyed  // nil: not yet
	read     bool              // what is begun has been passed on to whom it is taken back from
}

// revoke takes shares back, has the content stored anew under other keys, as
// another object in the place of the old one, with new manifests for all contacts
// with whom it is still shared, and has the old one deleted as [Node.Delete] does.
// At any moment the name is that of an object that can be read. What was interrupted
// goes on when it is called again, and in a service by itself. Kinds: those of
// Unshare, Refused (a link to it would not open any more), Share (it was put for
// others, too), Deleted, and those of [object.Objects.Put] and [Node.Delete].
func (n *Node) revoke(ctx context.Context, ref string, o UnshareOptions) (*Unshared, error) {
	l, err := n.connectToShare(ctx)
	if err != nil {
		return nil, err
	}
	if err := n.hearAll(ctx, l); err != nil { // what others have named, pinned or shared is not to be lost
		return nil, err
	}
	u, r, err := n.planRevocation(ctx, l, ref, o)
	if err != nil || o.DryRun {
		return u, err
	}
	n.deleting.Lock()
	err = n.withdraw(ctx, l, u, o.Link != "")
	n.deleting.Unlock()
	if err != nil {
		return nil, err
	}
	if r.begun == nil {
		err = n.rekey(ctx, l, r, o, u)
	}
	if err == nil {
		err = n.finishRevocation(ctx, l, u, o.Now)
	}
	if err == nil && r.read {
		err = errReadAnew
	}
	if err != nil {
		return nil, unrevoked(err)
	}
	return u, nil
}

// errReadAnew is the error of a revocation that was begun before, and had passed
// its new keys on to whom it is taken back from now.
var errReadAnew = errs.WithHint(errs.New(errs.Unavailable, "the keys that it has since an earlier revocation were passed on, too"),
	"type the same again: it is stored anew once more")

// hearAll learns all that other homes have said: what they have named, pinned or
// shared is not to be lost, and what they have taken back not to be given again.
// Kinds: Unavailable (also if some of it is nowhere to be had), and those of
// learning.
func (n *Node) hearAll(ctx context.Context, l *link) error {
	keys, err := n.heldKeys()
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, hearTime)
	defer cancel()
	done, err := n.learnNames(within, l, keys)
	switch {
	case err != nil && within.Err() != nil && ctx.Err() == nil:
		err = errs.New(errs.Unavailable, "it takes longer than %v", hearTime)
	case err == nil && done.Missing > 0:
		err = errs.New(errs.Unavailable, "%d of their records are nowhere to be had", done.Missing)
	}
	if err != nil {
		return fmt.Errorf("learn what other homes of yours have said: %w", err)
	}
	return n.catalog.MoveShares(ctx) // that they have made of an id that it has no more
}

// unrevoked is the error of a revocation that has taken the shares back, and has not
// come to its end.
func unrevoked(err error) error {
	hint := errs.HintFor(err)
	switch {
	case errors.Is(err, errs.Full):
		hint += ", and type the same again: it goes on"
	case hint == "" || errs.Retryable(err):
		hint = "type the same again: it goes on; a service of this home ends by itself what was sent"
	}
	return errs.WithHint(fmt.Errorf("it is taken back, and whoever has looked has the keys of the content still: %w", err), "%s", hint)
}

// planRevocation finds out what there is to do, and refuses what cannot be done as
// it should. It changes nothing.
func (n *Node) planRevocation(ctx context.Context, l *link, ref string, o UnshareOptions) (*Unshared, *revocation, error) {
	id, err := n.resolveAny(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	r := new(revocation)
	if r.begun, err = n.rekeyed(ctx, id); err != nil {
		return nil, nil, err
	}
	if r.begun != nil {
		id = r.begun.Old
	}
	picked, err := n.toTakeBack(ctx, id, o)
	if err != nil {
		return nil, nil, err
	}
	u := &Unshared{Object: id, DryRun: o.DryRun, Revoked: &Revoked{Kept: []string{}}}
	u.take(picked)
	if !o.Now {
		u.Revoked.Until = time.Now().UTC().Add(trashTime)
	}
	if r.begun != nil {
		for _, s := range picked {
			r.read = r.read || s.Object == r.begun.Now
		}
		return u, r, n.describe(ctx, r.begun.Now, u.Revoked)
	}
	if r.old, err = n.catalog.ByID(ctx, id); err != nil {
		return nil, nil, errDeleted(ref, false)
	}
	if r.old.Type == format.SnapshotType || r.old.Type == format.PackType {
		return nil, nil, errs.New(errs.Invalid, "it is of a backup, whose keys stay as they are")
	}
	if r.kept, err = n.keepers(ctx, id, u.Taken); err != nil {
		return nil, nil, err
	}
	for _, k := range r.kept {
		u.Revoked.Kept = append(u.Revoked.Kept, k.Name)
	}
	if r.original, err = l.objects.Original(ctx, id); err != nil {
		if errors.Is(err, object.ErrShared) {
			err = errs.WithHint(fmt.Errorf("%w, as it was put with --to, and nobody knows to whom it would be anew", err),
				"get it, put it again for whom you mean, and delete this one: datamesh rm --now %s", id)
		}
		return nil, nil, err
	}
	if r.code, err = n.code("", l.view().Len()); err != nil {
		return nil, nil, err
	}
	if r.code.M = max(r.code.M, r.original.M); r.original.K > 0 { // as it was put
		r.code = config.Code{K: r.original.K, M: r.original.M}
	}
	u.Revoked.Size, u.Revoked.StoredBytes = r.old.Size, l.objects.Plan(r.old.Size, r.code.K, r.code.M).StoredBytes
	return u, r, nil
}

// rekeyed returns what was begun of an object, by either of its ids, or nil.
func (n *Node) rekeyed(ctx context.Context, id datamesh.ObjectID) (*catalog.Rekeyed, error) {
	all, err := n.catalog.Rekeyed(ctx)
	for i := range all {
		if all[i].Old == id || all[i].Now == id {
			return &all[i], err
		}
	}
	return nil, err
}

// describe has the answer say what the object is that has the content now.
func (n *Node) describe(ctx context.Context, now datamesh.ObjectID, v *Revoked) error {
	e, err := n.catalog.ByID(ctx, now)
	if errors.Is(err, errs.FileNotFound) {
		return nil // it was deleted since
	}
	v.Object, v.Size, v.StoredBytes = now, e.Size, e.StoredBytes
	return err
}

// keepers returns the contacts with whom an object is shared otherwise than by what
// is taken back. Kinds: Refused (so it is by a link, which would not open what
// comes in its place: a link names a manifest, and only who has it has the key that
// another could be sealed to; or with one who is said to have succeeded a contact
// and is not followed), FileNotFound.
func (n *Node) keepers(ctx context.Context, id datamesh.ObjectID, taken []datamesh.ObjectID) (all []catalog.Contact, err error) {
	known, err := n.catalog.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	of := byOwner(known)
	gone := map[datamesh.ObjectID]bool{}
	for _, id := range taken {
		gone[id] = true
	}
	err = n.eachShare(ctx, id, func(s catalog.Share) error {
		switch {
		case gone[s.ID] || s.Expired(time.Now()):
			return nil
		case s.To == nil:
			return errs.WithHint(errs.New(errs.Refused, "another link opens it, which would not open it under other keys"),
				"take that link back first, and make one anew afterwards: datamesh unshare %s --link %s", id, s.ID)
		}
		k, is := of[*s.To]
		if !is {
			return errs.WithHint(errs.New(errs.FileNotFound, "it is shared with %s, who is no contact any more", s.To.Address()),
				"take that back first: datamesh unshare %s --from %s", id, s.To.Address())
		}
		if !k.Follows(*s.To) { // what was for him alone is not to reach another who is said to be
			return errs.WithHint(errs.New(errs.Refused, "it is shared with %s, who is said to have succeeded %s and is not followed", s.To.Address(), k.Name),
				"if that one is right: datamesh contact add NAME %s; else take it back first: datamesh unshare %s --from %s", s.To.Address(), id, k.Name)
		}
		if !slices.ContainsFunc(all, func(x catalog.Contact) bool { return x.Owner == k.Owner }) {
			all = append(all, k)
		}
		return nil
	})
	return all, err
}

// rekey stores the content anew, and has the catalog list it beside the old object.
func (n *Node) rekey(ctx context.Context, l *link, r *revocation, o UnshareOptions, u *Unshared) (err error) {
	began, stored := time.Now(), new(Stored)
	defer func() { n.putEnded(began, stored, err) }()
	mode, err := n.compress("")
	if err != nil {
		return err
	}
	p := &progress{kind: PutTransfer, name: r.old.Name, code: r.code}
	p.size.Store(r.old.Size)
	defer n.board.begin(o.Transfer, p)()
	m, id := r.original.Manifest, r.old.ID
	result, err := l.objects.Rekey(ctx, id, object.PutOptions{Name: r.old.Name, Tags: r.old.Tags, Type: m.Type, Mode: m.Mode, ModTime: format.Time(m.ModTime),
		K: r.code.K, M: r.code.M, Compress: mode, MinSurvives: -1, Events: p.events(), Stored: n.stored(context.WithoutCancel(ctx))}, func(p object.PutResult) error {
		n.deleting.Lock() // what is being deleted is not brought back so
		defer n.deleting.Unlock()
		if err := n.hearAll(ctx, l); err != nil { // it may have taken long
			return sentAlready(err)
		}
		id, err := n.catalog.Current(ctx, id)
		if err != nil {
			return err
		}
		if _, err := n.keepers(ctx, id, nil); err != nil {
			return sentAlready(err)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
		defer cancel()
		return n.catalog.Rekey(ctx, id, catalog.Entry{ID: p.ID, Size: p.Size, StoredBytes: p.StoredBytes, Epoch: p.Epoch}, o.Now)
	})
	if err != nil {
		return err
	}
	*stored = Stored{ID: result.ID, Size: result.Size, Segments: result.Segments, Shards: result.Shards, Peers: result.Peers, Survives: result.Survives}
	u.Revoked.Object, u.Revoked.Size, u.Revoked.StoredBytes = result.ID, result.Size, result.StoredBytes
	u.Warnings = append(u.Warnings, cautions(l, l.view().Len(), result)...)
	return nil
}

// sentAlready gives an error that what has been sent until now is kept for, to go
// on with when it is typed again.
func sentAlready(err error) error {
	if errs.Retryable(err) {
		return err
	}
	return errs.WithHint(errs.New(errs.Unavailable, "%w", err), "%s", errs.HintFor(err))
}

// finishRevocation does what is left to do once the catalog has the content under
// other keys.
func (n *Node) finishRevocation(ctx context.Context, l *link, u *Unshared, final bool) error {
	n.deleting.Lock()
	defer n.deleting.Unlock()
	id, err := n.catalog.Current(ctx, u.Object)
	if err != nil {
		return err
	}
	r, err := n.rekeyed(ctx, id)
	if err != nil {
		return err
	}
	if r == nil { // the service was faster
		u.Revoked.Until = n.goneAt(ctx, l, u.Object, final)
		return nil
	}
	r.Final = r.Final || final && !r.Condemned // as it was begun
	if err := n.describe(ctx, r.Now, u.Revoked); err != nil {
		return err
	}
	if err := n.supersede(ctx, l, r); err != nil {
		return err
	}
	u.Revoked.Until = n.goneAt(ctx, l, r.Old, r.Final)
	return nil
}

// goneAt returns until when a deleted object can be brought back from the trash, the
// zero time if it cannot, by the last word on it: it may be that of another home. If
// that cannot be had it is as was meant.
func (n *Node) goneAt(ctx context.Context, l *link, id datamesh.ObjectID, final bool) time.Time {
	if word, err := l.objects.Word(ctx, id); err == nil {
		final = word.Final()
	}
	if final {
		return time.Time{}
	}
	return time.Now().UTC().Add(trashTime)
}

// finishRevocations goes on with revocations that were interrupted. The caller holds
// deleting.
func (n *Node) finishRevocations(ctx context.Context, l *link) error {
	all, err := n.catalog.Rekeyed(ctx)
	for i := range all {
		if failed := n.supersede(ctx, l, &all[i]); failed != nil {
			err = errors.Join(err, fmt.Errorf("object %s, whose content is stored anew: %w", all[i].Old, failed))
		}
	}
	return err
}

// supersede has the mesh know the object that has the content under other keys, and
// then its readers, and then deletes the old one: whoever has nothing but the words
// finds one of the two at any moment, and contacts can read one.
func (n *Node) supersede(ctx context.Context, l *link, r *catalog.Rekeyed) error {
	if r.Condemned {
		if err := n.finishOne(ctx, l, r.Old); err != nil { // unless it was brought back since
			return err
		}
		return n.catalog.EndRekey(ctx, *r)
	}
	if both, err := n.hearOfBoth(ctx, l, r); err != nil || !both {
		return err
	}
	if err := n.publish(ctx, l); err != nil {
		return err
	}
	step.At("node: revoke: the mesh knows the new object")
	if err := n.passOn(ctx, l, r); err != nil {
		return err
	}
	if both, err := n.hearOfBoth(ctx, l, r); err != nil || !both {
		return err
	}
	word, err := l.objects.Word(ctx, r.Now)
	if err == nil && word.Gone() { // of which that home has yet to tell
		return n.anewIsGone(ctx, r)
	}
	if err != nil && !errors.Is(err, errs.FileNotFound) {
		return l.absent(err)
	}
	c, err := l.objects.Condemn(ctx, r.Old)
	if err != nil && !errors.Is(err, errs.Deleted) {
		return l.absent(err)
	}
	last := uint64(0)
	if c != nil {
		last = c.Word(r.Final)
	}
	if err := n.catalog.Supersede(ctx, *r, time.Now(), last, r.Final); err != nil {
		return err
	}
	step.At("node: revoke: the old object is condemned")
	if c == nil { // it was deleted in the mesh, and not in the catalog
		err = n.catalog.Done(ctx, r.Old)
	} else {
		err = n.carryOut(ctx, l, r.Old, c, r.Final)
	}
	if err != nil {
		return err // the deletion goes on as each does
	}
	return n.catalog.EndRekey(context.WithoutCancel(ctx), *r)
}

// hearOfBoth learns what other homes have said, and reports whether the content is
// there twice still: another home may have given the old object a further name, or
// pinned it, or deleted either. Then nothing more is to be done; that it was the new
// one is an error. Kinds: Deleted, and those of hearAll.
func (n *Node) hearOfBoth(ctx context.Context, l *link, r *catalog.Rekeyed) (both bool, err error) {
	if err := n.hearAll(ctx, l); err != nil {
		return false, err
	}
	for _, id := range []*datamesh.ObjectID{&r.Old, &r.Now} { // a rotation has given them others
		if *id, err = n.catalog.Current(ctx, *id); err != nil {
			return false, err
		}
	}
	_, err = n.catalog.ByID(ctx, r.Now)
	if errors.Is(err, errs.FileNotFound) {
		return false, n.anewIsGone(ctx, r)
	}
	if err == nil {
		_, err = n.catalog.ByID(ctx, r.Old)
	}
	if errors.Is(err, errs.FileNotFound) {
		return false, n.catalog.EndRekey(ctx, *r)
	}
	return err == nil, err
}

func (n *Node) anewIsGone(ctx context.Context, r *catalog.Rekeyed) error {
	err := errs.New(errs.Deleted, "what was stored anew was deleted since, and the object of before is there: %s", r.Old)
	return errors.Join(err, n.catalog.EndRekey(ctx, *r))
}

// passOn has contacts with whom the old object is shared read the new one, in its
// place. They are told of that before they cannot read the old one any more.
func (n *Node) passOn(ctx context.Context, l *link, r *catalog.Rekeyed) error {
	contacts, err := n.keepers(ctx, r.Old, nil)
	if err != nil || len(contacts) == 0 {
		return err
	}
	of := byOwner(contacts)
	var old []datamesh.ObjectID
	err = n.eachShare(ctx, r.Old, func(s catalog.Share) error {
		if s.To == nil || s.Expired(time.Now()) {
			return nil
		}
		old = append(old, s.ID)
		word, err := l.objects.Word(ctx, s.ID)
		if err == nil && word.Final() { // it was taken back, and a home that had not heard has said something later
			return nil
		}
		if err != nil && !errors.Is(err, errs.FileNotFound) {
			return l.absent(err)
		}
		f, err := n.latest(ctx, l, of[*s.To])
		if err != nil {
			return err
		}
		to, recipient, err := f.sealedTo()
		if err != nil {
			return err
		}
		has, err := n.sharedWith(ctx, r.Now, &to)
		if err != nil || has != nil {
			return err
		}
		s.Object, s.To, s.Withdrawn, s.Own = r.Now, &to, false, true
		_, err = n.putShare(ctx, l, s, recipient)
		step.At("node: revoke: a contact has a manifest of the new object")
		return err
	})
	if err == nil {
		err = n.publish(ctx, l)
	}
	if err == nil {
		err = n.post(ctx, l, false)
	}
	if err != nil {
		return err
	}
	step.At("node: revoke: the contacts are told")
	for _, id := range old {
		if err := n.takeBack(ctx, l, id); err != nil {
			return err
		}
	}
	return n.post(ctx, l, true)
}
