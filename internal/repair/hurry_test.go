package repair

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/placement"
	"datamesh/internal/store"

	"github.com/google/go-cmp/cmp"
)

// asked returns those effects of an event that have to do with a round.
func (d *desk) asked(ev Event) []Effect {
	return slices.DeleteFunc(d.step(ev), func(x Effect) bool {
		switch x.(type) {
		case Review, Survey, Repair, Over:
			return false
		}
		return true
	})
}

// reads answers a Review with segments.
func (d *desk) reads(all ...store.Tracked) []Effect {
	return d.asked(Reviewed{Segments: all, Last: true})
}

// surveys answers a Survey with what is known of the segment.
func (d *desk) surveys(x store.Tracked) []Effect {
	return d.asked(Surveyed{Segment: x.Descriptor.Segment, Descriptor: x.Descriptor, Holders: d.alive(x.Descriptor, x.Holdings)})
}

// repairs answers a Repair as one that has done all.
func (d *desk) repairs(r Repair) []Effect { return d.asked(complete(r)) }

func complete(r Repair) Repaired {
	done := begun(r)
	for _, c := range r.Copies {
		done.place(c.Index, c.To)
	}
	return done
}

// only returns the one effect there is.
func only[T Effect](t *testing.T, effects []Effect) (x T) {
	t.Helper()
	if len(effects) != 1 {
		t.Fatalf("%d effects, want one %T: %+v", len(effects), x, effects)
	}
	x, ok := effects[0].(T)
	if !ok {
		t.Fatalf("got a %T, want a %T", effects[0], x)
	}
	return x
}

// What waits for the grace, and for a registrar that is nearer and at work, is
// tried at once when somebody asks. So is what is found only then.
func TestHurryWaitsForNobody(t *testing.T) {
	d := newDesk(t, 8)
	known, _ := d.tracked(d.later(), 1)
	found, _ := d.tracked(100, 2)
	whole, _ := d.tracked(101, 0)
	d.now = d.now.Add(settle)
	only[Review](t, d.asked(Tick{}))
	if effects := d.reads(known); len(effects) > 0 {
		t.Fatalf("within the grace there is done: %+v", effects)
	}
	for _, m := range d.w.members[1:] {
		d.step(Told{From: m.id, Reports: []store.Report{{Descriptor: whole.Descriptor}}})
	}
	only[Review](t, d.asked(Hurry{7}))
	effects := d.reads(known, whole, found)
	if got := surveys(effects); len(effects) != 2 || !slices.Equal(got, []datamesh.SegmentID{found.Descriptor.Segment, known.Descriptor.Segment}) {
		t.Fatalf("got %+v, want surveys of two segments, the weaker first", effects)
	}
	if n := len(d.repairs(only[Repair](t, d.surveys(known)))); n > 0 {
		t.Fatal("it is over before all is done")
	}
	o := only[Over](t, d.repairs(only[Repair](t, d.surveys(found))))
	if r := o.Round; o.Number != 7 || o.Err != nil || r.Segments != 3 || r.Waiting != 2 || r.Repaired != 2 || r.Shards != 3 || r.Failed+len(r.Weak) > 0 {
		t.Errorf("got %+v", o)
	}
	for _, p := range o.Round.Placed {
		if !p.Missing || p.Bytes != known.Descriptor.ShardLen() || p.At == (datamesh.PeerID{}) {
			t.Errorf("got %+v", p)
		}
	}
	if o.Round.Bytes != int64(3*known.Descriptor.ShardLen()) || len(o.Round.Placed) != 3 || d.Waiting() != 0 {
		t.Errorf("%d bytes and %d shards are told of, and %d segments wait", o.Round.Bytes, len(o.Round.Placed), d.Waiting())
	}
}

// A look that began before somebody asked is not what he asked for.
func TestHurryWantsALookOfItsOwn(t *testing.T) {
	d := newDesk(t, 8)
	d.now = d.now.Add(settle)
	only[Review](t, d.asked(Tick{}))
	if effects := d.asked(Hurry{1}); len(effects) > 0 {
		t.Fatalf("got %+v while a look is under way", effects)
	}
	x, _ := d.tracked(1, 1)
	whole, _ := d.tracked(2, 0)
	only[Review](t, d.reads(x))
	only[Survey](t, d.reads(x))
	if o := only[Over](t, d.repairs(only[Repair](t, d.surveys(x)))); o.Round.Segments != 1 || o.Round.Repaired != 1 {
		t.Errorf("got %+v", o)
	}

	only[Review](t, d.asked(Hurry{2}))
	only[Review](t, d.asked(Reviewed{Segments: []store.Tracked{whole}}))
	if o := only[Over](t, d.reads(whole)); o.Number != 2 || o.Round.Segments != 2 || o.Round.Waiting != 0 {
		t.Errorf("two pages of what is whole: got %+v", o)
	}
	broken := errors.New("the disk is gone")
	only[Review](t, d.asked(Hurry{3}))
	if o := only[Over](t, d.asked(Reviewed{Last: true, Err: broken})); o.Err != broken {
		t.Errorf("what cannot be read: got %+v", o)
	}
}

// Each segment is tried once: what fails is told, with the reason, and tried
// again in its time.
func TestHurryTellsWhatStaysWeak(t *testing.T) {
	d := newDesk(t, 8)
	var every []store.Tracked
	answers := map[datamesh.SegmentID]func(Effect) Event{}
	want := map[datamesh.SegmentID]string{}
	add := func(lost int, reason string, answer func(x store.Tracked, ask Effect) Event) {
		x, s := d.tracked(len(every), lost)
		every = append(every, x)
		answers[s.Segment] = func(ask Effect) Event { return answer(x, ask) }
		if reason != "" {
			want[s.Segment] = reason
		}
	}
	known := func(x store.Tracked) Surveyed {
		return Surveyed{Segment: x.Descriptor.Segment, Descriptor: x.Descriptor, Holders: d.alive(x.Descriptor, x.Holdings)}
	}
	add(1, "nobody answers", func(x store.Tracked, _ Effect) Event {
		return Surveyed{Segment: x.Descriptor.Segment, Err: errs.New(errs.Unavailable, "nobody answers")}
	})
	add(3, "3 of its 6 shards are there, and it takes 4", func(x store.Tracked, _ Effect) Event { return known(x) })
	add(2, "one is given, the other not", func(x store.Tracked, ask Effect) Event {
		if r, ok := ask.(Repair); ok {
			done := begun(r)
			done.place(r.Copies[0].Index, r.Copies[0].To)
			done.Err = errs.New(errs.Full, "one is given, the other not")
			return done
		}
		return known(x)
	})
	add(1, "", func(x store.Tracked, _ Effect) Event {
		return Surveyed{Segment: x.Descriptor.Segment, Gone: true, Err: errs.Deleted}
	})
	add(1, "", func(x store.Tracked, _ Effect) Event { // another has repaired it meanwhile
		s := known(x)
		s.Holders[0] = []datamesh.PeerID{d.w.members[7].id}
		return s
	})
	only[Review](t, d.asked(Hurry{1}))
	effects := d.reads(every...)
	if len(effects) != together {
		t.Fatalf("%d segments are worked on at once, want %d", len(effects), together)
	}
	var r Round
	for len(effects) > 0 {
		x := effects[0]
		effects = effects[1:]
		switch x := x.(type) {
		case Survey:
			effects = append(effects, d.asked(answers[x.Segment](x))...)
		case Repair:
			effects = append(effects, d.asked(answers[x.Descriptor.Segment](x))...)
		case Over:
			r = x.Round
		}
	}
	if r.Segments != 5 || r.Waiting != 5 || r.Repaired != 0 || r.Failed != 3 || r.Shards != 1 {
		t.Errorf("got %+v", r)
	}
	got := map[datamesh.SegmentID]string{}
	for _, w := range r.Weak {
		got[w.Segment] = w.Reason.Error()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	if n := len(surveys(d.until(2 * backoff))); n != 3 {
		t.Errorf("%d of those that failed are tried again, want all 3", n)
	}
}

// A segment of which only some is repaired at a time is tried when all is.
func TestHurryWaitsForAllOfASegment(t *testing.T) {
	d := newDesk(t, 8)
	x, _ := d.tracked(1, 2)
	only[Review](t, d.asked(Hurry{1}))
	only[Survey](t, d.reads(x))
	r := only[Repair](t, d.surveys(x))
	some := begun(r)
	some.place(r.Copies[0].Index, r.Copies[0].To)
	some.More = true
	only[Survey](t, d.asked(some))
	x.Holdings = append(x.Holdings, store.Holding{Index: r.Copies[0].Index, Peer: r.Copies[0].To})
	o := only[Over](t, d.repairs(only[Repair](t, d.surveys(x)))).Round
	if o.Segments != 1 || o.Waiting != 1 || o.Repaired != 1 || o.Shards != 2 || o.Failed > 0 {
		t.Errorf("got %+v", o)
	}
}

// What cannot be made as safe as it should be is weak, though every shard that
// could be given was.
func TestFlawsAreToldOf(t *testing.T) {
	members := candidates(6)
	whole := make([][]datamesh.PeerID, 6)
	for i := range whole {
		whole[i] = []datamesh.PeerID{members[i].Peer}
	}
	for _, c := range []struct {
		what   string
		change func(holders [][]datamesh.PeerID)
		kind   error
	}{
		{"whole", func([][]datamesh.PeerID) {}, nil},
		{"two of one peer", func(h [][]datamesh.PeerID) { h[0] = h[1] }, errs.Full},
		{"a copy too many", func(h [][]datamesh.PeerID) { h[0] = append(h[0], h[1]...) }, nil},
		{"a shard nowhere", func(h [][]datamesh.PeerID) { h[0] = nil }, errs.Full},
		{"three shards nowhere", func(h [][]datamesh.PeerID) { h[0], h[1], h[2] = nil, nil, nil }, errs.Unavailable},
	} {
		holders := make([][]datamesh.PeerID, 6)
		for i, who := range whole {
			holders[i] = slices.Clone(who)
		}
		c.change(holders)
		if err := flaw(members, descriptor(1, 4, 2), holders); !errors.Is(err, c.kind) {
			t.Errorf("%s: got %v, want %v", c.what, err, c.kind)
		}
	}
}

// Whatever happens in whatever order, whoever asks last is answered, once, and
// nobody else; and what he is told adds up.
func TestEveryHurryIsOver(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		d := newDesk(t, 7+rnd.IntN(6))
		segments := make([]store.Tracked, rnd.IntN(20))
		for i := range segments {
			segments[i], _ = d.tracked(i, max(0, rnd.IntN(8)-4))
		}
		slices.SortFunc(segments, func(a, b store.Tracked) int {
			return slices.Compare(a.Descriptor.Segment[:], b.Descriptor.Segment[:])
		})
		asked, answered := uint64(0), map[uint64]bool{}
		var pending []Effect
		do := func(ev Event) {
			for _, x := range d.asked(ev) {
				if o, ok := x.(Over); !ok {
					pending = append(pending, x)
				} else if answered[o.Number] || o.Number != asked {
					t.Fatalf("seed %d: %d is answered when %d was asked", seed, o.Number, asked)
				} else {
					answered[o.Number] = true
					if r := o.Round; r.Segments > len(segments) || r.Repaired+r.Failed > r.Waiting || r.Failed != len(r.Weak) || r.Shards != len(r.Placed) {
						t.Fatalf("seed %d: got %+v of %d segments", seed, r, len(segments))
					}
				}
			}
		}
		for turn := range 300 {
			d.now = d.now.Add(time.Duration(rnd.Int64N(int64(time.Minute))))
			switch {
			case turn < 200 && rnd.IntN(20) == 0:
				asked++
				do(Hurry{asked})
			case rnd.IntN(10) == 0 && len(segments) > 0:
				whole, _ := d.tracked(rnd.IntN(len(segments)), 0)
				do(Told{From: d.w.members[1].id, Reports: []store.Report{{Descriptor: whole.Descriptor, Holdings: whole.Holdings}}})
			case rnd.IntN(10) == 0:
				do(Corrected{})
			case len(pending) == 0:
				do(Tick{})
			default:
				i := rnd.IntN(len(pending))
				x := pending[i]
				pending = slices.Delete(pending, i, i+1)
				do(d.chance(rnd, segments, x))
			}
		}
		for len(pending) > 0 && !answered[asked] {
			x := pending[0]
			pending = pending[1:]
			do(d.chance(rnd, segments, x))
		}
		if asked > 0 && !answered[asked] {
			t.Fatalf("seed %d: the last of %d is not answered", seed, asked)
		}
	}
}

// chance returns what may come of an effect.
func (d *desk) chance(rnd *rand.Rand, segments []store.Tracked, x Effect) Event {
	var err error
	if rnd.IntN(3) == 0 {
		err = errs.Unavailable
	}
	switch x := x.(type) {
	case Review:
		i := 0
		for i < len(segments) && slices.Compare(segments[i].Descriptor.Segment[:], x.After[:]) <= 0 {
			i++
		}
		return Reviewed{Segments: segments[i:min(i+5, len(segments))], Last: i+5 > len(segments)}
	case Survey:
		s := segments[slices.IndexFunc(segments, func(s store.Tracked) bool { return s.Descriptor.Segment == x.Segment })]
		return Surveyed{Segment: x.Segment, Descriptor: s.Descriptor, Holders: d.alive(s.Descriptor, s.Holdings), Err: err, Gone: rnd.IntN(10) == 0}
	case Repair:
		done := complete(x)
		done.Err = err
		return done
	}
	panic("another effect")
}

// What is spread survives what the members allow, so nothing is flawed.
func TestPlansLeaveNoFlaw(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		k, m := 1+rnd.IntN(5), rnd.IntN(4)
		d, members := descriptor(rnd.Int(), k, m), candidates(1+rnd.IntN(2*(k+m)))
		r := Repair{Descriptor: d, Holders: make([][]datamesh.PeerID, k+m)}
		for i := range r.Holders {
			if rnd.IntN(5) > 0 {
				r.Holders[i] = []datamesh.PeerID{members[rnd.IntN(len(members))].Peer}
			}
		}
		r.Copies = Plan(members, d, r.Holders)
		done := complete(r)
		if err := flaw(members, d, done.Holders); err != nil && !errors.Is(err, errs.Unavailable) {
			t.Fatalf("%d+%d on %d members survives %d: %v", k, m, len(members), placement.Survives(done.Holders, k), err)
		}
	}
}
