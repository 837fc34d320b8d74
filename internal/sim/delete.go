package sim

import (
	"bytes"
	"context"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/ring"
	"datamesh/internal/transfer"
)

// again is after how long an owner says again what too few have heard.
const again = time.Minute

// change has the owner of some segment delete it, or bring it back, from some
// node, and then, some time or other, another one.
func (w *World) change() {
	d, ok := w.lifetime(w.cfg.Deletes * float64(w.cfg.Nodes))
	if !ok {
		return
	}
	w.after(d, func() {
		if s := w.segments[w.rand.IntN(len(w.segments))]; !w.calm && !s.saying && !s.lost {
			s.saying, s.since = true, time.Time{}
			w.Stats.Words++
			w.say(s, !s.deleted)
		}
		w.change()
	})
}

// say has an owner's word said until a majority of the registrars has heard it.
func (w *World) say(s *segment, gone bool) {
	up := w.up()
	n := up[w.rand.IntN(len(up))]
	w.spawn(n, func(ctx context.Context) {
		if err := n.say(ctx, s, gone); err != nil {
			return
		}
		s.saying, s.deleted = false, s.generation%2 == 1
		w.judge(s)
	})
	w.after(again, func() {
		if s.saying {
			w.say(s, gone)
		}
	})
}

// say asks the registrars of a segment for its owner's last word, and sends them
// and those who hold it the next, as a client does. It fails when less than a
// majority has answered, or taken it.
func (n *node) say(ctx context.Context, s *segment, gone bool) error {
	net, view := &network{n}, n.view()
	peers := ring.Registrars(view, s.d.Segment, ring.RegistrarCount(s.d.K, s.d.M, view.Live()))
	var last uint64
	answers, to := 0, slices.Clone(peers)
	for _, peer := range peers {
		_, words, err := net.Words(ctx, peer, transfer.Words{List: []transfer.Word{{Segment: s.d.Segment}}})
		if err != nil {
			continue
		}
		answers++
		for _, del := range words {
			last = max(last, del.Generation)
		}
		if _, holdings, err := net.Locate(ctx, peer, s.d.Segment); err == nil {
			for _, h := range holdings {
				to = append(to, h.Peer)
			}
		}
	}
	few := errs.New(errs.Unavailable, "too few registrars answer")
	if answers <= len(peers)/2 {
		return few
	}
	if last == 0 && !gone {
		return few // nobody here knows that it was deleted
	}
	if (last%2 == 1) != gone {
		last, _ = datamesh.NextGeneration(last, gone)
	}
	if !gone { // nobody else knows who has what in the trash
		for m := range view.All() {
			to = append(to, m.Record.Peer)
		}
	}
	slices.SortFunc(to, func(a, b datamesh.PeerID) int { return bytes.Compare(a[:], b[:]) })
	word, acks := format.NewDeletion(n.w.owner, s.d, last), 0
	for _, peer := range slices.Compact(to) {
		if n.w.byPeer[peer] == nil {
			continue
		}
		if err := net.Shards(peer).Drop(ctx, word); err == nil && slices.Contains(peers, peer) {
			acks++
		}
	}
	if acks <= len(peers)/2 {
		return few
	}
	s.generation = max(s.generation, last) // in the other part of the mesh more may have been said
	return ctx.Err()
}

// moved notes that a shard has gone to the trash of a node, or come back.
func (w *World) moved(n *node, key datamesh.ShardKey, back bool) {
	s := w.byID[key.Segment]
	from, to := s.at, s.trash
	if back {
		from, to = to, from
	}
	w.note('~', n.number, key.Index)
	if !slices.Contains(from[key.Index], n.number) {
		return // it was spoilt
	}
	from[key.Index] = without(from[key.Index], n.number)
	to[key.Index] = append(to[key.Index], n.number)
	w.judge(s)
}

// checkGone tells who still has something of a segment that was deleted, and
// which of its registrars does not know that.
func (w *World) checkGone(s *segment, bad func(s *segment, format string, args ...any)) {
	for i, who := range s.at {
		for _, x := range who {
			if w.nodes[x].up {
				bad(s, "node %d has shard %d, which was deleted", x, i)
			}
		}
	}
	track := w.registrars(s.d)
	for _, n := range w.up() {
		if r := n.disk.segments[s.d.Segment]; r != nil && len(r.holdings()) > 0 {
			bad(s, "node %d keeps track of it, and it was deleted", n.number)
		}
		if word := n.disk.words[s.d.Segment]; slices.Contains(track, n.id) && (word == nil || word.Generation < s.generation) {
			bad(s, "node %d does not know that it was deleted, and is a registrar", n.number)
		}
	}
}
