package node

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/object"
)

// Get reads the object that ref means and writes it, or a range of it, to what open
// returns, from where it is to be resumed if it still is the same object. Kinds: as
// [object.Objects.GetRange].
func (n *Node) Get(ctx context.Context, ref string, o GetOptions, open func(ObjectInfo) (io.Writer, error)) (fetched *Fetched, err error) {
	began := time.Now()
	var id datamesh.ObjectID
	defer func() { n.getEnded(began, id, fetched, err) }()
	ref, found, err := n.find(ctx, ref)
	if errors.Is(err, errs.FileNotFound) && n.heardOf(ctx) {
		ref, found, err = n.find(ctx, ref)
	}
	id = found.ID
	if errors.Is(err, errs.FileNotFound) {
		if received, other := n.receivedAs(ctx, ref); !errors.Is(other, errs.FileNotFound) {
			id, err = received, other
		}
	}
	if err != nil {
		return nil, err
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	var result Fetched
	end, begun := func() {}, false
	defer func() { end() }()
	begin := func(m *format.Manifest) (io.Writer, int64, int64, error) {
		name := cmp.Or(found.Name, m.Name)
		info := ObjectInfo{ID: id, Name: name, Size: m.Size, Mode: m.Mode, ModTime: format.Time(m.ModTime), Type: m.Type}
		p := &progress{kind: GetTransfer, name: name}
		p.size.Store(m.Size)
		result = Fetched{ID: id, Name: name, Size: m.Size}
		length := m.Size
		if o.Range != nil {
			r, err := o.Range.Within(m.Size)
			if err != nil {
				return nil, 0, 0, err
			}
			info.From, length, result.Range = r.Offset, r.Length, &r
			p.size.Store(r.Length)
		} else if o.Resume != nil && o.Resume.ID == id {
			info.From, result.Resumed = o.Resume.From, o.Resume.From
			p.received.Store(info.From)
		}
		if found.Named > 1 {
			result.Named = found.Named
		}
		end, begun = n.board.begin(o.Transfer, p), true
		w, err := open(info)
		return receiver{w, p}, info.From, length, err
	}
	read := n.openerOf(l, o)
	bad, err := read(ctx, id, begin)
	switch {
	case begun: // some of it may be written
	case errors.Is(err, errs.Deleted) || errors.Is(err, errs.FileNotFound):
		if now, moved := n.moved(ctx, ref, id); moved {
			id = now
			bad, err = read(ctx, id, begin)
		}
	case o.Link == nil && errors.Is(err, errs.Decryption) && n.heardOf(ctx): // perhaps of an epoch that was not known
		bad, err = read(ctx, id, begin)
	}
	result.Bad = badShards(bad)
	return &result, l.absent(err)
}

// openerOf returns how an object is read: by the user's identities, or by the
// secret of a link alone.
func (n *Node) openerOf(l *link, o GetOptions) func(context.Context, datamesh.ObjectID, func(*format.Manifest) (w io.Writer, from, n int64, err error)) ([]object.BadShard, error) {
	if o.Link == nil {
		return l.objects.GetRange
	}
	return func(ctx context.Context, id datamesh.ObjectID, open func(*format.Manifest) (io.Writer, int64, int64, error)) ([]object.BadShard, error) {
		identity, _, err := crypt.NewIdentity(*o.Link)
		if err != nil {
			return nil, err
		}
		bad, err := l.objects.GetRangeWith(ctx, id, []crypt.Identity{identity}, open)
		if errors.Is(err, errs.Decryption) {
			err = errs.WithHint(errs.New(errs.Decryption, "wrong password, or not this link"), "copy the link again, all of it, and mind the password")
		}
		return bad, err
	}
}

// absent has the error of an object that nobody has say what may be wrong in a
// home that has no mesh: as likely as not the object is in one.
func (l *link) absent(err error) error {
	if l.net == nil && errors.Is(err, errs.FileNotFound) {
		return errs.WithHint(err, "this home has no mesh; to look in one, join it: datamesh networks use PEER_ID@ADDR")
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

// find returns what ref means, and ref as the catalog spells it. Kinds: as
// [Node.lookUp].
func (n *Node) find(ctx context.Context, ref string) (string, catalog.Found, error) {
	f, err := n.lookUp(ctx, ref)
	if !errors.Is(err, errs.FileNotFound) {
		return ref, f, err
	}
	spelled, other := n.spelled(ctx, ref)
	switch {
	case other != nil:
		return ref, f, other
	case spelled != ref:
		f, err = n.lookUp(ctx, spelled)
	}
	return spelled, f, err
}

// resolve returns the object that ref means: its id, or the name under which
// it was stored last. Kinds: Invalid, FileNotFound, Deleted.
func (n *Node) resolve(ctx context.Context, ref string) (datamesh.ObjectID, error) {
	f, err := n.lookUp(ctx, ref)
	return f.ID, err
}

// lookUp is resolve, and returns what else a get says of the object.
func (n *Node) lookUp(ctx context.Context, ref string) (catalog.Found, error) {
	id, isID, err := parseRef(ref)
	if err != nil {
		return catalog.Found{ID: id}, err
	}
	if isID {
		f, err := n.catalog.Find(ctx, id)
		if err == nil && f.Deleted {
			err = errDeleted(ref, f.Final)
		}
		return f, err
	}
	f, err := n.catalog.FindName(ctx, ref)
	if errors.Is(err, errs.FileNotFound) {
		f.Name = ref // as it may be called in the inbox
		if e, deleted := n.catalog.DeletedByName(ctx, ref); deleted == nil {
			err = errDeleted(ref, e.Final)
		}
	}
	return f, err
}

// errDeleted is the error of what was deleted, and cannot be brought back if that
// is final.
func errDeleted(ref string, final bool) error {
	if final {
		return errs.WithHint(errs.New(errs.Deleted, "%s was deleted for good", ref), "put it again, if you have it still")
	}
	return errs.WithHint(errs.New(errs.Deleted, "%s was deleted", ref), "bring it back: datamesh undelete %s", errs.Word(ref))
}
