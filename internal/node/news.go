package node

import (
	"log/slog"
	"time"

	"datamesh"
	"datamesh/internal/mesh"
	"datamesh/internal/ring"
)

// rememberTime is how long changes of the member table are gathered before
// they are written down.
const rememberTime = 2 * time.Second

// follow tells of the changes of the member table, and writes it down.
func (n *Node) follow(net *mesh.Net, m *memory) {
	told := news{log: n.log, self: net.ID(), states: map[datamesh.PeerID]ring.State{}}
	for _, x := range m.members {
		told.states[x.Record.Peer] = ring.Suspect // until it answers
	}
	told.tell(net.View())
	var due <-chan time.Time
	for {
		save := false
		select {
		case <-net.Changes():
			told.tell(net.View())
			if due == nil {
				due = time.After(rememberTime)
			}
		case <-due:
			due, save = nil, true
		case <-n.ctx.Done():
			save = due != nil
		}
		if save {
			n.keep(m, net.View(), true) // if that fails, it has said so
		}
		if n.ctx.Err() != nil {
			return
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
