package object

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

func TestAnyTwoOfSixHoldersMayBeLost(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	small, large := noise(1, 1000), noise(2, 300_000)
	a, b := u.put(small, options), u.put(large, options)
	for i := range 6 {
		for j := range i {
			u.w.kill(u.w.members[i], u.w.members[j])
			u.get(a.ID, small)
			u.get(b.ID, large)
			u.w.members[i].set(storetest.None)
			u.w.members[j].set(storetest.None)
		}
	}
}

func TestAnyThreeOfSixHoldersAreTooMany(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	result := u.put(noise(2, 300_000), options)
	for i := range 6 {
		for j := range i {
			for k := range j {
				lost := []*member{u.w.members[i], u.w.members[j], u.w.members[k]}
				u.w.kill(lost...)
				_, err := u.Get(t.Context(), result.ID, to(io.Discard))
				wantKind(t, "get", err, errs.Unavailable)
				for _, m := range lost {
					if !strings.Contains(err.Error(), m.id.String()) {
						t.Errorf("%v does not name %s", err, m.id)
					}
					m.set(storetest.None)
				}
				// Those of the manifest are copies, on three of the six.
				if text := err.Error(); !strings.Contains(text, "3 shards answered, 4 are needed") && !strings.Contains(text, "0 shards answered, 1 are needed") {
					t.Errorf("%v does not say how many answered", err)
				}
			}
		}
	}
}

// What a put says survives can be found too: without any registrar that knows
// the manifest its holders are of no use.
func TestSurvivesCountsWhoKnowsTheManifest(t *testing.T) {
	w := newWorld(t, 8)
	for _, m := range w.members[:3] {
		m.deaf = true // a majority is left
	}
	u := newUser(t, w)
	content := noise(1, 300_000)
	result := u.put(content, PutOptions{K: 1, M: 7, MinSurvives: -1})
	if result.Survives != 4 {
		t.Errorf("survives %d, want 4", result.Survives)
	}
	for _, m := range w.members[3:][:min(result.Survives, 5)] {
		m.set(storetest.Fail)
	}
	u.get(result.ID, content)
	for _, m := range w.members {
		m.set(storetest.None)
	}
	_, err := u.Put(t.Context(), bytes.NewReader(content), PutOptions{K: 1, M: 7, MinSurvives: 5}, commit)
	wantKind(t, "put that has to survive five losses", err, errs.Unavailable)
	w = newWorld(t, 4)
	w.members[0].deaf = true
	_, err = newUser(t, w).Put(t.Context(), bytes.NewReader(content), PutOptions{K: 1, M: 5, MinSurvives: -1}, commit)
	wantKind(t, "put that three of four should survive", err, errs.Unavailable)
}

func TestUnknownObject(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	_, err := u.Manifest(t.Context(), datamesh.ObjectID{1})
	wantKind(t, "when all answer", err, errs.FileNotFound)
	u.w.members[3].set(storetest.Fail)
	_, err = u.Manifest(t.Context(), datamesh.ObjectID{1})
	wantKind(t, "when one does not", err, errs.Unavailable)
	if !strings.Contains(err.Error(), u.w.members[3].id.String()) {
		t.Errorf("%v does not name it", err)
	}
}

func TestObjectOfAnotherIdentity(t *testing.T) {
	w := newWorld(t, 3)
	owner, other := newUser(t, w), newUser(t, w)
	keys, err := keyring.New(keyring.Root{8})
	if err != nil {
		t.Fatal(err)
	}
	other.ring = keys
	result := owner.put(noise(1, 1000), options)
	_, err = other.Get(t.Context(), result.ID, to(io.Discard))
	wantKind(t, "get", err, errs.Decryption)
	opt := options
	opt.To = []crypt.Recipient{keys.Recipient}
	content := noise(2, 100_000)
	other.get(owner.put(content, opt).ID, content)
}

func TestHoldersAreFoundWithoutRegistrars(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	content := noise(3, 300_000)
	result := u.put(content, options)
	for _, m := range u.w.members {
		clear(m.registry)
	}
	u.get(result.ID, content)
}

func TestDamageIsMadeGoodAndItsHolderNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fault := range []storetest.Fault{storetest.Corrupt, storetest.Short, storetest.Fail} {
			for _, n := range []int{1000, 300_000} {
				for _, lost := range []int{1, 2} {
					w := newWorld(t, 6)
					u := newUser(t, w)
					content := noise(4, n)
					result := u.put(content, options)
					segment := u.contentSegment(result.ID)
					var bad []*member
					for index := range lost { // those that a get asks for first
						m := w.holder(datamesh.ShardKey{Segment: segment, Index: index})
						bad = append(bad, m)
						m.do(func(method storetest.Method, key datamesh.ShardKey) storetest.Fault {
							if method == storetest.Get && key.Segment == segment {
								return fault
							}
							return storetest.None
						})
					}
					found := u.get(result.ID, content)
					if n == 1000 && len(found) > 0 && found[0].Peer == bad[0].id { // copies: in the stead of the first any may be asked for
						bad = bad[:min(len(bad), len(found))]
					}
					if !names(found, bad...) {
						t.Errorf("fault %d, %d bytes, %d lost: bad %v", fault, n, lost, found)
					}
				}
			}
		}
	})
}

// contentSegment returns the first segment of an object's content, or that of
// the manifest when that has all of it.
func (u *user) contentSegment(id datamesh.ObjectID) datamesh.SegmentID {
	u.t.Helper()
	m, err := u.Manifest(u.t.Context(), id)
	if err != nil {
		u.t.Fatal(err)
	}
	if len(m.Segments) == 0 {
		return datamesh.SegmentID(id)
	}
	return m.Segments[0].ID
}

// holder returns the member that has a shard.
func (w *world) holder(key datamesh.ShardKey) *member {
	w.t.Helper()
	for _, m := range w.members {
		if slices.Contains(m.holds(w.t), key) {
			return m
		}
	}
	w.t.Fatal("nobody holds the shard")
	return nil
}

func TestSwappedAndDeletedShardsAreMadeGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		content := noise(4, 300_000)
		result := u.put(content, options)
		segment := u.contentSegment(result.ID)
		key := datamesh.ShardKey{Segment: segment, Index: 0}
		m := w.holder(key)
		d, shard, err := m.store.Get(t.Context(), key, nil)
		if err != nil {
			t.Fatal(err)
		}
		empty := store.NewMemory(1 << 20)
		old := m.store
		m.store = empty
		u.asides.Wait()
		u.pace = pace{} // so that the data shards are asked for
		if bad := u.get(result.ID, content); !names(bad, m) {
			t.Errorf("deleted: bad %v", bad)
		}
		m.store = old
		for _, lie := range [][]byte{shard[1:], append(bytes.Clone(shard), 0), noise(9, len(shard)), nil} {
			m.store = store.NewMemory(1 << 20)
			m.inner = liar{m.store, d, lie}
			u.asides.Wait()
			u.pace = pace{}
			if bad := u.get(result.ID, content); !names(bad, m) {
				t.Errorf("%d other bytes: bad %v", len(lie), bad)
			}
		}
	})
}

// A liar answers each get with the same.
type liar struct {
	datamesh.ShardStore
	d     *datamesh.Descriptor
	shard []byte
}

func (l liar) Get(context.Context, datamesh.ShardKey, []byte) (*datamesh.Descriptor, []byte, error) {
	return l.d, l.shard, nil
}

func TestTooMuchDamageIsIntegrity(t *testing.T) {
	w := newWorld(t, 6)
	u := newUser(t, w)
	result := u.put(noise(5, 300_000), options)
	segment := u.contentSegment(result.ID)
	damage := func(members []*member) {
		for _, m := range members {
			m.do(func(method storetest.Method, key datamesh.ShardKey) storetest.Fault {
				if method == storetest.Get && key.Segment == segment {
					return storetest.Corrupt
				}
				return storetest.None
			})
		}
	}
	damage(w.members[:3])
	_, err := u.Get(t.Context(), result.ID, to(io.Discard))
	wantKind(t, "three damaged", err, errs.Integrity)
	w.kill(w.members[5])
	damage(w.members[:2])
	w.members[2].set(storetest.None)
	_, err = u.Get(t.Context(), result.ID, to(io.Discard))
	wantKind(t, "two damaged and one away", err, errs.Unavailable)
}

// A get does not wait for a peer that is silent, be it to learn whether it is there. If
// that is known before the get ends, it is named.
func TestSilentPeerIsPassedByAndNamed(t *testing.T) {
	for name, c := range map[string]struct {
		writes time.Duration // that it takes to write the content
		named  bool
	}{"quick": {0, false}, "slow": {2 * probeSilence, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 6)
				u := newUser(t, w)
				result := u.put(noise(6, 300_000), options)
				silent := w.holder(datamesh.ShardKey{Segment: u.contentSegment(result.ID)})
				silent.set(storetest.Stall)
				for range 2 {
					began := time.Now()
					bad, err := u.Get(t.Context(), result.ID, to(&slowWriter{c.writes}))
					if err != nil || c.named && !names(bad, silent) {
						t.Errorf("bad %v, %v", bad, err)
					}
					if took := time.Since(began) - c.writes; took >= probeSilence/2 {
						t.Errorf("the get took %v", took)
					}
					c.named = false // others are asked
				}
			})
		})
	}
}

// A slowWriter takes so long for what it is given first.
type slowWriter struct{ first time.Duration }

func (w *slowWriter) Write(p []byte) (int, error) {
	pass(w.first)
	w.first = 0
	return len(p), nil
}

func TestNoPeerIsWaitedForMoreThanTwiceForThreeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		result := u.put(noise(6, 300_000), options)
		for _, m := range w.members[:3] {
			m.set(storetest.Stall)
		}
		began := time.Now()
		_, err := u.Get(t.Context(), result.ID, to(io.Discard))
		wantKind(t, "get", err, errs.Unavailable)
		if took := time.Since(began); took > 4*getSilence { // twice for the manifest, twice for the content
			t.Errorf("the get took %v", took)
		}
	})
}

func TestSlowPeerIsNotBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		content := noise(6, 300_000)
		result := u.put(content, options)
		segment := u.contentSegment(result.ID)
		w.holder(datamesh.ShardKey{Segment: segment}).do(func(method storetest.Method, key datamesh.ShardKey) storetest.Fault {
			if method == storetest.Get && key.Segment == segment {
				return storetest.Stall // but it answers probes
			}
			return storetest.None
		})
		if bad := u.get(result.ID, content); len(bad) > 0 {
			t.Errorf("bad %v", bad)
		}
	})
}

// Under load a peer may be late once and well the next time.
func TestPeersThatWereSilentOnceAreAskedOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		content := noise(6, 300_000)
		result := u.put(content, options)
		for _, m := range w.members {
			var once sync.Map // keys of shards that were not served, and registrars' words
			m.do(func(method storetest.Method, key datamesh.ShardKey) storetest.Fault {
				if _, again := once.LoadOrStore(key, true); method == storetest.Get && !again {
					return storetest.Stall
				}
				return storetest.None
			})
			m.locate = func(id datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
				r, known := m.registry[id]
				if _, again := once.LoadOrStore(id, true); !again {
					return nil, nil, errs.New(errs.Unavailable, "silent for 3s")
				}
				if !known {
					return nil, nil, errs.New(errs.FileNotFound, "no holder was reported")
				}
				return r.Descriptor, r.Holdings, nil
			}
		}
		u.get(result.ID, content)
	})
}

func TestSecondRoundIsTheLastAndLeavesOutTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		result := u.put(noise(6, 300_000), options)
		segment := u.contentSegment(result.ID)
		for _, m := range w.members {
			m.do(func(method storetest.Method, key datamesh.ShardKey) storetest.Fault {
				if method == storetest.Get && key.Segment == segment {
					return storetest.Stall
				}
				return storetest.None
			})
		}
		before := make(map[*member]int)
		for _, m := range w.members {
			before[m] = m.called(storetest.Get)
		}
		dead := w.members[5]
		dead.set(storetest.Fail)
		w.see(w.members[5:])
		_, err := u.Get(t.Context(), result.ID, to(io.Discard))
		wantKind(t, "get", err, errs.Unavailable)
		for i, m := range w.members { // each holds a shard of the manifest, and one of the content
			most := 1 + 2
			if m == dead {
				most = 2
			}
			if got := m.called(storetest.Get) - before[m]; got > most {
				t.Errorf("member %d was asked for %d shards, want at most %d", i, got, most)
			}
		}
	})
}

func TestCancelledGetEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		result := u.put(noise(6, 300_000), options)
		for _, m := range w.members {
			m.set(storetest.Stall)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		bad, err := u.Get(ctx, result.ID, to(io.Discard))
		if !errors.Is(err, context.Canceled) || len(bad) > 0 {
			t.Errorf("got %v, bad %v", err, bad)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("the get took %v", took)
		}
	})
}

var errTest = errors.New("as the test says")

// A tight writer has room for so many bytes.
type tight struct{ left int }

func (w *tight) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errTest
	}
	return len(b), nil
}

func TestFailingWriterStopsTheGet(t *testing.T) {
	w := newWorld(t, 1)
	u := newUser(t, w)
	u.content = 70_000
	content := noise(7, 1_400_000)
	result := u.put(content, PutOptions{K: 1, M: 0, MinSurvives: -1})
	before := w.members[0].called(storetest.Get)
	for range 20 {
		_, err := u.Get(t.Context(), result.ID, to(&tight{u.content}))
		if !errors.Is(err, errTest) {
			t.Fatalf("got %v, want %v", err, errTest)
		}
	}
	if got, most := w.members[0].called(storetest.Get)-before, 20*(1+1+inFlight+1); got > most {
		t.Errorf("%d shards were fetched, want at most %d", got, most)
	}
}

func TestWhatIsWrittenIsATrueBeginning(t *testing.T) {
	w := newWorld(t, 6)
	u := newUser(t, w)
	u.content = 70_000
	content := noise(7, 300_000)
	result := u.put(content, options)
	m, err := u.Manifest(t.Context(), result.ID)
	if err != nil || len(m.Segments) < 3 {
		t.Fatalf("%d segments, %v", len(m.Segments), err)
	}
	for _, x := range w.members {
		x.do(func(method storetest.Method, key datamesh.ShardKey) storetest.Fault {
			if method == storetest.Get && key.Segment == m.Segments[1].ID {
				return storetest.Corrupt
			}
			return storetest.None
		})
	}
	var got bytes.Buffer
	_, err = u.Get(t.Context(), result.ID, to(&got))
	wantKind(t, "get", err, errs.Integrity)
	if want := content[:m.Segments[0].Length]; !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes were written, want the first %d", got.Len(), len(want))
	}
}
