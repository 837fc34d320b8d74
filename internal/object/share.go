package object

import (
	"context"
	"errors"
	"io"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/erasure"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/step"
)

// PutManifest stores another manifest of an object, for other recipients, and
// not the content again. Like a put it is swept if commit, which makes it known
// to its user, is not reached, or fails. Kinds: as [Objects.Put].
func (o *Objects) PutManifest(ctx context.Context, m *format.Manifest, to []crypt.Recipient, k, parity int, commit func(PutResult) error) (PutResult, error) {
	if _, err := erasure.New(k, parity); err != nil {
		return PutResult{}, err
	}
	keys, err := o.keys()
	if err != nil {
		return PutResult{}, err
	}
	sealed, err := format.SealManifest(m, to)
	if err != nil {
		return PutResult{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &put{o: o, opt: PutOptions{K: k, M: parity, MinSurvives: -1}, keys: keys, entry: o.journal.begin(),
		slow: map[datamesh.PeerID]time.Time{}, created: time.Now()}
	buf := make([]byte, bufferLen(len(sealed), k, parity))
	d, err := p.segment(ctx, buf, copy(buf, sealed))
	if err == nil {
		err = p.report(ctx)
	}
	var result PutResult
	if err == nil {
		result = p.result(datamesh.ObjectID(d.Segment), m.Size)
		step.At("object: share: the manifest is stored")
		err = commit(result)
	}
	if err != nil {
		p.undo(context.WithoutCancel(ctx))
		return PutResult{}, err
	}
	step.At("object: share: the manifest is known to its user")
	p.entry.end()
	return result, nil
}

// CondemnManifest is as [Objects.Condemn] of a manifest alone, which the user
// need not be able to open: what it refers to stays. Kinds: FileNotFound (nobody
// knows of it), Authentication, Unavailable.
func (o *Objects) CondemnManifest(ctx context.Context, id datamesh.ObjectID) (*Condemned, error) {
	keys, err := o.keys()
	if err != nil {
		return nil, err
	}
	last, err := o.Word(ctx, id)
	if err != nil && !errors.Is(err, errs.FileNotFound) {
		return nil, err
	}
	var s *sentence
	if err == nil && last.Gone() { // who has it in the trash, and was not told, hears it from those who keep words
		s = &sentence{d: last.Descriptor}
	} else {
		g := o.newGet(ctx)
		defer g.findings()
		if s, err = g.newFetch(ctx, datamesh.SegmentID(id)).sentence(); err != nil {
			return nil, err
		}
	}
	if err := ownedBy(keys, s.d); err != nil {
		return nil, err
	}
	if err := o.recall(ctx, []*sentence{s}); err != nil {
		return nil, err
	}
	return &Condemned{Segments: 1, StoredBytes: int64(len(s.d.Shards)) * int64(s.d.ShardLen()), o: o, keys: keys, all: []*sentence{s}}, nil
}

// UndeleteManifest brings back a manifest alone. Kinds: as [Objects.Undelete]; it
// is no error if it was not deleted.
func (o *Objects) UndeleteManifest(ctx context.Context, id datamesh.ObjectID) error {
	last, err := o.Word(ctx, id)
	if errors.Is(err, errs.FileNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	u := &undelete{o: o, survives: datamesh.MaxShards}
	if u.keys, err = o.keys(); err != nil {
		return err
	}
	if err := ownedBy(u.keys, last.Descriptor); err != nil {
		return err
	}
	return u.bringBack(ctx, []*sentence{{d: last.Descriptor, last: last}})
}

// GetRangeWith is as [Objects.GetRange] for whoever has these identities, and no others.
func (o *Objects) GetRangeWith(ctx context.Context, id datamesh.ObjectID, ids []crypt.Identity, open func(*format.Manifest) (w io.Writer, from, n int64, err error)) ([]BadShard, error) {
	g := o.newGet(ctx)
	g.ids = ids
	err := g.run(ctx, id, open)
	return g.findings(), ofObject(id, err)
}
