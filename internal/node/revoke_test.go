package node

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
)

// links shares an object by a link, and returns how to revoke that.
func (r *running) links(ref string) UnshareOptions {
	r.t.Helper()
	_, to, err := crypt.NewIdentity([32]byte{8})
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := r.Share(r.t.Context(), ref, ShareOptions{Recipient: to.String()})
	if err != nil {
		r.t.Fatal(err)
	}
	return UnshareOptions{Link: s.ID.String(), Revoke: true, Now: true}
}

// halfway revokes until the content is there under both keys, as when it is cut
// off then.
func (r *running) halfway(ref string, o UnshareOptions) (*link, *Unshared) {
	r.t.Helper()
	l, _ := r.objects()
	u, plan, err := r.planRevocation(r.t.Context(), l, ref, o)
	if err == nil {
		err = r.withdraw(r.t.Context(), l, u, true)
	}
	if err == nil {
		err = r.rekey(r.t.Context(), l, plan, o, u)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return l, u
}

// revoked checks that nothing of a revocation is left to be done.
func (r *running) revoked() {
	r.t.Helper()
	if left, err := r.catalog.Rekeyed(r.t.Context()); err != nil || len(left) > 0 {
		r.t.Errorf("left to do: %+v, %v", left, err)
	}
}

// What cannot be revoked as it should is refused, and nothing is changed.
func TestRevocationsThatAreRefused(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	link := p.one.links("a")
	other := p.one.links("a")
	_, to, err := crypt.NewIdentity([32]byte{9})
	if err != nil {
		t.Fatal(err)
	}
	p.one.put(noise(2, 1000), PutOptions{Name: "to others", To: []string{to.String()}})
	toOthers := p.one.links("to others")
	snapshot := p.one.put(noise(3, 1000), PutOptions{Name: "snapshot", Type: format.SnapshotType}).ID
	if err := p.one.catalog.AddShare(ctx, catalog.Share{ID: datamesh.ObjectID{1}, Object: snapshot, Name: "snapshot"}); err != nil {
		t.Fatal(err)
	}
	p.one.put(noise(4, 1000), PutOptions{Name: "deleted"})
	deleted := p.one.links("deleted")
	if _, err := p.one.Delete(ctx, "deleted", DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	before, err := p.one.Shares(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what, ref string
		o         UnshareOptions
		kind      errs.Kind
	}{
		{"another link", "a", link, errs.Refused},
		{"put for others, too", "to others", toOthers, errs.Share},
		{"a backup", snapshot.String(), UnshareOptions{Link: datamesh.ObjectID{1}.String(), Revoke: true}, errs.Invalid},
		{"deleted", "deleted", deleted, errs.Deleted},
		{"not shared so", "a", UnshareOptions{Link: datamesh.ObjectID{2}.String(), Revoke: true}, errs.FileNotFound},
		{"no such contact", "a", UnshareOptions{From: "bob", Revoke: true}, errs.FileNotFound},
		{"no such object", "b", link, errs.FileNotFound},
		{"both", "a", UnshareOptions{From: "bob", Link: link.Link, Revoke: true}, errs.Invalid},
		{"neither", "a", UnshareOptions{Revoke: true}, errs.Invalid},
		{"now, and not to revoke", "a", UnshareOptions{Link: link.Link, Now: true}, errs.Invalid},
	} {
		for _, dry := range []bool{true, false} {
			tt.o.DryRun = dry
			u, err := p.one.Unshare(ctx, tt.ref, tt.o)
			if u != nil {
				t.Errorf("%s: got %+v", tt.what, u)
			}
			wantKind(t, tt.what, err, tt.kind)
		}
	}
	_, err = open(t, options(home(t), Client)).Unshare(ctx, "a", link)
	wantKind(t, "without a mesh", err, errs.Unavailable)
	after, err := p.one.Shares(ctx)
	if err != nil || len(after.Shares) != len(before.Shares) || slices.ContainsFunc(after.Shares, func(s Share) bool { return s.Withdrawn }) {
		t.Errorf("shared is %+v, %v, was %+v", after, err, before)
	}
	p.one.revoked()
	p.listed(t)
	for what, o := range map[string]UnshareOptions{"a": other, "to others": toOthers} { // and it can be taken back without
		o.Revoke, o.Now, o.DryRun = false, false, true
		if u, err := p.one.Unshare(ctx, what, o); err != nil || len(u.Taken) != 1 || u.Revoked != nil {
			t.Errorf("%s: a dry run says %+v, %v", what, u, err)
		}
		o.DryRun = false
		if u, err := p.one.Unshare(ctx, what, o); err != nil || len(u.Taken) != 1 || u.Revoked != nil {
			t.Errorf("%s: got %+v, %v", what, u, err)
		}
	}
	if u, err := p.one.Unshare(ctx, "a", link); err != nil || u.Revoked == nil {
		t.Errorf("once there is one link: %+v, %v", u, err)
	}
}

// What another home says of the old object while the content is there twice is not
// lost, and a deletion is not made before it was heard.
func TestRevocationHearsOtherHomesInTheEnd(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	l, u := p.one.halfway("a", p.one.links("a"))
	if _, err := p.two.catalog.ByID(ctx, u.Revoked.Object); errs.KindOf(err) != errs.FileNotFound {
		t.Fatalf("the other home knows of it: %v", err)
	}
	if _, _, err := p.two.catalog.Copy(ctx, p.id, "a", "b"); err != nil { // as if nobody was heard
		t.Fatal(err)
	}
	if _, _, err := p.two.catalog.EditObject(ctx, p.id, func(e *catalog.Entry) { e.Tags, e.Pinned = []string{"tag"}, true }); err != nil {
		t.Fatal(err)
	}
	lo, _ := p.two.objects()
	if err := p.two.publish(ctx, lo); err != nil {
		t.Fatal(err)
	}
	if err := p.one.finishRevocation(ctx, l, u, false); err != nil {
		t.Fatal(err)
	}
	p.one.revoked()
	p.two.news()
	for what, n := range map[string]*running{"one": p.one, "two": p.two} {
		for _, ref := range []string{"a", "b", u.Revoked.Object.String()} {
			n.get(ref, p.content)
		}
		e, err := n.catalog.ByName(ctx, "b")
		if err != nil || e.ID != u.Revoked.Object || !e.Pinned || !slices.Equal(e.Tags, []string{"tag"}) {
			t.Errorf("%s: got %+v, %v", what, e, err)
		}
		if _, err := n.catalog.DeletedByID(ctx, p.id); err != nil {
			t.Errorf("%s: the old object: %v", what, err)
		}
	}
	if word, err := l.objects.Word(ctx, p.id); err != nil || !word.Final() {
		t.Errorf("the old object, in the mesh: %+v, %v", word, err)
	}
}

// A link that another home makes of the old object meanwhile keeps that from being
// deleted, until it is taken back.
func TestRevocationStopsAtANewLink(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	o := p.one.links("a")
	_, u := p.one.halfway("a", o)
	late := p.two.links(p.id.String())
	_, err := p.one.Unshare(ctx, "a", o)
	wantKind(t, "while there is a link", err, errs.Refused)
	p.one.get(p.id.String(), p.content)
	p.one.get("a", p.content)
	late.Revoke, late.Now = false, false
	if _, err := p.one.Unshare(ctx, p.id.String(), late); err != nil {
		t.Fatal(err)
	}
	again, err := p.one.Unshare(ctx, "a", o)
	if err != nil || again.Object != p.id || again.Revoked.Object != u.Revoked.Object || again.Revoked.Size != int64(len(p.content)) {
		t.Errorf("got %+v, %v", again, err)
	}
	p.one.revoked()
	p.one.get("a", p.content)
	wantKind(t, "the old object", p.one.reads(p.id), errs.Deleted)
}

// reads tries to read the manifest of an object.
func (r *running) reads(id datamesh.ObjectID) error {
	r.t.Helper()
	l, _ := r.objects()
	_, err := l.objects.Manifest(r.t.Context(), id)
	return err
}

// A service ends what was interrupted, after either of the two steps that the
// catalog has.
func TestServiceEndsRevocations(t *testing.T) {
	for _, condemned := range []bool{false, true} {
		p := newPair(t)
		ctx := t.Context()
		o := p.one.links("a")
		o.Now = false
		l, u := p.one.halfway("a", o)
		if condemned {
			if err := p.one.publish(ctx, l); err != nil {
				t.Fatal(err)
			}
			r, err := p.one.rekeyed(ctx, p.id)
			if err == nil {
				err = p.one.catalog.Supersede(ctx, *r, time.Now(), 1, false)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := p.one.reads(p.id); err != nil {
				t.Fatalf("the mesh has heard of it: %v", err)
			}
		}
		if err := p.one.keepShares(ctx, l); err != nil {
			t.Fatal(err)
		}
		p.one.revoked()
		wantKind(t, "the old object", p.one.reads(p.id), errs.Deleted)
		p.one.get("a", p.content)
		p.one.get(u.Revoked.Object.String(), p.content)
		if d, err := p.one.catalog.DeletedByID(ctx, p.id); err != nil || !d.Done || d.Final {
			t.Errorf("got %+v, %v", d, err)
		}

		// From the trash it comes back as any other, and is not deleted again.
		if _, err := p.one.Undelete(ctx, p.id.String()); err != nil {
			t.Fatal(err)
		}
		if err := p.one.keepShares(ctx, l); err != nil {
			t.Fatal(err)
		}
		p.listed(t)
		if shares, err := p.one.Shares(ctx); err != nil || len(shares.Shares) > 0 {
			t.Errorf("it is shared again: %+v, %v", shares, err)
		}
		if id := p.one.idOf("a"); id != u.Revoked.Object {
			t.Errorf("the name is that of %v", id)
		}
	}
}

// What is brought back while its deletion is not ended is not deleted again.
func TestRevocationDoesNotOutliveAnUndelete(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	o := p.one.links("a")
	o.Now = false
	l, u := p.one.halfway("a", o)
	r, err := p.one.rekeyed(ctx, p.id)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.objects.Condemn(ctx, p.id)
	if err == nil {
		err = p.one.catalog.Supersede(ctx, *r, time.Now(), c.Word(false), false)
	}
	if err == nil {
		err = c.Delete(ctx, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.one.Undelete(ctx, p.id.String()); err != nil {
		t.Fatal(err)
	}
	if err := p.one.keepShares(ctx, l); err != nil {
		t.Fatal(err)
	}
	p.one.revoked()
	p.listed(t)
	p.one.get(u.Revoked.Object.String(), p.content)
}

// When what was stored anew is deleted before the old object is, that stays.
func TestRevocationKeepsTheLastCopy(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	o := p.one.links("a")
	_, u := p.one.halfway("a", o)
	if _, err := p.one.Delete(ctx, u.Revoked.Object.String(), DeleteOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	_, err := p.one.Unshare(ctx, "a", o)
	wantKind(t, "what was stored anew is deleted", err, errs.Deleted)
	p.one.revoked()
	p.listed(t)
	if u, err := p.one.Unshare(ctx, "a", o); err != nil || u.Object != p.id || u.Revoked.Object == p.id { // and it can be done again
		t.Errorf("again: %+v, %v", u, err)
	}
	p.one.get("a", p.content)
}

// So it does if it was shared with a contact, too, who reads the old object then.
func TestRevocationKeepsTheLastCopyForContacts(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	k := p.friend(t)
	share, err := p.one.Share(ctx, "a", ShareOptions{To: k.Name})
	if err != nil {
		t.Fatal(err)
	}
	o := p.one.links("a")
	_, u := p.one.halfway("a", o)
	if _, err := p.one.Delete(ctx, u.Revoked.Object.String(), DeleteOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	_, err = p.one.Unshare(ctx, "a", o)
	wantKind(t, "what was stored anew is deleted", err, errs.Deleted)
	p.one.revoked()
	p.listed(t)
	if shares, err := p.one.Shares(ctx); err != nil || len(shares.Shares) != 1 || shares.Shares[0].ID != share.ID {
		t.Errorf("shared is %+v, %v", shares, err)
	}
}

// friend makes a contact of somebody.
func (p *pair) friend(t *testing.T) catalog.Contact {
	t.Helper()
	ring, err := keyring.New(keyring.Root{9})
	if err != nil {
		t.Fatal(err)
	}
	k := catalog.Contact{Owner: ring.OwnerKey(), Name: "bob", Recipient: ring.Recipient.String(), Created: time.Now()}
	if err := p.one.catalog.SetContact(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	return k
}

// What another home deletes while the content is sent is not brought back by that.
func TestRevocationOfWhatIsDeletedMeanwhile(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	o := p.one.links("a")
	l, _ := p.one.objects()
	u, plan, err := p.one.planRevocation(ctx, l, "a", o)
	if err == nil {
		err = p.one.withdraw(ctx, l, u, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.two.news()
	if err := p.two.catalog.Delete(ctx, p.id, time.Now(), 1, false); err != nil { // and the words are yet to come
		t.Fatal(err)
	}
	lo, _ := p.two.objects()
	if err := p.two.publish(ctx, lo); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "store it anew", p.one.rekey(ctx, l, plan, o, u), errs.FileNotFound)
	p.one.revoked()
	if list, err := listOf(t, p.one.Node); err != nil || len(list.Objects) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// A rotation while the content is there twice does not get in the way.
func TestRevocationGoesOnAfterARotation(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	o := p.one.links("a")
	_, u := p.one.halfway("a", o)
	p.one.rotate()
	again, err := p.one.Unshare(ctx, "a", o)
	if err != nil || again.Revoked.Object == u.Revoked.Object || again.Object == p.id {
		t.Errorf("got %+v, %v", again, err)
	}
	p.one.revoked()
	p.two.news()
	for _, n := range []*running{p.one, p.two} {
		n.get("a", p.content)
		n.get(u.Revoked.Object.String(), p.content)
		if list, err := listOf(t, n.Node); err != nil || len(list.Objects) != 1 {
			t.Errorf("%+v, %v", list, err)
		}
	}
	for _, id := range []datamesh.ObjectID{p.id, again.Object} {
		wantKind(t, "the old object", p.one.reads(id), errs.Deleted)
	}
}

// Neither does one by another home, while the content is sent.
func TestRevocationHearsOfARotationWhileItSends(t *testing.T) {
	p := newPair(t)
	o := p.one.links("a")
	o.Transfer = "this"
	p.one.deleting.Lock() // for which it waits when it has sent all
	locked := true
	unlock := func() {
		if locked {
			locked = false
			p.one.deleting.Unlock()
		}
	}
	defer unlock()
	l, _ := p.one.objects()
	u, plan, err := p.one.planRevocation(t.Context(), l, "a", o)
	if err == nil {
		err = p.one.withdraw(t.Context(), l, u, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.one.rekey(t.Context(), l, plan, o, u) }()
	if !soon(func() bool {
		sent := p.one.board.list("this")
		return len(sent) > 0 && sent[0].Confirmed >= int64(len(p.content))
	}) {
		t.Fatal("it sends nothing")
	}
	p.two.news()
	p.two.rotate()
	unlock()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := p.one.finishRevocation(t.Context(), l, u, o.Now); err != nil {
		t.Fatal(err)
	}
	p.one.revoked()
	p.two.news()
	for what, n := range map[string]*running{"one": p.one, "two": p.two} {
		n.get("a", p.content)
		if list, err := listOf(t, n.Node); err != nil || len(list.Objects) != 1 || list.Objects[0].ID != u.Revoked.Object {
			t.Errorf("%s: %+v, %v", what, list, err)
		}
	}
	wantKind(t, "the old object", p.one.reads(p.id), errs.Deleted)
}

// A rotation by another home that comes to be heard of once the content is there
// twice does not have the old object forgotten.
func TestRevocationHearsOfARotationInTheEnd(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	l, u := p.one.halfway("a", p.one.links("a"))
	p.two.rotate()
	if err := p.one.finishRevocation(ctx, l, u, true); err != nil {
		t.Fatal(err)
	}
	p.one.revoked()
	p.two.news()
	for what, n := range map[string]*running{"one": p.one, "two": p.two} {
		n.get("a", p.content)
		if list, err := listOf(t, n.Node); err != nil || len(list.Objects) != 1 {
			t.Errorf("%s: %+v, %v", what, list, err)
		}
	}
	old, err := p.two.catalog.Current(ctx, p.id)
	if err != nil || old == p.id {
		t.Fatalf("the object is %s still, %v", old, err)
	}
	wantKind(t, "the old object, rotated", p.one.reads(old), errs.Deleted)
}

// readers counts the shares that can be read.
func (r *running) readers() (n int) {
	r.t.Helper()
	all, err := r.catalog.Shares(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range all {
		if kind := errs.KindOf(r.reads(s.ID)); s.Active(time.Now()) && kind != errs.Deleted && kind != errs.FileNotFound {
			n++ // it is there, for others to open
		}
	}
	return n
}

// shares shares an object of both homes with bob.
func (p *pair) shares(t *testing.T) {
	t.Helper()
	k := p.friend(t)
	if _, err := p.one.Share(t.Context(), "a", ShareOptions{To: k.Name}); err != nil {
		t.Fatal(err)
	}
	p.two.news()
	if n := p.two.readers(); n != 1 {
		t.Fatalf("%d can read it", n)
	}
}

// From whom another home has taken it back meanwhile it is not given to again.
func TestRevocationGivesNothingToWhomItWasTakenFrom(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	p.shares(t)
	l, u := p.one.halfway("a", p.one.links("a"))
	if _, err := p.two.Unshare(ctx, "a", UnshareOptions{From: "bob"}); err != nil {
		t.Fatal(err)
	}
	if err := p.one.finishRevocation(ctx, l, u, true); err != nil {
		t.Fatal(err)
	}
	p.one.revoked()
	if n := p.one.readers(); n > 0 {
		t.Errorf("%d can read it", n)
	}
	p.one.get("a", p.content)
}

// So it is if another home, which has not heard, has said something of the share
// later: its manifest is gone for good.
func TestRevocationDoesNotHeedAShareThatIsGone(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	p.shares(t)
	shares, err := p.two.Shares(ctx)
	if err != nil || len(shares.Shares) != 1 {
		t.Fatalf("%+v, %v", shares, err)
	}
	o := UnshareOptions{From: "bob", Revoke: true, Now: true}
	l, _ := p.one.objects()
	u, plan, err := p.one.planRevocation(ctx, l, "a", o)
	if err == nil {
		err = p.one.withdraw(ctx, l, u, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // which makes it the later
		if err := p.two.catalog.SetExpires(ctx, shares.Shares[0].ID, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	lo, _ := p.two.objects()
	if err := p.two.publish(ctx, lo); err != nil {
		t.Fatal(err)
	}
	if err := p.one.rekey(ctx, l, plan, o, u); err != nil {
		t.Fatal(err)
	}
	if err := p.one.finishRevocation(ctx, l, u, true); err != nil {
		t.Fatal(err)
	}
	p.one.revoked()
	if n := p.one.readers(); n > 0 {
		t.Errorf("%d can read it", n)
	}
	p.one.get("a", p.content)
}

// What is there twice is taken back as one, and who has been given the new keys is
// said to have them.
func TestTakingBackWhileARevocationIsHalfway(t *testing.T) {
	for _, passed := range []bool{false, true} {
		p := newPair(t)
		ctx := t.Context()
		p.shares(t)
		l, u := p.one.halfway("a", p.one.links("a"))
		if passed {
			r, err := p.one.rekeyed(ctx, p.id)
			if err == nil {
				err = p.one.publish(ctx, l)
			}
			if err == nil {
				err = p.one.passOn(ctx, l, r)
			}
			if err != nil || p.one.readers() != 1 {
				t.Fatalf("%d can read it, %v", p.one.readers(), err)
			}
		}
		o := UnshareOptions{From: "bob", Revoke: passed, Now: passed}
		_, err := p.one.Unshare(ctx, "a", o)
		if passed {
			wantKind(t, "with the new keys", err, errs.Unavailable)
			_, err = p.one.Unshare(ctx, "a", o)
		}
		if err != nil {
			t.Fatalf("passed on %t: %v", passed, err)
		}
		if !passed {
			if err := p.one.finishRevocation(ctx, l, u, true); err != nil {
				t.Fatal(err)
			}
		}
		p.one.revoked()
		if n := p.one.readers(); n > 0 {
			t.Errorf("passed on %t: %d can read it", passed, n)
		}
		p.one.get("a", p.content)
		wantKind(t, "the old object", p.one.reads(p.id), errs.Deleted)
		if passed {
			wantKind(t, "the object whose keys were passed on", p.one.reads(u.Revoked.Object), errs.Deleted)
		}
	}
}

// A home that has deleted one of the two, and has told nobody but the mesh, does
// not have the other deleted, nor what is in the trash taken for gone.
func TestRevocationAsksForTheLastWords(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	l, u := p.one.halfway("a", p.one.links("a"))
	lo, _ := p.two.objects()
	c, err := lo.objects.Condemn(ctx, u.Revoked.Object)
	if err == nil {
		err = c.Delete(ctx, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	wantKind(t, "what was stored anew is deleted", p.one.finishRevocation(ctx, l, u, true), errs.Deleted)
	if err := p.one.reads(p.id); err != nil {
		t.Errorf("the old object: %v", err)
	}

	p = newPair(t)
	l, u = p.one.halfway("a", p.one.links("a"))
	lo, _ = p.two.objects()
	if c, err = lo.objects.Condemn(ctx, p.id); err == nil {
		err = c.Delete(ctx, false)
	}
	if err == nil {
		err = p.one.finishRevocation(ctx, l, u, true)
	}
	if err != nil || u.Revoked.Until.IsZero() {
		t.Errorf("it is said to be gone and is in the trash: %+v, %v", u.Revoked, err)
	}
}

// Interrupted while the content is sent it leaves the object as it is, and the
// error says what to do.
func TestRevocationThatCannotGoOnSaysSo(t *testing.T) {
	p := newPair(t)
	o := p.one.links("a")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l, _ := p.one.objects()
	u, plan, err := p.one.planRevocation(ctx, l, "a", o)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := p.one.rekey(ctx, l, plan, o, u); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for hint, err := range map[string]error{
		"type the same again: it goes on; a service of this home ends by itself what was sent": errs.New(errs.Unavailable, "too few"),
		"free some disk space or add a node, and type the same again: it goes on":              errs.New(errs.Full, "no room"),
		"take it back": errs.WithHint(errs.New(errs.Refused, "a link"), "take it back"),
	} {
		if got := errs.HintFor(unrevoked(err)); got != hint {
			t.Errorf("%v: the hint is %q, want %q", err, got, hint)
		}
	}
	p.one.revoked()
	p.listed(t)
}
