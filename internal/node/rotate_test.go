package node

import (
	"bytes"
	"io"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

func (r *running) rotate() *Rotated {
	r.t.Helper()
	done, err := r.Rotate(r.t.Context(), func(int, int) {})
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

func (r *running) idOf(name string) datamesh.ObjectID {
	r.t.Helper()
	id, err := r.resolve(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// A rotation leaves nothing that a cleanup takes for left over, or for a lost
// object: neither what it has deleted, nor an old manifest that it could not
// delete. What is shared is still there.
func TestCleanupKnowsWhatARotationHasReplaced(t *testing.T) {
	w := newCleanupWorld(t)
	w.user.cleanup(CleanupOptions{})
	w.user.rotate()
	ctx := t.Context()
	l, _ := w.user.objects()
	old := w.user.idOf("large")
	if err := w.user.catalog.BeginEpoch(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := w.user.resealOne(ctx, l, old); err != nil {
		t.Fatal(err)
	}
	if now := w.user.idOf("large"); now == old {
		t.Fatal("it has no other id")
	}
	if _, err := l.objects.Manifest(ctx, old); err != nil {
		t.Fatalf("the old manifest is not there: %v", err)
	}
	for range 2 {
		for _, r := range []*running{w.user, w.other} {
			done := r.cleanup(CleanupOptions{})
			if len(done.Found) != 0 || done.Segments != 0 || done.Waiting != 0 || done.Deleted != 0 {
				t.Errorf("got %+v", done)
			}
			r.later(strayAge + time.Hour)
		}
	}
	w.intact(t)
	w.other.news()
	w.other.get(old.String(), w.contents["large"])
	w.user.rotate()
	if _, err := l.objects.Manifest(ctx, old); errs.KindOf(err) != errs.Deleted {
		t.Errorf("the old manifest, in the end: %v", err)
	}
}

// One home deletes an object while another, which does not know, seals its manifest
// anew: what was said later holds, and what the mesh has heard is mended.
func TestRotationAgainstADeletion(t *testing.T) {
	w := newCleanupWorld(t)
	ctx := t.Context()
	w.other.news()
	id := w.user.idOf("large")
	if err := w.other.catalog.Delete(ctx, id, time.Now(), 1, false); err != nil {
		t.Fatal(err)
	}
	l, _ := w.user.objects()
	if err := w.user.catalog.BeginEpoch(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := w.user.resealOne(ctx, l, id); err != nil {
		t.Fatal(err)
	}
	lo, _ := w.other.objects()
	if err := w.other.finishDeletion(ctx, lo, id); err != nil { // which it had begun before
		t.Fatal(err)
	}
	if _, err := w.user.Get(ctx, "large", GetOptions{}, func(ObjectInfo) (io.Writer, error) { return io.Discard, nil }); err == nil {
		t.Error("nothing of it is deleted, and so nothing is tested")
	}
	if err := w.user.settleIn(ctx, l); err != nil {
		t.Fatal(err)
	}
	w.user.news()
	w.user.get("large", w.contents["large"])
	w.user.get(id.String(), w.contents["large"])
	w.other.news()
	w.other.get("large", w.contents["large"])
}

// What a home says of an object by its old id, without having heard of the new one,
// is of the object: a name, a pin, and that it is shared. Deleted by the new one
// before that it comes back, as it would with one id.
func TestWhatIsSaidByAnOldIDComesToTheObject(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		w := newCleanupWorld(t)
		ctx := t.Context()
		w.other.news()
		old := w.user.idOf("large")
		_, to, err := crypt.NewIdentity([32]byte{8})
		if err != nil {
			t.Fatal(err)
		}
		share, err := w.other.Share(ctx, "large", ShareOptions{Recipient: to.String()})
		if err != nil {
			t.Fatal(err)
		}
		w.user.rotate()
		now := w.user.idOf("large")
		if deleted {
			if _, err := w.user.Delete(ctx, "large", DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.other.catalog.Rename(ctx, "large", "renamed", false); err != nil { // as if nobody was heard
			t.Fatal(err)
		}
		lo, _ := w.other.objects()
		if err := w.other.publish(ctx, lo); err != nil {
			t.Fatal(err)
		}
		for _, r := range []*running{w.user, w.other} {
			l, _ := r.objects()
			keys, err := r.heldKeys()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.learnNames(ctx, l, keys); err != nil {
				t.Fatal(err)
			}
			if err := r.reconcile(ctx, l); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range []*running{w.user, w.other} {
			r.news()
			r.get("renamed", w.contents["large"])
			r.get(old.String(), w.contents["large"])
			if id := r.idOf("renamed"); id != now {
				t.Errorf("it is %v, want %v", id, now)
			}
			list, err := listOf(t, r.Node)
			if err != nil || len(list.Objects) != 3 {
				t.Errorf("%+v, %v", list, err)
			}
			if _, err := r.catalog.ByName(ctx, "large"); errs.KindOf(err) != errs.FileNotFound {
				t.Errorf("by the name that it had: %v", err)
			}
		}
		taken, err := w.user.Unshare(ctx, old.String(), UnshareOptions{Link: share.ID.String()})
		if err != nil || taken.Object != now {
			t.Errorf("unshare: %+v, %v", taken, err)
		}
	}
}

// An object that is renamed, pinned and shared keeps all that when it has another
// id, and is changed by its old ones.
func TestOldIDsNameTheObject(t *testing.T) {
	w := newCleanupWorld(t)
	ctx := t.Context()
	old := w.user.idOf("small")
	w.user.rotate()
	now := w.user.idOf("small")
	if now == old {
		t.Fatal("it has no other id")
	}
	if _, err := w.user.Rename(ctx, RenameOptions{From: old.String(), To: "renamed"}); err != nil {
		t.Errorf("rename: %v", err)
	}
	if got, err := w.user.Copy(ctx, CopyOptions{From: old.String(), To: "also"}); err != nil || got.ID != now {
		t.Errorf("copy: %+v, %v", got, err)
	}
	if _, err := w.user.Tag(ctx, TagOptions{Ref: old.String(), Add: []string{"tag"}}); err != nil {
		t.Errorf("tag: %v", err)
	}
	if _, err := w.user.Pin(ctx, PinOptions{Ref: old.String()}); err != nil {
		t.Errorf("pin: %v", err)
	}
	w.user.rotate()
	w.other.news()
	for _, r := range []*running{w.user, w.other} {
		for _, ref := range []string{"also", "renamed", old.String(), now.String()} {
			r.get(ref, w.contents["small"])
		}
		if _, err := r.Delete(ctx, old.String(), DeleteOptions{}); errs.KindOf(err) != errs.Refused {
			t.Errorf("it is pinned, and deleted by its old id: %v", err)
		}
		e, err := r.catalog.ByName(ctx, "also")
		if err != nil || !e.Pinned || len(e.Tags) != 1 || len(e.Names()) != 2 {
			t.Errorf("got %+v, %v", e, err)
		}
	}
	if _, err := w.user.Pin(ctx, PinOptions{Ref: now.String(), Unpin: true}); err != nil {
		t.Errorf("unpin: %v", err)
	}
	opens := func(r *running) error {
		l, _ := r.objects()
		var got bytes.Buffer
		_, err := l.objects.GetRangeWith(ctx, w.shared, []crypt.Identity{w.opens}, func(m *format.Manifest) (io.Writer, int64, int64, error) { return &got, 0, m.Size, nil })
		if err == nil && !bytes.Equal(got.Bytes(), w.contents["small"]) {
			t.Errorf("what is shared has %d bytes", got.Len())
		}
		return err
	}
	if err := opens(w.other); err != nil {
		t.Errorf("what is shared: %v", err)
	}
	w.other.news()
	if _, err := w.other.Delete(ctx, old.String(), DeleteOptions{}); err != nil {
		t.Fatalf("rm: %v", err)
	}
	if err := opens(w.user); errs.KindOf(err) != errs.Deleted {
		t.Errorf("what is shared of what is deleted: %v", err)
	}
	if _, err := w.other.Undelete(ctx, now.String()); err != nil {
		t.Fatalf("undelete: %v", err)
	}
	if err := opens(w.user); err != nil {
		t.Errorf("what is shared of what came back: %v", err)
	}
	w.user.news()
	if _, err := w.user.Unshare(ctx, now.String(), UnshareOptions{Link: w.shared.String()}); err != nil {
		t.Errorf("unshare: %v", err)
	}
	if err := opens(w.other); errs.KindOf(err) != errs.Deleted {
		t.Errorf("what was taken back: %v", err)
	}
	w.other.get(old.String(), w.contents["small"])
}

// The card of who has rotated has the new recipient, to which contacts seal from
// then on.
func TestRotationIsOnTheCard(t *testing.T) {
	w := newCleanupWorld(t)
	ctx := t.Context()
	l, _ := w.user.objects()
	if err := w.user.post(ctx, l, false); err != nil {
		t.Fatal(err)
	}
	keys, err := w.user.keys()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		done := w.user.rotate()
		found, err := l.objects.Records(ctx, keys.OwnerKey())
		if err != nil {
			t.Fatal(err)
		}
		if _, recipient := cardIn(found.Records); recipient != done.Recipient || recipient == keys.Recipient.String() {
			t.Errorf("the card says %s, want %s", recipient, done.Recipient)
		}
	}
}
