package object

import (
	"errors"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"
	"datamesh/internal/store"
)

// The stages of the search for places, each gone through only when what came
// before was not enough.
const (
	fromNobody     = iota
	fromHints      // of the manifest
	fromNearest    // registrars, a few
	fromRegistrars // all of them that were not heard
	fromOthers     // who else knows the segment, while its shape is not known
	fromEverybody  // who holds any shard of it?
	nowhere
)

const (
	batchLen   = 32 // peers that are asked at once
	nearestLen = 3  // registrars that are asked first
	alongLen   = 4  // likewise, if they may send their own shards along: what the default code needs
)

// locate finds the shape, and the first places, of a segment of which only
// the id is known. Kinds: FileNotFound, Unavailable.
func (f *fetch) locate() error {
	return f.learn(func() bool { return f.shape.k > 0 })
}

// survey finds the shape, and all places that the manifest and three
// registrars know of. Kinds: FileNotFound, Unavailable.
func (f *fetch) survey() error {
	return f.learn(func() bool { return f.shape.k > 0 && f.stage >= fromNearest && len(f.rest) == 0 && f.asked == 0 })
}

func (f *fetch) learn(enough func() bool) error {
	for !enough() {
		if f.asked == 0 {
			if !f.advance() && !f.again() {
				return f.unknown()
			}
			continue
		}
		select {
		case r := <-f.found:
			f.note(r)
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	}
	return nil
}

// advance asks more peers where shards are. It reports whether there was
// anything left that could be done.
func (f *fetch) advance() bool {
	for len(f.rest) == 0 {
		if f.stage == nowhere {
			return false
		}
		f.stage++
		if f.stage == fromHints && f.addHints() {
			return true
		}
		f.rest = f.toAsk()
	}
	n := min(batchLen, len(f.rest))
	for _, peer := range f.rest[:n] {
		f.ask(peer)
	}
	f.rest = f.rest[n:]
	return true
}

// again begins the second round, and reports whether there is one: whether any
// of those that were silent are alive to the mesh.
func (f *fetch) again() bool {
	if f.second {
		return false
	}
	f.second = true
	some := false
	for m := range f.g.o.net.View().All() {
		peer := m.Record.Peer
		if m.State == ring.Dead || f.silent[peer] == nil && (f.answered[peer] || !f.g.mute(peer)) {
			continue
		}
		some = true
		delete(f.silent, peer)
		for p, err := range f.tried {
			if p.peer == peer && errs.Retryable(err) {
				f.places = append(f.places, p)
			}
		}
	}
	f.stage = fromHints // they have been added
	return some
}

// toAsk returns the peers to ask in this stage, the nearest first.
func (f *fetch) toAsk() []datamesh.PeerID {
	view := f.g.o.net.View()
	everybody := ring.Registrars(view, f.id, view.Live())
	switch {
	case f.stage == fromNearest:
		n := nearestLen
		if f.along {
			n = alongLen
		}
		near := f.unheard(f.registrars())
		if f.along {
			near = f.wellFirst(near)
		}
		return near[:min(n, len(near))]
	case f.stage == fromRegistrars:
		return f.unheard(f.registrars())
	case f.stage == fromOthers && f.shape.k == 0:
		return f.unheard(everybody)
	case f.stage == fromEverybody && f.shape.k > 0:
		return slices.DeleteFunc(everybody, func(p datamesh.PeerID) bool { return f.polled[p] || f.mute(p) })
	}
	return nil
}

// wellFirst returns those that have not failed lately before the others.
func (f *fetch) wellFirst(peers []datamesh.PeerID) []datamesh.PeerID {
	var well, others []datamesh.PeerID
	for _, p := range peers {
		if f.g.o.pace.troubled(p) {
			others = append(others, p)
		} else {
			well = append(well, p)
		}
	}
	return append(well, others...)
}

func (f *fetch) registrars() []datamesh.PeerID {
	view := f.g.o.net.View()
	return ring.Registrars(view, f.id, ring.RegistrarCount(f.shape.k, f.shape.m, view.Live()))
}

// unheard returns the peers that have not answered yet, and may.
func (f *fetch) unheard(peers []datamesh.PeerID) []datamesh.PeerID {
	return slices.DeleteFunc(peers, func(p datamesh.PeerID) bool { return f.answered[p] || f.mute(p) })
}

// mute reports whether a peer has had its time.
func (f *fetch) mute(p datamesh.PeerID) bool {
	return f.silent[p] != nil || !f.second && f.g.mute(p)
}

func (f *fetch) addHints() bool {
	view := f.g.o.net.View()
	for _, p := range f.hints {
		if _, member := view.Lookup(p.peer); member {
			f.add(p, claim{sure: true})
		}
	}
	return len(f.places) > 0
}

// add takes note of a place that is named.
func (f *fetch) add(p place, c claim) {
	if p.index < 0 || p.index >= f.shape.k+f.shape.m {
		return
	}
	before, known := f.claims[p]
	c.sure = c.sure || known && before.by != c.by
	if known {
		c.sure = c.sure || before.sure
		c.by = before.by
	} else {
		f.places = append(f.places, p)
	}
	f.claims[p] = c
}

// A finding is what one peer says of a segment.
type finding struct {
	from   datamesh.PeerID
	poll   bool                 // of what it has itself
	desc   *datamesh.Descriptor // may be nil
	places []place
	err    error

	index int    // of the shard that came along
	shard []byte // good, or nil
	wrong error  // what is wrong with what came as one
}

// A question is one on its way to a registrar that may send a shard along.
type question struct {
	began time.Time
	late  bool // others are asked for a shard in its stead
}

// said reports whether the peer has answered, be it that it knows nothing.
func (r *finding) said() bool {
	return r.err == nil || errors.Is(r.err, errs.FileNotFound) || errors.Is(r.err, errs.Deleted)
}

// ask asks a peer what it knows of the segment, or, in the last stage, has.
func (f *fetch) ask(peer datamesh.PeerID) {
	ask := f.registrar
	switch {
	case f.stage == fromEverybody:
		ask = f.holder
	case f.stage == fromNearest && f.along:
		ask = f.finder
		f.asking[peer] = &question{began: time.Now()}
	}
	f.asked++
	f.wg.Go(func() {
		began := time.Now()
		r := ask(peer)
		r.from = peer
		if r.said() {
			f.g.o.pace.answered(peer, time.Since(began))
		}
		select {
		case f.found <- r:
		case <-f.ctx.Done():
		}
	})
}

// note takes in an answer, or that there is none. Peers that are not members
// cannot be reached, whoever names them.
func (f *fetch) note(r finding) {
	f.asked--
	if f.asking[r.from] != nil && errs.Retryable(r.err) {
		f.g.o.pace.failed(r.from)
	}
	delete(f.asking, r.from)
	if r.err == nil && r.poll {
		f.polled[r.from] = true
	}
	f.deleted = f.deleted || errors.Is(r.err, errs.Deleted)
	if r.said() {
		f.answered[r.from] = true
		f.g.setMute(r.from, false)
	}
	if errs.Retryable(r.err) {
		f.silent[r.from] = r.err
		f.g.setMute(r.from, true)
	}
	if r.err != nil {
		return
	}
	if d := r.desc; d != nil && f.shape.k == 0 {
		f.shape = shape{d.K, d.M, d.Length}
	}
	if f.desc == nil {
		f.desc = r.desc
	}
	f.takeAlong(&r)
	view := f.g.o.net.View()
	for _, p := range r.places {
		if _, member := view.Lookup(p.peer); member {
			f.add(p, claim{by: r.from, sure: p.peer == r.from})
		}
	}
}

// takeAlong takes in the shard that came with an answer, as if it had been asked for.
func (f *fetch) takeAlong(r *finding) {
	if r.shard == nil && r.wrong == nil {
		return
	}
	p := place{r.index, r.from}
	f.claims[p] = claim{by: r.from, sure: true}
	f.tried[p] = r.wrong
	if r.wrong != nil {
		f.fails[p.index]++
		f.g.blame(datamesh.ShardKey{Segment: f.id, Index: p.index}, p.peer, r.wrong)
		return
	}
	if tell := f.g.o.Events.Along; tell != nil {
		tell(len(r.shard))
	}
	if f.ids = r.desc.Shards; f.got[p.index] == nil {
		f.got[p.index] = r.shard
	}
}

// brings returns the index of a shard of use that a peer may send along, which has not
// answered yet and is not late, if there is one. Of copies only the first comes along.
func (f *fetch) brings(peer datamesh.PeerID) (index int, ok bool) {
	if q := f.asking[peer]; q == nil || q.late || f.shape.shardLen() > datamesh.FrameContent { // longer ones do not come along
		return 0, false
	}
	for p := range f.claims {
		if p.peer == peer && f.got[p.index] == nil && f.busy[p.index] == nil && (f.shape.k > 1 || p.index == 0) {
			return p.index, true
		}
	}
	return 0, false
}

// finder asks what was reported of the segment, and for a shard.
func (f *fetch) finder(peer datamesh.PeerID) finding {
	began := time.Now()
	found, err := f.g.o.net.Find(f.ctx, peer, f.id)
	if found.Shard != nil {
		f.g.o.pace.brought(peer, len(found.Shard), time.Since(began))
	}
	if err == nil && found.Descriptor.Segment != f.id {
		err = errs.New(errs.Integrity, "the descriptor of another segment")
	}
	return finding{desc: found.Descriptor, places: placesOf(found.Holdings), err: err,
		index: found.Index, shard: found.Shard, wrong: found.Wrong}
}

// registrar asks what was reported of the segment.
func (f *fetch) registrar(peer datamesh.PeerID) finding {
	d, holdings, err := f.g.o.net.Locate(f.ctx, peer, f.id)
	if err == nil && d.Segment != f.id {
		err = errs.New(errs.Integrity, "the descriptor of another segment")
	}
	return finding{desc: d, places: placesOf(holdings), err: err}
}

// holder asks a peer which shards it has itself.
func (f *fetch) holder(peer datamesh.PeerID) finding {
	keys := make([]datamesh.ShardKey, f.shape.k+f.shape.m)
	for i := range keys {
		keys[i] = datamesh.ShardKey{Segment: f.id, Index: i}
	}
	has, err := f.g.o.net.Shards(peer).Has(f.ctx, keys)
	var found []place
	for i, ok := range has {
		if ok {
			found = append(found, place{i, peer})
		}
	}
	return finding{poll: true, places: found, err: err}
}

func placesOf(holdings []store.Holding) []place {
	out := make([]place, len(holdings))
	for i, h := range holdings {
		out[i] = place{h.Index, h.Peer}
	}
	return out
}
