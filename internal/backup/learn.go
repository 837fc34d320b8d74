package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"datamesh"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/node"
)

// A known says how much of the owner's backups is known.
type known struct {
	*node.BackupObjects
	unread []datamesh.ObjectID // snapshots that could not be read, or are in the trash
}

// learn makes the index have what all devices have said, and what is in the
// snapshots that it does not know. A snapshot that cannot be read does not keep
// others from it.
func (a *Archive) learn(ctx context.Context) (*known, error) {
	all, err := a.mesh.BackupObjects(ctx, true)
	if err != nil {
		return nil, err
	}
	k := &known{BackupObjects: all}
	unread, err := a.index.follow(ctx, all, a.now())
	if err != nil || len(unread) == 0 {
		return k, err
	}
	work, err := a.newScratch()
	if err != nil {
		return nil, err
	}
	defer work.remove()
	for _, s := range unread {
		if s.Deleted {
			k.unread = append(k.unread, s.ID) // nobody can say what it needs
			continue
		}
		switch err := a.readSnapshot(ctx, work.path("snapshot"), s.ID); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, errs.Database) || errors.Is(err, errs.Full):
			return nil, err
		case err != nil:
			a.Events.note(fmt.Sprintf("the snapshot %s cannot be read now, and nothing is shared with it: %v", s.ID, err))
			k.unread = append(k.unread, s.ID)
		}
	}
	return k, nil
}

// readSnapshot reads a snapshot into the index, by way of a file: whoever else
// uses the index waits for no peer.
func (a *Archive) readSnapshot(ctx context.Context, path string, id datamesh.ObjectID) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return errs.New(durable.KindOf(err), "read a snapshot: %w", err)
	}
	defer f.Close()
	if _, err := read(ctx, a.mesh, id, 0, func(r io.Reader) error {
		_, err := io.Copy(f, r)
		return err
	}); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return errs.New(errs.IO, "read a snapshot: %w", err)
	}
	return a.index.take(ctx, id, isListed, a.keys.IDs, format.NewSnapshotReader(bufio.NewReaderSize(f, 1<<20)))
}

// gone asks for the owner's last words on packs, a part of them at a time, and
// notes which are deleted.
func (a *Archive) gone(ctx context.Context, ids []datamesh.ObjectID) (gone []datamesh.ObjectID, err error) {
	for some := range slices.Chunk(ids, askAtOnce) {
		g, err := a.mesh.Gone(ctx, some)
		if err != nil {
			return nil, err
		}
		gone = append(gone, g.Gone...)
	}
	return gone, a.index.write(ctx, func(w *writing) error {
		for _, id := range ids {
			if _, err := w.exec(`UPDATE pack SET gone = 0 WHERE id = ? AND gone = 1`, id[:]); err != nil {
				return err
			}
		}
		for _, id := range gone {
			if _, err := w.exec(`UPDATE pack SET gone = 1 WHERE id = ?`, id[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// askAtOnce is of how many packs the words are asked for at once.
const askAtOnce = 4096

// neededNow are the packs that a listed snapshot needs.
const neededNow = `n IN (SELECT needs.pack FROM needs JOIN snapshot ON snapshot.n = needs.snapshot WHERE snapshot.state = 1)`

// heal brings back all packs that a listed snapshot needs and that somebody's
// word deletes: whoever had them deleted did not know of the snapshot. What
// cannot be brought back is not used again.
func (a *Archive) heal(ctx context.Context) error {
	ids, err := a.index.ids(ctx, `SELECT id FROM pack WHERE `+neededNow+` OR own = 1`)
	if err != nil {
		return err
	}
	if _, err := a.gone(ctx, ids); err != nil {
		return err
	}
	return a.bringAllBack(ctx)
}

// bringAllBack brings back the packs that a listed snapshot needs and that are
// deleted, by a word or in the catalog.
func (a *Archive) bringAllBack(ctx context.Context) error {
	all, err := a.mesh.BackupObjects(ctx, false)
	if err != nil {
		return err
	}
	deleted := map[datamesh.ObjectID]bool{}
	for _, p := range all.Packs {
		if p.Deleted {
			deleted[p.ID] = true
		}
	}
	ids, err := a.index.ids(ctx, `SELECT id FROM pack WHERE (gone = 1 OR listed = 0) AND `+neededNow)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := a.bringBack(ctx, id, deleted[id]); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			a.Events.note(fmt.Sprintf("the pack %s was deleted, though a snapshot needs it, and cannot be brought back now: %v", id, err))
		}
	}
	return nil
}

// bringBack brings a pack back. One that is deleted in the catalog alone, since
// whoever began that did not end it, is deleted first, so that there is a word
// that this one takes the place of.
func (a *Archive) bringBack(ctx context.Context, id datamesh.ObjectID, cataloged bool) error {
	_, err := a.mesh.Undelete(ctx, id.String())
	if errors.Is(err, errs.FileNotFound) && cataloged {
		if _, err = a.mesh.Delete(ctx, id.String(), node.DeleteOptions{}); err == nil || errors.Is(err, errs.Deleted) {
			_, err = a.mesh.Undelete(ctx, id.String())
		}
	}
	if errors.Is(err, errs.FileNotFound) && !cataloged {
		return nil // nobody has said that it is deleted
	}
	if err != nil {
		_, noted := a.index.exec(ctx, `UPDATE pack SET gone = 1 WHERE id = ?`, id[:])
		return errors.Join(err, noted)
	}
	_, err = a.index.exec(ctx, `UPDATE pack SET gone = 0, listed = 1 WHERE id = ?`, id[:])
	if err == nil {
		a.Events.note(fmt.Sprintf("the pack %s was deleted, though a snapshot needs it, and is brought back", id))
	}
	return err
}

// ofSnapshot are the packs that a snapshot needs.
const ofSnapshot = `id IN (SELECT pack.id FROM pack JOIN needs ON needs.pack = pack.n JOIN snapshot ON snapshot.n = needs.snapshot WHERE snapshot.id = ?)`

// settle asks, once a snapshot is in the mesh, for the words on all packs that
// it needs, and brings back those that were deleted meanwhile. It returns how
// many are lost. From then on no device that hears all others has them deleted.
func (a *Archive) settle(ctx context.Context, snapshot datamesh.ObjectID) (lost int, err error) {
	ids, err := a.index.ids(ctx, `SELECT id FROM pack WHERE `+ofSnapshot, snapshot[:])
	if err != nil {
		return 0, err
	}
	gone, err := a.gone(ctx, ids)
	if err != nil {
		return 0, err
	}
	for _, id := range gone {
		switch err := a.bringBack(ctx, id, true); {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case err != nil:
			a.Events.note(fmt.Sprintf("the pack %s was deleted while the snapshot was made, and cannot be brought back: %v", id, err))
			lost++
		}
	}
	return lost, nil
}
