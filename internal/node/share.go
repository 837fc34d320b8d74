package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/object"
	"datamesh/internal/step"
)

// Share seals a second manifest of an object, for a contact or for whoever has a
// link, and tells the contact. The content is not moved. A share with him that is
// there already gets the new end. Kinds: Invalid, FileNotFound, Unavailable, Full,
// and those of [object.Objects.PutManifest].
func (n *Node) Share(ctx context.Context, ref string, o ShareOptions) (*Share, error) {
	if (o.To == "") == (o.Recipient == "") || o.Expires < 0 {
		return nil, errs.New(errs.Invalid, "an object is shared either with a contact or by a link, for some time or for ever")
	}
	n.deleting.Lock()
	defer n.deleting.Unlock()
	ref, err := n.spelled(ctx, ref)
	if err != nil {
		return nil, err
	}
	id, err := n.resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	e, err := n.catalog.ByID(ctx, id)
	if err != nil {
		return nil, errs.WithHint(err, `only what you have stored can be shared: see "datamesh list"`)
	}
	if e.Type == format.SnapshotType || e.Type == format.PackType {
		return nil, errs.WithHint(errs.New(errs.Invalid, "a backup cannot be shared: others could not read what it shares with other backups"),
			"restore it, and share what you mean")
	}
	var k catalog.Contact
	if o.To != "" {
		if k, err = n.contact(ctx, o.To); err != nil {
			return nil, err
		}
	}
	l, err := n.connectToShare(ctx)
	if err != nil {
		return nil, err
	}
	s := catalog.Share{Object: id, Name: e.Name, Size: e.Size, Created: time.Now().UTC()}
	if o.Expires > 0 {
		s.Expires = s.Created.Add(o.Expires)
	}
	text := o.Recipient
	var f followed
	var now datamesh.OwnerKey
	if o.To != "" {
		if f, err = n.latest(ctx, l, k); err != nil {
			return nil, err
		}
		if now, text, err = f.sealedTo(); err != nil {
			return nil, err
		}
		s.To = &now
	}
	if err := n.settleShares(ctx, l); err != nil {
		n.log.Warn("a share that is over could not be taken back yet", "error", err)
	}
	before, err := n.sharedWith(ctx, id, s.To)
	if err != nil {
		return nil, err
	}
	if before != nil {
		s.ID, s.Created = before.ID, before.Created
		err = n.catalog.SetExpires(ctx, before.ID, s.Expires)
	} else {
		s.ID, err = n.putShare(ctx, l, s, text)
	}
	if err != nil {
		return nil, err
	}
	step.At("node: share: the catalog has it")
	shared := shareOf(s, map[datamesh.OwnerKey]string{now: k.Name})
	shared.Warnings = n.tell(ctx, &f)
	if err := n.publish(ctx, l); err != nil {
		shared.Warnings = append(shared.Warnings, unnamed(err))
	}
	if err := n.post(ctx, l, o.To == ""); err != nil && o.To != "" {
		return nil, errs.WithHint(fmt.Errorf("it is shared, and %s is not told yet: %w", k.Name, err), "type the same again")
	}
	step.At("node: share: the contact can read of it")
	return &shared, nil
}

// putShare stores the second manifest of a share, and has the catalog note it.
func (n *Node) putShare(ctx context.Context, l *link, s catalog.Share, recipient string) (id datamesh.ObjectID, err error) {
	to, err := crypt.ParseRecipient(recipient)
	if err != nil {
		return id, err
	}
	m, err := l.objects.Manifest(ctx, s.Object)
	if errors.Is(err, errs.Deleted) || errors.Is(err, errs.FileNotFound) {
		if now, moved := n.moved(ctx, s.Object.String(), s.Object); moved {
			s.Object = now
			m, err = l.objects.Manifest(ctx, now)
		}
	}
	if err != nil {
		return id, err
	}
	m.Name, m.Tags = s.Name, nil // which are the user's own
	code, err := n.code("", l.view().Len())
	if err != nil {
		return id, err
	}
	_, err = l.objects.PutManifest(ctx, m, []crypt.Recipient{to}, code.K, code.M, func(p object.PutResult) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
		defer cancel()
		id = p.ID
		s.ID, s.StoredBytes = p.ID, p.StoredBytes
		return n.catalog.AddShare(ctx, s)
	})
	return id, err
}

// sharedWith returns the share of an object with a contact, or nil. Links are
// always new.
func (n *Node) sharedWith(ctx context.Context, id datamesh.ObjectID, to *datamesh.OwnerKey) (*catalog.Share, error) {
	all, err := n.catalog.Shares(ctx)
	for _, s := range all {
		if s.Object == id && to != nil && s.To != nil && *s.To == *to && s.Active(time.Now()) {
			return &s, err
		}
	}
	return nil, err
}

func shareOf(s catalog.Share, names map[datamesh.OwnerKey]string) Share {
	out := Share{ID: s.ID, Object: s.Object, Name: s.Name, Size: s.Size, Created: s.Created, Until: s.Expires, Withdrawn: s.Withdrawn}
	if s.To != nil {
		out.Contact, out.Address = names[*s.To], s.To.Address()
	}
	return out
}

// Shares returns what the user shares, the newest first, and what is taken back
// while the mesh is yet to be told.
func (n *Node) Shares(ctx context.Context) (*Shares, error) {
	known, err := n.catalog.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	names := map[datamesh.OwnerKey]string{}
	for owner, k := range byOwner(known) {
		names[owner] = k.Name
	}
	all, err := n.catalog.Shares(ctx)
	if err != nil {
		return nil, err
	}
	list := &Shares{Shares: []Share{}}
	for _, s := range all {
		if !s.Done && !s.Away {
			list.Shares = append(list.Shares, shareOf(s, names))
		}
	}
	return list, nil
}

// Unshare deletes for good the second manifests of an object that a contact, or a
// link, has, and says so. The content stays, and whoever has read such a manifest
// may have kept its keys; o.Revoke has the content stored anew under other keys, as
// revoke says. Kinds: Invalid, FileNotFound (it is not shared so), Unavailable, and
// those of revoke.
func (n *Node) Unshare(ctx context.Context, ref string, o UnshareOptions) (*Unshared, error) {
	switch {
	case (o.From == "") == (o.Link == ""):
		return nil, errs.New(errs.Invalid, "an object is taken back either from a contact or from a link")
	case o.Revoke:
		return n.revoke(ctx, ref, o)
	case o.Now:
		return nil, errs.New(errs.Invalid, "only content that is stored anew under other keys is deleted, now or later")
	}
	n.deleting.Lock()
	defer n.deleting.Unlock()
	id, err := n.resolveAny(ctx, ref)
	if err != nil {
		return nil, err
	}
	picked, err := n.toTakeBack(ctx, id, o)
	if err != nil {
		return nil, err
	}
	u := &Unshared{Object: id, DryRun: o.DryRun}
	u.take(picked)
	if o.DryRun {
		return u, nil
	}
	l, err := n.connectToShare(ctx)
	if err != nil {
		return nil, err
	}
	return u, n.withdraw(ctx, l, u, o.Link != "")
}

func (u *Unshared) take(picked []catalog.Share) {
	for _, s := range picked {
		u.Name, u.Taken = s.Name, append(u.Taken, s.ID)
	}
}

// withdraw takes back the shares of u, and tells the mesh. With only it says so in
// letters if there are any. The caller holds deleting.
func (n *Node) withdraw(ctx context.Context, l *link, u *Unshared, only bool) error {
	for _, id := range u.Taken {
		if err := n.catalog.Withdraw(ctx, id, time.Now()); err != nil {
			return err
		}
	}
	step.At("node: unshare: the catalog has noted it")
	if err := n.settleShares(ctx, l); err != nil {
		return errs.WithHint(fmt.Errorf("it is taken back in part: %w", err), "type the same again; a service of this home goes on by itself")
	}
	if err := n.publish(ctx, l); err != nil {
		u.Warnings = append(u.Warnings, "the other homes of yours do not know of it yet: "+err.Error())
	}
	if err := n.post(ctx, l, only); err != nil {
		u.Warnings = append(u.Warnings, "it is gone, and still listed in the inbox of who had it: "+err.Error())
	}
	return nil
}

// toTakeBack returns the shares that are meant, those included that were taken
// back without the mesh having been told, and, to revoke them, all that were. Kind:
// FileNotFound.
func (n *Node) toTakeBack(ctx context.Context, id datamesh.ObjectID, o UnshareOptions) (picked []catalog.Share, err error) {
	var k catalog.Contact
	var of map[datamesh.OwnerKey]catalog.Contact
	if o.From != "" {
		if k, err = n.contact(ctx, o.From); err != nil {
			return nil, err
		}
		known, err := n.catalog.Contacts(ctx)
		if err != nil {
			return nil, err
		}
		of = byOwner(known)
	}
	ids := []datamesh.ObjectID{id}
	begun, err := n.rekeyed(ctx, id)
	if err != nil {
		return nil, err
	}
	if begun != nil { // contacts have one of the two, or both
		ids = []datamesh.ObjectID{begun.Old, begun.Now}
	}
	all, err := n.catalog.Shares(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if s.Done && !o.Revoke {
			continue
		}
		if s.Done { // it is still said to be of the id that the object had then
			if s.Object, err = n.catalog.Current(ctx, s.Object); err != nil {
				return nil, err
			}
		}
		if !slices.Contains(ids, s.Object) {
			continue
		}
		if o.From != "" && s.To != nil && (k.Follows(*s.To) || of[*s.To].Owner == k.Owner) || o.Link != "" && s.To == nil && s.ID.String() == o.Link {
			picked = append(picked, s)
		}
	}
	if len(picked) == 0 {
		return nil, errs.WithHint(errs.New(errs.FileNotFound, "it is not shared so"), `see what is shared: datamesh list --shared`)
	}
	return picked, nil
}

// settleShares deletes the manifests of shares that were taken back, or are over. One
// that cannot be deleted now does not keep the others from it.
func (n *Node) settleShares(ctx context.Context, l *link) error {
	now := time.Now()
	isOver := func(s catalog.Share) bool { return !s.Done && !s.Withdrawn && s.Expired(now) }
	all, err := n.catalog.Shares(ctx)
	var failed []error
	if err == nil && slices.ContainsFunc(all, isOver) { // another home may have given it more time
		failed = append(failed, n.hear(ctx, l))
		all, err = n.catalog.Shares(ctx)
	}
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Done || !s.Withdrawn && (!isOver(s) || errors.Join(failed...) != nil) {
			continue
		}
		if err := n.takeBack(ctx, l, s.ID); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// takeBack deletes a second manifest for good, whether or not that was noted.
func (n *Node) takeBack(ctx context.Context, l *link, id datamesh.ObjectID) error {
	if err := n.catalog.Withdraw(ctx, id, time.Now()); err != nil {
		return err
	}
	c, err := l.objects.CondemnManifest(ctx, id)
	if err == nil {
		err = c.Delete(ctx, true)
	}
	if err != nil && !errors.Is(err, errs.FileNotFound) { // else nobody has any of it
		return err
	}
	step.At("node: unshare: the manifest is deleted")
	return n.catalog.Withdrawn(context.WithoutCancel(ctx), id)
}

// sharesGo deletes the second manifests of an object that is deleted, before it
// is: for good, if it is, or so that they can be brought back.
func (n *Node) sharesGo(ctx context.Context, l *link, id datamesh.ObjectID, final bool) error {
	return n.eachShare(ctx, id, func(s catalog.Share) error {
		if final {
			return n.takeBack(ctx, l, s.ID)
		}
		c, err := l.objects.CondemnManifest(ctx, s.ID)
		if err == nil {
			err = c.Delete(ctx, false)
		}
		if errors.Is(err, errs.FileNotFound) {
			return nil
		}
		return err
	})
}

// sharesReturn brings back the second manifests of an object that was. One that
// cannot be had any more does not keep the object away: it is taken back.
func (n *Node) sharesReturn(ctx context.Context, l *link, id datamesh.ObjectID) error {
	return n.eachShare(ctx, id, func(s catalog.Share) error {
		err := l.objects.UndeleteManifest(ctx, s.ID)
		if errors.Is(err, errs.Deleted) {
			return n.takeBack(ctx, l, s.ID)
		}
		if err != nil {
			n.log.Warn("what is shared could not be brought back with its object; share it again", "error", err)
		}
		return nil
	})
}

// eachShare calls do with the shares of an object that were not taken back.
func (n *Node) eachShare(ctx context.Context, id datamesh.ObjectID, do func(catalog.Share) error) error {
	all, err := n.catalog.Shares(ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Object == id && !s.Withdrawn {
			if err := do(s); err != nil {
				return fmt.Errorf("share %s: %w", s.ID, err)
			}
		}
	}
	return nil
}
