package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/ring"
)

const (
	experienceName = "experience"     // of its place in the store
	countTime      = time.Minute      // between two times that time is counted
	longestCount   = 10 * time.Minute // that counts as watched: a machine that was asleep was not
	noteTime       = 10 * time.Minute // between two times that it is written down, if nothing happens
)

// A seen is what a node has seen of its mesh, since it has kept that: how many
// of the other members were lost, in how much time of all of them; how long
// repairs took; and how many segments that it keeps track of were lost.
type seen struct {
	since          int64 // Unix seconds
	memberSeconds  int64 // of all other members that were not dead, while this node ran
	losses         int64 // of them: seen alive, then dead, and not back since
	dead           []datamesh.PeerID
	repairs        int64
	repairSeconds  int64
	segmentSeconds int64 // of all segments that it kept track of and were not lost
	lost           int64 // of these, now
}

// maxDead is how many of the dead are known by name, in order. The loss of
// others stays counted when they return.
const maxDead = 1024

// An experience gathers what a node sees. It is safe for concurrent use.
type experience struct {
	self datamesh.PeerID

	mu      sync.Mutex // guards the rest
	seen    seen
	alive   map[datamesh.PeerID]bool // were seen so, or were when the node ran last
	counted time.Time
	live    int
	news    bool // what happened was not written down yet
}

// newExperience goes on with what was seen, and those that were members then.
func newExperience(self datamesh.PeerID, now time.Time, s seen, remembered []ring.Learned) *experience {
	if s.since == 0 {
		s.since = now.Unix()
	}
	e := &experience{self: self, seen: s, alive: map[datamesh.PeerID]bool{}, counted: now}
	for _, x := range remembered {
		if x.State != ring.Dead && x.Record.Peer != self {
			e.alive[x.Record.Peer] = true
		}
	}
	return e
}

// look takes note of who of the members has gone, and who is back.
func (e *experience) look(view *ring.View) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.live = 0
	for m := range view.All() {
		peer := m.Record.Peer
		if peer == e.self {
			continue
		}
		if m.State != ring.Dead {
			e.live++
		}
		i, named := slices.BinarySearchFunc(e.seen.dead, peer, comparePeers)
		switch {
		case m.State == ring.Alive && named:
			e.seen.dead = slices.Delete(e.seen.dead, i, i+1)
			e.seen.losses--
			e.news = true
			e.alive[peer] = true
		case m.State == ring.Alive:
			e.alive[peer] = true
		case m.State == ring.Dead && e.alive[peer]:
			delete(e.alive, peer)
			e.seen.losses++
			e.news = true
			if !named && len(e.seen.dead) < maxDead {
				e.seen.dead = slices.Insert(e.seen.dead, i, peer)
			}
		}
	}
	known := func(peer datamesh.PeerID) bool { _, ok := view.Lookup(peer); return ok }
	e.seen.dead = slices.DeleteFunc(e.seen.dead, func(peer datamesh.PeerID) bool { return !known(peer) })
	for peer := range e.alive {
		if !known(peer) {
			delete(e.alive, peer)
		}
	}
}

func comparePeers(a, b datamesh.PeerID) int { return slices.Compare(a[:], b[:]) }

// count counts the time since it was counted last, in which there were so many
// segments to keep track of, of which so many are lost.
func (e *experience) count(now time.Time, segments, lost int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	whole := now.Sub(e.counted).Truncate(time.Second)
	if whole < 0 || whole > longestCount {
		e.counted = now
		return
	}
	e.counted = e.counted.Add(whole)
	e.seen.memberSeconds += int64(whole/time.Second) * int64(e.live)
	e.seen.segmentSeconds += int64(whole/time.Second) * int64(max(segments-lost, 0))
	e.news = e.news || e.seen.lost != int64(lost)
	e.seen.lost = int64(lost)
}

// repaired counts a repair that took so long from the loss on.
func (e *experience) repaired(took time.Duration) {
	if took < 0 { // a clock was set back
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen.repairs++
	e.seen.repairSeconds += int64(took / time.Second)
	e.news = true
}

// now returns what was seen so far.
func (e *experience) now() seen {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.seen
	s.dead = slices.Clone(s.dead)
	return s
}

// happened reports whether anything has happened that is to be written down
// soon, and takes it as written.
func (e *experience) happened() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	news := e.news
	e.news = false
	return news
}

// recall returns what the node of this store has seen before. What cannot be
// read is begun anew: it says how likely a loss is, and loses nothing.
func (n *Node) recall(ctx context.Context, l *link) seen {
	b, err := l.disk.Position(ctx, experienceName)
	if err == nil && b != nil {
		var s seen
		if s, err = decodeSeen(b); err == nil {
			return s
		}
	}
	if err != nil {
		n.log.Warn("what this node has seen of its mesh could not be read, and is gathered anew", "error", err)
	}
	return seen{}
}

// gather counts time, and writes down what was seen, until the node is closed.
func (n *Node) gather(l *link) {
	tick := time.NewTicker(countTime)
	defer tick.Stop()
	written := time.Now()
	for {
		ends := false
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			ends = true
		}
		l.experience.look(l.view())
		segments, lost := l.keeper.Tracked()
		l.experience.count(time.Now(), segments, lost)
		if l.experience.happened() || ends || time.Since(written) >= noteTime {
			n.note(l)
			written = time.Now()
		}
		if ends {
			return
		}
	}
}

// note writes down what was seen.
func (n *Node) note(l *link) {
	err := l.disk.SetPosition(context.WithoutCancel(n.ctx), experienceName, l.experience.now().encode())
	if err != nil {
		n.log.Warn("what this node has seen of its mesh could not be written down", "error", err)
	}
}
