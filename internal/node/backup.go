package node

import (
	"context"
	"errors"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// BackupObjects returns the snapshots and packs of the catalog, those that were
// deleted included, after taking over what other devices have said, if it shall
// learn. What cannot be learnt is no error: then they are not known completely.
func (n *Node) BackupObjects(ctx context.Context, learn bool) (*BackupObjects, error) {
	all := &BackupObjects{Snapshots: []BackupObject{}, Packs: []BackupObject{}}
	if learn {
		err := n.learnAll(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if all.Complete = err == nil; err != nil {
			all.Why = err.Error()
		}
	}
	add := func(e catalog.Entry, b BackupObject) {
		b.ID, b.Name, b.Size, b.Created = e.ID, e.Name, e.Size, e.Created
		switch e.Type {
		case format.SnapshotType:
			all.Snapshots = append(all.Snapshots, b)
		case format.PackType:
			all.Packs = append(all.Packs, b)
		}
	}
	for e, err := range n.catalog.List(ctx) {
		if err != nil {
			return nil, err
		}
		add(e, BackupObject{})
	}
	for e, err := range n.catalog.Deleted(ctx) {
		if err != nil {
			return nil, err
		}
		b := BackupObject{Deleted: true, Done: e.Done}
		if !e.Final {
			b.Until = e.Deleted.Add(trashTime)
		}
		add(e.Entry, b)
	}
	return all, nil
}

// learnAll takes over what all devices of the owner have said. It is nil only if
// nothing of that is missing.
func (n *Node) learnAll(ctx context.Context) error {
	keys, err := n.heldKeys()
	if errors.Is(err, errs.FileNotFound) {
		return nil // nobody has said anything
	}
	if err != nil {
		return err
	}
	l, err := n.connect(ctx)
	if err != nil {
		return err
	}
	if l.net == nil {
		return nil // there are no others
	}
	learned, err := n.learnNames(ctx, l, keys)
	if err == nil && learned.Missing > 0 {
		err = errs.New(errs.Unavailable, "%d records of the catalog are missing", learned.Missing)
	}
	return err
}

// Gone has the mesh keep all that the catalog says, and returns which of the
// objects are deleted, as a majority of those says who keep the owner's words.
// Kind: Unavailable.
func (n *Node) Gone(ctx context.Context, ids []datamesh.ObjectID) (*Gone, error) {
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := n.publish(ctx, l); err != nil {
		return nil, err
	}
	gone, err := l.objects.Gone(ctx, ids)
	if err != nil {
		return nil, err
	}
	return &Gone{Gone: gone}, nil
}

// Check reads every shard of an object, from each peer that is said to hold it.
// Kinds: as [object.Objects.Get].
func (n *Node) Check(ctx context.Context, ref string) (*Checked, error) {
	id, err := n.resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	c, err := l.objects.Check(ctx, id)
	if err != nil {
		return nil, l.absent(err)
	}
	return &Checked{ID: id, Shards: c.Shards, Missing: c.Missing, Bad: badShards(c.Bad)}, nil
}
