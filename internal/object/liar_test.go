package object

import (
	"context"
	"encoding/binary"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// nearest returns the members in the order in which they are asked as
// registrars of an object's manifest.
func (w *world) nearest(id datamesh.ObjectID) (out []*member) {
	for _, peer := range ring.Registrars(w.View(), id, len(w.members)) {
		out = append(out, w.member(peer))
	}
	return out
}

// lies makes a registrar add to what it knows.
func (m *member) lies(more ...store.Holding) {
	m.locate = func(id datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
		r, ok := m.registry[id]
		if !ok {
			return nil, nil, errs.New(errs.FileNotFound, "no holder was reported")
		}
		return r.Descriptor, append(slices.Clone(more), r.Holdings...), nil
	}
}

func TestFakeHoldersDoNotMatter(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	content := noise(1, 60_000) // all of it in the manifest, of which nothing is known but its id
	result := u.put(content, options)
	var fake []store.Holding
	for i := range uint32(100_000) { // peers that there are not
		h := store.Holding{Index: int(i % 6), Peer: datamesh.PeerID{0xff}}
		binary.BigEndian.PutUint32(h.Peer[1:], i)
		fake = append(fake, h)
	}
	for _, m := range w.members {
		for index := -1; index < 8; index++ { // shards that they do not have, or that there are not
			fake = append(fake, store.Holding{Index: index, Peer: m.id})
		}
	}
	for _, liars := range []int{1, 2, 3} {
		all := w.nearest(result.ID)[:liars]
		for _, m := range all {
			m.lies(fake...)
		}
		for _, b := range u.get(result.ID, content) {
			if liars == 1 && b.Peer != all[0].id { // what it says of itself counts
				t.Errorf("one liar gets others accused: %v", b)
			}
		}
	}
}

// What one registrar alone says is tried after what others say too, so a liar
// cannot have a reader go through all the peers and indices that it makes up.
func TestLoneLiarDoesNotSendReadersAround(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 20)
		u := newUser(t, w)
		content := noise(1, 60_000)
		result := u.put(content, options)
		var fake []store.Holding
		for index := range 6 {
			for _, m := range w.members {
				fake = append(fake, store.Holding{Index: index, Peer: m.id})
			}
		}
		near := w.nearest(result.ID)
		near[0].lies(fake...)
		for _, m := range near[1:] {
			m.slow = time.Millisecond // the liar is the first to answer
		}
		for _, m := range w.members {
			m.inner = distant{m.store}
		}
		u.get(result.ID, content)
		gets := 0
		for _, m := range w.members {
			gets += m.called(storetest.Get)
		}
		if most := 4 + 6 + 4; gets > most { // k before the others have answered, what the liar says of itself, and k
			t.Errorf("%d shards were asked for, want at most %d", gets, most)
		}
	})
}

// A distant store takes its time.
type distant struct{ datamesh.ShardStore }

func (d distant) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	pass(10 * time.Millisecond)
	return d.ShardStore.Get(ctx, key, buf)
}

func TestRegistrarThatSaysNothingTrueIsPassedBy(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	content := noise(1, 60_000)
	result, other := u.put(content, options), u.put(noise(2, 60_000), options)
	foreign := w.nearest(other.ID)[0].registry[datamesh.SegmentID(other.ID)]
	for i, m := range w.nearest(result.ID)[:3] {
		m.locate = func(datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
			switch i {
			case 0:
				return foreign.Descriptor, foreign.Holdings, nil
			case 1:
				return nil, nil, errs.New(errs.Integrity, "nonsense")
			default:
				return nil, nil, errs.New(errs.FileNotFound, "never heard of it")
			}
		}
	}
	if bad := u.get(result.ID, content); len(bad) > 0 {
		t.Errorf("bad %v", bad)
	}
}

func TestDeniedShardIsBadWhenTwoExpectIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		content := noise(1, 60_000)
		result := u.put(content, options)
		m := w.holder(datamesh.ShardKey{Segment: datamesh.SegmentID(result.ID)})
		m.inner = store.NewMemory(1 << 20) // it has lost all
		if bad := u.get(result.ID, content); !names(bad, m) {
			t.Errorf("bad %v", bad)
		}
	})
}

func TestSilentRegistrarsAreNotWaitedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 9)
		u := newUser(t, w)
		content := noise(1, 60_000)
		result := u.put(content, PutOptions{K: 4, M: 4, MinSurvives: -1})
		for _, m := range w.nearest(result.ID)[:3] {
			m.locate = func(datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
				pass(getSilence)
				return nil, nil, errs.New(errs.Unavailable, "silent for %v", getSilence)
			}
		}
		began := time.Now()
		u.get(result.ID, content)
		if took := time.Since(began); took > getSilence {
			t.Errorf("the get took %v, want at most %v", took, getSilence)
		}
	})
}

// pass lets time go by, in a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }

// A manifest may come from somebody who is up to no good.
func TestManifestThatLiesAboutItsSegments(t *testing.T) {
	w := newWorld(t, 6)
	u := newUser(t, w)
	result := u.put(noise(1, 300_000), options)
	m, err := u.Manifest(t.Context(), result.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, lie := range []func(){
		func() { m.Segments[0].K, m.Segments[0].M = 2, 4 },
		func() { m.Segments[0].Length -= 5 },
		func() { m.Segments[0].K, m.Segments[0].M = 1, 255 },
		func() { m.Segments[0].Hints = []uint32{1 << 31, 5, 5, 5, 5, 5} },
	} {
		ref := m.Segments[0]
		lie()
		g := u.newGet(t.Context())
		err := g.content(t.Context(), io.Discard, m.Segments, m.Peers)
		if bad := g.findings(); err != nil && len(bad) > 0 {
			t.Errorf("%+v: bad %v", m.Segments[0], bad)
		}
		if err != nil {
			wantKind(t, "content", err, errs.Integrity)
		}
		m.Segments[0] = ref
	}
	for _, s := range []shape{{1, 255, datamesh.MaxSealed}, {255, 1, datamesh.MaxSealed}, {2, 254, datamesh.MaxSealed}, {4, 2, datamesh.MaxSealed}} {
		if n := s.bufferLen(); n > maxMemory {
			t.Errorf("%+v takes %d bytes, limit %d", s, n, maxMemory)
		}
	}
}

func TestInfoIsWhatThePeersSay(t *testing.T) {
	w := newWorld(t, 6)
	u := newUser(t, w)
	result := u.put(noise(1, 300_000), options)
	segment := u.contentSegment(result.ID)
	check := func(what string, survives, live int) {
		t.Helper()
		info, err := u.Info(t.Context(), result.ID)
		if err != nil {
			t.Fatal(err)
		}
		if len(info.Segments) != 2 || info.Segments[0].ID != datamesh.SegmentID(result.ID) || info.Segments[1].ID != segment {
			t.Fatalf("%s: segments %+v", what, info.Segments)
		}
		now := 0
		for _, s := range info.Segments[1].Shards {
			if s.Live {
				now++
			}
		}
		if info.Survives != survives || now != live || len(info.Segments[1].Shards) != 6 {
			t.Errorf("%s: survives %d, %d of %d live, want %d, %d of 6", what, info.Survives, now, len(info.Segments[1].Shards), survives, live)
		}
	}
	check("all well", 2, 6)
	lost := w.holder(datamesh.ShardKey{Segment: segment})
	lost.do(func(method storetest.Method, _ datamesh.ShardKey) storetest.Fault {
		if method == storetest.Has {
			return storetest.Fail
		}
		return storetest.None
	})
	check("one away", 1, 5)
	lost.set(storetest.None)
	lost.inner = store.NewMemory(1 << 20)
	info, err := u.Info(t.Context(), result.ID)
	if err != nil || info.Survives != 1 {
		t.Errorf("one empty: %+v, %v", info, err)
	}
	_, err = u.Info(t.Context(), datamesh.ObjectID{5})
	wantKind(t, "info of what there is not", err, errs.FileNotFound)
}

func TestInfoWithASilentMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		u.content = 70_000
		result := u.put(noise(1, 2_000_000), options)
		w.members[1].set(storetest.Stall)
		began := time.Now()
		info, err := u.Info(t.Context(), result.ID)
		if err != nil || info.Survives != 1 {
			t.Errorf("info: %+v, %v", info, err)
		}
		if took, most := time.Since(began), 3*getSilence; took > most { // the manifest, the registrars, the holders
			t.Errorf("it took %v, want at most %v", took, most)
		}
	})
}
