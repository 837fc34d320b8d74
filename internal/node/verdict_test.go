package node

import "testing"

func TestVerdictSaysWhatIsSo(t *testing.T) {
	well := ObjectHealth{Survives: 2, Possible: 2}
	small := ObjectHealth{Survives: 0, Possible: 0}
	weak := ObjectHealth{Survives: 1, Possible: 2, Lost: 1}
	grown := ObjectHealth{Survives: 1, Possible: 2}
	lossy := ObjectHealth{Survives: 1, Possible: 1, Lost: 1}
	gone := ObjectHealth{Survives: -1, Possible: -1, Problem: "x"}
	many := func(o ObjectHealth, n int) (all []ObjectHealth) {
		for range n {
			all = append(all, o)
		}
		return all
	}
	six, five, three := MemberStats{Alive: 6}, MemberStats{Alive: 5, Suspect: 1}, MemberStats{Alive: 3, Suspect: 1, Dead: 2}
	for _, c := range []struct {
		objects      []ObjectHealth
		members      MemberStats
		quick, alone bool
		catalog      int64
		degraded     bool
		want         string
	}{
		{nil, five, false, false, 0, false, "no objects yet; 5 of 6 members answer"},
		{nil, MemberStats{Alive: 1}, false, false, 0, false, "no objects yet; 1 of 1 member answers"},
		{nil, MemberStats{}, false, true, 0, false, "no objects yet; this home has no mesh"},
		{many(well, 1204), six, false, false, 1204, false, "all 1,204 objects can lose any 2 more peers"},
		{many(grown, 1), six, false, false, 1, true, "1 of 1 object survives fewer losses than it could: their shards are not spread over all 6 members"},
		{many(well, 1), MemberStats{Alive: 6, Dead: 1}, false, false, 1, false, "the one object can lose any 2 more peers; 6 of 7 members answer"},
		{append(many(weak, 3), many(well, 1201)...), five, false, false, 1204, true, "3 of 1,204 objects survive fewer losses than they could: 1 of 6 members does not answer"},
		{many(weak, 2), six, false, false, 2, true, "2 of 2 objects survive fewer losses than they could: peers that answer do not have the shards that they should"},
		{many(lossy, 1), five, false, false, 1, true, "1 of 1 object has lost shards: 1 of 6 members does not answer"},
		{append(many(gone, 2), weak, well), three, false, false, 4, true, "2 of 4 objects cannot be read now: 3 of 6 members do not answer"},
		{append(many(gone, 1), well), six, false, false, 2, true, "1 of 2 objects cannot be read now"},
		{many(small, 2), MemberStats{Alive: 1}, false, false, 2, false, "all 2 objects can be read, and can lose no peer"},
		{many(small, 2), MemberStats{Alive: 1}, false, true, 2, false, "all 2 objects are on this machine alone and survive no loss"},
		{many(small, 1), MemberStats{Alive: 1}, false, true, 1, false, "the one object is on this machine alone and survives no loss"},
		{nil, six, true, false, 1204, false, "6 of 6 members answer; 1,204 objects not asked about"},
		{nil, five, true, false, 1, true, "5 of 6 members answer; 1 object not asked about"},
		{nil, five, true, false, 0, false, "no objects yet; 5 of 6 members answer"},
		{nil, MemberStats{Alive: 1}, true, true, 3, false, "3 objects on this machine alone, not asked about; this home has no mesh"},
	} {
		h := Health{Members: c.members, Silent: c.members.Suspect, Catalog: CatalogStats{Objects: c.catalog}, Objects: c.objects}
		h.judge(c.quick, c.alone)
		if h.Verdict != c.want || h.Degraded != c.degraded {
			t.Errorf("got %q, degraded %v, want %q, %v", h.Verdict, h.Degraded, c.want, c.degraded)
		}
	}
}
