package node

import (
	"sync"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

// interrupted notes that objects shall be gone, as a deletion does first.
func (r *running) interrupted(final bool, ids ...datamesh.ObjectID) {
	r.t.Helper()
	for _, id := range ids {
		if err := r.catalog.Delete(r.t.Context(), id, time.Now(), 1, final); err != nil {
			r.t.Fatal(err)
		}
	}
}

// A deletion that cannot go on, since nobody has the object any more, does not
// keep others from it.
func TestDeletionsGoOnBesideOneThatCannot(t *testing.T) {
	n := bootstrap(t, home(t))
	first, second := n.put(noise(1, 1000), PutOptions{}).ID, n.put(noise(2, 1000), PutOptions{}).ID
	l, err := n.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.deleting.Lock() // the service goes on with deletions by itself
	unlock := sync.OnceFunc(n.deleting.Unlock)
	defer unlock()
	n.interrupted(false, first, second)
	keys, err := l.disk.List(t.Context(), datamesh.First, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if key.Segment == datamesh.SegmentID(second) {
			if err := l.disk.Remove(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	unlock()
	if err := n.finishDeletions(t.Context(), l); err == nil {
		t.Error("an object that nobody has was deleted")
	}
	for id, done := range map[datamesh.ObjectID]bool{first: true, second: false} {
		if e, err := n.catalog.DeletedByID(t.Context(), id); err != nil || e.Done != done {
			t.Errorf("%s: done %v, %v, want %v", id, e.Done, err, done)
		}
	}
}

// What was begun as a deletion for ever goes on as one, however it is asked to.
func TestDeletionForEverGoesOnAsOne(t *testing.T) {
	n := bootstrap(t, home(t))
	id := n.put(noise(1, 1000), PutOptions{}).ID
	n.interrupted(true, id)
	if r, err := n.Delete(t.Context(), id.String(), DeleteOptions{}); err != nil || !r.Until.IsZero() {
		t.Errorf("got %+v, %v", r, err)
	}
	_, err := n.Undelete(t.Context(), id.String())
	wantKind(t, "undelete", err, errs.Deleted)
}

// What an undelete that failed has brought back is deleted again, and an object
// that is there stays there.
func TestUndeleteThatFailsIsFollowedByADeletion(t *testing.T) {
	n := bootstrap(t, home(t))
	there, gone := n.put(noise(1, 1000), PutOptions{}).ID, n.put(noise(2, 1000), PutOptions{}).ID
	l, err := n.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Delete(t.Context(), gone.String(), DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.disk.Purge(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	_, err = n.Undelete(t.Context(), gone.String())
	wantKind(t, "undelete of what is purged", err, errs.Unavailable)
	if e, err := n.catalog.DeletedByID(t.Context(), gone); err != nil || e.Done {
		t.Errorf("done %v, %v: what was brought back stays", e.Done, err)
	}
	_, err = n.Undelete(t.Context(), there.String())
	wantKind(t, "undelete of what is there", err, errs.FileNotFound)
	if err := n.finishDeletions(t.Context(), l); err != nil {
		t.Error(err)
	}
	if e, err := n.catalog.DeletedByID(t.Context(), gone); err != nil || !e.Done {
		t.Errorf("done %v, %v", e.Done, err)
	}
	n.get(there.String(), noise(1, 1000))
}

// A deletion that was interrupted does not go on when the object was brought
// back since, as from another home of its owner.
func TestDeletionDoesNotOutliveAnUndelete(t *testing.T) {
	n := bootstrap(t, home(t))
	content := noise(1, 200_000)
	id := n.put(content, PutOptions{}).ID
	l, err := n.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.objects.Condemn(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	n.interrupted(false, id) // before it could note that it is done
	if _, err := l.objects.Undelete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := n.finishDeletions(t.Context(), l); err != nil {
		t.Error(err)
	}
	if _, err := n.catalog.ByID(t.Context(), id); err != nil {
		t.Errorf("what was brought back is not in the catalog: %v", err)
	}
	n.get(id.String(), content)
}

// Who only goes on with deletions deletes nothing that was brought back since, and
// nothing that is listed.
func TestDeletionThatGoesOnDoesNotOutliveAnUndelete(t *testing.T) {
	n := bootstrap(t, home(t))
	ctx := t.Context()
	back, gone, there := n.put(noise(1, 100_000), PutOptions{}).ID, n.put(noise(2, 100_000), PutOptions{}).ID, n.put(noise(3, 100), PutOptions{}).ID
	l, err := n.connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.objects.Condemn(ctx, back)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(ctx, false); err != nil {
		t.Fatal(err)
	}
	n.interrupted(false, back)
	if _, err := l.objects.Undelete(ctx, back); err != nil {
		t.Fatal(err)
	}
	n.interrupted(false, gone)
	for _, id := range []datamesh.ObjectID{back, gone, gone} {
		if r, err := n.Delete(ctx, id.String(), DeleteOptions{Resume: true}); err != nil || r.ID != id {
			t.Errorf("got %+v, %v", r, err)
		}
	}
	_, err = n.Delete(ctx, there.String(), DeleteOptions{Resume: true})
	wantKind(t, "what was not deleted", err, errs.FileNotFound)
	n.get(back.String(), noise(1, 100_000))
	n.get(there.String(), noise(3, 100))
	if e, err := n.catalog.DeletedByID(ctx, gone); err != nil || !e.Done {
		t.Errorf("what was not brought back: %+v, %v", e, err)
	}
}

// Of what another home has deleted for ever nobody is told that it can be brought
// back.
func TestWhatIsGoneForEverIsSaidToBe(t *testing.T) {
	n := bootstrap(t, home(t))
	l, err := n.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, final := range []bool{false, true} {
		id := n.put(noise(1, 100_000), PutOptions{}).ID
		c, err := l.objects.Condemn(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(t.Context(), final); err != nil {
			t.Fatal(err)
		}
		if r, err := n.Delete(t.Context(), id.String(), DeleteOptions{}); err != nil || r.Until.IsZero() != final {
			t.Errorf("final %v: got %+v, %v", final, r, err)
		}
	}
}
