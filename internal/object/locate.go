package object

import (
	"context"
	"errors"
	"slices"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"
	"datamesh/internal/store"
)

// The stages of the search for places, each asked only when what came before
// was not enough.
const (
	fromHints      = iota // of the manifest
	fromThree             // registrars, in parallel
	fromRegistrars        // all of them that were not heard
	fromEverybody         // who holds any shard of it?
	nowhere
)

// locate finds the shape and the first places of a segment of which only the
// id is known. Kinds: FileNotFound, Unavailable.
func (f *fetch) locate(ctx context.Context) error {
	for f.shape.k == 0 {
		if f.stage == nowhere {
			return f.unknown()
		}
		if err := f.advance(ctx); err != nil {
			return err
		}
	}
	return nil
}

// unknown is the error for a segment that nobody knows. Only when all members
// have answered is it known not to be there.
func (f *fetch) unknown() error {
	asked, silent := len(f.answered), 0
	for m := range f.g.o.net.View().All() {
		if !f.answered[m.Record.Peer] {
			silent++
		}
	}
	if silent == 0 {
		return errs.New(errs.FileNotFound, "none of the %d members has %s", asked, datamesh.ObjectID(f.id))
	}
	return errs.New(errs.Unavailable, "%d members answered and do not know %s; %d did not answer", asked, datamesh.ObjectID(f.id), silent)
}

// search finds more places for a segment whose shape is known, or gives
// up with the error that tells why the segment cannot be read.
func (f *fetch) search(ctx context.Context) error {
	for {
		f.places = slices.DeleteFunc(f.places, func(p place) bool { return f.got[p.index] != nil || f.silent[p.peer] })
		if len(f.places) > 0 {
			return nil
		}
		if f.stage == nowhere {
			return f.failure()
		}
		if err := f.advance(ctx); err != nil {
			return err
		}
	}
}

// advance goes through one stage.
func (f *fetch) advance(ctx context.Context) error {
	stage := f.stage
	f.stage++
	view := f.g.o.net.View()
	n := view.Live()
	if stage != fromEverybody {
		n = ring.RegistrarCount(f.shape.k, f.shape.m, view.Live())
	}
	peers := ring.Registrars(view, f.id, n)
	switch stage {
	case fromHints:
		f.add(f.hints)
	case fromThree:
		f.ask(ctx, peers[:min(3, len(peers))], f.registrar)
	case fromRegistrars:
		f.ask(ctx, f.unheard(peers), f.registrar)
	case fromEverybody:
		for len(peers) > 0 && len(f.places) == 0 { // in batches, the nearest first
			batch := peers[:min(32, len(peers))]
			peers = peers[len(batch):]
			if f.shape.k == 0 {
				f.ask(ctx, batch, f.registrar) // the shape first
			}
			if f.shape.k > 0 {
				f.ask(ctx, batch, f.holder)
			}
		}
	}
	return ctx.Err()
}

// unheard returns the peers that have not answered yet.
func (f *fetch) unheard(peers []datamesh.PeerID) []datamesh.PeerID {
	return slices.DeleteFunc(slices.Clone(peers), func(p datamesh.PeerID) bool { return f.answered[p] })
}

// add takes note of places that were not tried yet.
func (f *fetch) add(places []place) {
	for _, p := range places {
		if p.index < 0 || p.index >= f.shape.k+f.shape.m {
			continue
		}
		if _, tried := f.tried[p]; tried || f.noted(p) {
			continue
		}
		f.places = append(f.places, p)
	}
}

func (f *fetch) noted(p place) bool {
	for _, q := range f.places {
		if p == q {
			return true
		}
	}
	for _, a := range f.busy {
		if p == a.place {
			return true
		}
	}
	return false
}

// A finding is what one peer says of a segment.
type finding struct {
	from   datamesh.PeerID
	desc   *datamesh.Descriptor // may be nil
	places []place
	err    error
}

// ask asks those peers that have not answered yet, in parallel, and takes
// note of what they say, until that is enough.
func (f *fetch) ask(ctx context.Context, peers []datamesh.PeerID, question func(context.Context, datamesh.PeerID) finding) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make(chan finding, len(peers)) // so that nobody waits for a reader who has left
	asked := 0
	for _, peer := range peers {
		if f.silent[peer] {
			continue // it has had its time
		}
		asked++
		go func() {
			r := question(ctx, peer)
			r.from = peer
			found <- r
		}()
	}
	for ; asked > 0 && !f.enough(); asked-- {
		f.note(<-found)
	}
}

// enough reports whether the known places could give the segment.
func (f *fetch) enough() bool {
	if f.thorough || f.shape.k == 0 {
		return false
	}
	indices := map[int]bool{}
	for _, p := range f.places {
		indices[p.index] = true
	}
	for index := range f.got {
		indices[index] = true
	}
	return len(indices) >= f.shape.k
}

func (f *fetch) note(r finding) {
	if r.err == nil || errors.Is(r.err, errs.FileNotFound) {
		f.answered[r.from] = true
	}
	if r.err != nil {
		f.silent[r.from] = errs.Retryable(r.err)
		return
	}
	if d := r.desc; d != nil && f.shape.k == 0 {
		f.shape = shape{d.K, d.M, d.Length}
	}
	f.add(r.places)
}

// registrar asks what was reported of the segment.
func (f *fetch) registrar(ctx context.Context, peer datamesh.PeerID) finding {
	d, holdings, err := f.g.o.net.Locate(ctx, peer, f.id)
	return finding{desc: d, places: placesOf(holdings), err: err}
}

// holder asks a peer which shards it has itself.
func (f *fetch) holder(ctx context.Context, peer datamesh.PeerID) finding {
	keys := make([]datamesh.ShardKey, f.shape.k+f.shape.m)
	for i := range keys {
		keys[i] = datamesh.ShardKey{Segment: f.id, Index: i}
	}
	has, err := f.g.o.net.Shards(peer).Has(ctx, keys)
	var found []place
	for i, ok := range has {
		if ok {
			found = append(found, place{i, peer})
		}
	}
	return finding{places: found, err: err}
}

func placesOf(holdings []store.Holding) []place {
	out := make([]place, len(holdings))
	for i, h := range holdings {
		out[i] = place{h.Index, h.Peer}
	}
	return out
}
