package node

import (
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

// interrupted notes that objects shall be gone, as a deletion does first.
func (r *running) interrupted(final bool, ids ...datamesh.ObjectID) {
	r.t.Helper()
	for _, id := range ids {
		if err := r.catalog.Delete(r.t.Context(), id, time.Now(), final); err != nil {
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
