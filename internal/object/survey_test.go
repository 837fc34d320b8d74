package object

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

func TestInfosAnswersForEachObject(t *testing.T) {
	w := newWorld(t, 6)
	u := newUser(t, w)
	var ids []datamesh.ObjectID
	for i := range 40 {
		ids = append(ids, u.put(noise(uint64(i), 100_000), options).ID)
	}
	ids[7] = datamesh.ObjectID{5}
	lost := w.members[2]
	w.kill(lost)
	for i, a := range u.Infos(t.Context(), ids...) {
		if i == 7 {
			wantKind(t, "info of what there is not", a.Err, errs.Unavailable)
			continue
		}
		if a.Err != nil {
			t.Fatalf("object %d: %v", i, a.Err)
		}
		content := a.Info.Segments[1]
		if content.ID != u.contentSegment(ids[i]) || content.K != 4 || content.M != 2 || content.Lost() != 1 || a.Info.Survives != 1 {
			t.Errorf("object %d: survives %d, %+v", i, a.Info.Survives, content)
		}
	}
}

func TestInfosWaitsForASilentMemberOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		var ids []datamesh.ObjectID
		for i := range 64 {
			ids = append(ids, u.put(noise(uint64(i), 100_000), options).ID)
		}
		w.members[1].set(storetest.Stall)
		began := time.Now()
		for i, a := range u.Infos(t.Context(), ids...) {
			if a.Err != nil || a.Info.Survives != 1 {
				t.Errorf("object %d: %+v", i, a)
			}
		}
		if took, most := time.Since(began), 5*getSilence; took > most {
			t.Errorf("it took %v of a clock that stands still, want at most %v", took, most)
		}
	})
}

func TestEventsTellOfLatePeersAndBadShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		result := u.put(noise(1, 100_000), options)
		segment := u.contentSegment(result.ID)
		var mu sync.Mutex // guards late and bad
		late, bad := map[datamesh.PeerID]int{}, map[datamesh.PeerID]errs.Kind{}
		u.Events = Events{
			Late: func(peer datamesh.PeerID) { mu.Lock(); defer mu.Unlock(); late[peer]++ },
			Bad:  func(b BadShard) { mu.Lock(); defer mu.Unlock(); bad[b.Peer] = errs.KindOf(b.Reason) },
		}
		slow := w.holder(datamesh.ShardKey{Segment: segment})
		slow.set(storetest.Stall)
		wrong := w.holder(datamesh.ShardKey{Segment: segment, Index: 1})
		wrong.do(func(method storetest.Method, key datamesh.ShardKey) storetest.Fault {
			if method == storetest.Get && key.Segment == segment {
				return storetest.Corrupt
			}
			return storetest.None
		})
		if _, err := u.Get(t.Context(), result.ID, to(&slowWriter{2 * probeSilence})); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if late[slow.id] == 0 || late[wrong.id] != 0 {
			t.Errorf("late: got %v, want %s alone", late, slow.id)
		}
		if bad[wrong.id] != errs.Integrity || bad[slow.id] == errs.Other {
			t.Errorf("bad: got %v, want %s for its bytes, and %s", bad, wrong.id, slow.id)
		}
	})
}
