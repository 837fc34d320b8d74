package repair

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

// mender is a client, who holds nothing and is nobody's registrar.
func (w *world) mender() *Keeper {
	return NewMender(&seen{w, w.members[0].id}, datamesh.PeerID{0xff}, 0, Events{
		Failed: func(what string, err error) { w.t.Errorf("%s: %v", what, err) }})
}

func ids(all []*storetest.Sample) (segments []datamesh.SegmentID) {
	for _, s := range all {
		segments = append(segments, s.Segment)
	}
	return segments
}

// Whoever asks mends what is asked for, and nothing else, without a registrar's
// help, and the registrars are told.
func TestMendRestoresTheSegmentsOfAnybodyWhoAsks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 9)
		all := w.put(20, 4, 2)
		mine, others := all[:10], all[10:]
		if r, err := w.mender().Mend(t.Context(), ids(mine), false); err != nil || r.Segments != 10 || r.Waiting+r.Shards+r.Failed+r.Repaired > 0 {
			t.Errorf("of what is whole: got %+v, %v", r, err)
		}
		w.kill(w.members[4:6]...)
		lost, left := w.missing(mine), w.missing(others)
		_, before := w.moved()
		plan, err := w.mender().Mend(t.Context(), ids(mine), true)
		if err != nil || plan.Shards != lost || plan.Failed > 0 || w.missing(mine) != lost {
			t.Fatalf("of %d missing shards: got %+v, %v", lost, plan, err)
		}
		r, err := w.mender().Mend(t.Context(), ids(mine), false)
		if err != nil || r.Shards != lost || len(r.Placed) != lost || r.Repaired != r.Waiting || r.Repaired != plan.Repaired || r.Failed > 0 {
			t.Fatalf("planned %+v\ngot %+v, %v", plan, r, err)
		}
		if _, puts := w.moved(); puts-before != lost || w.missing(mine) != 0 || w.missing(others) != left {
			t.Errorf("%d shards were put, %d are missing, and %d of the others, want %d, 0 and %d", puts-before, w.missing(mine), w.missing(others), lost, left)
		}
		for _, s := range mine {
			for _, peer := range registrars(w.View(), s.Descriptor) {
				_, holdings, err := w.member(peer).disk.Locate(t.Context(), s.Segment)
				indices := map[int]bool{}
				for _, h := range holdings {
					if !w.member(h.Peer).down {
						indices[h.Index] = true
					}
				}
				if err != nil || len(indices) != 6 {
					t.Errorf("a registrar knows of %d shards, %v", len(indices), err)
				}
			}
		}
	})
}

func TestMendTellsWhatItCannotMend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		all := w.put(3, 4, 2)
		w.kill(w.members[3:]...)
		unknown := datamesh.SegmentID{1}
		r, err := w.mender().Mend(t.Context(), append(ids(all), unknown), false)
		if err != nil || r.Segments != 4 || r.Waiting != 4 || r.Failed != 4 || len(r.Weak) != 4 || r.Shards > 0 {
			t.Fatalf("got %+v, %v", r, err)
		}
		i := slices.IndexFunc(r.Weak, func(x Weak) bool { return x.Segment == unknown })
		if i < 0 || !errors.Is(r.Weak[i].Reason, errs.FileNotFound) {
			t.Errorf("of a segment that nobody knows: got %+v", r.Weak)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cancel()
		if _, err := w.mender().Mend(ctx, ids(all), false); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: got %v", err)
		}
	})
}

// What the owner has deleted is not brought back.
func TestMendLeavesWhatWasDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 9)
		all := w.put(1, 4, 2)
		s := all[0]
		holders := w.held(s)
		w.kill(w.member(holders[0][0]))
		for _, m := range w.members {
			if !m.down && !slices.ContainsFunc(holders, func(who []datamesh.PeerID) bool { return slices.Contains(who, m.id) }) {
				if err := m.disk.Drop(t.Context(), s.Deletion(1)); err != nil { // whoever would get the shard
					t.Fatal(err)
				}
			}
		}
		r, err := w.mender().Mend(t.Context(), ids(all), false)
		if err != nil || r.Shards > 0 || r.Repaired > 0 {
			t.Errorf("got %+v, %v", r, err)
		}
	})
}

// What is proven to whoever asks is what the holders have now.
func TestProveAsksTheHoldersThemselves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 7)
		s := w.put(1, 4, 2)[0]
		holders := w.held(s)
		without := w.member(holders[2][0])
		if err := without.disk.Remove(t.Context(), s.Key(2)); err != nil {
			t.Fatal(err)
		}
		w.kill(w.member(holders[4][0]))
		answers, err := w.mender().Prove(t.Context(), s.Segment, holders)
		if err != nil || len(answers) != 6 {
			t.Fatalf("got %+v, %v", answers, err)
		}
		for _, a := range answers {
			want := Proven
			switch a.Key.Index {
			case 2:
				want = Refuted
			case 4:
				want = Silent
			}
			if a.Outcome != want || a.Peer != holders[a.Key.Index][0] {
				t.Errorf("got %+v, want outcome %v", a, want)
			}
		}
		if _, err := w.mender().Prove(t.Context(), datamesh.SegmentID{1}, holders); !errors.Is(err, errs.FileNotFound) {
			t.Errorf("of a segment that nobody knows: got %v", err)
		}
		if _, err := w.mender().Prove(t.Context(), s.Segment, holders[:5]); !errors.Is(err, errs.Invalid) {
			t.Errorf("of too few shards: got %v", err)
		}
	})
}
