package node

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"

	"github.com/google/go-cmp/cmp"
)

// litter stores a segment of the user's that no object refers to, as a put leaves
// one whose home is gone.
func (r *running) litter(seed byte) *datamesh.Descriptor {
	r.t.Helper()
	keys := must(r.t, r.keys)
	shard := noise(seed, 5000)
	d, err := format.NewDescriptor(keys.Owner, 1, 1, len(shard), []datamesh.ShardID{hash.Shard(shard), hash.Shard(shard)})
	if err != nil {
		r.t.Fatal(err)
	}
	l, _ := r.objects()
	i := 0
	for m := range l.view().All() {
		if i < 2 {
			r.insist(func() error { return (&members{l}).Shards(m.Record.Peer).Put(r.t.Context(), d, i, shard) })
		}
		i++
	}
	return d
}

// later moves the clock by which the node tells what is old enough.
func (r *running) later(by time.Duration) {
	r.Node.now = func() time.Time { return time.Now().Add(by) }
}

func (r *running) cleanup(o CleanupOptions) (done *Cleaned) {
	r.t.Helper()
	r.insist(func() (err error) {
		done, err = r.Cleanup(r.t.Context(), o)
		return err
	})
	return done
}

// listed returns which of segments some member lists.
func (r *running) listed(all ...*datamesh.Descriptor) (list []datamesh.SegmentID) {
	r.t.Helper()
	l, _ := r.objects()
	found, err := l.objects.Strays(r.t.Context(), func(segments []datamesh.SegmentID) ([]bool, error) { return make([]bool, len(segments)), nil })
	if err != nil {
		r.t.Fatal(err)
	}
	for _, d := range all {
		for _, s := range found.List {
			if s.Descriptor.Segment == d.Segment {
				list = append(list, d.Segment)
			}
		}
	}
	return list
}

// A mesh of one door, and a user who has stored things in it, by two homes.
type cleanupWorld struct {
	door, user, other *running
	contents          map[string][]byte
	deleted           datamesh.ObjectID
	shared            datamesh.ObjectID // a second manifest of small, for whoever has the identity opens
	opens             crypt.Identity
}

func newCleanupWorld(t *testing.T) *cleanupWorld {
	t.Helper()
	w := &cleanupWorld{door: bootstrap(t, home(t)), contents: map[string][]byte{}}
	second := open(t, through(t, home(t), Storage, w.door))
	w.door.sees(1)
	second.sees(1)
	h, other := home(t), home(t)
	w.user = open(t, through(t, h, Client, w.door))
	w.store(w.user, "small", noise(1, 100))
	w.store(w.user, "large", noise(2, 300_000))
	var to crypt.Recipient
	var err error
	if w.opens, to, err = crypt.NewIdentity([32]byte{7}); err != nil {
		t.Fatal(err)
	}
	share, err := w.user.Share(t.Context(), "small", ShareOptions{Recipient: to.String()})
	if err != nil {
		t.Fatal(err)
	}
	w.shared = share.ID
	carry(t, h, other)
	w.other = open(t, through(t, other, Client, w.door))
	w.store(w.other, "of the other home", noise(3, 200_000))
	w.deleted = w.user.put(noise(4, 100_000), PutOptions{Name: "deleted"}).ID
	if _, err := w.user.Delete(t.Context(), w.deleted.String(), DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *cleanupWorld) store(r *running, name string, content []byte) {
	r.put(content, PutOptions{Name: name})
	w.contents[name] = content
}

// intact checks that all that was stored can be read, and what was deleted be
// brought back.
func (w *cleanupWorld) intact(t *testing.T) {
	t.Helper()
	w.user.news()
	for name, content := range w.contents {
		w.user.get(name, content)
	}
	l, _ := w.user.objects()
	var got bytes.Buffer
	_, err := l.objects.GetRangeWith(t.Context(), w.shared, []crypt.Identity{w.opens}, func(m *format.Manifest) (io.Writer, int64, int64, error) { return &got, 0, m.Size, nil })
	if err != nil || !bytes.Equal(got.Bytes(), w.contents["small"]) {
		t.Errorf("what is shared: %d bytes, %v", got.Len(), err)
	}
	if _, err := w.user.Undelete(t.Context(), w.deleted.String()); err != nil {
		t.Errorf("undelete: %v", err)
		return
	}
	w.user.get(w.deleted.String(), noise(4, 100_000))
	if _, err := w.user.Delete(t.Context(), w.deleted.String(), DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// What nobody knows goes when it was seen for 30 days, and not before; nothing else
// does; and it comes back.
func TestCleanupPutsLeftoversIntoTheTrash(t *testing.T) {
	w := newCleanupWorld(t)
	u := w.user
	litter := u.litter(9)
	var first *Cleaned
	soon(func() bool {
		first = u.cleanup(CleanupOptions{})
		return first.Answered == first.Asked
	})
	want := &Cleaned{Waiting: 1, WaitingBytes: 10000, Found: []FoundObject{}, Answered: 2, Asked: 2}
	if first.First.Before(time.Now().Add(strayAge-time.Hour)) || !first.First.Equal(first.Last) {
		t.Errorf("it is old enough at %v to %v", first.First, first.Last)
	}
	first.First, first.Last = time.Time{}, time.Time{}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("at first sight (-want +got):\n%s", diff)
	}
	u.later(strayAge - time.Hour)
	if c := u.cleanup(CleanupOptions{}); c.Segments != 0 || c.Waiting != 1 {
		t.Errorf("an hour too soon: got %+v", c)
	}
	u.later(strayAge + time.Minute)
	young := u.litter(10)
	dry := u.cleanup(CleanupOptions{DryRun: true})
	if dry.Segments != 1 || dry.Bytes != 10000 || dry.Waiting != 1 || dry.Oldest.IsZero() || !dry.Until.IsZero() || !dry.DryRun {
		t.Errorf("a dry run: got %+v", dry)
	}
	if got := u.listed(litter, young); len(got) != 2 {
		t.Errorf("after a dry run %d of 2 are there", len(got))
	}
	if _, err := w.other.Cleanup(t.Context(), CleanupOptions{}); err != nil || len(u.listed(litter)) != 1 {
		t.Errorf("another home that has never seen it: %v, %d are there", err, len(u.listed(litter)))
	}
	done := u.cleanup(CleanupOptions{})
	if done.Segments != 1 || done.Bytes != 10000 || done.Failed != 0 || done.Until.Before(time.Now().Add(trashTime)) {
		t.Errorf("got %+v", done)
	}
	if got := u.listed(litter, young); !slices.Equal(got, []datamesh.SegmentID{young.Segment}) {
		t.Errorf("%v are there, want the young one", got)
	}
	w.intact(t)
	if c := u.cleanup(CleanupOptions{}); c.Segments != 0 || c.Waiting != 1 {
		t.Errorf("again: got %+v", c)
	}
	if c := u.cleanup(CleanupOptions{Undo: true}); c.Restored != 1 || c.Failed != 0 {
		t.Errorf("undo: got %+v", c)
	}
	if got := u.listed(litter); len(got) != 1 {
		t.Error("what was brought back is not there")
	}
	if c := u.cleanup(CleanupOptions{Undo: true}); c.Restored != 0 {
		t.Errorf("undo again: got %+v", c)
	}
	if c := u.cleanup(CleanupOptions{}); c.Segments != 0 || c.Waiting != 2 {
		t.Errorf("what was brought back begins anew: got %+v", c)
	}
	w.intact(t)
}

// After 7 days nothing is brought back.
func TestCleanupIsUndoneForAWeek(t *testing.T) {
	w := newCleanupWorld(t)
	w.user.litter(9)
	w.user.cleanup(CleanupOptions{})
	w.user.later(strayAge)
	if c := w.user.cleanup(CleanupOptions{}); c.Segments != 1 {
		t.Fatalf("got %+v", c)
	}
	w.user.later(strayAge + trashTime + time.Minute)
	if c := w.user.cleanup(CleanupOptions{Undo: true}); c.Restored != 0 {
		t.Errorf("got %+v", c)
	}
}

// An object that no catalog has, as one whose home was gone before it could say so,
// is kept, and told of.
func TestCleanupKeepsLostObjects(t *testing.T) {
	w := newCleanupWorld(t)
	content := noise(7, 250_000)
	lost := w.user.put(content, PutOptions{Name: "lost"})
	if _, err := w.user.Delete(t.Context(), lost.ID.String(), DeleteOptions{Forget: true}); err != nil {
		t.Fatal(err)
	}
	w.user.cleanup(CleanupOptions{})
	w.user.later(2 * strayAge)
	litter := w.user.litter(9)
	for _, dry := range []bool{true, false} {
		c := w.user.cleanup(CleanupOptions{DryRun: dry})
		if len(c.Found) != 1 || c.Found[0].ID != lost.ID || c.Found[0].Name != "lost" || c.Found[0].Size != int64(len(content)) || c.Segments != 0 || c.Waiting != 1 {
			t.Errorf("dry run %v: got %+v", dry, c)
		}
	}
	w.user.get(lost.ID.String(), content)
	w.user.later(4 * strayAge)
	if c := w.user.cleanup(CleanupOptions{}); c.Segments != 1 || len(w.user.listed(litter)) != 0 {
		t.Errorf("what is beside it: got %+v", c)
	}
	w.user.get(lost.ID.String(), content)
	w.intact(t)
}

// Whoever does not know all puts nothing into the trash, and says what is missing.
func TestCleanupRefusesWhenNotAllIsKnown(t *testing.T) {
	w := newCleanupWorld(t)
	u := w.user
	litter := u.litter(9)
	u.cleanup(CleanupOptions{})
	u.later(2 * strayAge)
	refuses := func(what string) {
		t.Helper()
		_, err := u.Cleanup(t.Context(), CleanupOptions{})
		wantKind(t, what, err, errs.Unavailable)
		if errs.HintFor(err) == "" || len(u.listed(litter)) != 1 {
			t.Errorf("%s: %v, hint %q; %d are there", what, err, errs.HintFor(err), len(u.listed(litter)))
		}
	}
	hears := func(what string, all bool) {
		t.Helper()
		var h *Heard
		var err error
		if !soon(func() bool {
			h, err = u.Hear(t.Context())
			return err == nil && h.Partial != all && (len(h.Warnings) == 0) == all
		}) {
			t.Errorf("%s: heard %+v, %v", what, h, err)
		}
	}
	keys := must(t, u.keys)
	l, mesh := u.objects()
	say := func(device byte, seq, base uint64, block *format.LogBlock) {
		t.Helper()
		sealed, err := format.SealBlock(block, keys.Catalog)
		if err != nil {
			t.Fatal(err)
		}
		r, err := format.NewRecord(keys.Owner, mesh, [16]byte{device}, seq, base, sealed)
		if err != nil {
			t.Fatal(err)
		}
		u.insist(func() error { return l.objects.PutRecord(t.Context(), r) })
	}
	block := &format.LogBlock{}
	say(1, 3, 0, block)
	refuses("records are missing")
	hears("records are missing", false)
	say(1, 4, 3, block)
	hears("none are missing", true)
	u.cleanup(CleanupOptions{DryRun: true})

	absent := datamesh.ObjectID{77}
	say(2, 1, 0, &format.LogBlock{Changes: []format.Change{{Object: absent, State: format.Listed, Clock: 1, Name: "x", Created: 1}}})
	refuses("an object cannot be read")
	say(2, 2, 0, &format.LogBlock{Changes: []format.Change{{Object: absent, State: format.DeletedFinal, Clock: 2, Name: "x", Created: 1, At: 1, Word: 1 << 63}}})
	u.cleanup(CleanupOptions{DryRun: true})

	say(3, 1, 0, &format.LogBlock{Runs: []format.Run{{Object: datamesh.ObjectID{78}, Level: 1, Changes: 1}}})
	refuses("a run cannot be read")
	hears("a run cannot be read", false)
	say(3, 2, 1, block)
	r, err := format.NewRecord(keys.Owner, mesh, [16]byte{4}, 1, 0, []byte("of another key"))
	if err != nil {
		t.Fatal(err)
	}
	u.insist(func() error { return l.objects.PutRecord(t.Context(), r) })
	refuses("a record cannot be opened")
	hears("a record cannot be opened", false)
	say(4, 2, 1, block)
	hears("all is known again", true)
	if c := u.cleanup(CleanupOptions{}); c.Segments != 1 {
		t.Errorf("when all is known again: got %+v", c)
	}
	w.intact(t)
}

// What a put of this home has sent and not ended is no leftover, however old.
func TestCleanupKeepsWhatPutsHaveNotEnded(t *testing.T) {
	w := newCleanupWorld(t)
	began, goOn := make(chan struct{}), make(chan struct{})
	content := noise(5, 20<<20)
	var group sync.WaitGroup
	defer group.Wait()
	var stored *Stored
	var err error
	group.Go(func() {
		stored, err = w.user.Put(t.Context(), &pausing{content: content, at: 17 << 20, began: began, goOn: goOn}, PutOptions{Name: "slow"})
	})
	<-began
	w.user.cleanup(CleanupOptions{})
	w.user.later(2 * strayAge)
	for range 2 {
		if c := w.user.cleanup(CleanupOptions{}); c.Segments != 0 || c.Waiting != 0 {
			t.Errorf("got %+v", c)
		}
	}
	close(goOn)
	group.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if c := w.user.cleanup(CleanupOptions{}); c.Segments != 0 || c.Waiting != 0 || len(c.Found) != 0 {
		t.Errorf("when it has ended: got %+v", c)
	}
	w.user.get(stored.ID.String(), content)
}

// Nor is what a put has sent since the puts of this home were read.
func TestCleanupKeepsWhatPutsSendMeanwhile(t *testing.T) {
	w := newCleanupWorld(t)
	l, _ := w.user.objects()
	keys := must(t, w.user.keys)
	puts, err := w.user.journal.Segments()
	if err != nil {
		t.Fatal(err)
	}
	known, err := w.user.knowAll(t.Context(), l, keys)
	if err != nil {
		t.Fatal(err)
	}
	listed := func(isKnown func([]datamesh.SegmentID) ([]bool, error)) int {
		t.Helper()
		found, err := l.objects.Strays(t.Context(), isKnown)
		if err != nil {
			t.Fatal(err)
		}
		return len(found.List)
	}
	all := func(segments []datamesh.SegmentID) ([]bool, error) { return make([]bool, len(segments)), nil }
	before := listed(all)
	began, goOn := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	defer group.Wait()
	defer close(goOn)
	group.Go(func() {
		content := noise(5, 20<<20)
		if _, err := w.user.Put(t.Context(), &pausing{content: content, at: 17 << 20, began: began, goOn: goOn}, PutOptions{Name: "slow"}); err != nil {
			t.Error(err)
		}
	})
	<-began
	if !soon(func() bool { return listed(all) > before }) {
		t.Fatal("no member has a segment of the put")
	}
	unknown := func() int {
		t.Helper()
		if err := w.user.knowSince(t.Context(), l, known, puts); err != nil {
			t.Fatal(err)
		}
		return listed(func(segments []datamesh.SegmentID) ([]bool, error) {
			return w.user.areKnown(t.Context(), known, puts, segments)
		})
	}
	if n := unknown(); n != 0 {
		t.Errorf("%d segments of a put on its way are taken for leftovers", n)
	}
	w.user.put(noise(6, 250_000), PutOptions{Name: "quick"})
	if n := unknown(); n != 0 {
		t.Errorf("%d segments of a put that has ended are taken for leftovers", n)
	}
}

// A service notes each day, and puts nothing into the trash.
func TestServiceNotesWhatIsLeftOver(t *testing.T) {
	n := bootstrap(t, home(t))
	n.put(noise(1, 100), PutOptions{Name: "x"})
	l, _ := n.objects()
	litter := n.litter(9)
	if err := n.lookOnce(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	n.litter(10)
	if err := n.lookOnce(t.Context(), l); err != nil { // too soon to look again
		t.Fatal(err)
	}
	n.later(strayAge)
	if err := n.lookOnce(t.Context(), l); err != nil || len(n.listed(litter)) != 1 {
		t.Errorf("%v, %d are there", err, len(n.listed(litter)))
	}
	if c := n.cleanup(CleanupOptions{}); c.Segments != 1 || c.Waiting != 1 {
		t.Errorf("got %+v", c)
	}
}

// What another device tells of after it was put into the trash comes back by itself.
func TestCleanupBringsBackWhatIsKnownAfterAll(t *testing.T) {
	w := newCleanupWorld(t)
	content := noise(7, 250_000)
	late := w.user.put(content, PutOptions{Name: "late"})
	l, _ := w.user.objects()
	parts, err := l.objects.Parts(t.Context(), late.ID)
	if err != nil {
		t.Fatal(err)
	}
	found, err := l.objects.Strays(t.Context(), func(all []datamesh.SegmentID) (known []bool, err error) {
		for _, segment := range all {
			known = append(known, !slices.Contains(parts[1:], segment))
		}
		return known, nil
	})
	if err != nil || len(found.List) == 0 {
		t.Fatalf("%d, %v", len(found.List), err)
	}
	if err := l.objects.RecallStrays(t.Context(), found.List); err != nil {
		t.Fatal(err)
	}
	w.user.cleanup(CleanupOptions{DryRun: true}) // its parts are known
	acked, _, err := l.objects.Discard(t.Context(), found.List, func(words []*datamesh.Deletion) error {
		return w.user.catalog.Discard(t.Context(), time.Now(), words)
	})
	if err != nil || len(acked) != len(found.List) {
		t.Fatalf("%d of %d, %v", len(acked), len(found.List), err)
	}
	w.user.cleanup(CleanupOptions{DryRun: true})
	w.user.get(late.ID.String(), content)
}

// A home of nobody has nothing to clean up.
func TestCleanupTakesAnIdentity(t *testing.T) {
	n := bootstrap(t, home(t))
	_, err := n.Cleanup(t.Context(), CleanupOptions{})
	wantKind(t, "without an identity", err, errs.KeyManagement)
	l, _ := n.objects()
	if err := n.lookOnce(t.Context(), l); err != nil {
		t.Errorf("its service: %v", err)
	}
}

// pausing is a content whose reader waits in the middle.
type pausing struct {
	content     []byte
	at          int
	began, goOn chan struct{}
	read        int
}

func (p *pausing) Read(b []byte) (int, error) {
	if p.read == len(p.content) {
		return 0, io.EOF
	}
	if p.read == p.at {
		close(p.began)
		<-p.goOn
	}
	end := len(p.content)
	if p.read < p.at {
		end = p.at
	}
	n := copy(b, p.content[p.read:end])
	p.read += n
	return n, nil
}

// Segments that were put into the trash while nobody showed the manifest come back
// when somebody does.
func TestCleanupBringsBackWhatALostObjectTurnsOutToNeed(t *testing.T) {
	w := newCleanupWorld(t)
	content := noise(7, 250_000)
	late := w.user.put(content, PutOptions{Name: "late"})
	l, _ := w.user.objects()
	parts, err := l.objects.Parts(t.Context(), late.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.user.Delete(t.Context(), late.ID.String(), DeleteOptions{Forget: true}); err != nil {
		t.Fatal(err)
	}
	found, err := l.objects.Strays(t.Context(), func(all []datamesh.SegmentID) (known []bool, err error) {
		for _, segment := range all {
			known = append(known, !slices.Contains(parts[1:], segment))
		}
		return known, nil
	})
	if err == nil {
		err = l.objects.RecallStrays(t.Context(), found.List)
	}
	if err != nil || len(found.List) == 0 {
		t.Fatalf("%d, %v", len(found.List), err)
	}
	if _, _, err := l.objects.Discard(t.Context(), found.List, func(words []*datamesh.Deletion) error {
		return w.user.catalog.Discard(t.Context(), time.Now(), words)
	}); err != nil {
		t.Fatal(err)
	}
	if c := w.user.cleanup(CleanupOptions{}); len(c.Found) != 1 || c.Found[0].ID != late.ID {
		t.Errorf("got %+v", c)
	}
	w.user.get(late.ID.String(), content)
}

// The runs of another home, and what they are cut into, are known by its records.
func TestCleanupKeepsTheRunsOfOtherHomes(t *testing.T) {
	w := newCleanupWorld(t)
	before := w.other.records()
	for i := range 80 { // with names so long that the run has segments of its own
		w.other.put(noise(byte(i), 10), PutOptions{Name: fmt.Sprint(i, strings.Repeat("x", 4000))})
	}
	l, _ := w.other.objects()
	var err error
	if !soon(func() bool {
		w.other.compacting.Lock() // until none is made by what the puts have begun
		defer w.other.compacting.Unlock()
		err = w.other.compact(t.Context(), l)
		return err == nil && w.other.records() < before+80
	}) {
		t.Fatalf("the mesh has %d records: no run was made: %v", w.other.records(), err)
	}
	w.user.news() // it was read before anything is looked for
	w.user.later(strayAge)
	for range 2 {
		if c := w.user.cleanup(CleanupOptions{}); c.Segments+c.Waiting+len(c.Found) != 0 {
			t.Errorf("got %+v", c)
		}
	}
	all := w.user.names()
	anew := home(t)
	carry(t, w.user.home, anew)
	third := open(t, through(t, anew, Client, w.door))
	if third.news(); third.names() != all {
		t.Errorf("a new home has %d names, want %d", third.names(), all)
	}
}

// A home that cannot tell the mesh what it has stored does not know what others
// would make of it, and waits.
func TestCleanupRefusesBeforeTheMeshKnowsThisHome(t *testing.T) {
	w := newCleanupWorld(t)
	keys := must(t, w.user.keys)
	l, mesh := w.user.objects()
	sealed, err := format.SealBlock(&format.LogBlock{}, keys.Catalog)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 62 { // beside the two: as many devices as an owner has
		r, err := format.NewRecord(keys.Owner, mesh, [16]byte{byte(i), 1}, 1, 0, sealed)
		if err != nil {
			t.Fatal(err)
		}
		w.user.insist(func() error { return l.objects.PutRecord(t.Context(), r) })
	}
	w.user.cleanup(CleanupOptions{})
	h := home(t)
	carry(t, w.user.home, h)
	third := open(t, through(t, h, Client, w.door))
	third.put(noise(1, 100), PutOptions{Name: "of one too many"})
	_, err = third.Cleanup(t.Context(), CleanupOptions{})
	wantKind(t, "with what could not be sent", err, errs.Unavailable)
}
