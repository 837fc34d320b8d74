package node

import "sync"

// tickets have one of many who changed the catalog tell the mesh for all: each
// takes one after its change, and waits until all up to it are known there.
type tickets struct {
	turn chan struct{} // full while somebody sends

	mu      sync.Mutex // guards what follows
	given   uint64
	upto    uint64        // that are known
	changed chan struct{} // closed when upto rises
}

func newTickets() *tickets {
	return &tickets{turn: make(chan struct{}, 1), changed: make(chan struct{})}
}

// ask returns a ticket for what the catalog has said until now.
func (t *tickets) ask() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.given++
	return t.given
}

// asked returns the last ticket.
func (t *tickets) asked() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.given
}

// known returns up to which ticket all is known, and a channel that is closed when
// that changes.
func (t *tickets) known() (upto uint64, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.upto, t.changed
}

// tell says that all is known up to a ticket.
func (t *tickets) tell(upto uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if upto > t.upto {
		t.upto = upto
		close(t.changed)
		t.changed = make(chan struct{})
	}
}
