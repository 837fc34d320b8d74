package sim

import (
	"context"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/repair"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// How long a node waits for an answer.
const (
	silence          = 3 * time.Second
	inventorySilence = 30 * time.Second
)

// Bytes of messages, about as package transfer encodes them.
const (
	callBytes   = 60 // of a request and its answer that say nothing more
	nonceBytes  = 34
	sumBytes    = 8
	rangeBytes  = 80
	keyBytes    = 36
	holderBytes = 38
	recordBytes = 96 // of what names a record
)

// A network is the mesh as a node sees it.
type network struct{ n *node }

var _ repair.Net = (*network)(nil)

// call has another node do something. It fails after the time of silence when
// the request or the answer does not get there.
func (l *network) call(ctx context.Context, peer datamesh.PeerID, silence time.Duration, what byte, do func(to *node) error) error {
	w, from := l.n.w, l.n
	to := w.byPeer[peer]
	if to == from {
		err := do(to)
		to.poke()
		return err
	}
	w.note(what, from.number, to.number)
	began := w.now
	if err := w.wait(ctx, l.delay()); err != nil {
		return err
	}
	switch {
	case w.lost() || !w.reach(from, to):
	case w.late():
		w.after(time.Duration(1+w.rand.Int64N(int64(w.cfg.Behind))), func() {
			if w.reach(from, to) {
				do(to)
				to.poke()
			}
		})
	default:
		done := do(to)
		to.poke()
		if err := w.wait(ctx, l.delay()); err != nil {
			return err
		}
		if w.reach(from, to) && !w.lost() {
			return done
		}
	}
	if err := w.wait(ctx, max(0, silence-w.now.Sub(began))); err != nil {
		return err
	}
	return errs.New(errs.Unavailable, "%s is silent", peer)
}

// lost draws whether a message gets nowhere.
func (w *World) lost() bool { return w.mishap(w.cfg.Dropped, &w.Stats.Silent) }

// late draws whether a request comes late.
func (w *World) late() bool { return w.mishap(w.cfg.Late, &w.Stats.Late) }

// mishap draws, until all is calm, whether what has this probability comes
// about, and counts it.
func (w *World) mishap(p float64, n *int) bool {
	if p == 0 || w.calm || w.rand.Float64() >= p {
		return false
	}
	*n++
	return true
}

func (l *network) delay() time.Duration {
	return time.Duration(1 + l.n.w.rand.Int64N(int64(l.n.w.cfg.Delay)))
}

func (l *network) View() *ring.View { return l.n.view() }

func (l *network) Shards(peer datamesh.PeerID) datamesh.ShardStore {
	if peer == l.n.id {
		return store.Verify(&local{l.n.disk, l.n.w})
	}
	return store.Verify(&remote{l, peer})
}

func (l *network) Report(ctx context.Context, peer datamesh.PeerID, reports []store.Report) error {
	return l.call(ctx, peer, silence, 'r', func(to *node) error {
		return to.registry.Report(to.ctx, l.n.id, reports)
	})
}

func (l *network) Locate(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (d *datamesh.Descriptor, holdings []store.Holding, err error) {
	err = l.call(ctx, peer, silence, 'l', func(to *node) (err error) {
		l.n.w.Stats.Located++
		d, holdings, err = to.registry.Locate(to.ctx, segment)
		return err
	})
	return d, holdings, err
}

func (l *network) Compare(ctx context.Context, peer datamesh.PeerID, sums transfer.Sums) (ranges []int, err error) {
	err = l.call(ctx, peer, inventorySilence, 'c', func(to *node) (err error) {
		ranges, err = to.registry.Compare(to.ctx, l.n.id, sums)
		l.n.w.Stats.Compares++
		l.inventory(peer, callBytes+nonceBytes+sumBytes*sums.Len()+3*len(ranges))
		return err
	})
	return ranges, err
}

// inventory counts the bytes of a message about who holds what.
func (l *network) inventory(to datamesh.PeerID, bytes int) {
	if to != l.n.id {
		l.n.w.Stats.Inventory += bytes
	}
}

func (l *network) Holds(ctx context.Context, peer datamesh.PeerID, r transfer.Range) (unknown []datamesh.SegmentID, deleted []*datamesh.Deletion, err error) {
	err = l.call(ctx, peer, inventorySilence, 'h', func(to *node) (err error) {
		unknown, deleted, err = to.registry.Holds(to.ctx, l.n.id, r)
		l.inventory(peer, callBytes+rangeBytes+keyBytes*len(r.Keys)+keyBytes*len(unknown))
		return err
	})
	if err != nil || len(unknown) == 0 {
		return unknown, deleted, err
	}
	for _, segment := range unknown { // a report follows
		d := l.n.w.byID[segment].d
		l.inventory(peer, len(format.EncodeDescriptor(d))+holderBytes)
	}
	return unknown, deleted, err
}

func (l *network) Words(ctx context.Context, peer datamesh.PeerID, w transfer.Words) (wanted []datamesh.SegmentID, newer []*datamesh.Deletion, err error) {
	err = l.call(ctx, peer, inventorySilence, 'w', func(to *node) (err error) {
		wanted, newer, err = to.registry.Words(to.ctx, l.n.id, w)
		l.inventory(peer, callBytes+keyBytes*(len(w.List)+len(wanted)))
		return err
	})
	return wanted, newer, err
}

func (l *network) PutRecord(ctx context.Context, peer datamesh.PeerID, r *datamesh.Record) error {
	return l.call(ctx, peer, silence, 'e', func(to *node) error { return to.registry.PutRecord(to.ctx, l.n.id, r) })
}

func (l *network) CompareRecords(ctx context.Context, peer datamesh.PeerID, list transfer.RecordList) (wanted []datamesh.RecordKey, missing []*datamesh.Record, err error) {
	err = l.call(ctx, peer, inventorySilence, 'k', func(to *node) error {
		found, others, err := to.registry.CompareRecords(to.ctx, l.n.id, list)
		if err != nil {
			return err
		}
		wanted, missing = found, nil
		for r, err := range others {
			if err != nil {
				return err
			}
			missing = append(missing, r)
		}
		l.inventory(peer, callBytes+recordBytes*(len(list.Keys)+len(wanted)))
		return nil
	})
	return wanted, missing, err
}

func (l *network) Spare(ctx context.Context, peer datamesh.PeerID, key datamesh.ShardKey) error {
	return l.call(ctx, peer, silence, 's', func(to *node) error {
		to.registry.Spare(l.n.id, key)
		return nil
	})
}

func (l *network) Pledge(ctx context.Context, peer datamesh.PeerID, key datamesh.ShardKey) error {
	return l.call(ctx, peer, silence, 'p', func(to *node) error { return to.registry.Pledge(to.ctx, l.n.id, key) })
}

// local is a node's own disk, as it repairs from it.
type local struct {
	*Disk
	w *World
}

func (s *local) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	s.w.Stats.Reads++
	return s.Disk.Get(ctx, key, buf)
}

func (s *local) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	s.w.Stats.Writes++
	if err := s.w.wait(ctx, s.w.cfg.Sync); err != nil {
		return err
	}
	return s.Disk.Put(ctx, d, index, shard)
}

// remote is the disk of another node.
type remote struct {
	l    *network
	peer datamesh.PeerID
}

func (s *remote) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	w := s.l.n.w
	if w.cfg.Sync == 0 {
		return s.l.call(ctx, s.peer, silence, 'P', func(to *node) error {
			w.Stats.Writes++
			return to.guarded.Put(to.ctx, d, index, shard)
		})
	}
	var x *write
	err := s.l.call(ctx, s.peer, silence, 'P', func(to *node) error {
		w.Stats.Writes++
		x = to.write(d, index, shard)
		return nil
	})
	if err == nil {
		err = s.l.acknowledged(ctx, x)
	}
	return err
}

// acknowledged waits until a shard that has come is synced, and that is heard.
func (l *network) acknowledged(ctx context.Context, x *write) error {
	w := l.n.w
	if err := w.wait(ctx, x.at.Sub(w.now)+l.delay()); err != nil {
		return err
	}
	if x.synced && w.reach(l.n, x.to) && !w.lost() {
		return x.err
	}
	if err := w.wait(ctx, silence); err != nil {
		return err
	}
	return errs.New(errs.Unavailable, "%s is silent", x.to.id)
}

func (s *remote) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (d *datamesh.Descriptor, shard []byte, err error) {
	err = s.l.call(ctx, s.peer, silence, 'G', func(to *node) (err error) {
		s.l.n.w.Stats.Reads++
		d, shard, err = to.guarded.Get(to.ctx, key, buf)
		return err
	})
	return d, shard, err
}

func (s *remote) GetRange(ctx context.Context, key datamesh.ShardKey, off, n int) (d *datamesh.Descriptor, slice []byte, err error) {
	err = s.l.call(ctx, s.peer, silence, 'R', func(to *node) (err error) {
		s.l.n.w.Stats.Proofs++
		d, slice, err = to.guarded.GetRange(to.ctx, key, off, n)
		return err
	})
	return d, slice, err
}

func (s *remote) Has(ctx context.Context, keys []datamesh.ShardKey) (has []bool, err error) {
	err = s.l.call(ctx, s.peer, silence, 'H', func(to *node) (err error) {
		has, err = to.guarded.Has(to.ctx, keys)
		return err
	})
	return has, err
}

func (s *remote) List(ctx context.Context, after datamesh.ShardKey, limit int) (keys []datamesh.ShardKey, err error) {
	err = s.l.call(ctx, s.peer, silence, 'L', func(to *node) (err error) {
		keys, err = to.guarded.List(to.ctx, after, limit)
		return err
	})
	return keys, err
}

func (s *remote) Drop(ctx context.Context, del *datamesh.Deletion) error {
	return s.l.call(ctx, s.peer, silence, 'D', func(to *node) error { return to.guarded.Drop(to.ctx, del) })
}
