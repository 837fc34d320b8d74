package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// Contacts returns those with whom the user shares, by name.
func (n *Node) Contacts(ctx context.Context) (*Contacts, error) {
	known, err := n.catalog.Contacts(ctx)
	all := &Contacts{Contacts: []Contact{}}
	for _, k := range known {
		all.Contacts = append(all.Contacts, contactOf(k))
	}
	return all, err
}

func contactOf(k catalog.Contact) Contact {
	all := k.Owners()
	c := Contact{Name: k.Name, Address: all[len(all)-1].Address(), Created: k.Created, Disputed: k.Disputed}
	for _, owner := range all[:len(all)-1] {
		c.Former = append(c.Former, owner.Address())
	}
	return c
}

// AddContact notes under a name whose address that is, and what is sealed to him,
// as his card in the mesh says, or that of whoever he goes on as. Kinds: Invalid, Exists, Unavailable (the card
// cannot be had), FileNotFound (he has none).
func (n *Node) AddContact(ctx context.Context, name, address string) (*Contact, error) {
	if err := format.CheckContactName(name); err != nil {
		return nil, err
	}
	if _, err := datamesh.ParseAddress(name); err == nil {
		return nil, errs.New(errs.Invalid, "%s is an address, and no name", name)
	}
	owner, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	keys, err := n.keys()
	if err != nil {
		return nil, err
	}
	if owner == keys.OwnerKey() {
		return nil, errs.New(errs.Invalid, "that is your own address")
	}
	known, err := n.catalog.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range known {
		if k.Follows(owner) && k.Name != name {
			return nil, errs.WithHint(errs.New(errs.Exists, "he is a contact already, of the name %s", k.Name), "datamesh contact remove %s", errs.Word(k.Name))
		}
		if k.Follows(owner) {
			owner = k.Owner
		}
	}
	l, err := n.connectToShare(ctx)
	if err != nil {
		return nil, err
	}
	found, err := l.objects.Records(ctx, owner)
	if err != nil {
		return nil, err
	}
	card, recipient := cardIn(found.Records)
	if card == nil {
		return nil, errs.WithHint(errs.New(errs.FileNotFound, "the mesh has no card of %s", address),
			`have its owner type "datamesh inbox" once, in this mesh, and type this again`)
	}
	k := catalog.Contact{Owner: owner, Name: name, Recipient: recipient, Card: card.Clock, Created: time.Now().UTC()}
	if err := n.catalog.SetContact(ctx, k); err != nil {
		return nil, err
	}
	f, err := n.latestOf(ctx, l, k, found.Records)
	if err != nil {
		return nil, err
	}
	added := contactOf(f.contact)
	added.Warnings = n.tell(ctx, &f)
	if err := n.publish(ctx, l); err != nil {
		added.Warnings = append(added.Warnings, unnamed(err))
	}
	n.posted(ctx, l)
	return &added, nil
}

// RemoveContact removes a contact with whom nothing is shared. Kinds:
// FileNotFound, Exists (something is).
func (n *Node) RemoveContact(ctx context.Context, name string) (*Contact, error) {
	k, err := n.contact(ctx, name)
	if err != nil {
		return nil, err
	}
	err = n.catalog.RemoveContact(ctx, k.Owner)
	if errors.Is(err, errs.Exists) {
		err = errs.WithHint(err, `take that back first: see "datamesh list --shared"`)
	}
	if err != nil {
		return nil, err
	}
	removed := contactOf(k)
	if l, err := n.connect(ctx); err == nil { // else it is sent with the next change
		n.published(ctx, l)
	}
	return &removed, nil
}

func parseAddress(text string) (datamesh.OwnerKey, error) {
	owner, err := datamesh.ParseAddress(text)
	if err != nil {
		return owner, errs.WithHint(errs.New(errs.Invalid, "%w", err), `copy all of what "datamesh id" prints as address in the home of its owner`)
	}
	return owner, nil
}

// contact returns the contact of a name or an address. Kinds: FileNotFound,
// Invalid (two have that name).
func (n *Node) contact(ctx context.Context, who string) (found catalog.Contact, err error) {
	owner, notAddress := datamesh.ParseAddress(who)
	known, err := n.catalog.Contacts(ctx)
	if err != nil {
		return found, err
	}
	matches := 0
	for _, k := range known {
		if k.Name == who || notAddress == nil && k.Owner == owner {
			found = k
			matches++
		}
	}
	for _, k := range known {
		if matches == 0 && notAddress == nil && k.Follows(owner) {
			found = k
			matches++
		}
	}
	switch matches {
	case 0:
		return found, errs.WithHint(errs.New(errs.FileNotFound, "there is no contact %s", who), `see whom you know with "datamesh contact list"; add one: datamesh contact add NAME ADDRESS`)
	case 1:
		return found, nil
	}
	return found, errs.WithHint(errs.New(errs.Invalid, "%d contacts are named %s", matches, who), `give the address: see "datamesh contact list"`)
}

// connectToShare is as connect, where there is a mesh. Kind: Unavailable.
func (n *Node) connectToShare(ctx context.Context) (*link, error) {
	l, err := n.connect(ctx)
	if err == nil && l.net == nil {
		err = errs.WithHint(errs.New(errs.Unavailable, "this home knows no mesh, in which something could be shared"),
			"join one: datamesh networks use PEER_ID@ADDR")
	}
	return l, err
}

// cardIn returns the card among an owner's records that holds, and its recipient,
// or nil. One that makes no sense, or is of a newer version, is passed over.
func cardIn(records []*datamesh.Record) (last *format.Card, recipient string) {
	for _, r := range records {
		card, err := format.DecodeCard(r.Payload)
		if err != nil || card == nil || last != nil && last.Clock >= card.Clock {
			continue
		}
		for _, text := range card.Recipients {
			if _, err := crypt.ParseRecipient(text); err == nil && strings.HasPrefix(text, "age1pq1") { // others a quantum computer could open
				last, recipient = card, text
				break
			}
		}
	}
	return last, recipient
}

// refresh takes over what a newer card of a contact says.
func (n *Node) refresh(ctx context.Context, k catalog.Contact, records []*datamesh.Record) (catalog.Contact, error) {
	card, recipient := cardIn(records)
	if card == nil || card.Clock <= k.Card || recipient == k.Recipient {
		return k, nil
	}
	k.Recipient, k.Card = recipient, card.Clock
	if err := n.catalog.SetContact(ctx, k); err != nil {
		return k, fmt.Errorf("contact %s: %w", k.Name, err)
	}
	return k, nil
}
