package object

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
	"datamesh/internal/storetest"
)

func TestSmallMeshesSurviveWhatTheyCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct{ members, k, m, survives int }{
			{1, 4, 2, 0}, {2, 4, 2, 0}, {2, 4, 4, 1}, {3, 4, 2, 1}, {4, 4, 2, 1}, {5, 4, 2, 1}, {6, 4, 2, 2}, {9, 4, 2, 2}, {1, 1, 0, 0},
		} {
			u := newUser(t, newWorld(t, tt.members))
			content := noise(1, 100_000)
			result := u.put(content, PutOptions{K: tt.k, M: tt.m, MinSurvives: -1})
			if result.Survives != tt.survives || result.Missing != 0 {
				t.Errorf("%d members, %d+%d: %+v, want survives %d", tt.members, tt.k, tt.m, result, tt.survives)
			}
			for i := range tt.survives { // and it does
				u.w.members[i].set(storetest.Fail)
			}
			u.get(result.ID, content)
			for _, m := range u.w.members {
				if n, most := len(m.holds(t)), 2*((tt.k+tt.m+tt.members-1)/tt.members); n > most {
					t.Errorf("%d members, %d+%d: one has %d shards of two segments, want at most %d", tt.members, tt.k, tt.m, n, most)
				}
			}
		}
	})
}

func TestShardsGoToDistinctPeers(t *testing.T) {
	w := newWorld(t, 12)
	u := newUser(t, w)
	result := u.put(noise(1, 300_000), options)
	segment := u.contentSegment(result.ID)
	seen := map[datamesh.PeerID]bool{}
	for index := range 6 {
		seen[w.holder(datamesh.ShardKey{Segment: segment, Index: index}).id] = true
	}
	if len(seen) != 6 {
		t.Errorf("six shards are on %d peers", len(seen))
	}
}

func TestRefusalsMoveOnToTheNextAndThenDoubleUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, refusing := range []int{0, 1, 2, 3} {
			w := newWorld(t, 4)
			for i := range refusing {
				w.add(byte(100+i), 10) // full
			}
			for range 2 {
				w.add(byte(200+len(w.members)), 1<<30)
			}
			u := newUser(t, w)
			content := noise(1, 300_000)
			result := u.put(content, options)
			if result.Survives != 2 || result.Missing != 0 || result.Peers != 6 {
				t.Errorf("%d of %d refuse: %+v", refusing, 6+refusing, result)
			}
			u.get(result.ID, content)
		}
		w := newWorld(t, 4)
		w.add(100, 10)
		w.add(101, 10)
		result := newUser(t, w).put(noise(1, 300_000), options)
		if result.Survives != 1 || result.Missing != 0 || result.Peers != 4 {
			t.Errorf("two of six refuse: %+v", result)
		}
	})
}

func TestSilentPeersAreReplacedWithinTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		silent := w.members[2]
		silent.set(storetest.Stall)
		u := newUser(t, w)
		content := noise(1, 300_000)
		began := time.Now()
		result := u.put(content, options)
		if result.Survives < 1 || result.Shards+result.Missing != 6+3 {
			t.Errorf("%+v", result)
		}
		if took, most := time.Since(began), 2*testGrace+reportTime; took > most { // for the content and the manifest
			t.Errorf("the put took %v, want at most %v", took, most)
		}
		u.get(result.ID, content)
	})
}

// Once a peer was slow the other segments do without it.
func TestSlowPeerIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		w.members[2].set(storetest.Stall)
		u := newUser(t, w)
		u.content = 70_000
		content := noise(1, 1_400_000)
		began := time.Now()
		result := u.put(content, options)
		if result.Segments != 21 {
			t.Errorf("%d segments, want 21", result.Segments)
		}
		if took, most := time.Since(began), 2*putSilence+reportTime; took > most {
			t.Errorf("the put took %v, want at most %v", took, most)
		}
		u.get(result.ID, content)
	})
}

func TestMemberThatIsCutOffDoesNotStoreForItself(t *testing.T) {
	w := newWorld(t, 6)
	for _, m := range w.members[1:] {
		m.set(storetest.Fail)
	}
	u := newUser(t, w)
	for _, n := range []int{10, 300_000} {
		_, err := u.Put(t.Context(), bytes.NewReader(noise(1, n)), options, commit)
		wantKind(t, "put", err, errs.Unavailable)
		for _, m := range w.members[1:] {
			if !strings.Contains(err.Error(), m.id.String()) {
				t.Errorf("%v does not name %s", err, m.id)
			}
		}
		if !strings.Contains(errs.HintFor(err), "--min-survives 0") {
			t.Errorf("hint %q", errs.HintFor(err))
		}
	}
	for _, m := range w.members {
		if keys := m.holds(t); len(keys) > 0 {
			t.Errorf("%s has %d shards", m.id, len(keys))
		}
	}
	w.see(w.members[1:]) // that they are dead changes nothing
	_, err := u.Put(t.Context(), bytes.NewReader(noise(1, 10)), options, commit)
	wantKind(t, "put when the others are dead", err, errs.Unavailable)
}

func TestMinSurvivesIsTheBar(t *testing.T) {
	for _, tt := range []struct {
		alive, bar int
		want       bool
	}{
		{6, -1, true}, {6, 2, true}, {6, 3, false}, {5, 1, true}, {5, 2, false}, {4, -1, true}, {2, -1, false}, {2, 0, true}, {1, 0, true}, {1, 1, false},
	} {
		w := newWorld(t, 6)
		for _, m := range w.members[tt.alive:] {
			m.do(func(method storetest.Method, _ datamesh.ShardKey) storetest.Fault {
				if method == storetest.Put {
					return storetest.Fail
				}
				return storetest.None // it is a registrar
			})
		}
		opt := options
		opt.MinSurvives = tt.bar
		u := newUser(t, w)
		result, err := u.Put(t.Context(), bytes.NewReader(noise(1, 100_000)), opt, commit)
		if (err == nil) != tt.want || err == nil && result.Survives < tt.bar {
			t.Errorf("%d of 6 take shards, bar %d: %+v, %v", tt.alive, tt.bar, result, err)
		}
		if err != nil && tt.alive < 5 && !strings.Contains(err.Error(), fmt.Sprintf("; %d of 6 members answer; ", tt.alive)) {
			t.Errorf("%d of 6 take shards: the error is %q", tt.alive, err)
		}
	}
}

func TestMajorityOfRegistrarsMustHear(t *testing.T) {
	for deaf, want := range map[int]bool{0: true, 2: true, 3: false} {
		w := newWorld(t, 6)
		for _, m := range w.members[:deaf] {
			m.deaf = true
		}
		u := newUser(t, w)
		_, err := u.Put(t.Context(), bytes.NewReader(noise(1, 100_000)), options, commit)
		if (err == nil) != want {
			t.Errorf("%d of 6 do not hear: %v", deaf, err)
		}
		if err != nil {
			wantKind(t, "put", err, errs.Unavailable)
			u.clean()
		}
	}
}

// A source gives so many bytes and then its error.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if err == io.EOF {
		err = s.err
	}
	return n, err
}

func TestFailedPutLeavesNothing(t *testing.T) {
	for name, fail := range map[string]func(u *user, content []byte) error{
		"the source fails": func(u *user, content []byte) error {
			_, err := u.Put(t.Context(), &source{bytes.NewReader(content), errTest}, options, commit)
			return err
		},
		"the source is cut off": func(u *user, content []byte) error {
			_, err := u.Put(t.Context(), &source{bytes.NewReader(content), io.ErrUnexpectedEOF}, options, commit)
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = errTest
			}
			return err
		},
		"the catalog fails": func(u *user, content []byte) error {
			_, err := u.Put(t.Context(), bytes.NewReader(content), options, func(PutResult) error { return errTest })
			return err
		},
		"it is cancelled": func(u *user, content []byte) error {
			ctx, cancel := context.WithCancel(t.Context())
			end := make(never)
			defer close(end)
			_, err := u.Put(ctx, io.MultiReader(bytes.NewReader(content), call(cancel), end), options, commit)
			if errors.Is(err, context.Canceled) {
				err = errTest
			}
			return err
		},
		"its name is no name": func(u *user, content []byte) error {
			opt := options
			opt.Name = "\xff"
			_, err := u.Put(t.Context(), bytes.NewReader(content), opt, commit)
			if errs.KindOf(err) == errs.Invalid {
				err = errTest
			}
			return err
		},
	} {
		for _, n := range []int{0, 10, 65 << 10, 1 << 20} {
			u := newUser(t, newWorld(t, 6))
			u.content = 70_000
			if err := fail(u, noise(1, n)); !errors.Is(err, errTest) {
				t.Errorf("%s after %d bytes: got %v", name, n, err)
			}
			u.clean()
		}
	}
}

// call is a source that calls a function and is at its end.
type call func()

func (f call) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

// never is a source that gives nothing before it is closed.
type never chan struct{}

func (n never) Read([]byte) (int, error) {
	<-n
	return 0, io.EOF
}

func TestCancelledPutEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		for _, m := range w.members {
			m.do(func(method storetest.Method, _ datamesh.ShardKey) storetest.Fault {
				if method == storetest.Put {
					return storetest.Stall
				}
				return storetest.None
			})
		}
		u := newUser(t, w)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		_, err := u.Put(ctx, bytes.NewReader(noise(1, 300_000)), options, commit)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("the put took %v", took)
		}
		u.clean()
	})
}

func TestPutThatFailedTellsWhy(t *testing.T) {
	w := newWorld(t, 0)
	u := newUser(t, w)
	_, err := u.Put(t.Context(), bytes.NewReader(nil), options, commit)
	wantKind(t, "without any member", err, errs.Unavailable)
	w.add(1, 10)
	_, err = u.Put(t.Context(), bytes.NewReader(nil), options, commit)
	wantKind(t, "alone and full", err, errs.Full)
	w.add(2, 10)
	w.add(3, 10)
	_, err = u.Put(t.Context(), bytes.NewReader(nil), options, commit)
	wantKind(t, "all full", err, errs.Full)
	w.kill(w.members[2])
	_, err = u.Put(t.Context(), bytes.NewReader(nil), options, commit)
	wantKind(t, "all full that are there", err, errs.Unavailable)
}

func TestManyPutsAndGetsAtOnce(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	var wait sync.WaitGroup
	for i := range uint64(12) {
		wait.Go(func() {
			content := noise(i, 200_000+int(i)*1000)
			result, err := u.Put(t.Context(), bytes.NewReader(content), options, commit)
			if err != nil {
				t.Errorf("put: %v", err)
				return
			}
			for range 4 {
				u.get(result.ID, content)
			}
		})
	}
	wait.Wait()
	if !u.putMemory.TryAcquire(maxMemory) || !u.getMemory.TryAcquire(maxMemory) {
		t.Error("memory was not given back")
	}
}

func TestShardsAreWhatTheirDescriptorSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		result := u.put(noise(1, 100_000), options)
		shards := 0
		for _, m := range w.members {
			for _, key := range m.holds(t) {
				d, shard, err := m.store.Get(t.Context(), key, nil)
				if err != nil || hash.Shard(shard) != d.Shards[key.Index] || d.Owner != u.ring.OwnerKey() {
					t.Errorf("%v: %v", key, err)
				}
				shards++
			}
		}
		if shards != result.Shards {
			t.Errorf("%d shards are stored, the result says %d", shards, result.Shards)
		}
		registrars := 0
		for _, m := range w.members {
			r, ok := m.registry[datamesh.SegmentID(result.ID)]
			if !ok {
				continue
			}
			registrars++
			for _, h := range r.Holdings {
				key := datamesh.ShardKey{Segment: datamesh.SegmentID(result.ID), Index: h.Index}
				if !slices.Contains(w.member(h.Peer).holds(t), key) {
					t.Errorf("%s is said to hold %d", h.Peer, h.Index)
				}
			}
		}
		if registrars != 6 {
			t.Errorf("%d registrars know the manifest, want 6", registrars)
		}
	})
}

func TestOneOfAnythingIsNotMany(t *testing.T) {
	for members, want := range map[int]string{
		1: "by 1 peer: that survives 0 losses, ",
		2: "by 2 peers: that survives 1 loss, ",
	} {
		u := newUser(t, newWorld(t, members))
		_, err := u.Put(t.Context(), bytes.NewReader(noise(1, 1000)), PutOptions{K: 1, M: 1, MinSurvives: 2}, commit)
		wantKind(t, "put", err, errs.Unavailable)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}
