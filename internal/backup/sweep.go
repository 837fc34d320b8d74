package backup

import (
	"context"
	"errors"
	"fmt"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// A Sweep is what came of deleting packs that nobody needs.
type Sweep struct {
	Packs   int    `json:"packs"`   // that were deleted; they can be brought back for some time
	Bytes   int64  `json:"bytes"`   // of content that they have
	Waiting int    `json:"waiting"` // that nobody needs, but not for long enough
	Back    int    `json:"back"`    // that were brought back, since somebody needs them by now
	Why     string `json:"why,omitempty"`
}

// Sweep deletes packs that no snapshot needs, of those that are listed and those
// that can be brought back, and that none has needed for a day. All devices of
// the owner must be heard, before and after; else nothing is deleted, and the
// result says why. What is deleted can be brought back, and is, if a snapshot of
// another device that needs it comes to be known. Kinds: as [node.Node.Delete].
func (a *Archive) Sweep(ctx context.Context) (*Sweep, error) {
	release, err := a.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	return a.sweep(ctx)
}

func (a *Archive) sweep(ctx context.Context) (*Sweep, error) {
	s := new(Sweep)
	k, err := a.learn(ctx)
	if err != nil {
		return nil, err
	}
	if s.Why = k.incomplete(); s.Why != "" {
		return s, nil
	}
	if err := a.heal(ctx); err != nil {
		return nil, err
	}
	if err := a.noteIdle(ctx); err != nil {
		return nil, err
	}
	ids, err := a.index.ids(ctx, `SELECT id FROM pack WHERE listed = 1 AND gone = 0 AND idle <= ?1 - CASE WHEN own = 1 OR needed = 1 THEN ?2 ELSE ?3 END`,
		a.now().UnixNano(), a.limits.idle, a.limits.unknown)
	if err != nil {
		return nil, err
	}
	if ids, err = a.withInterrupted(ctx, k, ids); err != nil {
		return nil, err
	}
	for _, id := range ids {
		size, err := a.doom(ctx, id)
		if err != nil {
			return nil, err
		}
		s.Packs++
		s.Bytes += size
	}
	if err := a.reconsider(ctx, s); err != nil {
		return nil, err
	}
	_, err = a.index.row(ctx, []any{&s.Waiting}, `SELECT count(*) FROM pack WHERE listed = 1 AND gone = 0 AND idle IS NOT NULL`)
	return s, err
}

// incomplete says why what is known does not do to tell that nobody needs a pack.
func (k *known) incomplete() string {
	switch {
	case !k.Complete && k.Why != "":
		return "not all that your devices have said could be heard: " + k.Why
	case !k.Complete:
		return "not all that your devices have said could be heard"
	case len(k.unread) > 0:
		return fmt.Sprintf("what %d snapshots need is not known, %s among them", len(k.unread), k.unread[0])
	}
	return ""
}

// noteIdle notes of each pack since when nobody needs it.
func (a *Archive) noteIdle(ctx context.Context) error {
	now := a.now().UnixNano()
	for _, statement := range []string{
		`UPDATE pack SET idle = NULL WHERE idle IS NOT NULL AND (idle > ? OR n IN (SELECT pack FROM needs))`, // or the clock was set back
		`UPDATE pack SET idle = ? WHERE idle IS NULL AND n NOT IN (SELECT pack FROM needs)`,
	} {
		if _, err := a.index.exec(ctx, statement, now); err != nil {
			return err
		}
	}
	return nil
}

// withInterrupted adds the packs whose deletion has begun, by this home or
// another, and that nobody needs. A service does not go on with these by itself.
func (a *Archive) withInterrupted(ctx context.Context, k *known, ids []datamesh.ObjectID) ([]datamesh.ObjectID, error) {
	for _, p := range k.Packs {
		if !p.Deleted || p.Done || p.Until.IsZero() {
			continue
		}
		var needed bool
		if _, err := a.index.row(ctx, []any{&needed}, `SELECT EXISTS (SELECT 1 FROM pack JOIN needs ON needs.pack = pack.n WHERE pack.id = ?)`, p.ID[:]); err != nil {
			return nil, err
		}
		if !needed {
			ids = append(ids, p.ID)
		}
	}
	return ids, nil
}

// doom has a pack deleted, and keeps in mind that it may have to be brought back.
func (a *Archive) doom(ctx context.Context, id datamesh.ObjectID) (size int64, err error) {
	if _, err := a.index.exec(ctx, `INSERT INTO doomed (id) VALUES (?) ON CONFLICT DO NOTHING`, id[:]); err != nil {
		return 0, err
	}
	r, err := a.mesh.Delete(ctx, id.String(), node.DeleteOptions{})
	if errors.Is(err, errs.Deleted) {
		err = nil // by another device
	}
	if err != nil {
		return 0, err
	}
	if r != nil {
		size = r.Size
	}
	_, err = a.index.exec(ctx, `UPDATE pack SET listed = 0, gone = 1 WHERE id = ?`, id[:])
	return size, err
}

// reconsider hears all devices again, and brings back what was deleted and is
// needed now: of a snapshot that was made meanwhile and whoever has deleted one
// of its packs, one at least knows of the other.
func (a *Archive) reconsider(ctx context.Context, s *Sweep) error {
	doomed, err := a.index.ids(ctx, `SELECT id FROM doomed`)
	if err != nil || len(doomed) == 0 {
		return err
	}
	k, err := a.learn(ctx)
	if err != nil {
		return err
	}
	deleted := map[datamesh.ObjectID]bool{}
	for _, p := range k.Packs {
		deleted[p.ID] = p.Deleted
	}
	for _, id := range doomed {
		var needed bool
		if _, err := a.index.row(ctx, []any{&needed}, `SELECT EXISTS (SELECT 1 FROM pack JOIN needs ON needs.pack = pack.n WHERE pack.id = ?)`, id[:]); err != nil {
			return err
		}
		if needed {
			err := a.bringBack(ctx, id, deleted[id])
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				a.Events.note(fmt.Sprintf("the pack %s was deleted, though a snapshot needs it, and cannot be brought back now: %v", id, err))
			}
			if err != nil && !errors.Is(err, errs.Deleted) {
				continue // it is tried again by the next
			}
			if err == nil {
				s.Back++
			}
		} else if k.incomplete() != "" {
			continue // it is looked at again by the next
		}
		if _, err := a.index.exec(ctx, `DELETE FROM doomed WHERE id = ?`, id[:]); err != nil {
			return err
		}
	}
	return nil
}
