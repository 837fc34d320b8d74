package object

import (
	"context"

	"datamesh"
	"datamesh/internal/format"

	"golang.org/x/sync/errgroup"
)

// surveyLen is about how many peers are asked at once.
const surveyLen = 16

// An Answer is what came of a question about one object.
type Answer struct {
	Info *Info // nil if there is an error
	Err  error
}

// Info asks the peers where an object's shards are. Kinds: as [Objects.Get].
func (o *Objects) Info(ctx context.Context, id datamesh.ObjectID) (*Info, error) {
	a := o.Infos(ctx, id)[0]
	return a.Info, a.Err
}

// Infos asks about some objects at once, and returns an answer for each. A
// peer that does not answer is waited for once and not for each object. What
// is held in memory grows with the segments of them all. Kinds of the errors:
// as [Objects.Get].
func (o *Objects) Infos(ctx context.Context, ids ...datamesh.ObjectID) []Answer {
	g := o.newGet(ctx)
	defer g.findings()
	answers := make([]Answer, len(ids))
	found := make([]segments, len(ids))
	each(len(ids), func(i int) {
		found[i], answers[i].Err = g.segmentsOf(ids[i])
	})
	var all []*fetch
	for i := range found {
		all = append(all, found[i].fetches...)
	}
	failed := make([]error, len(all))
	each(len(all), func(i int) {
		defer all[i].close()
		failed[i] = all[i].survey()
	})
	live := askHolders(ctx, o.net, all)
	for i := range answers {
		n := len(found[i].fetches)
		for _, err := range failed[:n] {
			if answers[i].Err == nil {
				answers[i].Err = err
			}
		}
		failed = failed[n:]
		if answers[i].Err == nil {
			answers[i].Err = ctx.Err()
		}
		if answers[i].Err == nil {
			answers[i].Info = found[i].info(live)
		}
		answers[i].Err = ofObject(ids[i], answers[i].Err)
	}
	return answers
}

// each calls do for 0 to n-1, a few at once, and returns when all have ended.
func each(n int, do func(i int)) {
	var group errgroup.Group
	group.SetLimit(surveyLen)
	for i := range n {
		group.Go(func() error {
			do(i)
			return nil
		})
	}
	group.Wait()
}

// segments are those of one object, each with a fetch that has not begun.
type segments struct {
	manifest *format.Manifest
	fetches  []*fetch // the manifest's first
	text     int64    // bytes of content, or of what it is compressed into
}

// segmentsOf reads an object's manifest, and its list of segments. With an error
// it returns those that it knows by then.
func (g *get) segmentsOf(id datamesh.ObjectID) (segments, error) {
	m, err := g.manifest(g.ctx, id)
	if err != nil {
		return segments{}, err
	}
	s := segments{manifest: m, fetches: []*fetch{g.newFetch(g.ctx, datamesh.SegmentID(id))}, text: int64(len(m.Inline))}
	add := func(refs []format.SegmentRef, peers []datamesh.PeerID) {
		for i := range refs {
			f := g.newFetch(g.ctx, refs[i].ID)
			f.expect(&refs[i], peers)
			s.fetches = append(s.fetches, f)
		}
	}
	add(m.List, m.Peers)
	refs, peers, err := g.segments(g.ctx, m)
	if err == nil {
		add(refs, peers)
		for i := range refs {
			s.text += int64(refs[i].Text())
		}
	}
	return s, err
}

func (s *segments) info(live map[held]bool) *Info {
	info := &Info{Manifest: s.manifest, Text: s.text, Survives: datamesh.MaxShards}
	for _, f := range s.fetches {
		state, survives := f.state(live)
		info.Segments = append(info.Segments, state)
		info.Survives = min(info.Survives, survives)
	}
	return info
}
