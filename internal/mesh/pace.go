package mesh

import (
	"hash/fnv"

	"datamesh/internal/ring"
)

// mostTurns is how many turns a node that finds nothing new waits, in the
// end, before it looks about again.
const mostTurns = 16

// membersATurn is for how many members a turn is left out, even when something
// has changed: among many somebody always comes or goes.
const membersATurn = 16

// A pace tells in which turns to look about: in each while the member table
// changes and is small, and, while it does not, after ever longer pauses.
type pace struct {
	table uint64 // a sum of the member table in the last turn
	wait  int    // turns from the last look to the next; 0 before the first
	left  int    // of them
}

// turn begins a turn, and reports whether to look about in it.
func (p *pace) turn(v *ring.View) bool {
	table, least := sumOf(v), max(1, v.Len()/membersATurn)
	changed := table != p.table || p.wait == 0
	if changed {
		p.table, p.wait, p.left = table, least, min(p.left, least)
	}
	if p.left--; p.left > 0 {
		return false
	}
	if !changed {
		p.wait = max(least, min(2*p.wait, mostTurns))
	}
	p.left = p.wait
	return true
}

// sumOf is of who is in the table and who of them lives: round trips and fill
// change all the time, and are no sign of others.
func sumOf(v *ring.View) uint64 {
	h := fnv.New64a()
	for m := range v.All() {
		h.Write(m.Record.Peer[:])
		h.Write([]byte{byte(m.State)})
	}
	return h.Sum64()
}
