package repair

import (
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/store"
)

// What is one too many is told of when those that a segment concerns have been
// there for the grace, whoever else comes and goes.
func TestOnlyChangesOfItsOwnMembersKeepSurplus(t *testing.T) {
	d := newDesk(t, 30)
	seed := 0
	for registrars(d.w.View(), coded(t, seed, 4, 2).Descriptor)[0] != d.self.id {
		seed++
	}
	x, _ := d.tracked(seed, 0)
	x.Holdings = append(x.Holdings, store.Holding{Index: 0, Peer: d.w.members[6].id})
	concerned := registrars(d.w.View(), x.Descriptor)
	for _, h := range x.Holdings {
		concerned = append(concerned, h.Peer)
	}
	i := slices.IndexFunc(d.w.members, func(m *member) bool { return !slices.Contains(concerned, m.id) })
	stranger, holder := d.w.members[i], d.w.members[6]
	hints := func(flaps *member) (n int) {
		for end := d.now.Add(2 * testGrace); d.now.Before(end); d.now = d.now.Add(testGrace / 3) {
			flaps.setDown(!flaps.down)
			d.w.see()
			d.step(Members{d.w.View()})
			for _, e := range d.review(x) {
				if _, ok := e.(Hint); ok {
					n++
				}
			}
		}
		return n
	}
	d.now = d.now.Add(2 * testGrace)
	if n := hints(holder); n > 0 {
		t.Errorf("while a holder comes and goes holders are told %d times of what is too many", n)
	}
	d.until(2 * testGrace)
	if n := hints(stranger); n == 0 {
		t.Error("whoever else comes and goes keeps what is too many")
	}
	seen := d.changes
	if at := seen.last([]datamesh.PeerID{stranger.id}); d.now.Sub(at) > testGrace {
		t.Errorf("the last change was %v ago", d.now.Sub(at))
	}
	if len(seen) > 1 {
		t.Errorf("%d members are said to have come or gone lately", len(seen))
	}
}
