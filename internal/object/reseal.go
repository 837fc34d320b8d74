package object

import (
	"context"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// ErrShared is the error of an object whose manifest has other recipients than
// its owner. Nobody knows who they are, and so it cannot be sealed to them anew.
var ErrShared = errs.New(errs.Share, "it is sealed to others, too")

// Reseal stores the manifest of an object anew, sealed to the present recipient of
// its owner, and coded as opt says. The content stays where it is. As in [Objects.Put], the
// object has its new id only if commit succeeds. Kinds: as [Objects.Get] and
// [Objects.Put], Share ([ErrShared]), Authentication (another owner has stored it).
func (o *Objects) Reseal(ctx context.Context, id datamesh.ObjectID, opt PutOptions, commit func(PutResult) error) (PutResult, error) {
	g := o.newGet(ctx)
	defer g.findings()
	keys, err := o.keys()
	if err != nil {
		return PutResult{}, err
	}
	m, _, err := g.own(id)
	if err != nil {
		return PutResult{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &put{o: o, opt: opt, keys: keys, entry: o.journal.begin(), slow: map[datamesh.PeerID]time.Time{}, created: time.Now()}
	next, err := p.manifest(ctx, m)
	return p.finish(ctx, p.result(next, m.Size), err, commit)
}

// own reads the manifest of an object that the user has stored, and nobody else
// can read, and returns what is public of that. Kinds: as [Objects.Get], Share
// ([ErrShared]), Authentication.
func (g *get) own(id datamesh.ObjectID) (*format.Manifest, *datamesh.Descriptor, error) {
	keys, err := g.o.keys()
	if err != nil {
		return nil, nil, err
	}
	var m *format.Manifest
	err = g.segment(g.ctx, datamesh.SegmentID(id), func(sealed []byte) (err error) {
		if m, err = format.OpenManifest(sealed, keys.Identities); err != nil {
			return err
		}
		alone, err := format.ForOwnerAlone(sealed)
		if err == nil && !alone {
			err = ErrShared
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	s, err := g.newFetch(g.ctx, datamesh.SegmentID(id)).sentence()
	if err != nil {
		return nil, nil, err
	}
	return m, s.d, ownedBy(keys, s.d)
}

// DropManifest has a manifest deleted in whose place another is, and nothing of
// its content. Kinds: as [Objects.Condemn].
func (o *Objects) DropManifest(ctx context.Context, id datamesh.ObjectID) error {
	g := o.newGet(ctx)
	defer g.findings()
	keys, err := o.keys()
	if err != nil {
		return err
	}
	last, err := o.Word(ctx, id)
	if err == nil && last != nil && last.Gone() {
		return o.finishManifest(ctx, last)
	}
	s, err := g.newFetch(ctx, datamesh.SegmentID(id)).sentence()
	if err != nil {
		return err
	}
	if err := ownedBy(keys, s.d); err != nil {
		return err
	}
	all := []*sentence{s}
	if err := o.recall(ctx, all); err != nil {
		return err
	}
	return o.say(ctx, all, func(s *sentence) *datamesh.Deletion {
		generation := s.next(false)
		if s.last != nil && s.last.Generation == generation {
			return s.last
		}
		return format.NewDeletion(keys.Owner, s.d, generation)
	})
}

// finishManifest says again what was said of a manifest, in case it was not said
// to enough.
func (o *Objects) finishManifest(ctx context.Context, last *datamesh.Deletion) error {
	return o.say(ctx, []*sentence{{d: last.Descriptor, last: last}}, func(s *sentence) *datamesh.Deletion { return s.last })
}
