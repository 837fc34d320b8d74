package node

import (
	"context"
	"errors"
	"io"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/object"
)

// Get reads the object that ref means and writes it to what open returns.
// Kinds: as [object.Objects.Get].
func (n *Node) Get(ctx context.Context, ref string, open func(ObjectInfo) (io.Writer, error)) (*Fetched, error) {
	id, err := n.resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	var result Fetched
	bad, err := l.objects.Get(ctx, id, func(m *format.Manifest) (io.Writer, error) {
		result = Fetched{ID: id, Name: m.Name, Size: m.Size}
		return open(ObjectInfo{ID: id, Name: m.Name, Size: m.Size, Mode: m.Mode, ModTime: format.Time(m.ModTime)})
	})
	result.Bad = badShards(bad)
	return &result, l.absent(err)
}

// absent has the error of an object that nobody has say what may be wrong in a
// home that has no mesh: as likely as not the object is in one.
func (l *link) absent(err error) error {
	if l.net == nil && errors.Is(err, errs.FileNotFound) {
		return errs.WithHint(err, "this home has no mesh; to look in one, name a member: --bootstrap-peer PEER_ID --bootstrap-addr ADDR")
	}
	return err
}

func badShards(bad []object.BadShard) []BadShard {
	out := make([]BadShard, len(bad))
	for i, b := range bad {
		out[i] = BadShard{Segment: b.Key.Segment, Index: b.Key.Index, Peer: b.Peer, Reason: b.Reason.Error()}
	}
	return out
}

// resolve returns the object that ref means: its id, or the name under which
// it was stored last. Kinds: Invalid, FileNotFound.
func (n *Node) resolve(ctx context.Context, ref string) (datamesh.ObjectID, error) {
	id, err := datamesh.ParseObjectID(ref)
	if err == nil {
		return id, nil
	}
	if !errors.Is(err, datamesh.ErrNoID) {
		return id, errs.WithHint(errs.New(errs.Invalid, "%w", err), `copy the id from "datamesh list"`)
	}
	entry, err := n.catalog.ByName(ctx, ref)
	return entry.ID, err
}
