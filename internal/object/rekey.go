package object

import (
	"context"
	"io"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
)

// An Original is an object whose content can be stored anew, under other keys.
type Original struct {
	Manifest *format.Manifest
	K, M     int // the code of its content; K is 0 if it is so small that it is only copied
}

// Original reads what it takes to store the content of an object anew. Kinds: as
// [Objects.Get], Share ([ErrShared]), Authentication (another owner has stored it).
func (o *Objects) Original(ctx context.Context, id datamesh.ObjectID) (*Original, error) {
	g := o.newGet(ctx)
	defer g.findings()
	m, d, err := g.own(id)
	if err != nil {
		return nil, err
	}
	refs, _, err := g.segments(ctx, m)
	if err != nil {
		return nil, err
	}
	x := &Original{Manifest: m, K: d.K, M: d.M}
	if len(refs) > 0 {
		x.K, x.M = refs[0].K, refs[0].M
	} else if d.Length <= smallSealed {
		x.K = 0
	}
	return x, nil
}

// rekeyContext separates the sources of content that is an object's from others.
const rekeyContext = "datamesh v1 source of what is stored anew"

// Rekey stores the content of an object once more, in segments with keys of their
// own, and leaves what there is as it is. It holds no more in memory than a get and
// a put do. One that was interrupted goes on, as puts do, though it reads all again.
// As in [Objects.Put], the object is stored only if commit succeeds. Kinds: as
// [Objects.Get] and [Objects.Put].
func (o *Objects) Rekey(ctx context.Context, id datamesh.ObjectID, opt PutOptions, commit func(PutResult) error) (PutResult, error) {
	opt.Source = hash.Derive(rekeyContext, id[:])
	reading, stop := context.WithCancel(ctx)
	var size int64
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := o.Get(reading, id, func(m *format.Manifest) (io.Writer, int64, error) {
			size = m.Size
			return w, 0, nil
		})
		w.CloseWithError(err)
	}()
	defer func() {
		stop()
		r.Close()
		<-ended
	}()
	return o.Put(ctx, r, opt, func(p PutResult) error {
		if p.Size != size {
			return errs.New(errs.Integrity, "%d bytes of %s came, of %d", p.Size, id, size)
		}
		return commit(p)
	})
}
