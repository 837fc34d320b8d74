package node

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
)

// post has the mesh keep this home's card and its letters, as they are to be now.
// With only it does so if this home has some there already. Kinds: Unavailable,
// Full, and those of the catalog.
func (n *Node) post(ctx context.Context, l *link, only bool) error {
	if l.net == nil {
		return nil
	}
	n.posting.Lock()
	defer n.posting.Unlock()
	keys, err := n.heldKeys()
	if err != nil {
		if errors.Is(err, errs.FileNotFound) {
			err = nil // there is nobody who could share
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	master := postmaster(l, keys)
	for {
		record, err := n.catalog.UnsentPost(ctx, master, only, time.Now())
		if err != nil || record == nil {
			return err
		}
		r, err := format.DecodeRecord(record)
		if err != nil {
			return err
		}
		err = l.objects.PutRecord(ctx, r)
		switch {
		case err == nil:
			err = n.catalog.SentPost(context.WithoutCancel(ctx), r.Device, r.Seq)
		case errors.Is(err, errs.Exists):
			_, err = n.catalog.RefusedPost(ctx, r.Device, r.Seq)
		}
		if err != nil {
			return err
		}
	}
}

func postmaster(l *link, keys *keyring.Ring) catalog.Postmaster {
	return catalog.Postmaster{
		Owner: keys.OwnerKey(),
		Card:  []string{keys.Recipient.String()},
		Letter: func(letter *format.Letter, recipient string) ([]byte, error) {
			to, err := crypt.ParseRecipient(recipient)
			if err != nil {
				return nil, err
			}
			return format.SealLetter(letter, to)
		},
		Record: func(device catalog.DeviceID, seq, base uint64, payload []byte) ([]byte, error) {
			r, err := format.NewRecord(keys.Owner, l.net.Genesis().MeshID(), device, seq, base, payload)
			if err != nil {
				return nil, err
			}
			return format.EncodeRecord(r), nil
		},
	}
}

// posted is as post. If that fails it is tried again by the next command that
// shares, or by the service.
func (n *Node) posted(ctx context.Context, l *link) { n.postQuietly(ctx, l, false) }

// repost has letters say what has become of an object that they list.
func (n *Node) repost(ctx context.Context, l *link) { n.postQuietly(ctx, l, true) }

func (n *Node) postQuietly(ctx context.Context, l *link, only bool) {
	if err := n.post(ctx, l, only); err != nil {
		n.log.Warn("the card and the letters of this home are not in the mesh yet", "error", err)
	}
}

// Inbox returns what contacts share with the user, the newest first. Nobody else
// can put anything there. Kinds: Unavailable (of no contact anything can be
// read), and those of the catalog.
func (n *Node) Inbox(ctx context.Context) (*Inbox, error) {
	keys, err := n.keys()
	if err != nil {
		return nil, err
	}
	known, err := n.catalog.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	l, err := n.connectToShare(ctx)
	if err != nil {
		return nil, err
	}
	n.posted(ctx, l) // so that others find the card of whoever looks whether something came
	box := &Inbox{Objects: []Received{}, Unreached: []string{}}
	var failed []error
	more := false
	for _, k := range known {
		f, objects, err := n.received(ctx, l, k, keys.Identities)
		if err != nil {
			box.Unreached = append(box.Unreached, k.Name)
			failed = append(failed, err)
		}
		box.add(objects)
		box.Warnings = append(box.Warnings, n.tell(ctx, &f)...)
		more = more || f.more
	}
	if more {
		n.published(ctx, l)
	}
	if len(known) > 0 && len(failed) == len(known) && len(box.Objects) == 0 {
		return nil, errors.Join(failed...)
	}
	slices.SortStableFunc(box.Objects, func(a, b Received) int { return b.Created.Compare(a.Created) })
	return box, nil
}

// add adds what a contact shares, but for what is there from the same owner, who
// may be another's successor, and a contact himself. An id alone tells nothing: a
// contact can list what is another's, who is to be seen for all that.
func (b *Inbox) add(objects []Received) {
	type sent struct {
		from string
		id   datamesh.ObjectID
	}
	has := map[sent]bool{}
	for _, o := range b.Objects {
		has[sent{o.Address, o.ID}] = true
	}
	for _, o := range objects {
		if !has[sent{o.Address, o.ID}] {
			b.Objects = append(b.Objects, o)
		}
	}
}

// received returns what a contact shares with whoever has these identities, as
// whoever he was and is. A letter that cannot be read does not keep others from it.
func (n *Node) received(ctx context.Context, l *link, k catalog.Contact, ids []crypt.Identity) (followed, []Received, error) {
	f, err := n.latest(ctx, l, k)
	failed := []error{err, f.failed}
	var all []Received
	for _, from := range f.read {
		shared, err := sharedIn(from.records, ids, time.Now())
		failed = append(failed, err)
		for _, s := range shared {
			all = append(all, Received{ID: s.Object, From: k.Name, Address: from.owner.Address(), Name: s.Name, Size: s.Size,
				Created: time.Unix(0, s.Created).UTC(), Until: format.Time(s.Expires)})
		}
	}
	return f, all, errors.Join(failed...)
}

// A mailing is what one home has said at one time.
type mailing struct {
	clock   uint64
	of      int
	letters []*format.Letter
}

// sharedIn returns what the letters among an owner's records list, by when it was
// shared. Of each home the latest list counts that is whole; what any takes back
// is not there. With an error it returns what the others say.
func sharedIn(records []*datamesh.Record, ids []crypt.Identity, now time.Time) ([]format.Shared, error) {
	var failed []error
	homes := map[catalog.DeviceID]map[uint64]*mailing{}
	for _, r := range records {
		letter, err := format.OpenLetter(r.Payload, r.Owner, ids)
		if err != nil {
			failed = append(failed, err)
		}
		if err != nil || letter == nil {
			continue
		}
		if homes[r.Device] == nil {
			homes[r.Device] = map[uint64]*mailing{}
		}
		m := homes[r.Device][letter.Clock]
		if m == nil {
			m = &mailing{clock: letter.Clock, of: letter.Of}
			homes[r.Device][letter.Clock] = m
		}
		m.letters = append(m.letters, letter)
	}
	var lists []*mailing
	for _, of := range homes {
		var last *mailing
		for _, m := range of {
			if len(m.letters) >= m.of && (last == nil || m.clock > last.clock) {
				last = m
			}
		}
		if last != nil {
			lists = append(lists, last)
		}
	}
	slices.SortFunc(lists, func(a, b *mailing) int { return cmp.Compare(a.clock, b.clock) })
	shares, gone := map[datamesh.ObjectID]format.Shared{}, map[datamesh.ObjectID]bool{}
	for _, m := range lists {
		for _, letter := range m.letters {
			for _, s := range letter.Shares {
				shares[s.Object] = s
			}
			for _, id := range letter.Gone {
				gone[id] = true
			}
		}
	}
	var all []format.Shared
	for id, s := range shares {
		if !gone[id] && (s.Expires == 0 || now.UnixNano() < s.Expires) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b format.Shared) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), slices.Compare(a.Object[:], b.Object[:]))
	})
	return all, errors.Join(failed...)
}

// receivedAs returns the id of what a contact shares, of what is written as
// CONTACT/NAME: the newest of that name of who he is by now, or else of who he was.
// Kind: FileNotFound.
func (n *Node) receivedAs(ctx context.Context, ref string) (id datamesh.ObjectID, err error) {
	none := errs.New(errs.FileNotFound, "%s is not in the inbox", ref)
	who, name, both := strings.Cut(ref, "/")
	if !both {
		return id, none
	}
	k, err := n.contact(ctx, who)
	if err != nil {
		return id, err
	}
	keys, err := n.keys()
	if err != nil {
		return id, err
	}
	l, err := n.connectToShare(ctx)
	if err != nil {
		return id, err
	}
	f, objects, err := n.received(ctx, l, k, keys.Identities)
	if o := f.named(objects, name); o != nil {
		return o.ID, nil
	}
	return id, cmp.Or(err, errs.WithHint(none, `see what is there: datamesh inbox`))
}
