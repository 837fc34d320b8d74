package object

import (
	"errors"
	"fmt"

	"datamesh"
	"datamesh/internal/erasure"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
	"datamesh/internal/ring"
)

// join puts the segment together from k good shards.
func (f *fetch) join() ([]byte, error) {
	code, err := erasure.New(f.shape.k, f.shape.m)
	if err != nil {
		return nil, err
	}
	shards := make([][]byte, f.shape.k+f.shape.m)
	for i := range shards {
		switch shard := f.got[i]; {
		case i >= f.shape.k:
			shards[i] = shard
		case shard == nil:
			shards[i] = f.slot(i)[:0]
		default:
			shards[i] = f.slot(i)
			if &shard[0] != &shards[i][0] {
				copy(shards[i], shard)
			}
		}
	}
	if err := code.Rebuild(shards, true); err != nil {
		return nil, err
	}
	if err := f.checkRebuilt(shards[:f.shape.k]); err != nil {
		return nil, err
	}
	if err := code.CheckPadding(f.buf, f.shape.length); err != nil {
		return nil, fmt.Errorf("segment %s: %w", f.id, err)
	}
	return f.buf[:f.shape.length], nil
}

// joinPart returns the part of the wanted shard. One that was made from those of
// others proves nothing yet: that it is what was sealed, its frames do.
func (f *fetch) joinPart() ([]byte, error) {
	want := f.part.want
	if b := f.got[want]; b != nil {
		return b, nil
	}
	code, err := erasure.New(f.shape.k, f.shape.m)
	if err != nil {
		return nil, err
	}
	shards, wanted := make([][]byte, f.shape.k+f.shape.m), make([]bool, f.shape.k+f.shape.m)
	for i := range shards {
		shards[i] = f.got[i]
	}
	shards[want], wanted[want] = f.slot(want)[:0], true
	if err := code.RebuildSome(shards, wanted); err != nil {
		return nil, err
	}
	return shards[want], nil
}

var errNoCodeWord = errs.New(errs.Integrity, "its author made shards that do not belong together")

// checkRebuilt compares the data shards that were rebuilt with their ids. An
// author may have made parity that does not belong to them: then each choice of
// k shards would give another segment, and the id stand for all of those.
func (f *fetch) checkRebuilt(data [][]byte) error {
	for i, shard := range data {
		if f.got[i] == nil && hash.Shard(shard) != f.ids[i] {
			return fmt.Errorf("segment %s: %w", f.id, errNoCodeWord)
		}
	}
	return nil
}

// failure tells that too few shards could be had, and who did not serve.
func (f *fetch) failure() error {
	if f.wasDeleted() {
		return errDeleted(datamesh.ObjectID(f.id))
	}
	failed := f.absent()
	away, damaged := len(failed), false
	for p, err := range f.tried {
		if err != nil {
			failed[p.peer] = fmt.Errorf("shard %d: %w", p.index, err)
			damaged = damaged || errs.KindOf(err) == errs.Integrity
		}
	}
	kind := errs.Unavailable
	if damaged && away == 0 {
		kind = errs.Integrity // nobody is away who could still help
	}
	return errs.New(kind, "segment %s: %d shards answered, %d are needed: %s", f.id, len(f.got), f.shape.k, reasons(failed))
}

// unknown is the error for a segment that nobody knows, or of which somebody
// says that it was deleted. Only when all members have answered is it known not
// to be there.
func (f *fetch) unknown() error {
	asked, silent := len(f.answered), 0
	for m := range f.g.o.net.View().All() {
		if !f.answered[m.Record.Peer] {
			silent++
		}
	}
	switch id := datamesh.ObjectID(f.id); {
	case f.wasDeleted():
		return errDeleted(id)
	case f.deleted:
		return errs.New(errs.Unavailable, "%s cannot be read now, and those who say that it was deleted do not show its owner's last word", id)
	case silent == 0:
		return errs.New(errs.FileNotFound, "none of the %d members has %s", asked, id)
	}
	return errs.New(errs.Unavailable, "%d members answered and do not know %s; %d did not answer: %s",
		asked, datamesh.ObjectID(f.id), silent, reasons(f.absent()))
}

// wasDeleted reports whether the segment was deleted. Whoever says so may lie,
// or have been away when it was brought back: the owner's last word decides.
func (f *fetch) wasDeleted() bool {
	last, err := f.g.o.lastWord(f.ctx, f.id, f.shape.k, f.shape.m)
	return err == nil && last.Gone()
}

// absent returns the members that did not answer, and why.
func (f *fetch) absent() map[datamesh.PeerID]error {
	absent := map[datamesh.PeerID]error{}
	for m := range f.g.o.net.View().All() {
		peer := m.Record.Peer
		switch {
		case f.silent[peer] != nil:
			absent[peer] = f.silent[peer]
		case m.State == ring.Dead && !f.answered[peer]:
			absent[peer] = errs.New(errs.Unavailable, "dead")
		}
	}
	return absent
}

// ofObject says of an object what a get of it has found out of one of its
// segments, which its owner does not know: that it was deleted.
func ofObject(id datamesh.ObjectID, err error) error {
	if errors.Is(err, errs.Deleted) {
		return errDeleted(id)
	}
	return err
}

func errDeleted(id datamesh.ObjectID) error {
	return errs.WithHint(errs.New(errs.Deleted, "%s was deleted by its owner", id),
		"bring it back, if it was yours and not long ago: datamesh undelete %s", id)
}
