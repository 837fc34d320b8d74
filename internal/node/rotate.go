package node

import (
	"context"
	"errors"
	"fmt"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/object"
	"datamesh/internal/step"
)

// rotateBatch is how many manifests are sealed anew before the mesh is told, and
// those of before are deleted.
const rotateBatch = 64

// Rotate begins a new epoch of the user's age identity, and has the manifests of
// all objects that are listed sealed to it anew; if it was interrupted before, it
// goes on. Objects that are sealed to others too stay as they are. It tells how
// far it is. Kinds: Partial (some could not be sealed anew, and are as they were),
// Unavailable, and those of the catalog.
func (n *Node) Rotate(ctx context.Context, told func(done, all int)) (*Rotated, error) {
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := n.keys()
	if err != nil {
		return nil, err
	}
	if l.net != nil {
		if _, err := n.learnNames(ctx, l, keys); err != nil {
			return nil, err
		}
		if err := n.reconcile(ctx, l); err != nil {
			return nil, err
		}
	}
	epoch, complete, err := n.catalog.Epoch(ctx)
	if err != nil {
		return nil, err
	}
	r := &Rotated{Epoch: epoch}
	if !complete {
		if err := n.reseal(ctx, l, r, told); err != nil {
			return r, err
		}
	}
	if r.Resealed == 0 { // there was nothing to go on with
		if epoch >= format.MaxEpoch {
			return nil, errs.New(errs.KeyManagement, "there are no more than %d epochs", format.MaxEpoch)
		}
		*r = Rotated{Epoch: epoch + 1}
		if err := n.catalog.BeginEpoch(ctx, r.Epoch); err != nil {
			return nil, err
		}
		step.At("node: rotate: the epoch has begun")
		if err := n.reseal(ctx, l, r, told); err != nil {
			return r, err
		}
	}
	if keys, err = n.keys(); err != nil { // which are of the new epoch now
		return r, err
	}
	r.Owner, r.Recipient = keys.OwnerKey(), keys.Recipient.String()
	n.repost(ctx, l) // so that contacts seal to the new one
	return r, nil
}

// reseal has all manifests sealed anew that are of an epoch before.
func (n *Node) reseal(ctx context.Context, l *link, r *Rotated, told func(done, all int)) error {
	behind, err := n.catalog.Behind(ctx, r.Epoch)
	if err != nil {
		return err
	}
	var failed []error
	for i, id := range behind {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch err := n.resealOne(ctx, l, id); {
		case err == nil:
			r.Resealed++
		case errors.Is(err, errs.Share) || errors.Is(err, errs.Authentication):
			r.Shared++
		case errors.Is(err, errs.Full) || errs.Retryable(err):
			return errs.WithHint(fmt.Errorf("%d of %d objects: %w", i, len(behind), err), "type it again, and it goes on: datamesh keys rotate")
		default:
			failed = append(failed, fmt.Errorf("%s: %w", id, err))
		}
		if (i+1)%rotateBatch == 0 {
			if err := n.settleIn(ctx, l); err != nil {
				return err
			}
		}
		told(i+1, len(behind))
	}
	if err := n.settleIn(ctx, l); err != nil {
		return err
	}
	r.Failed = len(failed)
	if len(failed) > 0 {
		return errs.WithHint(errs.New(errs.Partial, "%d of %d objects could not be sealed anew, and are as they were: %w", len(failed), len(behind), errors.Join(failed...)),
			"see what is wrong with them: datamesh health; then type it again: datamesh keys rotate")
	}
	return n.catalog.EndEpoch(ctx, r.Epoch)
}

// resealOne has the manifest of an object sealed anew. What deletes it meanwhile
// finds it as it was, or as it is then.
func (n *Node) resealOne(ctx context.Context, l *link, id datamesh.ObjectID) error {
	n.deleting.Lock()
	defer n.deleting.Unlock()
	code, err := n.code("", l.view().Len())
	if err != nil {
		return err
	}
	_, err = l.objects.Reseal(ctx, id, object.PutOptions{K: code.K, M: code.M, MinSurvives: -1}, func(p object.PutResult) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
		defer cancel()
		return n.catalog.Replace(ctx, id, p.ID, p.Epoch)
	})
	if errors.Is(err, errs.FileNotFound) {
		if _, gone := n.catalog.ByID(ctx, id); errors.Is(gone, errs.FileNotFound) {
			return nil // somebody has deleted it meanwhile
		}
	}
	step.At("node: rotate: an object has another manifest")
	return err
}

// settleIn has the mesh know the new ids, and then deletes the manifests of the
// old ones: whoever has nothing but the words finds each object at any moment.
func (n *Node) settleIn(ctx context.Context, l *link) error {
	if err := n.publish(ctx, l); err != nil {
		return err
	}
	step.At("node: rotate: the mesh knows the new ids")
	old, err := n.catalog.Undropped(ctx)
	if err != nil {
		return err
	}
	for _, id := range old {
		err := l.objects.DropManifest(ctx, id)
		if err != nil && !errors.Is(err, errs.Deleted) && !errors.Is(err, errs.FileNotFound) {
			return fmt.Errorf("delete the old manifest %s: %w", id, err)
		}
		step.At("node: rotate: an old manifest is deleted")
		if err := n.catalog.Dropped(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// reconcile mends what two devices have done to one object without knowing of each
// other: each has sealed its manifest anew, or one has, and the other has deleted
// it, or given it another name, or shared it.
func (n *Node) reconcile(ctx context.Context, l *link) error {
	doomed, err := n.catalog.Doomed(ctx)
	if err != nil {
		return err
	}
	for _, d := range doomed {
		if _, err := n.remove(ctx, d.ID.String(), DeleteOptions{Now: d.Final}, true); err != nil && !errors.Is(err, errs.Deleted) && !errors.Is(err, errs.FileNotFound) {
			return err
		}
	}
	twins, err := n.catalog.Twins(ctx)
	if err != nil {
		return err
	}
	for _, t := range twins {
		if t.Back {
			if _, err := n.Undelete(ctx, t.Kept.String()); err != nil && !errors.Is(err, errs.Deleted) && !errors.Is(err, errs.FileNotFound) {
				return err
			}
		}
		err := l.objects.DropManifest(ctx, t.ID)
		if err != nil && !errors.Is(err, errs.Deleted) && !errors.Is(err, errs.FileNotFound) {
			return err
		}
		if err := n.catalog.Rejoin(ctx, t); err != nil {
			return err
		}
	}
	if err := n.catalog.MoveShares(ctx); err != nil {
		return err
	}
	return n.publish(ctx, l)
}

// moved reports whether another device has given the object another id that ref
// means, and returns that.
func (n *Node) moved(ctx context.Context, ref string, id datamesh.ObjectID) (now datamesh.ObjectID, moved bool) {
	if !n.heardOf(ctx) {
		return id, false
	}
	now, err := n.resolve(ctx, ref)
	return now, err == nil && now != id
}

// NoteEpoch notes the recipient of a user's present epoch beside an identity that
// is sealed, which must be open. Kinds: as [keyring.File.Note], Database.
func NoteEpoch(ctx context.Context, user config.User, keys *keyring.File) error {
	_, epoch, err := PublicOf(ctx, user, keys)
	if err != nil || epoch == 0 {
		return err
	}
	ring, err := keys.Load()
	if err == nil {
		ring, err = ring.Since(epoch)
	}
	if err != nil {
		return err
	}
	return keys.Note(ring)
}

// PublicOf returns the public half of a user's identity, and the epoch of its
// recipient. It asks for no passphrase if it need not. Kinds: as
// [keyring.File.Public], Database.
func PublicOf(ctx context.Context, user config.User, keys *keyring.File) (public keyring.Public, epoch int, err error) {
	if public, err = keys.Public(); err != nil {
		return public, 0, err
	}
	c, err := catalog.OpenToRead(ctx, user.Catalog())
	if errors.Is(err, errs.FileNotFound) {
		return public, 0, nil
	}
	if err != nil {
		return public, 0, err
	}
	epoch, _, err = c.Epoch(ctx)
	if err = errors.Join(err, c.Close()); err != nil || epoch == 0 {
		return public, epoch, err
	}
	if sealed, err := keys.Protected(); err != nil || sealed {
		return public, epoch, err // what is noted beside it is of the epoch
	}
	ring, err := keys.Load()
	if err == nil {
		ring, err = ring.Since(epoch)
	}
	if err != nil {
		return public, epoch, err
	}
	public.Recipient = ring.Recipient.String()
	return public, epoch, nil
}
