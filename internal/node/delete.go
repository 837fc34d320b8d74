package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/object"
	"datamesh/internal/step"
)

// trashTime is for how long what was deleted can be brought back, unless a node
// is set to keep its trash for less.
const trashTime = 7 * 24 * time.Hour

// Delete has the object deleted that ref means. From when the catalog has noted
// it on it goes on by itself, in a service, until the mesh has been told. Kinds:
// as [object.Objects.Condemn] and [object.Condemned.Delete].
func (n *Node) Delete(ctx context.Context, ref string, o DeleteOptions) (*Removed, error) {
	if o.Resume {
		return n.resumeDeletion(ctx, ref)
	}
	return n.remove(ctx, ref, o, false)
}

// resumeDeletion goes on with a deletion that was interrupted, if there is one.
func (n *Node) resumeDeletion(ctx context.Context, ref string) (*Removed, error) {
	e, err := n.deleted(ctx, ref)
	if err != nil {
		return nil, err
	}
	r := &Removed{ID: e.ID, Name: e.Name, Size: e.Size, StoredBytes: e.StoredBytes}
	if e.Done || e.Type == format.PackType { // of a pack whoever deletes it sees first whether a snapshot needs it by now
		return r, nil
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	return r, n.finishDeletion(ctx, l, e.ID)
}

// remove is Delete, also of what is pinned if another home has deleted that.
func (n *Node) remove(ctx context.Context, ref string, o DeleteOptions, pinned bool) (*Removed, error) {
	n.deleting.Lock()
	defer n.deleting.Unlock()
	ref, err := n.spelled(ctx, ref)
	if err != nil {
		return nil, err
	}
	id, err := n.resolveAny(ctx, ref)
	if err != nil {
		return nil, err
	}
	e, err := n.catalog.ByID(ctx, id)
	if err == nil && e.Type != format.PackType && !o.Heard && n.heardOf(ctx) { // another home may have given it a further name, or pinned it
		if id, err = n.resolveAny(ctx, ref); err != nil {
			return nil, err
		}
		e, err = n.catalog.ByID(ctx, id)
	}
	if err != nil && !errors.Is(err, errs.FileNotFound) {
		return nil, err
	}
	if e.Pinned && !pinned {
		return nil, errPinned(ref)
	}
	name := o.Name
	if _, isID, _ := parseRef(ref); !isID {
		name = ref
	}
	switch names := e.Names(); {
	case o.Name != "" && !slices.Contains(names, o.Name):
		return nil, errs.New(errs.FileNotFound, "it is called otherwise by now")
	case name != "" && len(names) > 1:
		return n.unname(ctx, e, name, o.DryRun)
	}
	if o.Forget {
		return n.forget(ctx, id, o)
	}
	if d, err := n.catalog.DeletedByID(ctx, id); err == nil && !d.Done {
		o.Now = o.Now || d.Final // as it was begun
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	c, err := l.objects.Condemn(ctx, id)
	if errors.Is(err, errs.Deleted) {
		if now, moved := n.moved(ctx, ref, id); moved {
			if e, err = n.catalog.ByID(ctx, now); err == nil && e.Pinned && !pinned {
				return nil, errPinned(ref)
			}
			id = now
			c, err = l.objects.Condemn(ctx, id)
		}
	}
	if errors.Is(err, errs.Deleted) && !o.DryRun {
		err = errDeleted(ref, false)
		if o.Now {
			err = errs.WithHint(err, "what is in the trash goes by itself; to have its room now bring it back first: datamesh undelete %s", errs.Word(ref))
		}
		return n.deletedElsewhere(ctx, l, id, err)
	}
	if err != nil {
		return nil, n.hintForget(ctx, l.absent(err), id)
	}
	r := &Removed{ID: id, Name: n.nameOf(ctx, ref, id, c.Manifest.Name), Names: several(e), Size: c.Manifest.Size, StoredBytes: c.StoredBytes, Segments: c.Segments, DryRun: o.DryRun}
	if !o.Now {
		r.Until = time.Now().UTC().Add(trashTime)
	}
	if !o.DryRun {
		if err := n.condemn(ctx, id, e, c, o.Now); err != nil {
			return nil, err
		}
		step.At("node: delete: the catalog has noted it")
		if e.Type == format.PackType { // before the first word: no other device builds on it any more
			if err := n.publish(ctx, l); err != nil {
				return nil, err
			}
		}
		if err := n.carryOut(ctx, l, id, c, o.Now); err != nil {
			return nil, err
		}
	}
	return r, n.namesakes(ctx, r)
}

func errPinned(ref string) error {
	return errs.WithHint(errs.New(errs.Refused, "it is pinned"), "unpin it first: datamesh unpin %s", errs.Word(ref))
}

// several returns the names of an object that has more than one.
func several(e catalog.Entry) []string {
	if len(e.Further) == 0 {
		return nil
	}
	return e.Names()
}

// unname takes away one of several names of an object.
func (n *Node) unname(ctx context.Context, e catalog.Entry, name string, dryRun bool) (*Removed, error) {
	r := &Removed{ID: e.ID, Name: name, Size: e.Size, StoredBytes: e.StoredBytes, DryRun: dryRun, Unnamed: true,
		Names: slices.DeleteFunc(e.Names(), func(x string) bool { return x == name })}
	if !dryRun {
		var err error
		r.Warnings, err = n.amend(ctx, func() error {
			now, err := n.catalog.Unname(ctx, e.ID, name)
			r.Names = now.Names()
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return r, n.namesakes(ctx, r)
}

// resolveAny is as resolve, of what is deleted, too: the mesh may not know of
// that.
func (n *Node) resolveAny(ctx context.Context, ref string) (datamesh.ObjectID, error) {
	id, err := n.resolve(ctx, ref)
	if errors.Is(err, errs.Deleted) {
		e, err := n.deleted(ctx, ref)
		return e.ID, err
	}
	return id, err
}

// deleted returns the deleted object that ref means. Kind: FileNotFound.
func (n *Node) deleted(ctx context.Context, ref string) (catalog.DeletedEntry, error) {
	if id, err := datamesh.ParseObjectID(ref); err == nil {
		if id, err = n.catalog.Current(ctx, id); err != nil {
			return catalog.DeletedEntry{}, err
		}
		return n.catalog.DeletedByID(ctx, id)
	}
	return n.catalog.DeletedByName(ctx, ref)
}

// forget takes an object out of the catalog alone.
func (n *Node) forget(ctx context.Context, id datamesh.ObjectID, o DeleteOptions) (*Removed, error) {
	e, err := n.catalog.ByID(ctx, id)
	if err != nil {
		d, other := n.catalog.DeletedByID(ctx, id)
		if other != nil {
			return nil, err
		}
		e = d.Entry
	}
	r := &Removed{ID: id, Name: e.Name, Names: several(e), Size: e.Size, StoredBytes: e.StoredBytes, Forgotten: true, DryRun: o.DryRun}
	if !o.DryRun {
		if err := n.catalog.Forget(ctx, id); err != nil {
			return nil, err
		}
		if l, err := n.connect(ctx); err == nil { // else it is sent with the next change
			n.published(ctx, l)
		}
	}
	return r, n.namesakes(ctx, r)
}

// namesakes counts the objects that have the name of one that was deleted.
func (n *Node) namesakes(ctx context.Context, r *Removed) (err error) {
	if r.Name == "" {
		return nil
	}
	r.Named, err = n.catalog.Named(context.WithoutCancel(ctx), r.Name)
	if e, gone := n.catalog.ByID(context.WithoutCancel(ctx), r.ID); gone == nil && slices.Contains(e.Names(), r.Name) {
		r.Named-- // it is still there itself
	}
	return err
}

// hintForget tells how to get rid of an object of which too little is left.
func (n *Node) hintForget(ctx context.Context, err error, id datamesh.ObjectID) error {
	_, unlisted := n.catalog.ByID(ctx, id)
	if kind := errs.KindOf(err); unlisted == nil && (kind == errs.FileNotFound || kind == errs.Integrity) {
		return errs.WithHint(err, "take it out of the list: datamesh rm --forget %s", id)
	}
	return err
}

// condemn notes in the catalog that an object shall be gone, whoever has stored
// it. Kind: Refused (it is not as it was seen any more).
func (n *Node) condemn(ctx context.Context, id datamesh.ObjectID, seen catalog.Entry, c *object.Condemned, final bool) error {
	seen.ID = id
	err := n.catalog.DeleteAs(ctx, seen, time.Now(), c.Word(final), final)
	if !errors.Is(err, errs.FileNotFound) {
		return err
	}
	e := entryFrom(id, c.Manifest)
	e.StoredBytes = c.StoredBytes
	if err := n.catalog.Add(ctx, e); err != nil && !errors.Is(err, errs.Exists) {
		return err
	}
	return n.catalog.DeleteAs(ctx, e, time.Now(), c.Word(final), final)
}

// entryFrom returns what the catalog has of an object that was not in it.
func entryFrom(id datamesh.ObjectID, m *format.Manifest) catalog.Entry {
	return catalog.Entry{ID: id, Name: m.Name, Size: m.Size, Tags: m.Tags, Created: time.Now().UTC(),
		Type: m.Type, Mode: m.Mode, ModTime: format.Time(m.ModTime)}
}

// carryOut tells the mesh that an object shall be gone that the catalog has
// noted.
func (n *Node) carryOut(ctx context.Context, l *link, id datamesh.ObjectID, c *object.Condemned, final bool) error {
	err := n.sharesGo(ctx, l, id, final)
	if err == nil {
		err = c.Delete(ctx, final)
	}
	if err != nil {
		again := fmt.Sprintf("type it again: datamesh rm %s", id)
		if n.opt.Role == Storage {
			again = "this node goes on by itself; bring it back instead with: datamesh undelete " + id.String()
		}
		return errs.WithHint(fmt.Errorf("it is deleted in part: %w", err), "%s", again)
	}
	err = n.catalog.Done(context.WithoutCancel(ctx), id)
	step.At("node: delete: the catalog knows that the mesh has been told")
	n.published(ctx, l)
	n.repost(ctx, l)
	return err
}

// deletedElsewhere notes that an object is gone, as another home of its owner
// has said, or this one before it was interrupted.
func (n *Node) deletedElsewhere(ctx context.Context, l *link, id datamesh.ObjectID, deleted error) (*Removed, error) {
	d, err := n.catalog.DeletedByID(ctx, id)
	if word, err := l.objects.Word(ctx, id); err == nil {
		d.Final = d.Final || word.Final()
	}
	switch {
	case err == nil && d.Done:
		return nil, deleted
	case err != nil:
		if d.Entry, err = n.catalog.ByID(ctx, id); err != nil {
			return nil, deleted
		}
		if err := n.catalog.Delete(ctx, id, time.Now(), 0, d.Final); err != nil {
			return nil, err
		}
	}
	if err := n.catalog.Done(ctx, id); err != nil {
		return nil, err
	}
	r := &Removed{ID: id, Name: d.Name, Size: d.Size, StoredBytes: d.StoredBytes}
	if !d.Final {
		r.Until = time.Now().UTC().Add(trashTime)
	}
	return r, n.namesakes(ctx, r)
}

// Undelete brings back the object that ref means. Kinds: as
// [object.Objects.Undelete].
func (n *Node) Undelete(ctx context.Context, ref string) (*Undeleted, error) {
	n.deleting.Lock()
	defer n.deleting.Unlock()
	e, err := n.deleted(ctx, ref)
	if errors.Is(err, errs.FileNotFound) && n.heardOf(ctx) { // else the deletion would be said to hold, by who has deleted it
		e, err = n.deleted(ctx, ref)
	}
	if err != nil {
		if e.ID, err = datamesh.ParseObjectID(ref); err != nil && !errors.Is(err, datamesh.ErrNoID) {
			return nil, errs.WithHint(errs.New(errs.Invalid, "%w", err), `copy the id from "datamesh list --deleted"`)
		} else if err != nil {
			return nil, errs.WithHint(errs.New(errs.FileNotFound, "no object of the name %q was deleted", ref), `see what was deleted with "datamesh list --deleted"`)
		}
		if e.ID, err = n.catalog.Current(ctx, e.ID); err != nil {
			return nil, err
		}
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	if e.Final {
		return nil, errDeleted(e.ID.String(), true)
	}
	if err := n.catalog.Undone(ctx, e.ID); err != nil && !errors.Is(err, errs.FileNotFound) {
		return nil, err
	}
	bringBack := l.objects.Undelete
	if e.Type == format.PackType {
		bringBack = l.objects.Return // a snapshot needs it, whoever else brings it back
	}
	survives, err := bringBack(ctx, e.ID)
	if err != nil {
		return nil, l.absent(err) // it is still deleted, and the mesh is told so again
	}
	m, err := l.objects.Manifest(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	if err := n.sharesReturn(ctx, l, e.ID); err != nil {
		return nil, err
	}
	err = n.catalog.Undelete(ctx, e.ID)
	step.At("node: undelete: the catalog has the object again")
	if errors.Is(err, errs.FileNotFound) { // another home has deleted it
		err = n.catalog.Add(ctx, entryFrom(e.ID, m))
		if errors.Is(err, errs.Exists) { // it is listed here, and a deletion that is unheard yet shall not hold
			err = n.catalog.Again(ctx, e.ID)
		}
	}
	if err != nil {
		return nil, err
	}
	n.published(ctx, l)
	n.repost(ctx, l)
	return &Undeleted{ID: e.ID, Name: n.nameOf(ctx, ref, e.ID, m.Name), Size: m.Size, Type: m.Type, Survives: survives}, nil
}

// Deleted returns what was deleted, the last first.
func (n *Node) Deleted(ctx context.Context) (*DeletedObjects, error) {
	all := &DeletedObjects{Objects: []DeletedObject{}}
	was, err := n.catalog.DeletedWas(ctx)
	if err != nil {
		return nil, err
	}
	for e, err := range n.catalog.Deleted(ctx) {
		if err != nil {
			return nil, err
		}
		d := DeletedObject{ID: e.ID, Name: e.Name, Size: e.Size, Deleted: e.Deleted, Done: e.Done, Was: was[e.ID]}
		if !e.Final {
			d.Until = e.Deleted.Add(trashTime)
		}
		all.Objects = append(all.Objects, d)
	}
	return all, nil
}

// finishDeletions tells the mesh of deletions that were interrupted, and forgets
// what can long not be brought back any more. One that cannot go on does not keep
// the others from it.
func (n *Node) finishDeletions(ctx context.Context, l *link) error {
	var open []datamesh.ObjectID
	for e, err := range n.catalog.Deleted(ctx) {
		if err != nil {
			return err
		}
		if !e.Done && e.Type != format.PackType { // whoever deletes packs sees first whether a snapshot needs them by now
			open = append(open, e.ID)
		}
	}
	var failed error
	for _, id := range open {
		if err := n.finishDeletion(ctx, l, id); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return errors.Join(failed, n.catalog.ForgetDeleted(ctx, time.Now().Add(-4*trashTime)))
}

// finishDeletion tells the mesh of a deletion, unless that was done meanwhile, or
// the object was brought back.
func (n *Node) finishDeletion(ctx context.Context, l *link, id datamesh.ObjectID) error {
	n.deleting.Lock()
	defer n.deleting.Unlock()
	return n.finishOne(ctx, l, id)
}

func (n *Node) finishOne(ctx context.Context, l *link, id datamesh.ObjectID) error {
	e, err := n.catalog.DeletedByID(ctx, id)
	if errors.Is(err, errs.FileNotFound) || err == nil && e.Done {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := l.objects.Condemn(ctx, id)
	switch {
	case errors.Is(err, errs.Deleted):
		err = n.catalog.Done(ctx, id)
	case err == nil && c.BroughtBackSince(e.Word): // by another home, or this one before it was interrupted
		if _, err := l.objects.Undelete(ctx, id); err != nil {
			return err
		}
		if err := n.sharesReturn(ctx, l, id); err != nil {
			return err
		}
		n.log.Info("a deletion that was interrupted does not go on: the object was brought back", "object", id)
		return n.catalog.Undelete(ctx, id)
	case err == nil:
		err = n.carryOut(ctx, l, id, c, e.Final)
	}
	if err == nil {
		n.log.Info("an object was deleted, which had been interrupted", "object", id)
	}
	return err
}
