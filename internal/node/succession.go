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
	"datamesh/internal/step"
)

// Consent has the mesh keep the card of the user, and returns his word that he is
// the successor of another owner. Kinds: Invalid, Exists (he has gone on as another
// himself), Unavailable, Full.
func (n *Node) Consent(ctx context.Context, from datamesh.OwnerKey) (s format.Successor, err error) {
	keys, err := n.keys()
	if err != nil {
		return s, err
	}
	if keys.OwnerKey() == from {
		return s, errs.New(errs.Invalid, "an identity is not its own successor")
	}
	l, err := n.connectToShare(ctx)
	if err != nil {
		return s, err
	}
	if err := n.hearAll(ctx, l); err != nil {
		return s, err
	}
	heir, _, err := n.catalog.Heir(ctx, keys.OwnerKey())
	if err != nil {
		return s, err
	}
	if heir != nil {
		return s, errs.WithHint(errs.New(errs.Exists, "the identity that is to go on has a successor itself: %s", heir.To.Owner.Address()), "make another: datamesh keys new NAME")
	}
	if err := n.post(ctx, l, false); err != nil {
		return s, err
	}
	step.At("node: succeed: the successor has a card")
	return format.Succeed(from, keys.Owner), nil
}

// Succeed has the user go on as another owner, who has agreed: all cards of his name
// that one from now on, for ever, and contacts follow. Nothing that is stored moves.
// Called again it goes on, and says it again. Kinds: Authentication (that one has
// not agreed), Exists (he has gone on as somebody else), Unavailable, Full.
func (n *Node) Succeed(ctx context.Context, to format.Successor) (*Succeeded, error) {
	keys, err := n.keys()
	if err != nil {
		return nil, err
	}
	self := keys.OwnerKey()
	if err := to.Verify(self); err != nil {
		return nil, err
	}
	l, err := n.connectToShare(ctx)
	if err != nil {
		return nil, err
	}
	if err := n.hearAll(ctx, l); err != nil { // another home may have named another
		return nil, err
	}
	heir, disputed, err := n.catalog.Heir(ctx, self)
	if err != nil {
		return nil, err
	}
	if heir == nil && disputed {
		return nil, errs.WithHint(errs.New(errs.Exists, "two homes of yours have each named a successor at once, and no contact follows either"), "tell your contacts by another way which of them to add")
	}
	if heir != nil && heir.To.Owner != to.Owner {
		return nil, errs.WithHint(errs.New(errs.Exists, "this identity goes on as another already, which cannot be taken back: %s", heir.To.Owner.Address()),
			"use that one; see datamesh keys list")
	}
	s := &Succeeded{Owner: self, Successor: to.Owner, Address: to.Owner.Address()}
	found, err := l.objects.Records(ctx, self)
	if err != nil {
		return nil, err
	}
	for _, other := range claimsIn(self, found.Records) {
		if other.Owner != to.Owner {
			s.Warnings = append(s.Warnings, "somebody who has the keys of this identity has named another successor, and whoever knows of both follows neither, or the first: tell your contacts by another way to add "+s.Address)
			break
		}
	}
	if heir != nil { // a thief may have taken the card away
		if err := n.catalog.SayCardAgain(ctx); err != nil {
			return nil, err
		}
	}
	if _, err := n.catalog.Claim(ctx, self, []format.Successor{to}, time.Now()); err != nil {
		return nil, err
	}
	step.At("node: succeed: the catalog has it")
	const again = "type the same again: it goes on"
	if err := n.publish(ctx, l); err != nil {
		return nil, errs.WithHint(fmt.Errorf("it is signed, and your other homes and your contacts do not know yet: %w", err), again)
	}
	step.At("node: succeed: other homes can learn of it")
	if err := n.post(ctx, l, false); err != nil {
		return nil, errs.WithHint(fmt.Errorf("it is signed, and your contacts do not know yet: %w", err), again)
	}
	step.At("node: succeed: the card names the successor")
	return s, nil
}

// claimsIn returns the successors whom any card among an owner's records names, and
// who have agreed. A later card takes nothing back.
func claimsIn(owner datamesh.OwnerKey, records []*datamesh.Record) (all []format.Successor) {
	for _, r := range records {
		card, err := format.DecodeCard(r.Payload)
		if err != nil || card == nil || card.Successor == nil || card.Successor.Verify(owner) != nil ||
			slices.ContainsFunc(all, func(s format.Successor) bool { return s.Owner == card.Successor.Owner }) {
			continue
		}
		all = append(all, *card.Successor)
	}
	slices.SortFunc(all, func(a, b format.Successor) int { return slices.Compare(a.Owner[:], b.Owner[:]) })
	return all
}

// followed is what has become of a contact.
type followed struct {
	contact catalog.Contact
	read    []recordsOf // of whoever he was, and is, as far as they could be read
	more    bool        // something was learnt that other homes are to know
	failed  error       // why some could not be read
}

type recordsOf struct {
	owner   datamesh.OwnerKey
	records []*datamesh.Record
}

// latest reads the cards of a contact, and of whoever he goes on as, and takes over
// what they say by now. What cannot be read is left as it was, and is said in failed.
func (n *Node) latest(ctx context.Context, l *link, k catalog.Contact) (followed, error) {
	found, unread := l.objects.Records(ctx, k.Owner)
	f, err := n.latestOf(ctx, l, k, found.Records)
	f.failed = errors.Join(unread, f.failed)
	return f, err
}

// latestOf is latest for one whose own records were read.
func (n *Node) latestOf(ctx context.Context, l *link, k catalog.Contact, records []*datamesh.Record) (f followed, err error) {
	if k, err = n.refresh(ctx, k, records); err != nil {
		return f, err
	}
	f.contact = k
	for owner, i := k.Owner, 0; ; i++ {
		f.read = append(f.read, recordsOf{owner, records})
		more, err := n.catalog.Claim(ctx, owner, claimsIn(owner, records), time.Now())
		if err != nil {
			return f, err
		}
		f.more = f.more || more
		if f.contact, err = n.contactNow(ctx, k); err != nil {
			return f, err
		}
		if len(f.contact.Heirs) <= i {
			break
		}
		heir := f.contact.Heirs[i]
		found, unread := l.objects.Records(ctx, heir.To.Owner)
		f.failed = errors.Join(f.failed, unread)
		owner, records = heir.To.Owner, found.Records
		card, recipient := cardIn(records)
		if card == nil || card.Clock <= heir.Card || recipient == heir.Recipient {
			continue
		}
		heir.Recipient, heir.Card = recipient, card.Clock
		if err := n.catalog.SetHeir(ctx, heir); err != nil {
			return f, err
		}
		f.more = true
	}
	if f.more {
		step.At("node: follow: the catalog has it")
	}
	return f, nil
}

// contactNow returns a contact as the catalog has him.
func (n *Node) contactNow(ctx context.Context, k catalog.Contact) (catalog.Contact, error) {
	known, err := n.catalog.Contacts(ctx)
	for _, now := range known {
		if now.Owner == k.Owner {
			return now, err
		}
	}
	return k, err
}

// byOwner returns whose an owner is of those who are contacts. Who is one himself
// comes before whom others have gone on as, and that before who is only said to
// have succeeded one: he may have been added to put that right.
func byOwner(known []catalog.Contact) map[datamesh.OwnerKey]catalog.Contact {
	all := map[datamesh.OwnerKey]catalog.Contact{}
	for _, of := range []func(*catalog.Contact) []datamesh.OwnerKey{
		func(k *catalog.Contact) []datamesh.OwnerKey { return k.Others },
		(*catalog.Contact).Owners,
		func(k *catalog.Contact) []datamesh.OwnerKey { return []datamesh.OwnerKey{k.Owner} },
	} {
		for _, k := range known {
			for _, owner := range of(&k) {
				all[owner] = k
			}
		}
	}
	return all
}

// sealedTo returns who a contact is, and what is sealed to him. Kind: FileNotFound
// (he goes on as somebody whose card could not be had yet).
func (f *followed) sealedTo() (owner datamesh.OwnerKey, recipient string, err error) {
	owner, recipient = f.contact.Now()
	if recipient == "" {
		err = errs.WithHint(errs.New(errs.FileNotFound, "%s goes on as %s, of whom the mesh has no card", f.contact.Name, owner.Address()),
			`have him type "datamesh inbox" once as that identity, in this mesh, and type this again`)
	}
	return owner, recipient, err
}

// named returns what of a contact's is of a name, or nil. What he shares as who he
// is by now comes first, however new the other: whoever has the keys of who he was
// can still share as that one. Of each the newest is first in objects.
func (f *followed) named(objects []Received, name string) *Received {
	for _, from := range slices.Backward(f.read) {
		for i := range objects {
			if objects[i].Name == name && objects[i].Address == from.owner.Address() {
				return &objects[i]
			}
		}
	}
	return nil
}

// tell returns what the user is to know of it: that a contact is followed once in
// each home, whatever has learnt of it, which may have told nobody.
func (n *Node) tell(ctx context.Context, f *followed) (all []string) {
	now, _ := f.contact.Now()
	moved := false
	for _, h := range f.contact.Heirs {
		anew, err := n.catalog.Tell(ctx, h)
		moved = moved || anew || err != nil
	}
	if moved {
		all = append(all, fmt.Sprintf("%s has a new identity, which the one of before has signed, and is followed to it: %s", f.contact.Name, now.Address()))
	}
	if f.contact.Disputed {
		all = append(all, disputed(f.contact.Name, now))
	}
	return all
}

func disputed(name string, now datamesh.OwnerKey) string {
	return fmt.Sprintf("two identities are claimed to succeed %s: ask him by another way which is his; what you share goes to %s", name, now.Address())
}
