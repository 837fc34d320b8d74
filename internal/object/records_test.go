package object

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"iter"
	"net"
	"slices"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/mesh"
	"datamesh/internal/repair"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
	"datamesh/internal/transfer"

	"github.com/google/go-cmp/cmp"
)

// serve returns the server of a member's disk, which it is given when it needs it.
func (w *world) serve(m *member) transfer.Registry {
	m.opened.Do(func() {
		var err error
		if m.disk, err = store.Open(w.t.TempDir(), store.Options{}); err != nil {
			w.t.Error(err)
			return
		}
		w.t.Cleanup(func() { m.disk.Close() })
		m.served = &repair.Registry{Index: m.disk, Self: m.id, View: w.View}
	})
	return m.served
}

// connect has the servers of all members reached anew, as they are now.
func (w *world) connect() {
	w.client = transfer.NewClient(func(_ context.Context, peer datamesh.PeerID) (mesh.Stream, error) {
		here, there := net.Pipe()
		m := w.member(peer)
		go transfer.NewServer(m.id, m.store, nil, w.serve(m)).Handle(w.t.Context(), datamesh.PeerID{0xff}, pipe{there})
		return unhurried{pipe{here}}, nil
	})
	w.t.Cleanup(w.client.Close)
}

type pipe struct{ net.Conn }

func (p pipe) Reset() error { return p.Close() }

// An unhurried pipe lets a peer, whose disk may be a busy one, be silent for a minute
// longer than it may be. Those that say nothing in a test are silent in [world.reach].
type unhurried struct{ pipe }

func (p unhurried) SetDeadline(t time.Time) error {
	if t.After(time.Now()) {
		t = t.Add(time.Minute)
	}
	return p.pipe.SetDeadline(t)
}

func (w *world) PutRecord(ctx context.Context, peer datamesh.PeerID, r *datamesh.Record) error {
	if err := w.reach(ctx, peer, putSilence); err != nil {
		return err
	}
	return w.client.PutRecord(ctx, peer, r)
}

func (w *world) Records(ctx context.Context, peer datamesh.PeerID, owner datamesh.OwnerKey) ([]*datamesh.Record, error) {
	if err := w.reach(ctx, peer, getSilence); err != nil {
		return nil, err
	}
	return w.client.Records(ctx, peer, owner)
}

func (w *world) Owned(ctx context.Context, peer datamesh.PeerID, owner ed25519.PrivateKey, after datamesh.SegmentID) (list []*datamesh.Descriptor, next datamesh.SegmentID, more bool, err error) {
	if err := w.reach(ctx, peer, getSilence); err != nil {
		return nil, next, false, err
	}
	m, all := w.member(peer), map[datamesh.SegmentID]*datamesh.Descriptor{}
	for key := datamesh.First; ; {
		keys, err := m.store.List(ctx, key, 1)
		if err != nil || len(keys) == 0 {
			break
		}
		key = keys[0]
		if all[key.Segment], _, err = m.store.Get(ctx, key, nil); err != nil {
			return nil, next, false, err
		}
	}
	for segment, d := range all { // a few at a time
		if d.Owner == datamesh.OwnerKey(owner.Public().(ed25519.PublicKey)) && bytes.Compare(segment[:], after[:]) > 0 {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b *datamesh.Descriptor) int { return bytes.Compare(a.Segment[:], b.Segment[:]) })
	if more = len(list) > 3; more {
		list, next = list[:3], list[2].Segment
	}
	return list, next, more, nil
}

// record makes one of the user's.
func (u *user) record(device byte, seq, base uint64, payload string) *datamesh.Record {
	u.t.Helper()
	r, err := format.NewRecord(u.ring.Owner, u.w.mesh, [16]byte{device}, seq, base, []byte(payload))
	if err != nil {
		u.t.Fatal(err)
	}
	return r
}

func (u *user) owner() datamesh.OwnerKey {
	return datamesh.OwnerKey(u.ring.Owner.Public().(ed25519.PublicKey))
}

// keepers returns the members that are to keep the user's records.
func (u *user) keepers() (list []*member) {
	for _, peer := range recordRegistrars(u.w.View(), u.owner()) {
		list = append(list, u.w.member(peer))
	}
	return list
}

// kept returns how many members have a record.
func (w *world) kept(r *datamesh.Record) (n int) {
	w.t.Helper()
	for _, m := range w.members {
		if m.disk == nil {
			continue
		}
		if _, err := m.disk.Record(w.t.Context(), format.RecordKey(r)); err == nil {
			n++
		} else if !errors.Is(err, errs.FileNotFound) {
			w.t.Fatal(err)
		}
	}
	return n
}

func (u *user) wantRecords(what string, answered, registrars int, want ...*datamesh.Record) {
	u.t.Helper()
	got, err := u.Records(u.t.Context(), u.owner())
	for began := time.Now(); got.Answered < answered && time.Since(began) < 2*time.Minute; { // once most have answered, the others have not long to
		got, err = u.Records(u.t.Context(), u.owner())
	}
	slices.SortFunc(want, func(a, b *datamesh.Record) int { return format.RecordKey(a).Compare(format.RecordKey(b)) })
	if diff := cmp.Diff(Found{want, registrars, answered}, got); err != nil || diff != "" {
		u.t.Errorf("%s: %v, -want +got:\n%s", what, err, diff)
	}
}

func recordsWorld(t *testing.T, members int) *user {
	w := newWorld(t, members)
	w.connect()
	u := newUser(t, w)
	u.grace = time.Minute           // in which all that can will have taken a record
	for _, m := range u.keepers() { // to open a disk may take longer than an answer
		w.serve(m)
	}
	return u
}

// What was put comes back, over the wire and from disks, from twelve members.
func TestRecordsArePutAndFound(t *testing.T) {
	t.Parallel()
	u := recordsWorld(t, 15)
	u.wantRecords("nothing yet", 12, 12)
	a, b, c := u.record(1, 1, 0, "one"), u.record(1, 2, 0, "two"), u.record(2, 1, 0, "of another device")
	for _, r := range []*datamesh.Record{a, b, c, a} {
		if err := u.PutRecord(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if n := u.w.kept(a); n != 12 {
		t.Errorf("%d members keep a record, want 12", n)
	}
	u.wantRecords("all", 12, 12, a, b, c)
	d := u.record(1, 3, 2, "in the place of both")
	keepers := u.keepers()
	keepers[0].set(storetest.Fail) // who has the two still
	if err := u.PutRecord(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	keepers[0].set(storetest.None)
	u.wantRecords("the latest", 12, 12, c, d)
	if err := u.PutRecord(t.Context(), b); !errors.Is(err, errs.Exists) {
		t.Errorf("what is superseded: %v, want kind Exists", err)
	}
	u.wantRecords("after what is superseded", 12, 12, c, d)

	u.w.kill(keepers[:5]...)
	u.wantRecords("without five", 10, 10, c, d) // of ten that are there all keep them by now, or will
	for _, m := range keepers[5:8] {
		m.set(storetest.Fail)
	}
	u.wantRecords("with three that are silent", 7, 10, c, d)
	keepers[8].set(storetest.Fail)
	got, err := u.Records(t.Context(), u.owner())
	wantKind(t, "when six of twelve answer", err, errs.Unavailable)
	if len(got.Records) != 2 || got.Answered != 6 {
		t.Errorf("what was found besides: %+v", got)
	}
}

// Two devices that write with one number, as after a restored image of a disk,
// are told, and what both wrote is found.
func TestRecordsOfOneNumberAreToldAndKept(t *testing.T) {
	t.Parallel()
	u := recordsWorld(t, 6)
	a, b := u.record(1, 7, 0, "one"), u.record(1, 7, 0, "other")
	if err := u.PutRecord(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "the second of that number", u.PutRecord(t.Context(), b), errs.Exists)
	u.wantRecords("both", 6, 6, a, b)
	again := u.record(2, 1, 0, "other")
	if err := u.PutRecord(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	u.wantRecords("written again by another device", 6, 6, a, b, again)
}

// A put has succeeded when enough have taken the record, and not before.
func TestRecordIsAcknowledgedByEnough(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ members, parity, need int }{
		{1, 2, 1}, {2, 2, 2}, {3, 0, 2}, {3, 2, 3}, {5, 2, 3}, {6, 2, 4}, {6, 4, 5}, {12, 2, 7}, {14, 2, 7}, {14, 9, 10}, {33, 2, 9},
	} {
		u := recordsWorld(t, tt.members)
		u.Parity = tt.parity
		keepers := u.keepers()
		for i, m := range keepers {
			if i >= tt.need {
				m.set(storetest.Fail)
			}
		}
		r := u.record(1, 1, 0, "enough")
		if err := u.PutRecord(t.Context(), r); err != nil || u.w.kept(r) != tt.need {
			t.Errorf("%+v: %d of %d have it: %v", tt, u.w.kept(r), len(keepers), err)
		}
		keepers[tt.need-1].set(storetest.Fail)
		if err := u.PutRecord(t.Context(), u.record(1, 2, 0, "one too few")); !errors.Is(err, errs.Unavailable) {
			t.Errorf("%+v, and one too few: got %v, want kind Unavailable", tt, err)
		}
	}
}

func TestRecordsWithoutMembersAreUnavailable(t *testing.T) {
	t.Parallel()
	u := recordsWorld(t, 0)
	wantKind(t, "put", u.PutRecord(t.Context(), u.record(1, 1, 0, "x")), errs.Unavailable)
	_, err := u.Records(t.Context(), u.owner())
	wantKind(t, "records", err, errs.Unavailable)
}

// An owner who has all that he may is told so.
func TestRecordsOfAFullOwnerAreFull(t *testing.T) {
	t.Parallel()
	u := recordsWorld(t, 3)
	for i := range store.MaxRecordDevices {
		if err := u.PutRecord(t.Context(), u.record(byte(i), 1, 0, "x")); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, "of one device more", u.PutRecord(t.Context(), u.record(store.MaxRecordDevices, 1, 0, "x")), errs.Full)
}

// A record of another mesh is not taken.
func TestRecordOfAnotherMeshIsNotTaken(t *testing.T) {
	t.Parallel()
	u := recordsWorld(t, 3)
	r, err := format.NewRecord(u.ring.Owner, datamesh.MeshID{2}, [16]byte{1}, 1, 0, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	wantKind(t, "put", u.PutRecord(t.Context(), r), errs.Unavailable)
	if n := u.w.kept(r); n > 0 {
		t.Errorf("%d members keep it", n)
	}
}

// A recordLiar answers with what it likes, of whomever it is asked.
type recordLiar struct {
	*repair.Registry
	says []*datamesh.Record
}

func (l *recordLiar) Records(_ context.Context, after datamesh.RecordKey) iter.Seq2[*datamesh.Record, error] {
	return func(yield func(*datamesh.Record, error) bool) {
		for _, r := range l.says {
			if after.Seq > 0 || !yield(r, nil) {
				return
			}
		}
	}
}

// Members that hold records back, or show what is none of the owner's in this
// mesh, change nothing for as long as one tells the truth of each.
func TestRecordsAreFoundBesideLiars(t *testing.T) {
	t.Parallel()
	u := recordsWorld(t, 6)
	a, b := u.record(1, 1, 0, "one"), u.record(1, 2, 0, "two")
	for _, r := range []*datamesh.Record{a, b} {
		if err := u.PutRecord(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	forged := *u.record(1, 3, 2, "in the place of all")
	forged.Payload = []byte("forged")
	elsewhere, err := format.NewRecord(u.ring.Owner, datamesh.MeshID{2}, [16]byte{1}, 9, 8, []byte("of another mesh"))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := format.NewRecord(ed25519.NewKeyFromSeed(make([]byte, 32)), u.w.mesh, [16]byte{1}, 9, 8, []byte("a stranger's"))
	if err != nil {
		t.Fatal(err)
	}
	for i, says := range [][]*datamesh.Record{{&forged}, {elsewhere}, {stranger}, {}, {&forged, a, stranger}} {
		m := u.w.members[i]
		m.served = &recordLiar{m.served.(*repair.Registry), says}
	}
	u.w.connect()
	u.wantRecords("with one honest member", 6, 6, a, b)
	u.w.members[0].served = &recordLiar{says: []*datamesh.Record{b, a}} // which breaks the protocol
	u.w.connect()
	u.wantRecords("with one that breaks the protocol", 5, 6, a, b)
}

// A crier says that a number is taken, whatever that is.
type crier struct{ *repair.Registry }

func (c *crier) PutRecord(context.Context, datamesh.PeerID, *datamesh.Record) error {
	return errs.New(errs.Exists, "its device has written another")
}

// Who only says that a number is taken, and shows nothing that took it, counts for
// one who has not taken the record.
func TestNumbersAreTakenByRecordsAlone(t *testing.T) {
	t.Parallel()
	u := recordsWorld(t, 6)
	if err := u.PutRecord(t.Context(), u.record(1, 1, 0, "the first")); err != nil {
		t.Fatal(err)
	}
	for i, want := range []errs.Kind{errs.Other, errs.Other, errs.Unavailable} { // four of six must take it
		m := u.w.members[i]
		m.served = &crier{m.served.(*repair.Registry)}
		u.w.connect()
		if err := u.PutRecord(t.Context(), u.record(1, uint64(i+2), 0, "mine")); errs.KindOf(err) != want {
			t.Errorf("with %d who say so: %v, want kind %v", i+1, err, want)
		}
	}
}

var _ Net = (*world)(nil)
