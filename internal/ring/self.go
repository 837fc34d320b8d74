package ring

import (
	"slices"
	"time"
)

// restate takes in what the record of self shall say.
func (m *Machine) restate(ev Self) {
	if m.self == nil {
		return
	}
	m.told = Self{fitting(ev.Addrs), max(0, ev.Capacity), max(0, ev.Used)}
	r := m.self.rec
	change := m.told.Used - r.Used
	m.restated = !slices.Equal(m.told.Addrs, r.Addrs) || m.told.Capacity != r.Capacity ||
		change != 0 && max(change, -change) >= m.told.Capacity/20
}

// fitting returns those of the addresses that have room in a record.
func fitting(addrs []string) []string {
	var out []string
	for _, s := range addrs {
		if fits(s) && len(out) < MaxAddrs {
			out = append(out, s)
		}
	}
	return out
}

// refute answers a rumour of this member's death with a new incarnation.
func (m *Machine) refute(c claim) {
	if c == suspect || c == dead {
		m.refuting = true
	}
}

// outbid goes beyond an incarnation that this member has signed in an earlier
// life, when its clock was ahead.
func (m *Machine) outbid(seq uint64) {
	m.floor = max(m.floor, seq)
	m.refuting = true
}

// announce signs and spreads the record of self anew, when it has to. Since
// any member can make it, it does so at most four times in a period. A new
// fill waits for the next time, so that refutations are known by their
// unchanged fill.
func (m *Machine) announce() {
	if m.now < m.nextAnnounce() {
		return
	}
	m.announced = m.now
	draft := *m.self.rec
	draft.Seq = max(draft.Seq, m.floor) + 1
	if m.refuting {
		m.refuting = false
	} else {
		m.restated = false
		draft.Addrs, draft.Capacity, draft.Used = m.told.Addrs, m.told.Capacity, m.told.Used
	}
	rec, err := Sign(m.key, draft)
	if err != nil {
		return // no greater incarnation is left
	}
	urgent := !waits(m.self.rec, rec)
	m.renew(m.self, rec)
	m.spread(m.self, urgent)
}

func (m *Machine) nextAnnounce() time.Duration {
	if !m.refuting && !m.restated {
		return never
	}
	return m.announced + m.cfg.Probe/4
}
