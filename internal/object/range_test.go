package object

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/storetest"
)

// rangedLen is how long an object of three segments is, the last of which is shorter.
const rangedLen = 5<<20 + 12_345

// ranged stores it.
func ranged(t *testing.T, w *world) (u *user, id datamesh.ObjectID, content []byte) {
	t.Helper()
	u, content = newUser(t, w), noise(4, rangedLen)
	u.content = 2 << 20
	return u, u.put(content, options).ID, content
}

// part reads a range.
func (u *user) part(id datamesh.ObjectID, from, n int) ([]byte, []BadShard, error) {
	u.t.Helper()
	var got bytes.Buffer
	bad, err := u.GetRange(u.t.Context(), id, func(*format.Manifest) (io.Writer, int64, int64, error) { return &got, int64(from), int64(n), nil })
	return got.Bytes(), bad, err
}

// partIs reads a range, which must be what it should.
func (u *user) partIs(id datamesh.ObjectID, content []byte, from, n int) []BadShard {
	u.t.Helper()
	got, bad, err := u.part(id, from, n)
	if want := content[from:min(from+n, len(content))]; err != nil || !bytes.Equal(got, want) {
		u.t.Errorf("%d bytes from %d: %d bytes, the right ones: %v, %v", n, from, len(got), bytes.Equal(got, want), err)
	}
	return bad
}

// ranges are some whose ends lie in, at and around frames, shards and segments.
var ranges = [][2]int{
	{0, 0}, {0, 1}, {0, 64 << 10}, {1, 64 << 10}, {64 << 10, 64 << 10}, {64<<10 - 1, 2}, {512<<10 - 100, 200}, {524_288 + 128, 1}, {300_000, 700_000},
	{2<<20 - 1, 1}, {2 << 20, 1}, {2<<20 - 70_000, 140_000}, {4<<20 - 10, 1 << 20}, {rangedLen - 1, 1}, {rangedLen - 1, 100}, {rangedLen, 5},
	{rangedLen - 200_000, 200_000}, {0, 3 << 20}, {1<<20 + 1, 4 << 20}, {0, rangedLen},
}

func TestRangesAreRead(t *testing.T) {
	u, id, content := ranged(t, newWorld(t, 6))
	for _, r := range ranges {
		if bad := u.partIs(id, content, r[0], r[1]); len(bad) > 0 {
			t.Errorf("%v: bad %v", r, bad)
		}
	}
	for _, r := range [][2]int{{-1, 1}, {rangedLen + 1, 1}, {0, -1}} {
		_, _, err := u.part(id, r[0], r[1])
		wantKind(t, "a range from outside", err, errs.Invalid)
	}
	small := noise(7, 1000) // which lies in the manifest
	inline := u.put(small, options).ID
	u.partIs(inline, small, 10, 100)
	u.partIs(inline, small, 990, 100)
}

// Of a range no more is fetched than the frames that it touches, from the peers
// that hold those.
func TestRangesOfFewBytesAreCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u, id, content := ranged(t, w)
		gets, parts := calls(w, storetest.Get), calls(w, storetest.GetRange)
		u.partIs(id, content, 100_000, 64<<10)
		if n := calls(w, storetest.Get) - gets; n > options.K { // for the manifest
			t.Errorf("%d whole shards were read", n)
		}
		if n := calls(w, storetest.GetRange) - parts; n != 1 {
			t.Errorf("%d parts were read, want 1", n)
		}
	})
}

// Of a wide code a range takes no more memory than the segment that it is in.
func TestRangesOfWideCodesAreReadFromTheWholeSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which a busy machine has nobody asked twice
		w := newWorld(t, 24)
		u, content := newUser(t, w), noise(4, rangedLen)
		u.content = 2 << 20
		id := u.put(content, PutOptions{K: 20, M: 4, MinSurvives: -1}).ID
		parts := calls(w, storetest.GetRange)
		for _, r := range ranges {
			u.partIs(id, content, r[0], r[1])
		}
		if n := calls(w, storetest.GetRange) - parts; n > 30 { // of one frame
			t.Errorf("%d parts were read", n)
		}
		before := calls(w, storetest.GetRange)
		u.partIs(id, content, 10, 64<<10) // in two frames, whose shards have 26 times as much
		if n := calls(w, storetest.GetRange) - before; n > 0 {
			t.Errorf("%d parts were read, want none", n)
		}
	})
}

// holders returns who holds which shard of the first segment of an object.
func (u *user) holders(id datamesh.ObjectID) func(index int) *member {
	u.t.Helper()
	m, err := u.Manifest(u.t.Context(), id)
	if err != nil {
		u.t.Fatal(err)
	}
	return func(index int) *member { return u.w.member(m.Peers[m.Segments[0].Hints[index]]) }
}

// Ranges are read though two holders are dead, silent, or damaged. Of the latter
// each is named, and of the others nobody else.
func TestRangesAreReadFromOthers(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.Corrupt, storetest.Fail, storetest.Stall} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 6)
			u, id, content := ranged(t, w)
			holder := u.holders(id)
			lost := []*member{holder(1), holder(2)} // that are asked for what is in the first segment
			for _, m := range lost {
				m.set(fault)
			}
			named := map[datamesh.PeerID]bool{}
			for _, r := range ranges {
				began := time.Now()
				u.pace = pace{} // who is known to fail is asked last
				for _, b := range u.partIs(id, content, r[0], r[1]) {
					named[b.Peer] = true
				}
				if took := time.Since(began); took > 4*getSilence {
					t.Errorf("%v: %v took %v", fault, r, took)
				}
			}
			for _, m := range lost {
				if fault == storetest.Corrupt && !named[m.id] { // who has failed to say where shards are may not be asked for any
					t.Errorf("%v: %v is not named", fault, m.id)
				}
				delete(named, m.id)
			}
			for id := range named {
				t.Errorf("%v: %v is named", fault, id)
			}
			holder(3).set(fault)
			got, _, err := u.part(id, 100_000, 3<<20)
			if kind := errs.KindOf(err); kind != errs.Unavailable && kind != errs.Integrity {
				t.Errorf("%v: three lost: %d bytes, %v", fault, len(got), err)
			}
			if !bytes.HasPrefix(content[100_000:], got) {
				t.Errorf("%v: three lost: %d other bytes", fault, len(got))
			}
		})
	}
}

// A range whose holder is silent, or sends wrong bytes, is made of others at once when
// that is known.
func TestABadHolderOfARangeIsKnown(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.Corrupt, storetest.Stall} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 6)
			u, id, content := ranged(t, w)
			bad := u.holders(id)(0)
			bad.set(fault)
			const ranges = 20
			began := time.Now()
			for range ranges {
				u.partIs(id, content, 1000, 5000)
			}
			if n, took := bad.called(storetest.GetRange), time.Since(began); n > 2 || took > getSilence {
				t.Errorf("%v: of %d ranges %d asked the bad one, and all took %v", fault, ranges, n, took)
			}
		})
	}
}

// A writer that fails ends the get, with its error.
func TestRangeEndsWithItsWriter(t *testing.T) {
	u, id, _ := ranged(t, newWorld(t, 6))
	_, err := u.GetRange(t.Context(), id, func(*format.Manifest) (io.Writer, int64, int64, error) { return broken{}, 5, 100, nil })
	if !errors.Is(err, errTest) {
		t.Errorf("got %v", err)
	}
}

// broken is a writer that takes nothing.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errTest }
