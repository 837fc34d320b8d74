package node

import (
	"log/slog"
	"time"

	"datamesh"
	"datamesh/internal/ring"
)

// rememberTime is the least time between two times that the member table is
// written down.
const rememberTime = 2 * time.Second

// follow tells of the changes of the member table, and writes it down: at once
// after a quiet time, since a node that loses its power may come back where
// others do not look for it, and has to look for them. It passes on to changed
// that something has changed.
func (n *Node) follow(l *link, m *memory, changed chan<- struct{}) {
	net := l.net
	told := news{log: n.log, self: net.ID(), states: map[datamesh.PeerID]ring.State{}}
	for _, x := range m.members {
		told.states[x.Record.Peer] = ring.Suspect // until it answers
	}
	told.tell(net.View())
	var quiet <-chan time.Time // until when the table is not written down again
	unwritten := false
	for n.ctx.Err() == nil {
		select {
		case <-net.Changes():
			told.tell(net.View())
			l.experience.look(net.View())
			unwritten = true
			select {
			case changed <- struct{}{}:
			default:
			}
		case <-quiet:
			quiet = nil
		case <-n.ctx.Done():
			quiet = nil
		}
		if unwritten && quiet == nil {
			n.keep(m, net.View(), true) // if that fails, it has said so
			unwritten, quiet = false, time.After(rememberTime)
		}
	}
}

// news tells an operator who of the members comes and goes.
type news struct {
	log    *slog.Logger
	self   datamesh.PeerID
	states map[datamesh.PeerID]ring.State // as last told
}

func (n *news) tell(view *ring.View) {
	for m := range view.All() {
		peer := m.Record.Peer
		last, known := n.states[peer]
		if peer == n.self || m.State == last || !known && m.State == ring.Suspect { // who it is, is yet to be seen
			continue
		}
		n.states[peer] = m.State
		log := n.log.With("peer", peer, "live", view.Live(), "members", view.Len())
		switch {
		case !known && m.State == ring.Alive:
			log.Info("a member joined")
		case m.State == ring.Alive:
			log.Info("a member is back")
		case m.State == ring.Suspect:
			log.Info("a member does not answer")
		case known:
			log.Warn("a member is dead")
		}
	}
	for peer := range n.states {
		if _, ok := view.Lookup(peer); !ok {
			delete(n.states, peer)
			n.log.Info("a dead member is forgotten", "peer", peer, "live", view.Live(), "members", view.Len())
		}
	}
}
