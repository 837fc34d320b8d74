package repair

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/store"
	"datamesh/internal/transfer"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

// logged makes a record of an owner, who has a byte for a name.
func logged(t *testing.T, owner, device byte, seq, base uint64) *datamesh.Record {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{owner}, ed25519.SeedSize))
	r, err := format.NewRecord(key, datamesh.MeshID{1}, [16]byte{device}, seq, base, fmt.Appendf(nil, "%d of %d of %d", seq, device, owner))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// keepers returns the members on a side that are to keep a record.
func (w *world) keepers(side int, r *datamesh.Record) (list []*member) {
	for _, peer := range recordRegistrars(w.viewOf(side), format.RecordPlace(r.Owner), 0) {
		list = append(list, w.member(peer))
	}
	return list
}

// log puts records as a client on a side does.
func (w *world) log(side int, all ...*datamesh.Record) {
	w.t.Helper()
	for _, r := range all {
		for _, m := range w.keepers(side, r) {
			if err := m.registry.PutRecord(w.t.Context(), datamesh.PeerID{0xff}, r); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// wantKept checks that those who are to keep records have these, and no other of
// their owners.
func (w *world) wantKept(what string, want ...*datamesh.Record) {
	w.t.Helper()
	byPlace := map[[32]byte][]datamesh.RecordKey{}
	for _, r := range want {
		key := format.RecordKey(r)
		byPlace[key.Place] = append(byPlace[key.Place], key)
	}
	for _, r := range want {
		place := format.RecordPlace(r.Owner)
		keys := byPlace[place]
		if delete(byPlace, place); keys == nil {
			continue // it was looked at
		}
		slices.SortFunc(keys, datamesh.RecordKey.Compare)
		for _, m := range w.keepers(0, r) {
			if diff := cmp.Diff(keys, m.keysOf(place)); diff != "" {
				w.t.Errorf("%s: member %s has of owner %s, -want +got:\n%s", what, m.id, r.Owner, diff)
			}
		}
	}
}

// keysOf returns the keys of the records that a member has of a place.
func (m *member) keysOf(place [32]byte) (keys []datamesh.RecordKey) {
	m.w.t.Helper()
	all, err := m.disk.RecordKeys(m.w.t.Context(), datamesh.RecordKey{}, 1<<20)
	if err != nil {
		m.w.t.Fatal(err)
	}
	for _, key := range all {
		if key.Place == place {
			keys = append(keys, key)
		}
	}
	return keys
}

// strays returns how many records are at members that need not keep them.
func (w *world) strays(all ...*datamesh.Record) (n int) {
	w.t.Helper()
	for _, r := range all {
		key := format.RecordKey(r)
		may := recordRegistrars(w.View(), key.Place, slack)
		for _, m := range w.members {
			if !m.down && !slices.Contains(may, m.id) && slices.Contains(m.keysOf(key.Place), key) {
				n++
			}
		}
	}
	return n
}

// Whoever keeps an owner's records hands them over to those that come in its
// place, and forgets them then: they stay when nobody is left of those who took
// them first, and do not pile up.
func TestRecordsAreHandedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8)
		defer w.end()
		var all []*datamesh.Record
		for owner := range byte(6) {
			for device := range byte(2) {
				for seq := range uint64(3) {
					all = append(all, logged(t, owner, device, seq+1, 0))
				}
			}
		}
		w.log(0, all...)
		w.run(w.members...)
		pass(time.Minute)
		first := slices.Clone(w.members)
		for range 24 {
			w.run(w.add(1 << 40))
		}
		pass(3 * time.Hour)
		w.wantKept("after many have come", all...)
		if n := w.strays(all...); n > 0 {
			t.Errorf("%d records are at members that need not keep them", n)
		}
		for _, m := range first {
			w.kill(m)
			pass(10 * time.Minute)
		}
		w.wantKept("when those are gone who had them first", all...)
		w.back(first...)
		pass(3 * time.Hour)
		w.wantKept("when they are back", all...)
		if n := w.strays(all...); n > 0 {
			t.Errorf("%d records are at members that need not keep them, in the end", n)
		}
	})
}

// Parts of a mesh that do not reach each other each take records. When they
// meet again all have what counts of both.
func TestRecordsOfBothSidesOfAPartitionMerge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 9)
		defer w.end()
		var before []*datamesh.Record
		for seq := range uint64(10) {
			before = append(before, logged(t, 1, 1, seq+1, 0))
		}
		w.log(0, before...)
		w.run(w.members...)
		pass(time.Minute)
		w.part(w.members[:4]...)
		pass(time.Minute)
		here := []*datamesh.Record{logged(t, 1, 1, 11, 8), logged(t, 2, 1, 1, 0)} // which supersedes most
		var there []*datamesh.Record
		for seq := range uint64(3 * perAnswer) {
			there = append(there, logged(t, 1, 2, seq+1, 0), logged(t, 3, 3, seq+1, 0))
		}
		w.log(0, here...)
		w.log(1, there...)
		both := logged(t, 1, 1, 12, 6) // which supersedes less
		w.log(1, both)
		pass(time.Hour)
		w.part()
		pass(time.Hour)
		w.wantKept("when they meet again", slices.Concat(before[8:], here, there, []*datamesh.Record{both})...)
	})
}

// What one has and the other has not is all given and taken at once, in however
// many lists and answers.
func TestAllMissingRecordsComeAtOnce(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.members[0], w.members[1]
	put := func(m *member, all []*datamesh.Record) {
		var group errgroup.Group
		group.SetLimit(200)
		for _, r := range all {
			group.Go(func() error { return m.registry.PutRecord(t.Context(), datamesh.PeerID{0xff}, r) })
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	var both, ofA, ofB []*datamesh.Record
	for owner := range byte(10) {
		for seq := range uint64(220) { // all of both are more than one list has
			both = append(both, logged(t, owner, 1, seq+1, 0))
		}
		for seq := range uint64(perAnswer) {
			ofA, ofB = append(ofA, logged(t, owner, 2, seq+1, 0)), append(ofB, logged(t, owner, 3, seq+1, 0))
		}
	}
	ofA = append(ofA, logged(t, 0, 1, 221, 100))
	put(a, both)
	put(b, both)
	put(a, ofA)
	put(b, ofB)
	k := NewKeeper(&seen{w, a.id}, a.registry, Config{Self: a.id}, 0, Events{})
	if err := k.tellRecords(t.Context(), b.id, [32]byte{}, [32]byte(last)); err != nil {
		t.Fatal(err)
	}
	w.wantKept("after one comparison", slices.Concat(slices.DeleteFunc(both, func(r *datamesh.Record) bool {
		return r.Owner == ofA[0].Owner && r.Seq <= 100
	}), ofA, ofB)...)
}

// A member that has no room for strangers' records, and an owner who has all that
// he may, keep no other records from being given and taken. Nobody forgets a
// record that not all have whose it is.
func TestRecordsGoOnAfterFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		defer w.end()
		full := w.members[0]
		known := logged(t, 200, 1, 1, 0)
		w.log(0, known)
		if err := full.disk.Close(); err != nil {
			t.Fatal(err)
		}
		full.reopen(store.Options{Reserve: 1 << 45}) // of which the disk has no half
		w.run(w.members...)
		pass(time.Minute)

		var many []*datamesh.Record // of an owner who has too many devices for all
		for device := range byte(store.MaxRecordDevices) {
			many = append(many, logged(t, 100, device, 1, 0))
		}
		var others []*datamesh.Record
		for owner := range byte(20) {
			others = append(others, logged(t, owner, 1, 1, 0))
		}
		for _, r := range slices.Concat(many, others) {
			if err := w.members[1].registry.PutRecord(t.Context(), datamesh.PeerID{0xff}, r); err != nil {
				t.Fatal(err)
			}
		}
		for device := range byte(3) {
			if err := w.members[2].registry.PutRecord(t.Context(), datamesh.PeerID{0xff}, logged(t, 100, store.MaxRecordDevices+device, 1, 0)); err != nil {
				t.Fatal(err)
			}
		}
		pass(3 * time.Hour)
		for _, m := range w.members[1:] {
			for _, r := range append(others, known) {
				if key := format.RecordKey(r); !slices.Contains(m.keysOf(key.Place), key) {
					t.Errorf("member %s has not got the record of owner %s", m.id, r.Owner)
				}
			}
			if n := len(m.keysOf(format.RecordPlace(many[0].Owner))); n != store.MaxRecordDevices {
				t.Errorf("member %s has records of %d devices of one owner, want %d", m.id, n, store.MaxRecordDevices)
			}
		}
		for _, r := range others {
			if keys := full.keysOf(format.RecordPlace(r.Owner)); len(keys) > 0 {
				t.Errorf("a member without room has taken a stranger's record")
			}
		}
		if keys := full.keysOf(format.RecordPlace(known.Owner)); len(keys) != 1 {
			t.Errorf("it has %d records that it had before, want 1", len(keys))
		}
	})
}

// reopen opens a disk again, with nothing on it or with what is there.
func (m *member) reopen(opt store.Options) {
	m.w.t.Helper()
	var err error
	if m.disk, err = store.Open(m.dir, opt); err != nil {
		m.w.t.Fatal(err)
	}
	m.w.t.Cleanup(func() { m.disk.Close() })
	m.registry.Index = m.disk
}

// A stray record is kept for as long as one of those whose it is does not have it.
func TestRecordsAreNotForgottenTooEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 20)
		defer w.end()
		r := logged(t, 1, 1, 1, 0)
		key := format.RecordKey(r)
		keepers := w.keepers(0, r)
		may := recordRegistrars(w.View(), key.Place, slack)
		stray := w.members[slices.IndexFunc(w.members, func(m *member) bool { return !slices.Contains(may, m.id) })]
		if err := stray.registry.PutRecord(t.Context(), datamesh.PeerID{0xff}, r); err != nil {
			t.Fatal(err)
		}
		full := &fullIndex{Disk: keepers[3].disk}
		full.full.Store(true)
		keepers[3].registry.Index = full
		w.run(w.members...)
		pass(3 * time.Hour)
		if len(stray.keysOf(key.Place)) != 1 {
			t.Error("it was forgotten while one did not have it")
		}
		full.full.Store(false)
		pass(3 * time.Hour)
		w.wantKept("when all have room", r)
		if n := w.strays(r); n > 0 {
			t.Errorf("%d are kept by others than they should", n)
		}
	})
}

// A fullIndex has no room for records, for some time.
type fullIndex struct {
	*store.Disk
	full atomic.Bool
}

func (x *fullIndex) PutRecord(ctx context.Context, r *datamesh.Record) error {
	if x.full.Load() {
		return errs.New(errs.Full, "full")
	}
	return x.Disk.PutRecord(ctx, r)
}

// A record that has rotted is found out when it is read, and comes back from the
// others.
func TestRottenRecordComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		defer w.end()
		all := []*datamesh.Record{logged(t, 1, 1, 1, 0), logged(t, 1, 1, 2, 0), logged(t, 1, 1, 3, 0)}
		w.log(0, all...)
		rotten := w.members[0]
		index := &rottenIndex{Disk: rotten.disk, rotten: format.RecordKey(all[1])}
		rotten.registry.Index = index
		w.run(w.members...)
		pass(time.Minute)
		var got []*datamesh.Record
		for r, err := range rotten.registry.Records(t.Context(), datamesh.RecordKey{Place: format.RecordPlace(all[0].Owner)}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r)
		}
		if diff := cmp.Diff([]*datamesh.Record{all[0], all[2]}, got); diff != "" {
			t.Errorf("beside one that has rotted, -want +got:\n%s", diff)
		}
		if n := len(rotten.keysOf(format.RecordPlace(all[0].Owner))); n != 2 {
			t.Errorf("%d are there, want all but the one that has rotted", n)
		}
		pass(2 * time.Hour)
		w.wantKept("later", all...)
	})
}

// A rottenIndex has a record that has rotted, until it is forgotten.
type rottenIndex struct {
	*store.Disk
	rotten datamesh.RecordKey
}

func (x *rottenIndex) Record(ctx context.Context, key datamesh.RecordKey) (*datamesh.Record, error) {
	if key == x.rotten {
		return nil, errs.New(errs.Integrity, "it has rotted")
	}
	return x.Disk.Record(ctx, key)
}

func (x *rottenIndex) ForgetRecords(ctx context.Context, keys []datamesh.RecordKey) error {
	if slices.Contains(keys, x.rotten) {
		x.rotten = datamesh.RecordKey{}
	}
	return x.Disk.ForgetRecords(ctx, keys)
}

// Comparing is for members; a record of another mesh is taken from nobody, not
// even when it is found missing.
func TestRecordsOfStrangersAndOfOtherMeshes(t *testing.T) {
	w := newWorld(t, 3)
	r := logged(t, 1, 1, 1, 0)
	w.log(0, r)
	m, stranger := w.members[0], datamesh.PeerID{0xff}
	wanted, missing, err := m.registry.CompareRecords(t.Context(), stranger, transfer.RecordList{Keys: []datamesh.RecordKey{{Seq: 1}, format.RecordKey(r)}})
	if err != nil || len(wanted) != 1 || wanted[0].Seq != 1 {
		t.Errorf("a stranger's list: %v, %v", wanted, err)
	}
	for r := range missing {
		t.Errorf("a stranger is given %v", r)
	}
	if _, _, err := m.registry.CompareRecords(t.Context(), stranger, transfer.RecordList{Between: true}); errs.KindOf(err) != errs.Authentication {
		t.Errorf("a stranger's range: got %v, want kind Authentication", err)
	}

	owner := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	elsewhere, err := format.NewRecord(owner, datamesh.MeshID{2}, [16]byte{1}, 2, 1, []byte("of another mesh"))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.registry.PutRecord(t.Context(), stranger, elsewhere); errs.KindOf(err) != errs.Authentication {
		t.Errorf("a put of one of another mesh: got %v, want kind Authentication", err)
	}
	k := NewKeeper(&giving{&seen{w, m.id}, []*datamesh.Record{elsewhere}}, m.registry, Config{Self: m.id}, 0, Events{})
	if err := k.tellRecords(t.Context(), w.members[1].id, [32]byte{}, [32]byte(last)); errs.KindOf(err) != errs.Authentication {
		t.Errorf("one of another mesh is found missing: got %v, want kind Authentication", err)
	}
	w.wantKept("of what came", r)
}

// giving is a Net in which all say that these records are missing.
type giving struct {
	*seen
	records []*datamesh.Record
}

func (g *giving) CompareRecords(context.Context, datamesh.PeerID, transfer.RecordList) ([]datamesh.RecordKey, []*datamesh.Record, error) {
	return nil, g.records, nil
}
