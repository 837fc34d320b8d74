package node

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// A pair are two homes of one user, the second of which was made when the first
// had stored content under the name a.
type pair struct {
	one, two *running
	id       datamesh.ObjectID
	content  []byte
}

func newPair(t *testing.T) *pair {
	t.Helper()
	door := bootstrap(t, home(t))
	second := open(t, through(t, home(t), Storage, door))
	door.sees(1)
	second.sees(1)
	h, other := home(t), home(t)
	p := &pair{one: open(t, through(t, h, Client, door)), content: noise(1, 300_000)}
	p.id = p.one.put(p.content, PutOptions{Name: "a"}).ID
	carry(t, h, other)
	p.two = open(t, through(t, other, Client, door))
	p.two.news()
	return p
}

// listed checks that both have the object, and that it can be read.
func (p *pair) listed(t *testing.T) {
	t.Helper()
	p.two.news()
	p.one.news()
	for what, n := range map[string]*running{"one": p.one, "two": p.two} {
		if _, err := n.catalog.ByID(t.Context(), p.id); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		n.get(p.id.String(), p.content)
	}
}

// What a home learns by itself between the look for a name and the question what
// others have said is found, too: the id that a name had is looked for once more.
func TestWhatWasHeardInBetweenIsFound(t *testing.T) {
	p := newPair(t)
	u, err := p.one.Unshare(t.Context(), "a", p.one.links("a"))
	if err != nil {
		t.Fatal(err)
	}
	was, err := p.two.resolve(t.Context(), "a")
	if err != nil || was != p.id {
		t.Fatalf("the other home has heard of it: %v, %v", was, err)
	}
	if p.two.news() == 0 {
		t.Fatal("there is nothing new")
	}
	if now, moved := p.two.moved(t.Context(), "a", was); !moved || now != u.Revoked.Object {
		t.Errorf("got %v, %v, want %v", now, moved, u.Revoked.Object)
	}
}

// What has begun to be written is not begun anew with what has its name since: one
// half of each is neither.
func TestAGetThatHasBegunIsNotBegunAnew(t *testing.T) {
	p := newPair(t)
	content, other := noise(1, 20<<20), noise(2, 20<<20) // too much for a cache
	p.one.put(content, PutOptions{Name: "b"})
	p.two.news()
	p.one.put(other, PutOptions{Name: "c"})
	var few bytes.Buffer
	_, err := p.two.Get(t.Context(), "b", GetOptions{Range: &Range{Length: 10}}, func(ObjectInfo) (io.Writer, error) { return &few, nil }) // which keeps the manifest for a while
	if err != nil || !bytes.Equal(few.Bytes(), content[:10]) {
		t.Fatalf("got %x, %v", few.Bytes(), err)
	}
	if _, err := p.one.Delete(t.Context(), "b", DeleteOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.one.Rename(t.Context(), RenameOptions{From: "c", To: "b"}); err != nil {
		t.Fatal(err)
	}
	opened := 0
	_, err = p.two.Get(t.Context(), "b", GetOptions{}, func(ObjectInfo) (io.Writer, error) {
		opened++
		return io.Discard, nil
	})
	if opened != 1 || !errors.Is(err, errs.Deleted) {
		t.Errorf("it was begun %d times: %v", opened, err)
	}
	p.two.get("b", other)
}

// What another home has given a further name, or has pinned, rm NAME does not
// delete.
func TestDeletionsHearOtherHomes(t *testing.T) {
	p := newPair(t)
	if _, err := p.two.Copy(t.Context(), CopyOptions{From: "a", To: "b"}); err != nil {
		t.Fatal(err)
	}
	if r, err := p.one.Delete(t.Context(), "a", DeleteOptions{Now: true}); err != nil || r.Until != (time.Time{}) || r.Segments != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	p.one.get("b", p.content)
	if _, err := p.two.Pin(t.Context(), PinOptions{Ref: "b"}); err != nil {
		t.Fatal(err)
	}
	if r, err := p.one.Delete(t.Context(), p.id.String(), DeleteOptions{Now: true}); errs.KindOf(err) != errs.Refused {
		t.Errorf("got %+v, %v, want kind Refused", r, err)
	}
	p.listed(t)
}

// Who has heard them just before, and says so, does not hear them again.
func TestDeletionHearsNobodyTwice(t *testing.T) {
	p := newPair(t)
	if _, err := p.two.Pin(t.Context(), PinOptions{Ref: "a"}); err != nil {
		t.Fatal(err)
	}
	if r, err := p.one.Delete(t.Context(), p.id.String(), DeleteOptions{Heard: true, DryRun: true}); err != nil || r.Segments == 0 {
		t.Errorf("unheard: got %+v, %v", r, err)
	}
	if _, err := p.one.Hear(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := p.one.Delete(t.Context(), p.id.String(), DeleteOptions{Heard: true}); errs.KindOf(err) != errs.Refused {
		t.Errorf("heard: got %+v, %v, want kind Refused", r, err)
	}
	p.listed(t)
}

// What is brought back by a home that has not heard of the deletion stays, also
// when leftovers are looked for.
func TestWhatIsBroughtBackUnheardStays(t *testing.T) {
	p := newPair(t)
	if _, err := p.one.Delete(t.Context(), "a", DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	l, err := p.two.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.objects.Undelete(t.Context(), p.id); err != nil { // and nothing is said of it
		t.Fatal(err)
	}
	p.one.cleanup(CleanupOptions{})
	p.one.later(31 * 24 * time.Hour)
	done := p.one.cleanup(CleanupOptions{})
	if len(done.Found) != 1 || done.Found[0].ID != p.id || done.Segments != 0 {
		t.Errorf("got %+v", done)
	}
	if _, err := p.two.Undelete(t.Context(), p.id.String()); err != nil {
		t.Fatal(err)
	}
	p.listed(t)
}

// A deletion that ended after its first words, against something that another
// home has said later, is undone whole.
func TestDeletionInPartThatDoesNotHoldIsUndone(t *testing.T) {
	p := newPair(t)
	l, _ := p.one.objects()
	c, err := l.objects.Condemn(t.Context(), p.id)
	if err != nil {
		t.Fatal(err)
	}
	e, err := p.one.catalog.ByID(t.Context(), p.id)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.one.condemn(t.Context(), p.id, e, c, false); err != nil {
		t.Fatal(err)
	}
	p.deletesContent(t)
	if _, err := p.one.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.two.catalog.EditObject(t.Context(), p.id, func(e *catalog.Entry) { e.Tags = []string{"keep"} }); err != nil {
		t.Fatal(err)
	}
	if _, err := p.two.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.listed(t)
	if ids, err := p.one.catalog.Disputed(t.Context()); err != nil || len(ids) > 0 {
		t.Errorf("disputed still: %v, %v", ids, err)
	}
}

// deletesContent deletes all of the object but its manifest.
func (p *pair) deletesContent(t *testing.T) {
	t.Helper()
	l, _ := p.one.objects()
	parts, err := l.objects.Parts(t.Context(), p.id)
	if err != nil {
		t.Fatal(err)
	}
	found, err := l.objects.Strays(t.Context(), func(s []datamesh.SegmentID) ([]bool, error) { return make([]bool, len(s)), nil })
	if err != nil {
		t.Fatal(err)
	}
	keys, deleted := must(t, p.one.keys), 0
	for _, s := range found.List {
		for _, part := range parts {
			if s.Descriptor.Segment != part || datamesh.ObjectID(part) == p.id {
				continue
			}
			for m := range l.view().All() {
				p.one.insist(func() error {
					return (&members{l}).Shards(m.Record.Peer).Drop(t.Context(), format.NewDeletion(keys.Owner, s.Descriptor, 1))
				})
			}
			deleted++
		}
	}
	if deleted == 0 {
		t.Fatal("nothing was deleted")
	}
}

// A clock that was ahead does not keep a service from looking.
func TestServiceLooksAfterAClockWasAhead(t *testing.T) {
	w := newCleanupWorld(t)
	d := w.user.litter(9)
	w.user.cleanup(CleanupOptions{})
	w.user.later(31 * 24 * time.Hour)
	if done := w.user.cleanup(CleanupOptions{}); done.Segments != 1 {
		t.Fatalf("got %+v", done)
	}
	w.user.litter(10)
	w.user.later(0)
	l, _ := w.user.objects()
	if err := w.user.lookOnce(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	w.user.later(62 * 24 * time.Hour)
	if done := w.user.cleanup(CleanupOptions{DryRun: true}); done.Segments != 1 || done.Waiting != 0 {
		t.Errorf("got %+v, want what was noted when the clock was right", done)
	}
	if len(w.user.listed(d)) != 0 {
		t.Error("what is in the trash is listed")
	}
}

// Of a backup nobody else could read the packs.
func TestBackupsAreNotShared(t *testing.T) {
	p := newPair(t)
	id := p.one.put(noise(2, 100), PutOptions{Name: "snapshot", Type: format.SnapshotType}).ID
	if s, err := p.one.Share(t.Context(), id.String(), ShareOptions{Recipient: must(t, p.one.keys).Recipient.String()}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("got %+v, %v, want kind Invalid", s, err)
	}
}
