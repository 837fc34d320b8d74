package repair

import (
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/ring"
)

// untold is a member that could not be told what is held.
type untold struct {
	tries int
	again time.Time
}

// tell has all told what is held when it is time, and else those that have
// become registrars, or could not be told before.
func (m *Machine) tell() []Effect {
	if m.telling {
		return nil
	}
	if !m.announce.IsZero() && !m.announce.After(m.now) {
		m.telling = true
		m.announce = m.now.Add(m.about(m.cfg.Interval))
		m.news, m.toldIn = time.Time{}, m.view
		return []Effect{Announce{}}
	}
	if !m.news.IsZero() && !m.news.After(m.now) {
		m.telling = true
		since := m.toldIn
		m.news, m.toldIn = time.Time{}, m.view
		return []Effect{Announce{Since: since}}
	}
	var to []datamesh.PeerID
	for peer, u := range m.untold {
		if !u.again.After(m.now) {
			to = append(to, peer)
		}
	}
	if len(to) == 0 {
		return nil
	}
	m.telling = true
	slices.SortFunc(to, comparePeers)
	return []Effect{Announce{To: to}}
}

// announced has those told again, later and later, who could not be told and
// are alive.
func (m *Machine) announced(ev Announced) {
	m.telling = false
	for _, peer := range ev.Told {
		delete(m.untold, peer)
	}
	for _, peer := range ev.Failed {
		if _, ok := m.live[peer]; !ok {
			continue
		}
		u := m.untold[peer]
		if u == nil {
			u = new(untold)
			m.untold[peer] = u
		}
		u.again = m.now.Add(m.about(min(backoff<<min(u.tries, 20), m.cfg.Interval)))
		u.tries++
	}
}

// nearby is how many members are told what a member holds even if it holds
// nothing that they keep track of: it may have lost that.
const nearby = 64

// partners returns those members, which may keep track of what a member was
// chosen to hold, itself included.
func partners(view *ring.View, self datamesh.PeerID) []datamesh.PeerID {
	me, ok := view.Lookup(self)
	if !ok {
		return nil
	}
	return ring.Registrars(view, me.Placement, nearby)
}
