package object

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/keyring"
	"datamesh/internal/storetest"
)

// strays returns what the members have of the user, but the segments of objects.
func (u *user) strays(known ...datamesh.ObjectID) *Strays {
	u.t.Helper()
	parts := map[datamesh.SegmentID]bool{}
	for _, id := range known {
		list, err := u.Parts(u.t.Context(), id)
		if err != nil {
			u.t.Fatal(err)
		}
		for _, segment := range list {
			parts[segment] = true
		}
	}
	found, err := u.Strays(u.t.Context(), func(list []datamesh.SegmentID) (is []bool, err error) {
		for _, segment := range list {
			is = append(is, parts[segment])
		}
		return is, nil
	})
	if err == nil {
		err = u.RecallStrays(u.t.Context(), found.List)
	}
	if err != nil {
		u.t.Fatal(err)
	}
	return found
}

// discards puts strays into the trash, and returns the words that were noted, those
// that were acknowledged, and those that were only said again.
func (u *user) discards(strays []*Stray) (noted, acked, again []*datamesh.Deletion) {
	u.t.Helper()
	acked, again, err := u.Discard(u.t.Context(), strays, func(words []*datamesh.Deletion) error {
		noted = append(noted, words...)
		return nil
	})
	if err != nil {
		u.t.Fatal(err)
	}
	return noted, acked, again
}

func segmentsIn(words []*datamesh.Deletion) (all []datamesh.SegmentID) {
	for _, w := range words {
		all = append(all, w.Descriptor.Segment)
	}
	return all
}

// What is unknown of an owner is found, whatever form its list has, an object among
// it is recognised, and what goes can be brought back.
func TestStraysAreFoundDiscardedAndRestored(t *testing.T) {
	w := newWorld(t, 9)
	u, other := newUser(t, w), newUser(t, w)
	var err error
	if other.ring, err = keyring.New(keyring.Root{8}); err != nil {
		t.Fatal(err)
	}
	other.put(noise(9, 200_000), options)
	contents := lists(u)
	ids := map[string]datamesh.ObjectID{}
	for name, content := range contents {
		opt := options
		if name == "list" {
			opt.MaxList = 1
		}
		ids[name] = u.put(content, opt).ID
	}
	if s := u.strays(ids["inline"], ids["segments"], ids["list"]); len(s.List) != 0 || s.Asked != 9 || s.Answered != 9 {
		t.Errorf("where all is known: %d strays, %d of %d answered", len(s.List), s.Answered, s.Asked)
	}
	s := u.strays(ids["segments"])
	parts := []datamesh.SegmentID{}
	found := 0
	for _, x := range s.List {
		lost, err := u.Lost(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		if lost == nil {
			continue
		}
		if found++; lost.ID != ids["inline"] && lost.ID != ids["list"] || lost.Manifest.Size != int64(len(contents["inline"])) && lost.Manifest.Size != int64(len(contents["list"])) {
			t.Errorf("found %s of %d bytes", lost.ID, lost.Manifest.Size)
		}
		parts = append(parts, lost.Parts...)
	}
	if found != 2 || len(parts) != len(s.List) {
		t.Errorf("found %d objects of %d segments, want 2 of %d", found, len(parts), len(s.List))
	}

	noted, acked, again := u.discards(s.List)
	if len(noted) != len(s.List) || !slices.Equal(segmentsIn(noted), segmentsIn(acked)) || len(again) != 0 {
		t.Errorf("%d noted, %d acknowledged, %d again, want %d", len(noted), len(acked), len(again), len(s.List))
	}
	for _, w := range acked {
		if w.Generation%2 != 1 || w.Final() {
			t.Errorf("a word of generation %d", w.Generation)
		}
	}
	u.get(ids["segments"], contents["segments"])
	if _, err := u.Manifest(t.Context(), ids["inline"]); !errors.Is(err, errs.Deleted) {
		t.Errorf("what was put into the trash: got %v", err)
	}
	if left := u.strays(ids["segments"]); len(left.List) != 0 {
		t.Errorf("%d strays are left", len(left.List))
	}
	for range 2 { // the second time there is nothing to do
		back, elsewhere, err := u.Restore(t.Context(), acked)
		if err != nil || len(back) != len(acked) || len(elsewhere) != 0 {
			t.Errorf("%d of %d are back, %d are elsewhere: %v", len(back), len(acked), len(elsewhere), err)
		}
	}
	for name, id := range ids {
		u.get(id, contents[name])
	}
}

// What the owner has deleted since by another word stays deleted.
func TestRestoreDoesNotContradictLaterWords(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	id := u.put(noise(1, 1000), options).ID
	_, acked, _ := u.discards(u.strays().List)
	if len(acked) != 1 {
		t.Fatalf("%d words", len(acked))
	}
	if _, err := u.Undelete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := u.delete(id, false); err != nil {
		t.Fatal(err)
	}
	back, elsewhere, err := u.Restore(t.Context(), acked)
	if err != nil || len(back) != 0 || len(elsewhere) != 1 {
		t.Errorf("%d are back, %d are elsewhere: %v", len(back), len(elsewhere), err)
	}
	if _, err := u.Manifest(t.Context(), id); !errors.Is(err, errs.Deleted) {
		t.Errorf("got %v", err)
	}
}

// What too few have heard is not said to be in the trash; what few have heard of
// before is said again, and not noted as a new word.
func TestDiscardNeedsAMajority(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	u.content = 64 << 10
	id := u.put(noise(1, 200_000), options).ID
	fails := func(method storetest.Method, _ datamesh.ShardKey) storetest.Fault {
		if method == storetest.Drop {
			return storetest.Fail
		}
		return storetest.None
	}
	for _, m := range w.members[:8] {
		m.do(fails)
	}
	s := u.strays()
	if noted, acked, again := u.discards(s.List); len(noted) != len(s.List) || len(acked)+len(again) != 0 {
		t.Errorf("%d noted, %d acknowledged, %d again", len(noted), len(acked), len(again))
	}
	for _, m := range w.members[:8] {
		m.set(storetest.None)
	}
	s = u.strays()
	before := len(s.List)
	noted, acked, again := u.discards(s.List)
	if len(acked)+len(again) != before || len(noted) != len(acked) {
		t.Errorf("again: %d noted, %d acknowledged, %d again, want %d in all", len(noted), len(acked), len(again), before)
	}
	if n := w.shards(); n != 0 {
		t.Errorf("%d shards are left", n)
	}
	if _, err := u.Undelete(t.Context(), id); err != nil {
		t.Error(err)
	}
	w.kill(w.members[4:]...)
	for _, m := range w.members[4:] {
		m.set(storetest.Fail)
	}
	w.see(nil) // the node has not noticed
	s = u.strays()
	unheard := 0
	for _, x := range s.List {
		if !x.Heard() {
			unheard++
		}
	}
	noted, acked, _ = u.discards(s.List)
	if s.Answered != 4 || s.Asked != 9 || unheard == 0 || len(noted) > len(s.List)-unheard || len(acked) > len(noted) {
		t.Errorf("%d of %d answered; of %d strays %d were not heard of, %d noted, %d acknowledged", s.Answered, s.Asked, len(s.List), unheard, len(noted), len(acked))
	}
}

// A deletion that some have not heard of is told to those, by the word that it was
// made by.
func TestDiscardTellsOfDeletionsAgain(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	id := u.put(noise(1, 1000), options).ID
	deaf := w.holder(w.keyOf(t, id))
	deaf.do(func(method storetest.Method, _ datamesh.ShardKey) storetest.Fault {
		if method == storetest.Drop {
			return storetest.Fail
		}
		return storetest.None
	})
	if err := u.delete(id, false); err != nil {
		t.Fatal(err)
	}
	deaf.set(storetest.None)
	s := u.strays()
	if len(s.List) != 1 || !s.List[0].Gone() {
		t.Fatalf("%d strays", len(s.List))
	}
	if noted, acked, again := u.discards(s.List); len(noted)+len(acked) != 0 || len(again) != 1 {
		t.Errorf("%d noted, %d acknowledged, %d again", len(noted), len(acked), len(again))
	}
	if n := w.shards(); n != 0 {
		t.Errorf("%d shards are left", n)
	}
}

// keyOf returns the key of some shard of an object's manifest.
func (w *world) keyOf(t *testing.T, id datamesh.ObjectID) datamesh.ShardKey {
	t.Helper()
	for _, m := range w.members {
		for _, key := range m.holds(t) {
			if key.Segment == datamesh.SegmentID(id) {
				return key
			}
		}
	}
	t.Fatalf("nobody holds %s", id)
	return datamesh.ShardKey{}
}

// stores gives members the shards of a segment with these bytes, of one shard of
// data, and returns it.
func (u *user) stores(sealed []byte, holders ...*member) *Stray {
	u.t.Helper()
	ids := slices.Repeat([]datamesh.ShardID{hash.Shard(sealed)}, len(holders))
	d, err := format.NewDescriptor(u.ring.Owner, 1, len(holders)-1, len(sealed), ids)
	if err != nil {
		u.t.Fatal(err)
	}
	for i, m := range holders {
		if err := m.store.Put(u.t.Context(), d, i, sealed); err != nil {
			u.t.Fatal(err)
		}
	}
	return &Stray{Descriptor: d}
}

// What cannot be told to be no object is not said to be none.
func TestLostDoesNotGuess(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	u.content = 64 << 10
	manifest := func(to ...crypt.Recipient) []byte {
		t.Helper()
		b, err := format.SealManifest(&format.Manifest{Size: 1, Inline: []byte("x"), Name: "lost"}, to)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	_, stranger, err := crypt.NewIdentity([32]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	mine := u.stores(manifest(u.ring.Recipient), w.members[:3]...)
	if lost, err := u.Lost(t.Context(), mine); err != nil || lost == nil || lost.Manifest.Name != "lost" {
		t.Errorf("a manifest: got %+v, %v", lost, err)
	}
	unsure := func(what string, s *Stray) {
		t.Helper()
		if lost, err := u.Lost(t.Context(), s); !errors.Is(err, errs.Unavailable) || lost != nil {
			t.Errorf("%s: got %+v, %v, want kind Unavailable", what, lost, err)
		}
	}
	none := func(what string, s *Stray) {
		t.Helper()
		if lost, err := u.Lost(t.Context(), s); err != nil || lost != nil {
			t.Errorf("%s: got %+v, %v, want none", what, lost, err)
		}
	}
	unsure("one that is sealed to another", u.stores(manifest(stranger), w.members[:3]...))
	unsure("one of a later version", u.stores(format.Marshal(map[uint64]any{1: 9, 77: "later"}), w.members[:3]...))
	none("bytes of no form", u.stores(noise(1, 5000), w.members[:3]...))
	large := u.stores(noise(1, 5000), w.members[:3]...)
	large.Descriptor.Length = format.MaxSealedManifest + 1
	none("what is too large", large)
	none("what nobody has", &Stray{Descriptor: u.descriptorOf(t, noise(2, 5000))})

	id := u.put(noise(3, 300_000), options).ID
	s := u.strays()
	i := slices.IndexFunc(s.List, func(x *Stray) bool { return x.Descriptor.Segment == datamesh.SegmentID(id) })
	var holders []*member
	for _, m := range w.members {
		if slices.ContainsFunc(m.holds(t), func(k datamesh.ShardKey) bool { return k.Segment == datamesh.SegmentID(id) }) {
			holders = append(holders, m)
		}
	}
	w.kill(holders...)
	unsure("one whose holders are away", s.List[i])
}

// descriptorOf returns that of a segment that nobody has.
func (u *user) descriptorOf(t *testing.T, sealed []byte) *datamesh.Descriptor {
	t.Helper()
	d, err := format.NewDescriptor(u.ring.Owner, 1, 0, len(sealed), []datamesh.ShardID{hash.Shard(sealed)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A journal of whatever process tells what its puts have sent and not ended.
func TestSegmentsOfPutsThatHaveNotEnded(t *testing.T) {
	w := newWorld(t, 6)
	u := newUser(t, w)
	u.content = 70_000
	u.die(noise(1, 300_000), options)
	all, err := NewJournal(u.dir, 0).Segments()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range u.strays().List {
		if !all[x.Descriptor.Segment] {
			t.Errorf("%s is in no journal", x.Descriptor.Segment)
		}
	}
	if len(all) != 6 {
		t.Errorf("%d segments, want 6", len(all))
	}
}

// A put that takes so long that another home takes its first segments for left over
// does not succeed with them gone.
func TestLongPutsSeeWhetherTheirSegmentsAreStillThere(t *testing.T) {
	w := newWorld(t, 6)
	u := newUser(t, w)
	u.content = 64 << 10
	u.long = 0
	u.get(u.put(noise(1, 300_000), options).ID, noise(1, 300_000))
	before := u.strays().List
	content := noise(2, 300_000)
	discard := func() {
		var fresh []*Stray
		for len(fresh) < 3 && t.Context().Err() == nil { // until what was read is stored
			runtime.Gosched()
			fresh = slices.DeleteFunc(u.strays().List, func(s *Stray) bool {
				return len(s.Peers) < 6 || slices.ContainsFunc(before, func(x *Stray) bool { return x.Descriptor.Segment == s.Descriptor.Segment })
			})
		}
		if _, acked, _ := u.discards(fresh); len(acked) == 0 {
			t.Error("nothing was discarded")
		}
	}
	_, err := u.Put(t.Context(), io.MultiReader(bytes.NewReader(content[:250_000]), &whenRead{do: discard}, bytes.NewReader(content[250_000:])), options,
		func(PutResult) error { t.Error("it was committed"); return nil })
	if !errors.Is(err, errs.Unavailable) || errs.HintFor(err) == "" {
		t.Errorf("got %v, want kind Unavailable", err)
	}
}

// whenRead is an empty reader that does something first.
type whenRead struct{ do func() }

func (w *whenRead) Read([]byte) (int, error) {
	w.do()
	return 0, io.EOF
}
