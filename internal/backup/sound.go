package backup

import (
	"context"
	"errors"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
)

// errUnsound is the error of a snapshot that needs what cannot be read now.
var errUnsound = errors.New("packs cannot be read")

// asksAtOnce is of how many packs is asked at once who has their shards.
const asksAtOnce = 8

// lostPack is what the index has in the place of gone of a pack that cannot be
// read, so that nothing is built on it any more.
const lostPack = 2

// sound asks the mesh where all is that a snapshot needs, and notes in its result
// how many peers may vanish without loss of any of that. What cannot be read now
// may come back with the peers that have it; with force it is taken for lost, and
// sound returns how many packs are. Kind: Unavailable, with [errUnsound].
func (a *Archive) sound(ctx context.Context, r *Result, force bool) (lost int, err error) {
	ids, err := a.index.ids(ctx, `SELECT id FROM pack WHERE `+ofSnapshot, r.ID[:])
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex // guards unreadable and r
	var unreadable []datamesh.ObjectID
	var group sync.WaitGroup
	free := make(chan struct{}, asksAtOnce)
	for _, id := range ids {
		free <- struct{}{}
		group.Go(func() {
			defer func() { <-free }()
			info, err := a.mesh.Info(ctx, id.String(), false)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || info.Survives < 0 {
				unreadable = append(unreadable, id)
				return
			}
			r.Survives = min(r.Survives, info.Survives)
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if len(unreadable) > 0 && !force {
		return 0, errs.WithHint(errs.New(errs.Unavailable, "the snapshot %s is stored, but %d of %d %w that it shares with others", r.ID, len(unreadable), len(ids), errUnsound),
			"see who is away: datamesh peers; if they do not come back have it put anew: the same with --force")
	}
	return len(unreadable), a.index.write(ctx, func(w *writing) error {
		for _, id := range unreadable {
			if _, err := w.exec(`UPDATE pack SET gone = ? WHERE id = ?`, lostPack, id[:]); err != nil {
				return err
			}
		}
		return nil
	})
}
